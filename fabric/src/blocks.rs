//! The bytes of blocks that are staged beside the order: a task of its own has them, takes them from other nodes and gives them on, over the
//! bulk lanes of any transport.
//!
//! What is asked of it, and when a block may be read, says the order (`core/src/node/member/staging.rs`); in which order the pieces go from
//! node to node, says the [binomial pipeline](strobe_core::primitives::pipeline). Frames that come before the order's word are kept, and given
//! on only after it. A link that comes up anew is given again what went over it before.
//!
//! *Invariant:* a block that is told as held is here whole, and of what came from other nodes the digest is what its record says; of its own
//! bytes a caller has said it itself.
//! *Invariant:* what readers were given never changes.

mod bytes;
mod carrier;
mod counters;
mod piece;
mod staged;

use std::{sync::Arc, time::Duration};

pub use bytes::BlockBytes;
pub use counters::BlockCounters;
use strobe_core::{
    message::Staging,
    model::Term,
    primitives::{OperationId, RegionName},
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::{
    limits::{BLOCK_COMMANDS_MAX, BLOCK_EVENTS_MAX},
    transport::{BulkInbox, LinkId, Transport},
};

/// The way to the task; clones lead to the same. The task ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Blocks {
    commands: mpsc::Sender<Command>,
    counters: Arc<BlockCounters>,
}

/// What became of a block that the order has asked this node for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStaged {
    /// Whose block it is.
    pub operation: OperationId,
    /// True when all of it is here and its digest is right; false when no piece came for too long, it is not what it should be, or there is no
    /// room.
    pub held: bool,
}

/// The task has ended: its transport is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("blocks are not carried any more: the transport is gone")]
pub struct CarrierEnded;

#[derive(Debug)]
enum Command {
    Offer { operation: OperationId, bytes: BlockBytes },
    Withdraw(OperationId),
    Stage { term: Term, staging: Staging },
    LinkUp(LinkId),
    Put { region: RegionName, operation: OperationId },
    Discard(OperationId),
    Get { term: Term, region: RegionName, staging: Staging },
    Read { region: RegionName, operation: Option<OperationId>, answer: oneshot::Sender<Option<BlockBytes>> },
}

/// Begins to carry the blocks of a node. `stall` is how long it waits for the next piece of one, see [`crate::limits::STALL`].
///
/// Must be called within a tokio runtime, in which the task lives.
pub fn carry<T: Transport>(transport: Arc<T>, inbox: BulkInbox, stall: Duration) -> (Blocks, mpsc::Receiver<BlockStaged>) {
    let (commands, receiver) = mpsc::channel(BLOCK_COMMANDS_MAX);
    let (events, staged) = mpsc::channel(BLOCK_EVENTS_MAX);
    let counters = Arc::<BlockCounters>::default();
    tokio::spawn(carrier::Carrier::new(transport, inbox, stall, (receiver, events), Arc::clone(&counters)).run());
    (Blocks { commands, counters }, staged)
}

// === impl Blocks ===

impl Blocks {
    /// Gives the bytes of a call of this node: they are there when the order asks for them.
    ///
    /// # Errors
    /// [`CarrierEnded`], as of all of these.
    pub async fn offer(&self, operation: OperationId, bytes: BlockBytes) -> Result<(), CarrierEnded> {
        self.command(Command::Offer { operation, bytes }).await
    }

    /// Takes back an offer that the order has never asked for; nothing otherwise.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn withdraw(&self, operation: OperationId) -> Result<(), CarrierEnded> {
        self.command(Command::Withdraw(operation)).await
    }

    /// The order asks for a block, see [`strobe_core::node::MemberEffect::Stage`]. Its pieces go over the links of `term`. A node of the set is
    /// told once what became of it.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn stage(&self, term: Term, staging: Staging) -> Result<(), CarrierEnded> {
        self.command(Command::Stage { term, staging }).await
    }

    /// A link came up.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn link_up(&self, link: LinkId) -> Result<(), CarrierEnded> {
        self.command(Command::LinkUp(link)).await
    }

    /// From now on readers of that name get this block, whole. What they got before stays what it was.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn put(&self, region: RegionName, operation: OperationId) -> Result<(), CarrierEnded> {
        self.command(Command::Put { region, operation }).await
    }

    /// The block is wanted no more, and not to be read.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn discard(&self, operation: OperationId) -> Result<(), CarrierEnded> {
        self.command(Command::Discard(operation)).await
    }

    /// A block was put here that this life of the node never held, see [`strobe_core::node::MemberEffect::Absent`]: others of its set are asked for
    /// it over the links of `term`, and it can be read once all of it is here.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn get(&self, term: Term, region: RegionName, staging: Staging) -> Result<(), CarrierEnded> {
        self.command(Command::Get { term, region, staging }).await
    }

    /// The block that was last put under a name; none where there is none.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn read(&self, region: RegionName) -> Result<Option<BlockBytes>, CarrierEnded> {
        self.read_of(region, None).await
    }

    /// The block that this operation has put under a name; none where another was put there since.
    ///
    /// # Errors
    /// See [`Self::offer`].
    pub async fn read_put(&self, region: RegionName, operation: OperationId) -> Result<Option<BlockBytes>, CarrierEnded> {
        self.read_of(region, Some(operation)).await
    }

    async fn read_of(&self, region: RegionName, operation: Option<OperationId>) -> Result<Option<BlockBytes>, CarrierEnded> {
        let (answer, read) = oneshot::channel();
        self.command(Command::Read { region, operation, answer }).await?;
        read.await.map_err(|_| CarrierEnded)
    }

    /// What was done since the start.
    #[must_use]
    pub fn counters(&self) -> &BlockCounters {
        &self.counters
    }

    async fn command(&self, command: Command) -> Result<(), CarrierEnded> {
        self.commands.send(command).await.map_err(|_| CarrierEnded)
    }
}
