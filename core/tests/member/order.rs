//! The one order at a member: records held and applied, its part of compares, operations of its own.

use strobe_core::{
    limits::{OPERATIONS_PER_NODE_MAX, PAYLOAD_BYTES_MAX},
    message::ToMember,
    model::{AgentIncarnation, GangId, NodeIncarnation, NodeIndex, RecordNumber, Settings},
    node::{MemberEffect, MemberInput},
    primitives::{AbortReason, Cell, Compare, CompareResult, Comparison, Memory, OperationId, Outcome, Record, Request, Write},
};

use crate::bench::{Bench, FENCE, NODE, agent, block, fence, operation, put};

const CELL: Cell = Cell::Barrier(GangId(1));
const COMMITTED: Outcome = Outcome::Committed { truth: true, first_failing: None };

fn applied(bench: &Bench) -> Option<u64> {
    bench.member.memory().map(|memory| memory.applied.0)
}

fn store(bench: &mut Bench, cell: Cell, value: u64) {
    bench.step(MemberInput::Store { cell, value });
}

fn compare(cell: Cell, comparison: Comparison, value: u64, write: Option<Write>) -> Record {
    Record::Compare { operation: None, compare: Compare { set: [NODE].into_iter().collect(), cell, comparison, value, write } }
}

fn result(compare: u64, truth: bool) -> Record {
    Record::CompareResult(CompareResult { compare: RecordNumber(compare), truth, first_failing: None, command: None })
}

/// What the cell is, as a compare of it says.
fn has(bench: &mut Bench, cell: Cell, value: u64) -> bool {
    bench.applies(compare(cell, Comparison::Equal, value, None));
    let [(number, truth)] = bench.truths()[..] else { panic!("one answer: {:?}", bench.effects) };
    bench.applies(result(number, truth));
    truth
}

#[test]
fn records_are_held_without_a_gap_and_any_other_is_answered_by_where_to_go_on() {
    let mut bench = Bench::admitted();
    bench.appends(1, put(operation(1, 1)));
    assert_eq!(bench.held(), [1]);
    bench.appends(3, put(operation(1, 3)));
    assert_eq!(bench.held(), [1], "2 is missing");
    bench.appends(1, put(operation(1, 1)));
    assert_eq!(bench.held(), [1], "it is held");
    bench.appends(2, put(operation(1, 2)));
    assert_eq!(bench.held(), [2]);
}

#[test]
fn records_are_applied_as_far_as_they_are_stable_and_held() {
    let mut bench = Bench::admitted();
    for number in 1..=3 {
        bench.appends(number, put(operation(1, number)));
    }
    assert_eq!(applied(&bench), Some(0));
    bench.stable(2);
    assert_eq!((applied(&bench), bench.effects.len()), (Some(2), 2), "two blocks can be read: {:?}", bench.effects);
    bench.stable(2);
    assert_eq!((applied(&bench), bench.effects.len()), (Some(2), 0));
    bench.stable(9);
    assert_eq!(applied(&bench), Some(3));
    bench.appends(4, put(operation(1, 4)));
    assert_eq!(bench.held(), [4]);
}

#[test]
fn a_compare_is_answered_by_the_nodes_of_its_set_until_its_result() {
    let mut bench = Bench::admitted();
    store(&mut bench, CELL, 5);
    bench.applies(compare(CELL, Comparison::Greater, 4, None));
    assert_eq!(bench.truths(), [(1, true)]);
    bench.stable(1);
    assert_eq!(bench.truths(), [(1, true)], "the answer may have been lost");
    bench.applies(result(1, true));
    assert_eq!(bench.truths(), []);
    bench.stable(2);
    assert_eq!(bench.truths(), []);
    let Record::Compare { compare, .. } = compare(CELL, Comparison::Greater, 4, None) else { unreachable!("it is a compare") };
    let others = Compare { set: [NodeIndex(1)].into_iter().collect(), ..compare };
    bench.applies(Record::Compare { operation: None, compare: others });
    assert_eq!(bench.truths(), [], "it is asked of other nodes");
}

#[test]
fn a_cell_only_grows() {
    let mut bench = Bench::admitted();
    assert!(has(&mut bench, CELL, 0));
    store(&mut bench, CELL, 5);
    store(&mut bench, CELL, 3);
    assert!(has(&mut bench, CELL, 5));
    store(&mut bench, CELL, 6);
    assert!(has(&mut bench, CELL, 6));
}

#[test]
fn a_store_into_a_cell_that_is_compared_waits_for_the_result_and_others_do_not() {
    let other = Cell::Barrier(GangId(2));
    let mut bench = Bench::admitted();
    bench.applies(compare(CELL, Comparison::Equal, 0, None));
    store(&mut bench, CELL, 7);
    store(&mut bench, other, 7);
    bench.stable(1);
    assert_eq!(bench.truths(), [(1, true)], "whoever asks again is told the same");
    bench.applies(result(1, true));
    assert!(has(&mut bench, CELL, 7), "the store is not lost");
    bench.applies(compare(CELL, Comparison::Equal, 7, None));
    store(&mut bench, other, 8);
    bench.promises(3);
    let mut memory = Memory::empty(1, RecordNumber(0));
    memory.apply(&compare(other, Comparison::Equal, 8, None));
    bench.installs(fence(3, 1), memory);
    bench.is_admitted(fence(3, 1));
    bench.hears(ToMember::Stable { fence: fence(3, 1), number: RecordNumber(1) });
    let answered = bench.find(|effect| match effect {
        MemberEffect::Send { message: strobe_core::message::ToManager::Compared { truth, .. }, .. } => Some(*truth),
        _ => None,
    });
    assert_eq!(answered, [true], "it was stored at once");
}

#[test]
fn a_store_that_waits_for_a_compare_is_done_when_another_term_has_no_such_compare() {
    let mut bench = Bench::admitted();
    bench.applies(compare(CELL, Comparison::Equal, 0, None));
    store(&mut bench, CELL, 7);
    bench.promises(3);
    bench.installs(fence(3, 1), Memory::empty(1, RecordNumber(0)));
    bench.is_admitted(fence(3, 1));
    let Record::Compare { compare, .. } = compare(CELL, Comparison::Equal, 7, None) else { unreachable!("it is a compare") };
    let record = std::sync::Arc::new(Record::Compare { operation: None, compare });
    bench.hears(ToMember::Append { fence: fence(3, 1), number: RecordNumber(1), record });
    bench.hears(ToMember::Stable { fence: fence(3, 1), number: RecordNumber(1) });
    assert!(matches!(bench.sent()[..], [strobe_core::message::ToManager::Compared { truth: true, .. }]), "{:?}", bench.effects);
}

#[test]
fn ordered_cells_are_what_compares_have_written() {
    let mut bench = Bench::admitted();
    bench.applies(compare(CELL, Comparison::Equal, 0, Some(Write { cell: 3, value: 9 })));
    bench.applies(result(1, true));
    assert!(has(&mut bench, Cell::Ordered(3), 9));
    assert!(has(&mut bench, Cell::Ordered(4), 0));
}

#[test]
fn operations_have_growing_names_and_go_to_the_manager_once_it_can_number_them() {
    let mut bench = Bench::sealed();
    bench.submits(block(1));
    bench.submits(block(1));
    assert_eq!(bench.effects, [MemberEffect::Submitted(operation(0, 2))]);
    bench.joins(fence(2, 1), Memory::empty(1, RecordNumber(0)));
    assert_eq!(bench.submitted(), [operation(0, 1), operation(0, 2)]);
    bench.submits(block(1));
    assert_eq!((bench.effects.len(), bench.submitted()), (2, vec![operation(0, 3)]), "the others were said");
}

#[test]
fn an_operation_is_over_with_its_outcome() {
    let mut bench = Bench::admitted();
    bench.submits(block(1));
    bench.submits(block(1));
    bench.applies(put(operation(1, 1)));
    assert_eq!(bench.outcomes(), [], "that is another node's");
    bench.applies(put(operation(0, 2)));
    assert_eq!(bench.outcomes(), [(2, COMMITTED)]);
    bench.passes(Settings::default().heartbeat);
    assert_eq!(bench.submitted(), [operation(0, 1)]);
    bench.applies(put(operation(0, 1)));
    assert_eq!(bench.outcomes(), [(1, COMMITTED)]);
}

#[test]
fn a_refusal_ends_an_operation_of_this_life_once() {
    let outcome = Outcome::Aborted(AbortReason::SetOutsideView);
    let mut bench = Bench::admitted();
    bench.submits(block(1));
    let earlier = OperationId { caller: NodeIncarnation { incarnation: AgentIncarnation(0), ..agent(0) }, sequence: 1 };
    for operation in [operation(1, 1), earlier, operation(0, 2)] {
        bench.hears(ToMember::Refused { fence: FENCE, operation, outcome });
        assert_eq!(bench.effects, []);
    }
    let own = |fence| ToMember::Refused { fence, operation: operation(0, 1), outcome };
    bench.hears_from(NodeIndex(2), own(FENCE));
    assert_eq!(bench.effects, [], "it does not command");
    bench.hears(own(fence(3, 1)));
    assert_eq!(bench.effects, [], "nor does its next term yet");
    bench.hears(ToMember::Refused { fence: FENCE, operation: operation(0, 1), outcome });
    assert_eq!(bench.outcomes(), [(1, outcome)]);
    bench.hears(ToMember::Refused { fence: FENCE, operation: operation(0, 1), outcome });
    assert_eq!(bench.effects, []);
}

#[test]
fn an_operation_that_is_too_large_or_one_too_many_is_aborted_at_the_call() {
    let mut bench = Bench::admitted();
    bench.submits(block(PAYLOAD_BYTES_MAX + 1));
    assert_eq!((bench.outcomes(), bench.submitted()), (vec![(1, Outcome::Aborted(AbortReason::PayloadTooLarge))], vec![]));
    bench.submits(block(PAYLOAD_BYTES_MAX));
    assert_eq!(bench.submitted(), [operation(0, 2)]);
    for _ in 1..OPERATIONS_PER_NODE_MAX {
        bench.submits(block(1));
        assert_eq!(bench.outcomes(), []);
    }
    let Record::Compare { compare, .. } = compare(CELL, Comparison::Equal, 0, None) else { unreachable!("it is a compare") };
    bench.step(MemberInput::Submit(Request::CompareAndWrite(compare.clone())));
    let last = OPERATIONS_PER_NODE_MAX as u64 + 2;
    assert_eq!(bench.outcomes(), [(last, Outcome::Aborted(AbortReason::TooManyOperations))]);
    bench.applies(put(operation(0, 2)));
    bench.step(MemberInput::Submit(Request::CompareAndWrite(compare)));
    assert_eq!(bench.submitted(), [operation(0, last + 1)], "one of them is over");
}
