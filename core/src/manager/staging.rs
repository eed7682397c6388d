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
    model::{NodeIndex, NodeSet},
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

    /// Those that a node takes part in: as one of the set, or because it has the bytes.
    fn of(&self, node: NodeIndex) -> Vec<Staging> {
        let takes_part = |staging: &&Staging| staging.set.contains(node) || staging.operation.caller.node == node;
        self.0.values().map(|open| &open.staging).filter(takes_part).copied().collect()
    }

    /// A life of a node is gone, or says anew what it holds.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        for open in self.0.values_mut() {
            open.held.remove(node);
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

    /// The operation has its number, or never gets one. Told after the record was sent: whoever does not hold that drops the block.
    pub(super) fn close_staging(&mut self, operation: OperationId, out: &mut Outbox<ManagerEffect>) {
        if let Some(open) = self.stagings.0.remove(&operation) {
            self.tell_stagings(&open.staging, out);
        }
    }

    fn tell_stagings(&self, changed: &Staging, out: &mut Outbox<ManagerEffect>) {
        let mut concerned = changed.set;
        concerned.insert(changed.operation.caller.node);
        for node in concerned.intersection(self.view_nodes()).iter() {
            self.tell_stagings_of(node, out);
        }
    }

    pub(super) fn tell_stagings_of(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        out.push(ManagerEffect::Send { to: node, message: ToMember::Stagings { fence: self.fence, open: self.stagings.of(node) } });
    }
}
