//! The one order and what operations do.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use strobe_core::{
    model::{AgentIncarnation, Fence, NodeIncarnation, NodeIndex, RecordNumber},
    primitives::{Content, Memory, OperationId, Outcome, Record, RegionName},
};

use super::{Ledger, Violation};
use crate::trace::hash_of;

impl Ledger {
    /// The history of the whole run: true when it was so short that every order was tried.
    pub(crate) fn explained(&self) -> Result<bool, Violation> {
        self.history.check(&self.records)
    }

    /// Who belongs to a view: others that belonged to one of its term before have left it.
    pub(crate) fn view_raised(&mut self, fence: Fence, view: &[NodeIncarnation]) {
        let view: BTreeSet<NodeIndex> = view.iter().map(|member| member.node).collect();
        let earlier = self.views.insert(fence.term, view.clone()).unwrap_or_default();
        earlier.difference(&view).for_each(|node| self.history.left(*node));
    }

    /// A member is sent a record.
    pub(crate) fn appended(&mut self, node: usize, fence: Fence, number: RecordNumber, record: &Arc<Record>) {
        if fence.term == self.answered[node] {
            self.appended[node].insert(number, Arc::clone(record));
        }
    }

    /// A member tells of a block that was put into its node's memory.
    pub(crate) fn put(&mut self, node: usize, life: AgentIncarnation, region: RegionName, content: &Content) -> Result<(), Violation> {
        if self.puts[node].insert((life, region, content.clone())) {
            return Ok(());
        }
        Err(Violation::new("one event a put", format!("node {node} is told twice of {content:?} in {region:?}")))
    }

    fn told_of(&self, node: usize, life: AgentIncarnation, region: RegionName, content: &Content) -> Result<(), Violation> {
        if self.puts[node].contains(&(life, region, content.clone())) {
            return Ok(());
        }
        Err(Violation::new("one event a put", format!("node {node} has {content:?} in {region:?}, and is not told of it")))
    }

    /// A life was told of every block of its memory, and of those that the records put which it applied since a number, also
    /// when a later one has replaced them. Of a whole memory it sees only what is there.
    pub(crate) fn puts_told(
        &self,
        node: usize,
        life: AgentIncarnation,
        since: Option<RecordNumber>,
        memory: &Memory,
    ) -> Result<(), Violation> {
        let index = index_of(node);
        memory.regions(index).try_for_each(|(name, region)| self.told_of(node, life, name, &region.content))?;
        let Some(since) = since else { return Ok(()) };
        let place = |number| (memory.generation, number);
        self.records.range(place(since.next())..=place(memory.applied)).try_for_each(|(_, record)| match &**record {
            Record::Xfer { xfer, .. } if xfer.set.contains(index) => self.told_of(node, life, xfer.region, &xfer.content),
            Record::Xfer { .. } | Record::Plan(_) | Record::Gang(_) | Record::Compare { .. } | Record::CompareResult(_) => Ok(()),
        })
    }

    /// What readers of a member's memory see has changed.
    pub(crate) fn applied(&mut self, node: usize, before: Option<(u64, RecordNumber)>, memory: &Memory) -> Result<(), Violation> {
        let (generation, last) = (memory.generation, memory.applied);
        if let Some((earlier, number)) = before {
            if (earlier, number) > (generation, last) {
                let detail = format!("node {node} had applied {number} of generation {earlier}, and now {last} of {generation}");
                return Err(Violation::new("one order", detail));
            }
            if earlier == generation {
                self.records_applied(node, generation, number..last)?;
            }
        }
        self.outcomes_kept(memory)?;
        self.appended[node] = self.appended[node].split_off(&last.next());
        self.history.seen(memory, self.appended.len());
        if self.without_hashes {
            return Ok(());
        }
        let hash = hash_of(&settled(memory));
        let known = *self.memories.entry((generation, last)).or_insert(hash);
        if known != hash {
            let detail = format!("node {node} has another memory than others after record {last} of generation {generation}");
            return Err(Violation::new("one order", detail));
        }
        Ok(())
    }

    /// The records after the first number, up to the last one, were applied.
    fn records_applied(&mut self, node: usize, generation: u64, numbers: Range<RecordNumber>) -> Result<(), Violation> {
        let applied: Vec<_> =
            self.appended[node].range(numbers.start.next()..=numbers.end).map(|(number, record)| (*number, Arc::clone(record))).collect();
        for (number, record) in applied {
            let place = (generation, number);
            let known = self.records.entry(place).or_insert_with(|| Arc::clone(&record));
            if *known != record {
                let detail = format!("record {number} of generation {generation} is {record:?} on node {node}, and was {known:?}");
                return Err(Violation::new("one order", detail));
            }
            if let Some(operation) = record.operation() {
                let first = *self.effects.entry(operation).or_insert(place);
                if first != place {
                    let detail = format!("{operation:?} takes effect as record {} and as record {number}", first.1);
                    return Err(Violation::new("one outcome", detail));
                }
            }
            if let Some(operation) = self.made_effective(generation, &record) {
                self.takes_effect(operation)?;
            }
        }
        Ok(())
    }

    /// The operation that takes effect by this record.
    fn made_effective(&self, generation: u64, record: &Record) -> Option<OperationId> {
        match record {
            Record::CompareResult(result) => self.records.get(&(generation, result.compare)).and_then(|compare| compare.operation()),
            Record::Xfer { operation, .. } => Some(*operation),
            Record::Plan(_) | Record::Gang(_) | Record::Compare { .. } => None,
        }
    }

    fn takes_effect(&mut self, operation: OperationId) -> Result<(), Violation> {
        self.effective.insert(operation);
        match self.outcomes.get(&operation) {
            Some(aborted @ Outcome::Aborted(_)) => {
                Err(Violation::new("one outcome", format!("{operation:?} takes effect, and its caller has heard {aborted:?}")))
            }
            Some(Outcome::Committed { .. } | Outcome::Unknown) | None => Ok(()),
        }
    }

    /// What memory remembers of an operation is what its caller heard.
    fn outcomes_kept(&self, memory: &Memory) -> Result<(), Violation> {
        let forgets = |outcome: Outcome| outcome == Outcome::Unknown;
        let differs = |(operation, heard): (&OperationId, &Outcome)| {
            let kept = memory.outcome(*operation).filter(|kept| kept != heard && !forgets(*kept) && !forgets(*heard))?;
            Some(format!("{operation:?} was {heard:?}, and memory has it as {kept:?}"))
        };
        match self.outcomes.iter().find_map(differs) {
            Some(detail) => Err(Violation::new("one outcome", detail)),
            None => Ok(()),
        }
    }

    /// A caller hears what became of its operation; `memory` is what its node has applied.
    pub(crate) fn outcome_heard(&mut self, operation: OperationId, outcome: Outcome, memory: Option<&Memory>) -> Result<(), Violation> {
        let applied = memory.and_then(|memory| memory.outcome(operation));
        if matches!(outcome, Outcome::Committed { .. }) && applied != Some(outcome) {
            let detail = format!("the caller of {operation:?} hears {outcome:?}, and its node has applied {applied:?}");
            return Err(Violation::new("committed is stable", detail));
        }
        if matches!(outcome, Outcome::Aborted(_)) && self.effective.contains(&operation) {
            return Err(Violation::new("one outcome", format!("{operation:?} has taken effect, and its caller hears {outcome:?}")));
        }
        self.history.returned(operation, outcome);
        match self.outcomes.insert(operation, outcome) {
            Some(earlier) => Err(Violation::new("one outcome", format!("{operation:?} was {earlier:?} and is {outcome:?}"))),
            None => Ok(()),
        }
    }
}

fn index_of(node: usize) -> NodeIndex {
    NodeIndex(u16::try_from(node).expect("few nodes"))
}

/// The memory as a term change would leave it: of two equal ones only one may know of a compare that was cut off.
fn settled(memory: &Memory) -> Memory {
    let mut settled = memory.clone();
    settled.abort_pending_compare();
    settled
}

#[cfg(test)]
mod tests {
    use strobe_core::{
        model::{GangId, GangIncarnation, GangRun, NodeSet, Term, View},
        primitives::{AbortReason, Payload, Xfer},
    };

    use super::*;
    use crate::node::PARTITION;

    const LIFE: AgentIncarnation = AgentIncarnation(1);
    const OPERATION: OperationId = OperationId { caller: NodeIncarnation { node: NodeIndex(0), incarnation: LIFE }, sequence: 1 };
    const ABORTED: Outcome = Outcome::Aborted(AbortReason::SetOutsideView);

    fn xfer() -> Xfer {
        let run = GangRun { gang: GangId(0), incarnation: GangIncarnation(1) };
        Xfer { region: RegionName::of_gang(run, 0), set: NodeSet::from_bits(1), content: Content::Inline(Payload::new([1])) }
    }

    /// A member applies an XFER's record as the first of its memory.
    fn put_applied(ledger: &mut Ledger) -> Result<(), Violation> {
        let mut memory = Memory::empty(1, RecordNumber(0));
        ledger.applied(0, None, &memory)?;
        let record = Arc::new(Record::Xfer { operation: OPERATION, xfer: xfer() });
        ledger.appended(0, Fence { partition: PARTITION, term: Term(0), view: View(1) }, RecordNumber(1), &record);
        memory.apply(&record);
        ledger.applied(0, Some((1, RecordNumber(0))), &memory)?;
        ledger.puts_told(0, LIFE, Some(RecordNumber(0)), &memory)
    }

    #[test]
    fn a_put_is_told_of_once() {
        assert_eq!(put_applied(&mut Ledger::new(1)).map_err(|broken| broken.invariant), Err("one event a put"), "never");
        let mut ledger = Ledger::new(1);
        ledger.put(0, LIFE, xfer().region, &xfer().content).unwrap();
        put_applied(&mut ledger).unwrap();
        assert!(ledger.put(0, LIFE, xfer().region, &xfer().content).is_err(), "twice");
        assert!(ledger.put(0, AgentIncarnation(2), xfer().region, &xfer().content).is_ok(), "another life knows nothing");
    }

    #[test]
    fn what_was_aborted_takes_no_effect_before_or_after() {
        let told = || {
            let mut ledger = Ledger::new(1);
            ledger.put(0, LIFE, xfer().region, &xfer().content).unwrap();
            ledger
        };
        let mut before = told();
        before.outcome_heard(OPERATION, ABORTED, None).unwrap();
        assert_eq!(put_applied(&mut before).map_err(|broken| broken.invariant), Err("one outcome"));
        let mut after = told();
        put_applied(&mut after).unwrap();
        assert!(after.outcome_heard(OPERATION, ABORTED, None).is_err());
        let mut unknown = told();
        unknown.outcome_heard(OPERATION, Outcome::Unknown, None).unwrap();
        put_applied(&mut unknown).unwrap();
    }
}
