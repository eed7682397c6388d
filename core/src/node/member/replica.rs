//! The member's copy of the one order: holding records, applying the stable ones, operations of its own.

use std::sync::Arc;

use super::{Member, MemberEffect, MemberEvent, Outstanding};
use crate::{
    limits::{BLOCK_BYTES_MAX, BYTES_REPEATED_ENOUGH, OPERATIONS_PER_NODE_MAX, PAYLOAD_BYTES_MAX},
    machine::Outbox,
    message::ToManager,
    model::{Fence, NodeIncarnation, NodeIndex, RecordNumber},
    primitives::{AbortReason, Applied, Cell, Compare, Memory, OperationId, Outcome, Record, Request},
};

impl Member {
    /// The last record held without a gap.
    pub(super) fn held_number(&self) -> RecordNumber {
        let applied = self.memory.as_ref().map_or(RecordNumber(0), |memory| memory.applied);
        RecordNumber(applied.0 + self.held.len() as u64)
    }

    /// Holds the record when it is the next one, and says in any case how far it holds: a repetition or a gap is answered
    /// by the place from which the manager has to go on.
    pub(super) fn append(
        &mut self,
        from: NodeIndex,
        fence: Fence,
        number: RecordNumber,
        record: Arc<Record>,
        out: &mut Outbox<MemberEffect>,
    ) {
        if !self.obeys(from, fence) {
            out.push(MemberEffect::Event(MemberEvent::StaleRefused(fence.term)));
            return;
        }
        if number == self.held_number().next() {
            self.held.push_back(record);
        }
        out.push(MemberEffect::Send { to: from, message: ToManager::Held { fence, number: self.held_number() } });
    }

    pub(super) fn stable(&mut self, from: NodeIndex, fence: Fence, number: RecordNumber, out: &mut Outbox<MemberEffect>) {
        if !self.obeys(from, fence) {
            return;
        }
        let mut changed = self.reveal(out);
        while self.memory.as_ref().is_some_and(|memory| memory.applied < number) {
            let Some(record) = self.held.pop_front() else { break };
            self.apply(&record, from, fence, out);
            changed = true;
        }
        if changed {
            self.discard_replaced(out);
            self.settle_operations(out);
            self.reconcile(out);
        } else {
            self.answer_compare_again(from, fence, out);
        }
    }

    fn apply(&mut self, record: &Record, manager: NodeIndex, fence: Fence, out: &mut Outbox<MemberEffect>) {
        let Some(memory) = self.memory.as_mut() else { return };
        let memory = Arc::make_mut(memory);
        let node = self.configuration.node;
        match memory.apply(record) {
            Applied::Plan => out.push(MemberEffect::Event(MemberEvent::Planned(Arc::clone(&memory.plan)))),
            Applied::Gang(_) => {}
            Applied::Put { region, .. } => {
                let put = memory.region(region, node).cloned();
                match (put, record) {
                    (Some(put), _) => self.put(region, put, out),
                    (None, Record::Xfer { operation, .. }) => self.put_elsewhere(*operation, out),
                    (None, Record::Plan(_) | Record::Gang(_) | Record::Compare { .. } | Record::CompareResult(_)) => {}
                }
            }
            Applied::Compare(compare) => {
                let number = memory.applied;
                self.answer_compare(manager, fence, number, &compare, out);
            }
            Applied::Compared(_) => self.store_deferred(),
        }
    }

    /// The remote events of blocks that came with a whole memory, and not by a record that was applied here.
    pub(super) fn put_anew(&mut self, earlier: Option<&Memory>, out: &mut Outbox<MemberEffect>) {
        let node = self.configuration.node;
        let known = |name| earlier.and_then(|memory| memory.region(name, node));
        let Some(memory) = self.memory.clone() else { return };
        let mut new: Vec<_> = memory.regions(node).filter(|(name, region)| known(*name) != Some(region)).collect();
        // What one caller has put, in the order in which it has.
        new.sort_by_key(|(_, region)| region.operation);
        for (name, region) in new {
            self.put(name, region.clone(), out);
        }
    }

    fn answer_compare(&self, to: NodeIndex, fence: Fence, number: RecordNumber, compare: &Compare, out: &mut Outbox<MemberEffect>) {
        if compare.set.contains(self.configuration.node) {
            let truth = compare.comparison.holds(self.cell(compare.cell), compare.value);
            out.push(MemberEffect::Send { to, message: ToManager::Compared { fence, number, truth } });
        }
    }

    /// A stable record that is repeated: the answer to the compare at its place may have been lost.
    fn answer_compare_again(&self, to: NodeIndex, fence: Fence, out: &mut Outbox<MemberEffect>) {
        if let Some((number, compare)) = self.memory.as_ref().and_then(|memory| memory.pending_compare()) {
            self.answer_compare(to, fence, number, compare, out);
        }
    }

    /// The node's value of a cell.
    pub(super) fn cell(&self, cell: Cell) -> u64 {
        match cell {
            Cell::Ordered(number) => self.memory.as_ref().map_or(0, |memory| memory.ordered_cell(self.configuration.node, number)),
            Cell::Up(_) | Cell::Exited(_) | Cell::Gone(_) | Cell::Barrier(_) | Cell::Taken(..) | Cell::Stored(_) | Cell::NotStored(_) => {
                self.cells.get(&cell).copied().unwrap_or(0)
            }
        }
    }

    /// Stores into a cell of this node, which only grows. While a compare of the cell has no result the store waits, so
    /// that comparison and write are one step in the order that every reader sees.
    pub(super) fn store(&mut self, cell: Cell, value: u64) {
        assert!(!cell.is_ordered(), "ordered cells are written by COMPARE-AND-WRITE");
        let compared = self.memory.as_ref().and_then(|memory| memory.pending_compare()).is_some_and(|(_, compare)| compare.cell == cell);
        if compared {
            self.deferred_stores.push((cell, value));
        } else {
            let stored = self.cells.entry(cell).or_insert(0);
            *stored = value.max(*stored);
        }
    }

    pub(super) fn store_deferred(&mut self) {
        for (cell, value) in std::mem::take(&mut self.deferred_stores) {
            self.store(cell, value);
        }
    }

    pub(super) fn submit(&mut self, request: Request, out: &mut Outbox<MemberEffect>) {
        self.last_operation += 1;
        let caller = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        let operation = OperationId { caller, sequence: self.last_operation };
        out.push(MemberEffect::Submitted(operation));
        let refusal = match &request {
            Request::Xfer(xfer) if xfer.content.inline_bytes() > PAYLOAD_BYTES_MAX || xfer.content.staged_bytes() > BLOCK_BYTES_MAX => {
                Some(AbortReason::PayloadTooLarge)
            }
            Request::Xfer(_) | Request::CompareAndWrite(_) => {
                (self.operations.len() == OPERATIONS_PER_NODE_MAX).then_some(AbortReason::TooManyOperations)
            }
        };
        if let Some(reason) = refusal {
            out.push(MemberEffect::Outcome { operation, outcome: Outcome::Aborted(reason) });
            return;
        }
        self.operations.insert(operation.sequence, Outstanding { request, submitted_in: None });
        self.submit_outstanding(operation.sequence, out);
    }

    /// Sends the operations from `first` on to the manager, which takes each once; of many large ones the first.
    pub(super) fn submit_outstanding(&mut self, first: u64, out: &mut Outbox<MemberEffect>) {
        let (Some(to), Some(fence)) = (self.manager(), self.admitted()) else { return };
        let caller = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        let mut after = self.operations.range(..first).next_back().map(|(sequence, _)| *sequence);
        let mut bytes = 0;
        for (&sequence, outstanding) in self.operations.range_mut(first..) {
            if bytes >= BYTES_REPEATED_ENOUGH {
                break;
            }
            bytes += outstanding.request.inline_bytes();
            let operation = OperationId { caller, sequence };
            if is_staged(&outstanding.request) {
                outstanding.submitted_in.get_or_insert(fence.term);
            }
            let message = ToManager::Submit { operation, after, request: outstanding.request.clone() };
            out.push(MemberEffect::Send { to, message });
            after = Some(sequence);
        }
    }

    /// Gives the callers the outcomes that memory has.
    pub(super) fn settle_operations(&mut self, out: &mut Outbox<MemberEffect>) {
        let Some(memory) = self.memory.clone() else { return };
        let caller = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        let term = self.installed_term;
        self.operations.retain(|&sequence, outstanding| {
            let operation = OperationId { caller, sequence };
            // The prefix of a later term says all that ever will be of it: what was staged for it is gone.
            let is_over = term.zip(outstanding.submitted_in).is_some_and(|(term, submitted_in)| submitted_in < term);
            let outcome = memory.outcome(operation).or_else(|| is_over.then_some(Outcome::Aborted(AbortReason::TermChanged)));
            if let Some(outcome) = outcome {
                out.push(MemberEffect::Outcome { operation, outcome });
            }
            outcome.is_none()
        });
    }

    /// The manager that may number the operation says that it never will.
    pub(super) fn refused(
        &mut self,
        (from, fence): (NodeIndex, Fence),
        operation: OperationId,
        outcome: Outcome,
        out: &mut Outbox<MemberEffect>,
    ) {
        if !self.obeys(from, fence) {
            return;
        }
        let own = operation.caller == NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        if own && self.operations.remove(&operation.sequence).is_some() {
            out.push(MemberEffect::Outcome { operation, outcome });
        }
    }

    pub(super) fn finish_operations(&mut self, outcome: Outcome, out: &mut Outbox<MemberEffect>) {
        let caller = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        for (sequence, _) in std::mem::take(&mut self.operations) {
            out.push(MemberEffect::Outcome { operation: OperationId { caller, sequence }, outcome });
        }
    }
}

/// True when the bytes of a request do not ride with it.
const fn is_staged(request: &Request) -> bool {
    match request {
        Request::Xfer(xfer) => xfer.content.staged().is_some(),
        Request::CompareAndWrite(_) => false,
    }
}
