use strobe_core::{
    model::{AgentIncarnation, NodeIncarnation},
    primitives::{Cell, Comparison, Content, Payload, RegionName, Write, Xfer},
};

use super::*;
use crate::random::Random;

const NODES: u16 = 3;
const HISTORIES: u64 = 400;

type Records = BTreeMap<Place, Arc<Record>>;

fn operation(caller: u16, sequence: u64) -> OperationId {
    OperationId { caller: NodeIncarnation { node: NodeIndex(caller), incarnation: AgentIncarnation(1) }, sequence }
}

fn put(set: u64) -> Xfer {
    Xfer { region: RegionName::of_node(NodeIndex(0), 0), set: NodeSet::from_bits(set), content: Content::Inline(Payload::new([])) }
}

fn compare(set: u64, comparison: Comparison, value: u64, new: u64) -> Compare {
    Compare { set: NodeSet::from_bits(set), cell: Cell::Ordered(0), comparison, value, write: Some(Write { cell: 0, value: new }) }
}

/// Callers that run at the same time over a memory that does one thing after the other.
#[derive(Default)]
struct Machine {
    history: History,
    records: Records,
    state: Specification,
}

impl Machine {
    /// An operation takes effect. Gives its outcome.
    fn effect(&mut self, operation: OperationId) -> Outcome {
        let (truth, first_failing) = match self.history.calls[&operation].request.clone() {
            Request::Xfer(xfer) => {
                self.state.put(operation, &xfer);
                self.record(Record::Xfer { operation, xfer });
                (true, None)
            }
            Request::CompareAndWrite(compare) => {
                let first_failing = self.state.fails_on(&compare).unwrap().iter().next();
                let truth = first_failing.is_none();
                self.state.write(&compare, truth);
                let number = self.record(Record::Compare { operation: Some(operation), compare });
                self.record(Record::CompareResult(CompareResult { compare: number, truth, first_failing, command: None }));
                (truth, first_failing)
            }
        };
        Outcome::Committed { truth, first_failing }
    }

    fn record(&mut self, record: Record) -> RecordNumber {
        let number = RecordNumber(self.records.len() as u64 + 1);
        self.records.insert((1, number), Arc::new(record));
        number
    }

    fn finish(mut self) -> (History, Records) {
        self.history.sights.insert((1, RecordNumber(0)), Specification::default());
        self.history.sights.insert((1, RecordNumber(self.records.len() as u64)), self.state);
        (self.history, self.records)
    }
}

/// A history of a few operations that overlap: each takes effect between its call and its return, those of a caller in their order.
fn drawn(random: &mut Random) -> (History, Records) {
    let mut machine = Machine::default();
    let mut sequences = [0; NODES as usize];
    let mut called: Vec<OperationId> = Vec::new();
    let mut effective: Vec<(OperationId, Outcome)> = Vec::new();
    let mut left = random.between(2, brute_force::OPERATIONS_MAX as u64);
    while left > 0 || !called.is_empty() || !effective.is_empty() {
        match random.below(3) {
            0 if left > 0 => {
                let caller = usize::try_from(random.below(u64::from(NODES))).unwrap();
                sequences[caller] += 1;
                let operation = operation(u16::try_from(caller).unwrap(), sequences[caller]);
                let set = random.between(1, (1 << NODES) - 1);
                let comparison = *random.pick(&[Comparison::Equal, Comparison::Less, Comparison::NotEqual]);
                let request = match random.below(3) {
                    0 => Request::Xfer(put(set)),
                    _ => Request::CompareAndWrite(compare(set, comparison, random.below(3), random.below(3))),
                };
                machine.history.called(operation, request);
                called.push(operation);
                left -= 1;
            }
            1 if !called.is_empty() => {
                let chosen = called[usize::try_from(random.below(called.len() as u64)).unwrap()].caller;
                let first = called.iter().position(|operation| operation.caller == chosen).unwrap();
                let operation = called.remove(first);
                let outcome = machine.effect(operation);
                effective.push((operation, outcome));
            }
            2 if !effective.is_empty() => {
                let chosen = usize::try_from(random.below(effective.len() as u64)).unwrap();
                let (operation, outcome) = effective.remove(chosen);
                // Some callers hear nothing, or nothing certain.
                match random.below(8) {
                    0 => {}
                    1 => machine.history.returned(operation, Outcome::Unknown),
                    _ => machine.history.returned(operation, outcome),
                }
            }
            _ => {}
        }
    }
    machine.finish()
}

/// Without the brute force.
fn is_witnessed(history: &History, records: &Records) -> bool {
    let checked = history.replay(records).and_then(|effects| {
        history.in_program_order(&effects)?;
        history.in_real_time(&effects)
    });
    checked.is_ok()
}

/// Another outcome for a compare, in what its caller heard and in its record.
fn corrupt_an_outcome(random: &mut Random, history: &mut History, records: &mut Records) {
    let compares: Vec<(Place, OperationId)> = records
        .iter()
        .filter_map(|(place, record)| match &**record {
            Record::Compare { operation, .. } => operation.map(|operation| (*place, operation)),
            _ => None,
        })
        .collect();
    if compares.is_empty() {
        return;
    }
    let (place, operation) = *random.pick(&compares);
    let result = records.get_mut(&(1, place.1.next())).unwrap();
    let Record::CompareResult(mut said) = (**result).clone() else { panic!("a result follows its compare") };
    said.truth = !said.truth;
    said.first_failing = (!said.truth).then_some(NodeIndex(0));
    if let Some((_, Outcome::Committed { truth, first_failing })) = &mut history.calls.get_mut(&operation).unwrap().returned {
        (*truth, *first_failing) = (said.truth, said.first_failing);
    }
    *result = Arc::new(Record::CompareResult(said));
}

/// A call comes later, but not after its own return: it may stand before one that has returned by then.
fn corrupt_the_times(random: &mut Random, history: &mut History) {
    let operation = *random.pick(&history.calls.keys().copied().collect::<Vec<_>>());
    let Call { called, returned, .. } = history.calls[&operation];
    let latest = returned.map_or(history.events.len(), |(returned, _)| returned) as u64 - 1;
    let moved = history.events.remove(called);
    history.events.insert(usize::try_from(random.between(called as u64, latest)).unwrap(), moved);
    for (index, event) in history.events.iter().enumerate() {
        match event {
            CallEvent::Called(operation) => history.calls.get_mut(operation).unwrap().called = index,
            CallEvent::Returned(operation) => history.calls.get_mut(operation).unwrap().returned.as_mut().unwrap().0 = index,
        }
    }
}

#[test]
fn what_is_done_one_after_the_other_is_explained() {
    let mut random = Random::new(1);
    for _ in 0..HISTORIES {
        let (history, records) = drawn(&mut random);
        history.check(&records).unwrap();
    }
}

/// The check with a witness never accepts what no order explains.
#[test]
fn what_no_order_explains_is_refused_with_its_witness_too() {
    let mut random = Random::new(2);
    let mut refused = [[0, 0], [0, 0]];
    for turn in 0..2 * HISTORIES {
        let (mut history, mut records) = drawn(&mut random);
        let kind = usize::from(turn % 2 == 1);
        match kind {
            0 => corrupt_an_outcome(&mut random, &mut history, &mut records),
            _ => corrupt_the_times(&mut random, &mut history),
        }
        let (some_order, this_order) = (history.has_any_order().is_ok(), is_witnessed(&history, &records));
        assert!(some_order || !this_order, "{history:?} {records:?}");
        refused[kind][0] += u64::from(!some_order);
        refused[kind][1] += u64::from(!this_order);
    }
    let [outcomes, times] = refused;
    assert!(outcomes[0] > HISTORIES / 4 && outcomes[1] > HISTORIES / 2, "{refused:?}");
    assert!(times[0] > HISTORIES / 50 && times[1] > HISTORIES / 50, "{refused:?}");
}

fn broken(history: &History, records: &Records) -> &'static str {
    history.check(records).expect_err("something is wrong").invariant
}

fn two(first: OperationId, second: OperationId, one_after_the_other: bool) -> (History, Records) {
    let mut machine = Machine::default();
    machine.history.called(first, Request::Xfer(put(1)));
    let committed = Outcome::Committed { truth: true, first_failing: None };
    if one_after_the_other {
        machine.history.returned(first, committed);
    }
    machine.history.called(second, Request::Xfer(put(2)));
    // The second takes effect before the first.
    machine.effect(second);
    machine.effect(first);
    machine.history.returned(second, committed);
    if !one_after_the_other {
        machine.history.returned(first, committed);
    }
    machine.finish()
}

#[test]
fn what_overtakes_an_earlier_call_is_refused() {
    let (history, records) = two(operation(0, 1), operation(0, 2), false);
    assert_eq!(broken(&history, &records), "program order");
    let (history, records) = two(operation(0, 1), operation(1, 1), true);
    assert_eq!(broken(&history, &records), "real time");
    let (history, records) = two(operation(0, 1), operation(1, 1), false);
    history.check(&records).unwrap();
}

#[test]
fn what_takes_effect_is_what_was_called_and_what_is_aborted_takes_none() {
    let (history, mut records) = two(operation(0, 1), operation(1, 1), false);
    let other = Record::Xfer { operation: operation(0, 1), xfer: put(4) };
    let first = records.iter().find(|(_, record)| matches!(&***record, Record::Xfer { operation: named, .. } if *named == operation(0, 1)));
    let place = *first.unwrap().0;
    records.insert(place, Arc::new(other));
    assert_eq!(broken(&history, &records), "one meaning", "it was put elsewhere");
    let (mut history, _) = two(operation(0, 1), operation(1, 1), false);
    for call in history.calls.values_mut() {
        call.returned.as_mut().unwrap().1 = Outcome::Aborted(strobe_core::primitives::AbortReason::Stalled);
    }
    assert_eq!(broken(&history, &Records::new()), "some order", "the last of the two was seen");
}

#[test]
fn what_was_seen_has_to_be_what_the_records_make() {
    let (mut history, records) = two(operation(0, 1), operation(1, 1), false);
    *history.sights.last_entry().unwrap().get_mut() = Specification::default();
    assert_eq!(broken(&history, &records), "one meaning");
    let (mut history, _) = two(operation(0, 1), operation(1, 1), false);
    *history.sights.last_entry().unwrap().get_mut() = Specification::default();
    assert_eq!(broken(&history, &Records::new()), "some order", "also where no record is known");
}

#[test]
fn a_compare_may_fail_on_a_node_that_left_and_on_no_other() {
    let mut machine = Machine::default();
    machine.history.called(operation(0, 1), Request::CompareAndWrite(compare(0b11, Comparison::Equal, 0, 1)));
    let failed = |node| Outcome::Committed { truth: false, first_failing: Some(NodeIndex(node)) };
    machine.history.returned(operation(0, 1), failed(1));
    let asked = machine.record(Record::Compare { operation: Some(operation(0, 1)), compare: compare(0b11, Comparison::Equal, 0, 1) });
    let said = CompareResult { compare: asked, truth: false, first_failing: Some(NodeIndex(1)), command: None };
    machine.record(Record::CompareResult(said));
    let (mut history, records) = machine.finish();
    assert_eq!(broken(&history, &records), "one meaning");
    history.left(NodeIndex(0));
    assert_eq!(broken(&history, &records), "one meaning");
    history.left(NodeIndex(1));
    history.check(&records).unwrap();
}
