//! What is numbered, and when.

use std::time::Duration;

use strobe_core::{
    limits::{OPERATIONS_PER_NODE_MAX, PAYLOAD_BYTES_MAX, RECORDS_IN_FLIGHT_MAX, STAGINGS_MAX},
    manager::{ManagerEffect, ManagerInput},
    message::{AnnouncerReport, GangSignal, ToManager, ToMember},
    model::{Desire, Epoch, Fence, GangId, Instant, NodeIndex, PartitionUid, RecordNumber, Settings, Term},
    primitives::{
        AbortReason, Block, Cell, Compare, CompareResult, Comparison, Content, GangCommand, GangVerb, OperationId, Outcome, Payload,
        Record, RegionName, Request, Xfer,
    },
};

use crate::bench::{ALL, Bench, FENCE, agent, block, nodes, operation, plan, planned, run};

fn compare(set: &[u16]) -> Request {
    let cell = Cell::Barrier(GangId(1));
    Request::CompareAndWrite(Compare { set: nodes(set), cell, comparison: Comparison::Equal, value: 1, write: None })
}

/// What became of the compare that was numbered first.
fn result(bench: &Bench) -> Option<(bool, Option<u16>)> {
    bench.numbered.iter().find_map(|record| match record {
        Record::CompareResult(CompareResult { truth, first_failing, .. }) => Some((*truth, first_failing.map(|node| node.0))),
        _ => None,
    })
}

/// The gang's commands, in the order of their numbers.
fn verbs(bench: &Bench) -> Vec<GangVerb> {
    let verb = |record: &Record| match record {
        Record::Gang(GangCommand { verb, .. }) => Some(verb.clone()),
        Record::CompareResult(result) => result.command.as_ref().map(|command| command.verb.clone()),
        _ => None,
    };
    bench.numbered.iter().filter_map(verb).collect()
}

fn comparing() -> Bench {
    let mut bench = Bench::leading();
    bench.submits(operation(1, 1), compare(&[1, 2]));
    assert_eq!(bench.numbered.len(), 1);
    bench
}

#[test]
fn a_record_is_stable_when_all_of_the_view_hold_it() {
    let mut bench = Bench::leading();
    bench.submits(operation(1, 1), block(1, &[0], 1));
    assert_eq!(ALL.map(|node| bench.appended(node)), [(); 3].map(|()| vec![1]));
    let other = [Fence { term: Term(1), ..FENCE }, Fence { partition: PartitionUid(8), ..FENCE }];
    bench.holds(0, 1);
    bench.holds(1, 1);
    for fence in other {
        bench.hears(2, ToManager::Held { fence, number: RecordNumber(1) });
        assert_eq!(bench.effects, [], "that is another order");
    }
    bench.holds(2, 1);
    assert_eq!(ALL.map(|node| bench.stable(node)), [(); 3].map(|()| vec![1]));
    bench.holds(2, 1);
    assert_eq!(bench.effects, []);
}

/// Blocks that are open for node 0, as it was told last.
fn open(bench: &Bench) -> Option<Vec<OperationId>> {
    bench.effects.iter().rev().find_map(|effect| match effect {
        ManagerEffect::Send { to: NodeIndex(0), message: ToMember::Stagings { open, .. } } => {
            Some(open.iter().map(|staging| staging.operation).collect())
        }
        _ => None,
    })
}

#[test]
fn so_many_blocks_are_staged_at_a_time_and_the_next_when_one_has_its_number() {
    let mut bench = Bench::leading();
    let last = u16::try_from(STAGINGS_MAX).expect("few");
    for node in 3..=last {
        bench.seals(agent(node, 1));
        bench.installs(node, 0);
    }
    for node in 0..=last {
        let region = RegionName::of_node(NodeIndex(node), 0);
        let content = Content::Staged(Block { digest: 1, length: 1 << 20 });
        bench.submits(operation(node, 1), Request::Xfer(Xfer { region, set: nodes(&[0]), content }));
        let opened = (node < last).then(|| usize::from(node) + 1);
        assert_eq!(open(&bench).map(|open| open.len()), opened);
    }
    let held = |fence| ToManager::Staged { fence, operation: operation(0, 1), held: true };
    bench.hears(0, held(Fence { term: Term(1), ..FENCE }));
    assert_eq!((bench.numbered.len(), open(&bench)), (0, None), "what is said of another term is nothing of this one");
    bench.hears(0, held(FENCE));
    assert_eq!(bench.numbered.len(), 1);
    assert!(open(&bench).expect("it is told anew").contains(&operation(last, 1)));
}

#[test]
fn so_many_records_are_in_flight_and_the_next_waits_for_one_to_be_stable() {
    let mut bench = Bench::leading();
    let flight = u64::try_from(RECORDS_IN_FLIGHT_MAX).expect("few");
    for sequence in 1..=flight + 1 {
        bench.submits(operation(1, sequence), block(1, &[0], 1));
    }
    assert_eq!(bench.numbered.len(), RECORDS_IN_FLIGHT_MAX);
    ALL.iter().for_each(|node| bench.holds(*node, 1));
    assert_eq!(bench.appended(0), [flight + 1]);
}

#[test]
fn large_blocks_wait_sooner_than_small_ones() {
    let mut bench = Bench::leading();
    bench.submits(operation(1, 1), block(1, &[0], PAYLOAD_BYTES_MAX));
    bench.submits(operation(1, 2), block(2, &[0], 1));
    assert_eq!(bench.numbered.len(), 1);
    ALL.iter().for_each(|node| bench.holds(*node, 1));
    assert_eq!(bench.numbered.len(), 2);
    bench.submits(operation(1, 3), block(3, &[0], PAYLOAD_BYTES_MAX + 1));
    assert_eq!(bench.refusals(), [(operation(1, 3), Outcome::Aborted(AbortReason::PayloadTooLarge))]);
}

#[test]
fn an_operation_is_taken_once_and_from_a_life_of_the_view_only() {
    let mut bench = Bench::established();
    let request = block(1, &[0], 1);
    bench.submits(operation(1, 1), request.clone());
    bench.submits(operation(1, 1), request.clone());
    bench.hears(2, ToManager::Submit { operation: operation(1, 2), after: None, request: request.clone() });
    let mut other = operation(1, 3);
    other.caller = agent(1, 2);
    bench.submits(other, request.clone());
    bench.submits(operation(5, 1), request.clone());
    bench.has_lease(Duration::from_secs(60));
    assert_eq!(bench.numbered.len(), 1, "{:?}", bench.numbered);
    bench.submits(operation(1, 1), request.clone());
    bench.all_hold(&ALL);
    bench.submits(operation(1, 1), request);
    assert_eq!(bench.numbered.len(), 1, "it has its number");
}

#[test]
fn so_many_operations_wait_as_members_may_have_outstanding() {
    let mut bench = Bench::established();
    let most = (64 * OPERATIONS_PER_NODE_MAX) as u64;
    for sequence in 1..=most + 1 {
        bench.submits(operation(1, sequence), block(1, &[5], 1));
    }
    bench.has_lease(Duration::from_secs(60));
    assert_eq!(bench.refusals().len() as u64, most, "the last one comes again when its member says so");
}

#[test]
fn an_operation_for_nobody_or_for_who_is_not_in_the_view_is_aborted() {
    let mut bench = Bench::leading();
    let outside = Outcome::Aborted(AbortReason::SetOutsideView);
    for (sequence, request) in (1..).zip([block(1, &[], 1), block(1, &[0, 5], 1), compare(&[]), compare(&[5])]) {
        bench.submits(operation(1, sequence), request);
        assert_eq!((bench.refusals(), bench.numbered.len()), (vec![(operation(1, sequence), outside)], 0));
    }
}

#[test]
fn what_was_refused_stays_refused_whatever_else_is_refused_after_it() {
    let mut bench = Bench::leading();
    for sequence in [1, 2] {
        bench.submits(operation(1, sequence), block(1, &[5], 1));
    }
    bench.seals(agent(5, 1));
    bench.installs(5, 0);
    bench.submits(operation(1, 1), block(1, &[5], 1));
    assert_eq!((bench.refusals().len(), bench.numbered.len()), (1, 0), "its caller was told that it never takes effect");
}

#[test]
fn a_compare_is_true_when_all_of_its_set_say_so_and_nothing_is_numbered_meanwhile() {
    let mut bench = comparing();
    bench.submits(operation(1, 2), block(1, &[0], 1));
    bench.compares(1, 1, true);
    bench.compares(0, 1, true);
    bench.compares(2, 2, true);
    assert_eq!(bench.numbered.len(), 1, "node 0 is not asked, and there is no compare 2");
    for fence in [Fence { term: Term(1), ..FENCE }, Fence { partition: PartitionUid(8), ..FENCE }] {
        bench.hears(2, ToManager::Compared { fence, number: RecordNumber(1), truth: true });
        assert_eq!(bench.numbered.len(), 1);
    }
    bench.compares(2, 1, true);
    assert_eq!((result(&bench), bench.numbered.len()), (Some((true, None)), 3));
    bench.submits(operation(1, 1), compare(&[1, 2]));
    assert_eq!(bench.numbered.len(), 3, "it is numbered, and in flight");
    bench.all_hold(&ALL);
    bench.submits(operation(1, 1), compare(&[1, 2]));
    assert_eq!(bench.numbered.len(), 3, "it has its outcome");
}

#[test]
fn a_compare_that_has_its_number_is_not_numbered_again() {
    let mut bench = comparing();
    bench.all_hold(&ALL);
    bench.submits(operation(1, 1), compare(&[1, 2]));
    bench.compares(1, 1, true);
    bench.compares(2, 1, true);
    assert_eq!((result(&bench), bench.numbered.len()), (Some((true, None)), 2), "{:?}", bench.numbered);
}

#[test]
fn a_compare_fails_on_the_first_that_says_so_or_leaves_the_view() {
    let mut bench = comparing();
    bench.compares(2, 1, false);
    assert_eq!(result(&bench), Some((false, Some(2))));
    let mut bench = comparing();
    bench.suspects(agent(2, 1));
    assert_eq!(result(&bench), Some((false, Some(2))));
    let mut bench = comparing();
    bench.suspects(agent(0, 1));
    assert_eq!(result(&bench), None, "it was not asked");
}

#[test]
fn a_plan_is_numbered_once_and_a_newer_one_only() {
    let mut bench = Bench::leading();
    bench.is_planned(plan(2, vec![planned(1, &[0], Desire::Run)]));
    assert_eq!(bench.numbered.len(), 1);
    bench.is_planned(plan(2, vec![planned(1, &[0], Desire::Run)]));
    bench.is_planned(plan(2, Vec::new()));
    bench.is_planned(plan(1, Vec::new()));
    bench.all_hold(&ALL);
    bench.is_planned(plan(1, Vec::new()));
    assert_eq!(bench.numbered, [Record::Plan(plan(2, vec![planned(1, &[0], Desire::Run)]))]);
    bench.is_planned(plan(3, Vec::new()));
    assert_eq!(bench.numbered.len(), 2);
}

fn up(bench: &mut Bench) {
    bench.is_planned(plan(1, vec![planned(1, &[1, 2], Desire::Run)]));
    bench.all_hold(&ALL);
    bench.signals(1, 1, GangSignal::Up(Payload::new([1])));
    assert_eq!(bench.numbered.len(), 1, "node 2 is not up");
    bench.signals(2, 1, GangSignal::Up(Payload::new([2])));
}

#[test]
fn a_gang_is_released_when_all_of_it_are_up_completes_when_all_have_exited_and_is_commanded_once() {
    let mut bench = Bench::leading();
    up(&mut bench);
    let expected =
        Compare { set: nodes(&[1, 2]), cell: Cell::Up(GangId(1)), comparison: Comparison::GreaterOrEqual, value: 1, write: None };
    assert_eq!(bench.numbered[1..], [Record::Compare { operation: None, compare: expected.clone() }]);
    bench.all_hold(&ALL);
    bench.compares(1, 2, true);
    bench.compares(2, 2, true);
    let peers = vec![Payload::new([1]), Payload::new([2])];
    let released = GangVerb::Release { term: Term(2), at: bench.now + Settings::default().lead, peers };
    assert_eq!(verbs(&bench), [released]);
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.numbered.len(), 3, "it waits until that is applied");
    bench.all_hold(&ALL);
    bench.signals(1, 1, GangSignal::Exited);
    assert_eq!(bench.numbered.len(), 3);
    bench.signals(2, 1, GangSignal::Exited);
    assert_eq!(bench.numbered[3..], [Record::Compare { operation: None, compare: Compare { cell: Cell::Exited(GangId(1)), ..expected } }]);
    bench.all_hold(&ALL);
    bench.compares(1, 4, true);
    bench.compares(2, 4, true);
    assert_eq!(verbs(&bench)[1..], [GangVerb::Ended]);
}

#[test]
fn a_node_on_which_a_compare_fails_is_asked_when_it_signals_anew() {
    let mut bench = Bench::leading();
    up(&mut bench);
    bench.all_hold(&ALL);
    bench.compares(2, 2, false);
    bench.all_hold(&ALL);
    assert_eq!((verbs(&bench), bench.numbered.len()), (vec![], 3));
    bench.signals(1, 1, GangSignal::Up(Payload::new([1])));
    assert_eq!(bench.numbered.len(), 3, "node 2 was not up");
    bench.signals(2, 1, GangSignal::Up(Payload::new([2])));
    assert!(matches!(bench.numbered[3..], [Record::Compare { .. }]));
}

#[test]
fn a_signal_counts_from_a_member_in_its_own_name_and_of_a_gang_of_the_plan() {
    let mut bench = Bench::leading();
    bench.is_planned(plan(1, vec![planned(1, &[1, 2], Desire::Run)]));
    bench.all_hold(&ALL);
    bench.signals(1, 1, GangSignal::Up(Payload::new([1])));
    let forged = strobe_core::message::Signal { node: NodeIndex(2), run: run(1), signal: GangSignal::Up(Payload::new([2])) };
    bench.hears(1, ToManager::Signal(forged));
    bench.signals(2, 9, GangSignal::Up(Payload::new([2])));
    assert_eq!((bench.numbered.len(), bench.reports()), (1, vec![]));
    bench.suspects(agent(2, 1));
    bench.signals(2, 1, GangSignal::Up(Payload::new([2])));
    assert_eq!(bench.reports(), [], "it does not belong to the view");
}

#[test]
fn a_gang_that_shall_end_is_ended_with_its_grace_and_over_when_none_of_it_is_left() {
    let grace = Duration::from_secs(30);
    let mut bench = Bench::leading();
    up(&mut bench);
    bench.all_hold(&ALL);
    bench.compares(1, 2, true);
    bench.compares(2, 2, true);
    bench.all_hold(&ALL);
    bench.is_planned(plan(2, vec![planned(1, &[1, 2], Desire::Terminate { grace })]));
    bench.all_hold(&ALL);
    assert!(matches!(verbs(&bench)[1..], [GangVerb::End { grace: told, .. }] if told == grace));
    bench.all_hold(&ALL);
    bench.signals(1, 1, GangSignal::Gone);
    let numbered = bench.numbered.len();
    bench.suspects(agent(2, 1));
    bench.signals(2, 1, GangSignal::Gone);
    assert_eq!(bench.numbered.len(), numbered, "who is not in the view cannot be asked");
    bench.step(ManagerInput::Lost(nodes(&[2])));
    assert!(
        matches!(bench.numbered.last(), Some(Record::Compare { compare, .. }) if compare.set == nodes(&[1])),
        "{:?}",
        bench.numbered.last()
    );
}

#[test]
fn a_pause_takes_effect_at_the_next_boundary_that_a_record_can_reach() {
    let Settings { lead, quantum, .. } = Settings::default();
    let boundary = |until_next: Duration| -> Duration {
        let mut bench = Bench::leading();
        let (until, next_epoch_at): (Instant, Instant) = (bench.now + Duration::from_secs(60), bench.now + until_next);
        let lease = AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(4), next_epoch_at };
        bench.step(ManagerInput::Announcer(lease));
        bench.is_planned(plan(1, vec![planned(1, &[1, 2], Desire::Pause)]));
        bench.all_hold(&ALL);
        let [GangVerb::Hold { at, .. }] = verbs(&bench)[..] else { panic!("{:?}", bench.numbered) };
        at.since(bench.now)
    };
    assert_eq!(boundary(3 * lead), 3 * lead);
    assert_eq!(boundary(2 * lead), 2 * lead);
    assert_eq!(boundary(lead), lead + quantum, "the next one is too near");
}
