//! Blocks beside the order: which this node is to stage, holds, and lets be read.
//!
//! The bytes are the shell's. *Invariant:* a block is put, that is made readable, only by its applied record, and only where all of it is
//! held; and it is discarded only when no record can put it any more.

use std::collections::btree_map::Entry;

use super::{Member, MemberEffect, Sight};
use crate::{
    machine::Outbox,
    message::{Staging, ToManager},
    model::{Fence, NodeIndex, RecordNumber, Term},
    primitives::{Block, OperationId, Record, Region, RegionName},
};

/// A block that is not readable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Staged {
    block: Block,
    /// The term whose manager has asked for it.
    term: Term,
    /// Whether all of it is here, once that is known.
    held: Option<bool>,
}

impl Member {
    /// What the manager has open for this node. Whatever else was staged has its number or never gets one; which of the two, says the record,
    /// where all that are numbered are held, and what was installed is seen.
    pub(super) fn stagings_listed(
        &mut self,
        from: NodeIndex,
        fence: Fence,
        numbered: RecordNumber,
        open: &[Staging],
        out: &mut Outbox<MemberEffect>,
    ) {
        if !self.obeys(from, fence) {
            return;
        }
        if self.held_number() >= numbered && self.sight == Sight::Memory {
            self.drop_all_but(open, out);
        }
        for staging in open {
            if let Entry::Vacant(place) = self.staged.entry(staging.operation) {
                place.insert(Staged { block: staging.block, term: fence.term, held: None });
                out.push(MemberEffect::Stage(*staging));
            }
        }
    }

    fn drop_all_but(&mut self, open: &[Staging], out: &mut Outbox<MemberEffect>) {
        let is_open = |operation: &OperationId| open.iter().any(|staging| staging.operation == *operation);
        let dropped: Vec<OperationId> = self.staged.keys().filter(|known| !is_open(known) && !self.is_numbered(**known)).copied().collect();
        for operation in dropped {
            self.staged.remove(&operation);
            out.push(MemberEffect::Discard(operation));
        }
    }

    /// True while a record of the operation is held and not applied.
    fn is_numbered(&self, operation: OperationId) -> bool {
        self.held.iter().any(|record| matches!(&**record, Record::Xfer { operation: numbered, .. } if *numbered == operation))
    }

    /// The shell holds all of a block, or has given it up.
    pub(super) fn block_staged(&mut self, operation: OperationId, held: bool, out: &mut Outbox<MemberEffect>) {
        if let Some(staged) = self.staged.get_mut(&operation).filter(|staged| staged.held.is_none()) {
            staged.held = Some(held);
            self.tell_staged(operation, held, out);
        }
    }

    pub(super) fn tell_staged_again(&self, out: &mut Outbox<MemberEffect>) {
        for (operation, staged) in &self.staged {
            if let Some(held) = staged.held {
                self.tell_staged(*operation, held, out);
            }
        }
    }

    fn tell_staged(&self, operation: OperationId, held: bool, out: &mut Outbox<MemberEffect>) {
        if let (Some(fence), Some(to)) = (self.admitted(), self.manager()) {
            out.push(MemberEffect::Send { to, message: ToManager::Staged { fence, operation, held } });
        }
    }

    /// A block has its place in this node's memory: it can be read, if it is here.
    pub(super) fn put(&mut self, name: RegionName, region: Region, out: &mut Outbox<MemberEffect>) {
        let Region { operation, content, set } = region;
        let Some(block) = content.staged() else {
            out.push(MemberEffect::Put { region: name, operation, content });
            return;
        };
        let staged = self.staged.remove(&operation);
        if staged.is_some_and(|staged| staged.block == block && staged.held == Some(true)) {
            self.read_from_now_on(name, operation, out);
            out.push(MemberEffect::Put { region: name, operation, content });
        } else {
            // This life was not of the view when the set held it; what it has of it is not all.
            if staged.is_some() {
                out.push(MemberEffect::Discard(operation));
            }
            self.read_from_now_on(name, operation, out);
            out.push(MemberEffect::Absent { region: name, staging: Staging { operation, set, block } });
        }
    }

    fn read_from_now_on(&mut self, name: RegionName, operation: OperationId, out: &mut Outbox<MemberEffect>) {
        if let Some(replaced) = self.readable.insert(name, operation).filter(|replaced| *replaced != operation) {
            out.push(MemberEffect::Discard(replaced));
        }
    }

    /// A block was put on others: who gave it has done so.
    pub(super) fn put_elsewhere(&mut self, operation: OperationId, out: &mut Outbox<MemberEffect>) {
        if self.staged.remove(&operation).is_some() {
            out.push(MemberEffect::Discard(operation));
        }
    }

    /// Lets go of blocks that are read under no name any more.
    pub(super) fn discard_replaced(&mut self, out: &mut Outbox<MemberEffect>) {
        let (memory, node) = (self.memory.clone(), self.configuration.node);
        self.readable.retain(|name, operation| {
            let stays = memory.as_ref().and_then(|memory| memory.region(*name, node)).is_some_and(|region| region.operation == *operation);
            if !stays {
                out.push(MemberEffect::Discard(*operation));
            }
            stays
        });
    }

    /// A new term is established: what an earlier one had asked for and not numbered is never put.
    pub(super) fn discard_of_earlier_terms(&mut self, out: &mut Outbox<MemberEffect>) {
        let Some(term) = self.installed_term else { return };
        self.staged.retain(|operation, staged| {
            if staged.term < term {
                out.push(MemberEffect::Discard(*operation));
            }
            staged.term >= term
        });
    }
}
