//! The one order and what operations do.

use std::sync::Arc;

use strobe_core::{
    model::{Fence, RecordNumber},
    primitives::{Memory, OperationId, Outcome, Record},
};

use super::{Ledger, Violation};
use crate::trace::hash_of;

impl Ledger {
    /// A member is sent a record.
    pub(crate) fn appended(&mut self, node: usize, fence: Fence, number: RecordNumber, record: &Arc<Record>) {
        if fence.term == self.answered[node] {
            self.appended[node].insert(number, Arc::clone(record));
        }
    }

    /// A member's memory has changed.
    pub(crate) fn applied(&mut self, node: usize, before: Option<(u64, RecordNumber)>, memory: &Memory) -> Result<(), Violation> {
        let (generation, last) = (memory.generation, memory.applied);
        if let Some((earlier, number)) = before {
            if earlier > generation || (earlier == generation && number > last) {
                let detail = format!("node {node} had applied {number} of generation {earlier}, and now {last} of {generation}");
                return Err(Violation::new("one order", detail));
            }
            if earlier == generation {
                self.records_applied(node, generation, number, last)?;
            }
        }
        self.appended[node] = self.appended[node].split_off(&last.next());
        let hash = hash_of(&settled(memory));
        let known = *self.memories.entry((generation, last)).or_insert(hash);
        if known != hash {
            let detail = format!("node {node} has another memory than others after record {last} of generation {generation}");
            return Err(Violation::new("one order", detail));
        }
        Ok(())
    }

    fn records_applied(&mut self, node: usize, generation: u64, after: RecordNumber, last: RecordNumber) -> Result<(), Violation> {
        let applied: Vec<_> =
            self.appended[node].range(after.next()..=last).map(|(number, record)| (*number, Arc::clone(record))).collect();
        for (number, record) in applied {
            let place = (generation, number);
            let known = self.records.entry(place).or_insert_with(|| Arc::clone(&record));
            if *known != record {
                let detail = format!("record {number} of generation {generation} is {record:?} on node {node}, and was {known:?}");
                return Err(Violation::new("one order", detail));
            }
            if let Some(operation) = operation_of(&record) {
                let first = *self.effects.entry(operation).or_insert(place);
                if first != place {
                    let detail = format!("{operation:?} takes effect as record {} and as record {number}", first.1);
                    return Err(Violation::new("one outcome", detail));
                }
            }
        }
        Ok(())
    }

    /// A caller hears what became of its operation.
    pub(crate) fn outcome_heard(&mut self, operation: OperationId, outcome: Outcome) -> Result<(), Violation> {
        match self.outcomes.insert(operation, outcome) {
            Some(earlier) => Err(Violation::new("one outcome", format!("{operation:?} was {earlier:?} and is {outcome:?}"))),
            None => Ok(()),
        }
    }
}

fn operation_of(record: &Record) -> Option<OperationId> {
    match record {
        Record::Xfer { operation, .. } => Some(*operation),
        Record::Compare { operation, .. } => *operation,
        Record::Plan(_) | Record::Gang(_) | Record::CompareResult(_) => None,
    }
}

/// The memory as a term change would leave it: of two equal ones only one may know of a compare that was cut off.
fn settled(memory: &Memory) -> Memory {
    let mut settled = memory.clone();
    settled.abort_pending_compare();
    settled
}
