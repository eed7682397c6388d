//! The one order: numbering, receipts, stability.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    limits::{BYTES_IN_FLIGHT_ENOUGH, BYTES_KEPT_MAX, RECORDS_IN_FLIGHT_MAX, RECORDS_KEPT_MAX},
    model::{NodeIndex, NodeSet, RecordNumber},
    primitives::{Applied, Memory, Record},
};

/// Numbers records and knows who holds them. The manager's own memory has the stable ones applied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sequencer {
    memory: Arc<Memory>,
    /// Stable records that a receiver does not hold yet; the last has memory's number.
    kept: VecDeque<Arc<Record>>,
    /// Numbered and not yet stable; the first has the number after memory's.
    in_flight: VecDeque<Arc<Record>>,
    /// The last record that each receiver holds; receivers are the view and those being admitted.
    held: BTreeMap<NodeIndex, RecordNumber>,
}

impl Sequencer {
    /// The order that goes on after the completed prefix.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, kept: VecDeque::new(), in_flight: VecDeque::with_capacity(RECORDS_IN_FLIGHT_MAX), held: BTreeMap::new() }
    }

    pub(super) const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// True when another record may be numbered.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < RECORDS_IN_FLIGHT_MAX && payload_bytes(&self.in_flight) < BYTES_IN_FLIGHT_ENOUGH
    }

    /// Records that are numbered and not yet stable.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.in_flight.iter()
    }

    /// The last number given.
    pub(super) fn last(&self) -> RecordNumber {
        RecordNumber(self.memory.applied.0 + self.in_flight.len() as u64)
    }

    pub(super) fn number(&mut self, record: Arc<Record>) -> RecordNumber {
        assert!(self.has_room(), "the caller asks has_room before it numbers");
        self.in_flight.push_back(record);
        self.last()
    }

    /// A receiver begins at this number.
    pub(super) fn begin_at(&mut self, node: NodeIndex, number: RecordNumber) {
        self.held.insert(node, number);
    }

    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.held.remove(&node);
        self.drop_held();
    }

    /// A receiver holds everything up to `number`. Receipts only grow.
    pub(super) fn receipt(&mut self, node: NodeIndex, number: RecordNumber) {
        let last = self.last();
        if let Some(held) = self.held.get_mut(&node) {
            *held = number.min(last).max(*held);
        }
        self.drop_held();
    }

    /// True when a receiver that holds everything up to `number` can be sent all that it lacks.
    pub(super) fn can_continue(&self, number: RecordNumber) -> bool {
        number.next() >= self.first_kept()
    }

    fn first_kept(&self) -> RecordNumber {
        RecordNumber(self.memory.applied.0 + 1 - self.kept.len() as u64)
    }

    /// Drops the stable records that every receiver holds, and the oldest beyond the limits.
    fn drop_held(&mut self) {
        let held = self.held.values().copied().min().unwrap_or(self.memory.applied);
        while !self.kept.is_empty() && (self.first_kept() <= held || self.keeps_too_much()) {
            self.kept.pop_front();
        }
    }

    fn keeps_too_much(&self) -> bool {
        self.kept.len() > RECORDS_KEPT_MAX || payload_bytes(&self.kept) > BYTES_KEPT_MAX
    }

    pub(super) fn held_by(&self, node: NodeIndex) -> Option<RecordNumber> {
        self.held.get(&node).copied()
    }

    /// Applies what every node of the view holds, and returns what that changed, in order.
    pub(super) fn apply_stable(&mut self, view: NodeSet) -> Vec<Applied> {
        let stable = view.iter().map(|node| self.held_by(node).unwrap_or(RecordNumber(0))).min().unwrap_or(RecordNumber(0));
        let mut applied = Vec::new();
        while self.memory.applied < stable {
            let Some(record) = self.in_flight.pop_front() else { break };
            applied.push(Arc::make_mut(&mut self.memory).apply(&record));
            self.kept.push_back(record);
        }
        self.drop_held();
        applied
    }

    /// What a receiver that holds everything up to `after` still has to get, in order.
    pub(super) fn missing_after(&self, after: RecordNumber) -> impl Iterator<Item = (RecordNumber, &Arc<Record>)> {
        let first = self.first_kept().0;
        let all = self.kept.iter().chain(&self.in_flight).enumerate();
        all.map(move |(index, record)| (RecordNumber(first + index as u64), record)).filter(move |(number, _)| *number > after)
    }
}

fn payload_bytes(records: &VecDeque<Arc<Record>>) -> usize {
    records.iter().map(|record| record.payload_bytes()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::PAYLOAD_BYTES_MAX,
        model::{AgentIncarnation, GangId, GangIncarnation, GangRun, NodeIncarnation},
        primitives::{Content, OperationId, Payload, RegionName, Xfer},
    };

    fn put(bytes: usize) -> Arc<Record> {
        let caller = NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(1) };
        let region = RegionName::of_gang(GangRun { gang: GangId(1), incarnation: GangIncarnation(1) }, 1);
        let xfer = Xfer { region, set: NodeSet::EMPTY, content: Content::Inline(Payload::new(vec![0; bytes])) };
        Arc::new(Record::Xfer { operation: OperationId { caller, sequence: 1 }, xfer })
    }

    #[test]
    fn what_is_in_flight_stays_sendable_with_a_whole_memory() {
        let mut sequencer = Sequencer::new(Arc::default());
        sequencer.number(put(BYTES_IN_FLIGHT_ENOUGH - 1));
        assert!(sequencer.has_room(), "one more may come, however large");
        sequencer.number(put(PAYLOAD_BYTES_MAX));
        assert!(!sequencer.has_room());
        sequencer.begin_at(NodeIndex(0), RecordNumber(0));
        sequencer.receipt(NodeIndex(0), RecordNumber(2));
        sequencer.apply_stable([NodeIndex(0)].into_iter().collect());
        assert!(sequencer.has_room(), "what is stable is in the memory");
    }

    #[test]
    fn nothing_follows_what_reaches_the_limit() {
        let mut sequencer = Sequencer::new(Arc::default());
        sequencer.number(put(BYTES_IN_FLIGHT_ENOUGH));
        assert!(!sequencer.has_room());
    }

    /// A record is numbered, and stable by node 0.
    fn goes_on(sequencer: &mut Sequencer, bytes: usize) {
        let number = sequencer.number(put(bytes));
        sequencer.receipt(NodeIndex(0), number);
        sequencer.apply_stable([NodeIndex(0)].into_iter().collect());
    }

    /// Node 0 is the view, and node 1 is being admitted.
    fn admitting() -> Sequencer {
        let mut sequencer = Sequencer::new(Arc::default());
        sequencer.begin_at(NodeIndex(0), RecordNumber(0));
        sequencer.begin_at(NodeIndex(1), RecordNumber(0));
        sequencer
    }

    #[test]
    fn so_much_is_kept_for_one_that_is_being_admitted_and_no_more() {
        for (records, bytes) in [(RECORDS_KEPT_MAX, 1), (2, BYTES_KEPT_MAX / 2)] {
            let mut sequencer = admitting();
            (0..records).for_each(|_| goes_on(&mut sequencer, bytes));
            assert!(sequencer.can_continue(RecordNumber(0)), "{records} of {bytes} bytes");
            goes_on(&mut sequencer, bytes);
            assert!(!sequencer.can_continue(RecordNumber(0)) && sequencer.can_continue(RecordNumber(1)));
        }
    }

    #[test]
    fn nothing_is_kept_for_one_that_is_forgotten() {
        let mut sequencer = admitting();
        (0..3).for_each(|_| goes_on(&mut sequencer, 1));
        assert!(sequencer.can_continue(RecordNumber(0)));
        sequencer.forget(NodeIndex(1));
        assert!(!sequencer.can_continue(RecordNumber(2)) && sequencer.can_continue(RecordNumber(3)));
    }

    #[test]
    fn small_records_are_limited_in_number() {
        let mut sequencer = Sequencer::new(Arc::default());
        for _ in 0..RECORDS_IN_FLIGHT_MAX {
            assert!(sequencer.has_room());
            sequencer.number(put(1));
        }
        assert!(!sequencer.has_room());
    }
}
