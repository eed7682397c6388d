//! Blocks beside the order: what the shells of the nodes hold of them.
//!
//! A block goes whole and in one piece here; it is the order that is tried, and not the path of the bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use strobe_core::{
    message::Staging,
    model::{AgentIncarnation, NodeIndex, Term},
    node::MemberInput,
    primitives::{Content, Memory, OperationId, RegionName},
};

use super::{Event, World};
use crate::{invariants::Violation, mutations::Mutation, network::LinkKey, node::AgentInput};

/// How long the bytes take.
const BYTES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(40));
/// Words of a block.
const WORDS: usize = 4;
/// How long a node waits for bytes that do not come.
const STALL: Duration = Duration::from_millis(60);

/// What a life of an agent holds.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// It takes part: it waits for the bytes, gives them or has them.
    wanted: BTreeSet<OperationId>,
    held: BTreeSet<OperationId>,
    /// Put, and never held by this life.
    absent: BTreeSet<OperationId>,
    /// This life has said that it holds them.
    told: BTreeSet<OperationId>,
    /// What readers find: who has put each word of each block.
    readable: BTreeMap<RegionName, [Option<OperationId>; WORDS]>,
}

impl World {
    /// A node is to stage a block: it has it, or waits for it.
    pub(super) fn stage(&mut self, node: usize, staging: &Staging) {
        let index = self.nodes[node].index;
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        let (operation, life) = (staging.operation, agent.life);
        agent.blocks.wanted.insert(operation);
        if operation.caller.node == index && operation.caller.incarnation == life {
            agent.blocks.held.insert(operation);
        }
        if !staging.set.contains(index) {
            return;
        }
        let link_term = agent.link_term;
        if agent.blocks.held.contains(&operation) || self.mutator.is(Mutation::StagedAtItsStart) {
            self.has_staged(node, life, operation);
        }
        let delay = self.random.time(BYTES.0, BYTES.1);
        self.after(delay, Event::BlockComes { node, life, operation, term: link_term });
    }

    fn has_staged(&mut self, node: usize, life: AgentIncarnation, operation: OperationId) {
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.blocks.told.insert(operation);
        }
        self.give_later(node, life, AgentInput::Member(MemberInput::Staged { operation, held: true }));
    }

    fn give_later(&mut self, node: usize, life: AgentIncarnation, input: AgentInput) {
        self.after(Duration::from_micros(1), Event::Input { node, life, input: Box::new(input) });
    }

    /// The bytes are there, if their caller still gives them and its link has held.
    pub(super) fn block_comes(&mut self, node: usize, life: AgentIncarnation, operation: OperationId, term: Option<Term>) {
        let waits =
            |world: &Self| world.nodes[node].agent.as_ref().is_some_and(|agent| agent.life == life && agent.blocks.waits_for(operation));
        if !waits(self) {
            return;
        }
        if self.is_given(node, operation, term) {
            if let Some(agent) = self.nodes[node].agent.as_mut() {
                agent.blocks.held.insert(operation);
            }
            self.has_staged(node, life, operation);
        } else {
            self.after(STALL, Event::BlockStalls { node, life, operation });
        }
    }

    fn is_given(&self, node: usize, operation: OperationId, term: Option<Term>) -> bool {
        let (index, caller) = (self.nodes[node].index, operation.caller);
        let gives = self.nodes[usize::from(caller.node.0)]
            .agent
            .as_ref()
            .is_some_and(|agent| agent.life == caller.incarnation && !agent.is_stopped() && agent.blocks.wanted.contains(&operation));
        let linked =
            |term| caller.node == index || self.network.links.get(&LinkKey::new(term, index, caller.node)).is_some_and(|link| link.up);
        gives && term.is_some_and(linked)
    }

    pub(super) fn block_stalls(&mut self, node: usize, life: AgentIncarnation, operation: OperationId) {
        let Some(agent) = self.nodes[node].agent.as_ref().filter(|agent| agent.life == life) else { return };
        if agent.blocks.waits_for(operation) {
            self.give_later(node, life, AgentInput::Member(MemberInput::Staged { operation, held: false }));
        }
    }

    /// A block has its place in memory: all of it has to be here, or this life is told that it is not.
    pub(super) fn block_put(&mut self, node: usize, region: RegionName, operation: OperationId, content: &Content, absent: bool) {
        let (life, index) = (self.nodes[node].life, self.nodes[node].index);
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        if absent {
            agent.blocks.absent.insert(operation);
            self.counters.absent += 1;
        } else if content.staged().is_some() {
            self.counters.blocks += 1;
        }
        if content.staged().is_some() && !absent {
            // All at once, since they were written where nobody reads; or in their place, where readers come after the first.
            let written = if self.mutator.is(Mutation::TornBlock) { 1 } else { WORDS };
            agent.blocks.readable.entry(region).or_default()[..written].fill(Some(operation));
        }
        let lost = absent && agent.blocks.told.contains(&operation);
        let whole = (absent && !lost) || content.staged().is_none() || agent.blocks.held.contains(&operation);
        let told = self.ledger.put(node, life, region, content);
        let verdict = told.and_then(|()| if whole { Ok(()) } else { Err(torn(index, operation)) });
        self.judge(verdict);
    }

    pub(super) fn block_discarded(&mut self, node: usize, operation: OperationId) {
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        agent.blocks.wanted.remove(&operation);
        agent.blocks.held.remove(&operation);
    }
}

impl Blocks {
    fn waits_for(&self, operation: OperationId) -> bool {
        self.wanted.contains(&operation) && !self.held.contains(&operation)
    }

    /// Whatever memory lets be read is here, or is known to be elsewhere.
    pub(super) fn are_those_of(&self, memory: &Memory, node: NodeIndex) -> Result<(), Violation> {
        let staged = memory.regions(node).filter(|(_, region)| region.content.staged().is_some());
        let mut here = staged.map(|(name, region)| (name, region.operation)).filter(|(_, operation)| !self.absent.contains(operation));
        let is_whole = |(name, operation): &(RegionName, OperationId)| {
            self.held.contains(operation) && self.readable.get(name) == Some(&[Some(*operation); WORDS])
        };
        here.find(|block| !is_whole(block)).map_or(Ok(()), |(_, operation)| Err(torn(node, operation)))
    }
}

fn torn(node: NodeIndex, operation: OperationId) -> Violation {
    Violation::new("no reader sees part of a block", format!("node {node} may read what {operation:?} has put, and does not hold it"))
}
