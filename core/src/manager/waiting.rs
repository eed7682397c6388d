//! Operations that members have asked for and that have no number yet.
//!
//! *Invariant:* what one life of a caller asks for stands in the order in which it asks, whatever was lost on the way.

use std::collections::VecDeque;

use crate::{
    limits::{MEMBERS_MAX, OPERATIONS_PER_NODE_MAX},
    primitives::{OperationId, Request},
};

/// The first is numbered first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Waiting(VecDeque<Asked>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) operation: OperationId,
    /// The sequence of the operation that stands before it, while that has no outcome at the caller.
    pub(super) after: Option<u64>,
    pub(super) request: Request,
}

impl Waiting {
    /// Keeps an operation. Members repeat what has no outcome, so one that finds no room loses nothing.
    pub(super) fn keep(&mut self, asked: Asked) {
        let Asked { operation, after, .. } = asked;
        if let Some(known) = self.0.iter_mut().find(|known| known.operation == operation) {
            known.after = after;
        } else if self.0.len() < MEMBERS_MAX * OPERATIONS_PER_NODE_MAX {
            // Its first copy may have been lost, and those that its caller has asked for later are here.
            let is_later = |known: &Asked| known.operation.caller == operation.caller && known.operation.sequence > operation.sequence;
            let place = self.0.iter().position(is_later).unwrap_or(self.0.len());
            self.0.insert(place, asked);
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<&Asked> {
        self.0.get(place)
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.0.remove(place);
    }
}

impl Asked {
    /// The operation that is numbered before it.
    pub(super) fn earlier(&self) -> Option<OperationId> {
        self.after.map(|sequence| OperationId { sequence, ..self.operation })
    }
}
