//! The task that has the bytes of blocks and gives them on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use strobe_core::{
    limits::BLOCK_BYTES_MAX,
    message::Staging,
    model::{NodeIndex, Term},
    primitives::{OperationId, RegionName, transfer::Taken},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    BlockCounters, BlockStaged, Command,
    bytes::BlockBytes,
    piece::{BulkFrame, PieceHeader},
    staged::{Staged, Whole},
};
use crate::{
    counters::{Refusal, RefusedPeer},
    limits::{BLOCK_CHARGE_MIN, BLOCKS_BYTES_MAX, WISHES_MAX},
    transport::{BulkInbox, Class, Frame, LinkId, SendError, Transport},
};

/// See the module.
///
/// *Invariant:* it waits for nobody but itself: not for a lane, nor for the agent.
pub(super) struct Carrier<T> {
    transport: Arc<T>,
    inbox: BulkInbox,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<BlockStaged>,
    counters: Arc<BlockCounters>,
    stall: Duration,
    /// What the events' channel has no room for.
    unsaid: VecDeque<BlockStaged>,
    /// Bytes of this node's own calls that nobody has asked for yet.
    offered: BTreeMap<OperationId, BlockBytes>,
    staged: BTreeMap<OperationId, Staged>,
    readable: BTreeMap<RegionName, OperationId>,
    /// Blocks that this node asks others for.
    wishes: BTreeMap<OperationId, Wish>,
    /// A frame of each block that is being given.
    sends: JoinSet<(OperationId, Result<(), SendError>)>,
    sending: BTreeSet<OperationId>,
}

/// A block that this node asks others for.
struct Wish {
    /// Where it is to be read.
    region: RegionName,
    /// Over the links of this term.
    term: Term,
    /// Who has it, in the order in which they are asked.
    holders: Vec<NodeIndex>,
    /// How many were asked.
    asked: usize,
}

enum Happening {
    Commanded(Command),
    Said,
    Sent(OperationId, Result<(), SendError>),
    Received(Frame),
    Late,
}

impl<T: Transport> Carrier<T> {
    pub(super) fn new(
        transport: Arc<T>,
        inbox: BulkInbox,
        stall: Duration,
        (commands, events): (mpsc::Receiver<Command>, mpsc::Sender<BlockStaged>),
        counters: Arc<BlockCounters>,
    ) -> Self {
        Self {
            transport,
            inbox,
            commands,
            events,
            counters,
            stall,
            unsaid: VecDeque::new(),
            offered: BTreeMap::new(),
            staged: BTreeMap::new(),
            readable: BTreeMap::new(),
            wishes: BTreeMap::new(),
            sends: JoinSet::new(),
            sending: BTreeSet::new(),
        }
    }

    /// Carries blocks until nobody can command it any more, or the transport is gone.
    pub(super) async fn run(mut self) {
        while let Some(happening) = self.next().await {
            match happening {
                Happening::Commanded(command) => self.commanded(command),
                Happening::Said => {}
                Happening::Sent(operation, result) => self.sent(operation, result),
                Happening::Received(frame) => self.received(frame),
                Happening::Late => self.expire(),
            }
            self.counters.held_bytes.store(self.held_bytes(), Ordering::Relaxed);
        }
    }

    async fn next(&mut self) -> Option<Happening> {
        let deadline = self.deadline();
        tokio::select! {
            biased;
            command = self.commands.recv() => command.map(Happening::Commanded),
            permit = self.events.reserve(), if !self.unsaid.is_empty() => {
                permit.ok()?.send(self.unsaid.pop_front()?);
                Some(Happening::Said)
            }
            Some(sent) = self.sends.join_next() => {
                let (operation, result) = sent.expect("a send does not panic, and is not aborted while its task lives");
                Some(Happening::Sent(operation, result))
            }
            frame = self.inbox.next() => frame.map(Happening::Received),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Some(Happening::Late),
        }
    }

    // === what the agent says ===

    fn commanded(&mut self, command: Command) {
        match command {
            Command::Offer { operation, bytes } => drop(self.offered.insert(operation, bytes)),
            Command::Withdraw(operation) => drop(self.offered.remove(&operation)),
            Command::Stage { term, staging } => self.stage(term, staging),
            Command::LinkUp(link) => self.link_up(link),
            Command::Put { region, operation } => self.put(region, operation),
            Command::Discard(operation) => self.discard(operation),
            Command::Get { term, region, staging } => self.get(term, region, staging),
            Command::Read { region, operation, answer } => {
                let wanted = |put: &&OperationId| operation.is_none_or(|operation| operation == **put);
                let staged = self.readable.get(&region).filter(wanted).and_then(|operation| self.staged.get(operation));
                // Who has asked may have gone.
                let _gone = answer.send(staged.map(Staged::read));
            }
        }
    }

    /// The order asks for a block: what has come of it already counts.
    fn stage(&mut self, term: Term, staging: Staging) {
        let (operation, node) = (staging.operation, self.transport.node());
        let own = self.offered.remove(&operation).and_then(|bytes| Staged::own(staging, node, bytes));
        if let Some(own) = own {
            self.staged.insert(operation, own);
        } else if self.staged.get(&operation).is_none_or(|known| known.staging != staging) {
            self.staged.remove(&operation);
            if !self.await_block(staging) {
                return self.say(&staging, false);
            }
        }
        let Some(staged) = self.staged.get_mut(&operation) else { return };
        staged.ask(term);
        self.tell_if_whole(operation);
        self.give(operation);
    }

    /// A block was put that this life of the node never held: others of its set are asked for it, one after the other.
    fn get(&mut self, term: Term, region: RegionName, staging: Staging) {
        let (operation, node) = (staging.operation, self.transport.node());
        // Not all the nodes that lack it ask the same one first.
        let (below, above): (Vec<NodeIndex>, Vec<NodeIndex>) =
            staging.set.iter().filter(|other| *other != node).partition(|other| *other < node);
        self.staged.remove(&operation);
        if !self.has_room(&staging) {
            BlockCounters::add(&self.counters.given_up, 1);
            tracing::warn!(?operation, "there is no room for a block that others hold");
            return;
        }
        let mut wished = Staged::wished(staging);
        wished.ask(term);
        self.staged.insert(operation, wished);
        self.wishes.insert(operation, Wish { region, term, holders: above.into_iter().chain(below).collect(), asked: 0 });
        self.tell_if_whole(operation);
        self.ask_next(operation);
    }

    /// Asks the next holder of a block for it, if it is still wished for; gives it up when all were asked often enough.
    fn ask_next(&mut self, operation: OperationId) {
        let (Some(wish), Some(staged)) = (self.wishes.get_mut(&operation), self.staged.get_mut(&operation)) else { return };
        let holders = wish.holders.len();
        if wish.asked >= WISHES_MAX * holders {
            tracing::warn!(?operation, "nobody gives a block that others hold");
            BlockCounters::add(&self.counters.given_up, 1);
            self.discard(operation);
            return;
        }
        let to = wish.holders[wish.asked % holders];
        wish.asked += 1;
        staged.ask(wish.term);
        let (link, frame) = (LinkId { term: wish.term, node: to }, BulkFrame::wish(staged.staging));
        // Where it does not come, nothing comes back, and the next one is asked.
        self.send(operation, link, frame);
    }

    /// Another node lacks a block that was put: it gets all of it, if it is here.
    fn wished(&mut self, link: LinkId, staging: Staging) -> Result<(), Refusal> {
        if !staging.set.contains(link.node) {
            return Err(Refusal::BadPiece);
        }
        let held = self.staged.get_mut(&staging.operation).filter(|known| known.staging == staging && known.whole() == Whole::Held);
        if let Some(held) = held {
            held.ask(link.term);
            held.give_all(link.node);
            self.give(staging.operation);
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.offered.values().map(BlockBytes::length).chain(self.staged.values().map(Staged::held_bytes)).sum()
    }

    /// Makes a place for a block that others give; false where there is no room, or nobody else has it.
    fn await_block(&mut self, staging: Staging) -> bool {
        let awaited = self.has_room(&staging).then(|| Staged::awaited(staging, self.transport.node())).flatten();
        awaited.map(|awaited| self.staged.insert(staging.operation, awaited)).is_some()
    }

    fn has_room(&self, staging: &Staging) -> bool {
        let charge = |length: u64| length.max(BLOCK_CHARGE_MIN);
        let own: u64 = self.offered.values().map(|bytes| charge(bytes.length())).sum();
        let held: u64 = self.staged.values().map(|staged| charge(staged.staging.block.length)).sum();
        staging.block.length <= BLOCK_BYTES_MAX && own + held + charge(staging.block.length) <= BLOCKS_BYTES_MAX
    }

    /// What was given over an earlier life of the link may not have come.
    fn link_up(&mut self, link: LinkId) {
        let of_term = self.staged.iter_mut().filter(|(_, staged)| staged.asked == Some(link.term));
        let operations: Vec<OperationId> = of_term
            .map(|(operation, staged)| {
                staged.give_again(link.node);
                *operation
            })
            .collect();
        operations.into_iter().for_each(|operation| self.give(operation));
    }

    fn put(&mut self, region: RegionName, operation: OperationId) {
        if let Some(staged) = self.staged.get_mut(&operation) {
            staged.is_everywhere();
        }
        self.readable.insert(region, operation);
    }

    fn discard(&mut self, operation: OperationId) {
        self.wishes.remove(&operation);
        self.staged.remove(&operation);
        self.readable.retain(|_, readable| *readable != operation);
    }

    // === what comes and goes ===

    fn received(&mut self, frame: Frame) {
        let Frame { link, payload } = frame;
        let done = match BulkFrame::decode(&payload) {
            Ok(BulkFrame::Piece(header)) => self.take(link.node, header, payload),
            Ok(BulkFrame::Wish(staging)) => self.wished(link, staging),
            Err(_) => Err(Refusal::BadPiece),
        };
        if let Err(refusal) = done {
            self.transport.counters().refuse(RefusedPeer::Node(link.node), refusal);
        }
    }

    fn take(&mut self, from: NodeIndex, PieceHeader { staging, piece }: PieceHeader, frame: Bytes) -> Result<(), Refusal> {
        let (operation, node, caller) = (staging.operation, self.transport.node(), staging.operation.caller.node);
        // A new life of a caller's node may wish for what an earlier one has given.
        let is_own = caller == node && !self.wishes.contains_key(&operation);
        if is_own || !staging.set.contains(node) || !(caller == from || staging.set.contains(from)) {
            return Err(Refusal::BadPiece);
        }
        // It may have come before the order's word.
        let is_new = !self.staged.contains_key(&operation);
        if is_new && !self.await_block(staging) {
            return Err(Refusal::NoRoom);
        }
        let staged = self.staged.get_mut(&operation).filter(|staged| staged.staging == staging).ok_or(Refusal::BadPiece)?;
        let bytes = frame.len() as u64;
        let came = staged.take(piece, frame);
        if is_new && came.is_err() {
            // Nonsense takes no room.
            self.staged.remove(&operation);
        }
        if came? == Taken::New {
            BlockCounters::add(&self.counters.received_bytes, bytes);
            self.tell_if_whole(operation);
            self.give(operation);
        }
        Ok(())
    }

    /// Gives the next piece of a block, if none of it is being given.
    fn give(&mut self, operation: OperationId) {
        if self.sending.contains(&operation) {
            return;
        }
        let Some(staged) = self.staged.get_mut(&operation) else { return };
        let (Some(term), Some((gift, frame))) = (staged.asked, staged.next_gift()) else { return };
        BlockCounters::add(&self.counters.given_bytes, frame.len() as u64);
        self.send(operation, LinkId { term, node: gift.to }, frame);
    }

    fn send(&mut self, operation: OperationId, link: LinkId, frame: Bytes) {
        self.sending.insert(operation);
        let transport = Arc::clone(&self.transport);
        self.sends.spawn(async move { (operation, transport.send(link, Class::Bulk, frame).await) });
    }

    fn sent(&mut self, operation: OperationId, result: Result<(), SendError>) {
        // A link that is down is told of when it comes up.
        if let Err(error) = result {
            tracing::debug!(%error, "a piece was not given");
        }
        self.sending.remove(&operation);
        self.give(operation);
    }

    // === what is said ===

    /// Once the order asks, and all is here: whether it is what it should be.
    fn tell_if_whole(&mut self, operation: OperationId) {
        let Some(staged) = self.staged.get_mut(&operation).filter(|staged| staged.asked.is_some() && !staged.told) else { return };
        match staged.whole() {
            Whole::NotYet => {}
            Whole::Held => {
                staged.told = true;
                let staging = staged.staging;
                match self.wishes.remove(&operation) {
                    Some(Wish { region, .. }) => drop(self.readable.insert(region, operation)),
                    None => self.say(&staging, true),
                }
            }
            Whole::Different => {
                self.transport.counters().refuse(RefusedPeer::Node(operation.caller.node), Refusal::WrongDigest);
                self.give_up(operation);
            }
        }
    }

    /// Nothing more of a block is waited for.
    fn give_up(&mut self, operation: OperationId) {
        if let Some(wish) = self.wishes.remove(&operation) {
            return self.wish_again(operation, wish);
        }
        if let Some(staged) = self.staged.remove(&operation)
            && staged.asked.is_some()
        {
            self.say(&staged.staging, false);
        }
    }

    /// What came of a block is dropped with the node that it came from; another one is asked.
    fn wish_again(&mut self, operation: OperationId, wish: Wish) {
        if let Some(staged) = self.staged.get_mut(&operation) {
            *staged = Staged::wished(staged.staging);
            self.wishes.insert(operation, wish);
            self.ask_next(operation);
        }
    }

    /// Only nodes of the set are asked whether they hold it.
    fn say(&mut self, staging: &Staging, held: bool) {
        if staging.set.contains(self.transport.node()) {
            BlockCounters::add(&self.counters.given_up, u64::from(!held));
            self.unsaid.push_back(BlockStaged { operation: staging.operation, held });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.staged.values().filter_map(|staged| staged.deadline(self.stall)).min()
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let is_late = |staged: &Staged| staged.deadline(self.stall).is_some_and(|deadline| deadline <= now);
        let late: Vec<OperationId> = self.staged.iter().filter(|(_, staged)| is_late(staged)).map(|(operation, _)| *operation).collect();
        for operation in late {
            tracing::info!(?operation, "no piece of a block has come for too long");
            self.give_up(operation);
        }
    }
}
