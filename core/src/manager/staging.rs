//! Blocks that are staged before their operations are numbered.
//!
//! *Invariant:* an operation whose block is staged is numbered only after every node of its set, by the life that the view has, has said that
//! it holds all of it.

use std::collections::BTreeMap;

use super::{ManagerEffect, Reign};
use crate::{
    limits::{BLOCK_BYTES_MAX, STAGINGS_MAX},
    machine::Outbox,
    message::{Staging, ToMember},
    model::{AgentIncarnation, NodeIncarnation, NodeIndex, NodeSet},
    primitives::{AbortReason, OperationId, Xfer},
};

/// The open ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Stagings(BTreeMap<OperationId, Open>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Open {
    staging: Staging,
    held: NodeSet,
    failed: bool,
}

/// How far an operation's block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staged {
    /// The set holds all of it.
    Everywhere,
    /// Not yet.
    InPart,
    /// It will not.
    Never(AbortReason),
}

impl Stagings {
    fn bytes(&self) -> u64 {
        self.0.values().map(|open| open.staging.block.length).sum()
    }

    /// Those that a node takes part in: as one of the set, or because this life of it has the bytes.
    fn of(&self, node: NodeIndex, life: Option<AgentIncarnation>) -> Vec<Staging> {
        let takes_part = |staging: &&Staging| {
            let caller = staging.operation.caller;
            staging.set.contains(node) || (caller.node == node && Some(caller.incarnation) == life)
        };
        self.0.values().map(|open| &open.staging).filter(takes_part).copied().collect()
    }

    /// A life of a node is gone, or says anew what it holds.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        for open in self.0.values_mut() {
            open.held.remove(node);
        }
    }

    /// Nobody gives the blocks of a node any more, except for those of this life.
    pub(super) fn fail_those_of(&mut self, node: NodeIndex, except: Option<AgentIncarnation>) {
        let is_gone = |caller: NodeIncarnation| caller.node == node && Some(caller.incarnation) != except;
        for open in self.0.values_mut().filter(|open| is_gone(open.staging.operation.caller)) {
            open.failed = true;
        }
    }

    pub(super) fn answered(&mut self, node: NodeIndex, operation: OperationId, held: bool) {
        let Some(open) = self.0.get_mut(&operation).filter(|open| open.staging.set.contains(node)) else { return };
        if held {
            open.held.insert(node);
        } else {
            open.failed = true;
        }
    }
}

impl Reign {
    /// How far the block of an operation is. One that is asked for the first time is opened, when there is room.
    pub(super) fn staged(&mut self, operation: OperationId, xfer: &Xfer, out: &mut Outbox<ManagerEffect>) -> Staged {
        let Some(block) = xfer.content.staged() else { return Staged::Everywhere };
        if let Some(open) = self.stagings.0.get(&operation) {
            return match open {
                Open { failed: true, .. } => Staged::Never(AbortReason::Stalled),
                Open { staging, held, .. } if staging.set.is_subset(*held) => Staged::Everywhere,
                Open { .. } => Staged::InPart,
            };
        }
        if block.length > BLOCK_BYTES_MAX {
            return Staged::Never(AbortReason::PayloadTooLarge);
        }
        let numbered: u64 = self.sequencer.in_flight().map(|record| record.staged_bytes()).sum();
        if !self.sequencer.memory().has_room(xfer.region, &xfer.content, self.stagings.bytes() + numbered) {
            return Staged::Never(AbortReason::MemoryFull);
        }
        if self.stagings.0.len() < STAGINGS_MAX {
            let staging = Staging { operation, set: xfer.set, block };
            self.stagings.0.insert(operation, Open { staging, held: NodeSet::EMPTY, failed: false });
            self.tell_stagings(&staging, out);
        }
        Staged::InPart
    }

    /// The operation has its number, or never gets one. Told after the record was sent.
    pub(super) fn close_staging(&mut self, operation: OperationId, out: &mut Outbox<ManagerEffect>) {
        if let Some(open) = self.stagings.0.remove(&operation) {
            self.tell_stagings(&open.staging, out);
        }
    }

    fn tell_stagings(&self, changed: &Staging, out: &mut Outbox<ManagerEffect>) {
        let mut concerned = changed.set;
        concerned.insert(changed.operation.caller.node);
        // One that is being admitted hears of it when it holds what is numbered.
        let joining = self.joining.keys().copied().collect();
        for node in concerned.intersection(self.view_nodes()).difference(joining).iter() {
            self.tell_stagings_of(node, out);
        }
    }

    pub(super) fn tell_stagings_of(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        let life = self.view.get(&node).copied();
        let open = self.stagings.of(node, life);
        out.push(ManagerEffect::Send {
            to: node,
            message: ToMember::Stagings { fence: self.fence, numbered: self.sequencer.last(), open },
        });
    }
}
