//! Where gangs may not go, or cannot stay: cordons, evictions, placements that come to nothing (section 6 of the design).

use std::time::Duration;

use strobe_core::{
    authority::{AuthorityInput, JobSpecification, PlacementFailure, StateReason},
    matrix::NoPlacement,
    model::{Desire, EndCause, GangId, GangState, NodeIndex, NodeSet},
    primitives::GangPhase,
};

use crate::bench::{Bench, job, rank_failed, restarting, run};

const TERMINATED: GangPhase = GangPhase::Ended(EndCause::Terminated);

fn set(nodes: &[u16]) -> NodeSet {
    nodes.iter().copied().map(NodeIndex).collect()
}

fn cordon(bench: &mut Bench, nodes: &[u16]) {
    bench.step(AuthorityInput::Cordon { nodes: set(nodes) });
}

fn evict(bench: &mut Bench, incarnation: u32, node: u16) {
    bench.step(AuthorityInput::Evicted { run: run(1, incarnation), node: NodeIndex(node) });
}

fn not_placed(incarnation: u32, blamed: &[u16], empty: &[u16]) -> AuthorityInput {
    AuthorityInput::NotPlaced { run: run(1, incarnation), failure: PlacementFailure::TimedOut, blamed: set(blamed), empty: set(empty) }
}

#[test]
fn a_cordoned_node_takes_no_gang_and_keeps_those_that_it_has() {
    let mut bench = Bench::established(3, 1);
    bench.submit(job(1, 1));
    bench.hear_gang(run(1, 1), GangPhase::Released);
    cordon(&mut bench, &[0, 2]);
    bench.submit(job(2, 1));
    bench.submit(job(3, 2));
    assert_eq!(bench.state(1), GangState::Running);
    assert_eq!(bench.launches(), [(run(1, 1), vec![0]), (run(2, 1), vec![1])]);
    assert_eq!(bench.status(3).reason, StateReason::NoPlacement { position: 1, shortage: NoPlacement::Nodes { usable: 1, wanted: 2 } });
    cordon(&mut bench, &[]);
    assert_eq!(bench.state(3), GangState::Placed);
}

#[test]
fn an_evicted_gang_ends_as_a_whole_and_goes_elsewhere_without_a_restart() {
    for on_the_way in [GangPhase::Ending(EndCause::Terminated), GangPhase::Ending(rank_failed(0))] {
        let mut bench = Bench::established(3, 1);
        bench.submit(job(1, 2));
        bench.hear_gang(run(1, 1), GangPhase::Released);
        cordon(&mut bench, &[0]);
        evict(&mut bench, 1, 0);
        let desire = bench.authority.plan().gangs[0].desire;
        assert_eq!((bench.state(1), desire), (GangState::Terminating, Desire::Terminate { grace: Duration::from_secs(30) }));
        bench.hear_gang(run(1, 1), on_the_way);
        assert_eq!(bench.status(1).reason, StateReason::Evicted { node: NodeIndex(0) });
        let GangPhase::Ending(cause) = on_the_way else { unreachable!("these are endings") };
        bench.hear_gang(run(1, 1), GangPhase::Ended(cause));
        assert_eq!(bench.launches()[1..], [(run(1, 2), vec![1, 2])]);
        assert_eq!((bench.status(1).restarts, bench.status(1).preemptions), (0, 1));
    }
}

#[test]
fn an_eviction_of_another_life_or_another_node_changes_nothing() {
    let mut bench = Bench::established(3, 1);
    bench.submit(job(1, 2));
    evict(&mut bench, 2, 0);
    evict(&mut bench, 1, 2);
    assert_eq!(bench.state(1), GangState::Placed);
}

#[test]
fn what_its_user_wants_goes_before_an_eviction() {
    for (input, expected) in [
        (AuthorityInput::SetSuspended { gang: GangId(1), suspended: true }, GangState::Suspended),
        (AuthorityInput::Cancel { gang: GangId(1) }, GangState::Failed),
    ] {
        let mut bench = Bench::established(2, 1);
        bench.submit(job(1, 2));
        bench.hear_gang(run(1, 1), GangPhase::Released);
        evict(&mut bench, 1, 0);
        bench.step(input);
        bench.hear_gang(run(1, 1), TERMINATED);
        assert_eq!(bench.state(1), expected);
    }
}

#[test]
fn a_gang_that_completed_before_its_pod_was_taken_has_completed() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.hear_gang(run(1, 1), GangPhase::Released);
    evict(&mut bench, 1, 0);
    bench.hear_gang(run(1, 1), GangPhase::Ended(EndCause::Completed));
    assert_eq!((bench.state(1), bench.status(1).preemptions), (GangState::Complete, 0));
}

#[test]
fn a_gang_that_is_not_placed_waits_and_tries_its_node_again_after_longer_and_longer() {
    let mut bench = Bench::established(2, 1);
    bench.submit(restarting(1, 2, 1));
    for (incarnation, seconds) in [(1, 10), (2, 20), (3, 40)] {
        bench.step(not_placed(incarnation, &[1], &[0, 1]));
        assert_eq!(bench.status(1).reason, StateReason::NotPlaced { position: 1, failure: PlacementFailure::TimedOut });
        assert_eq!((bench.state(1), bench.status(1).restarts), (GangState::Queued, 0));
        bench.pass(seconds * 1_000 - 1);
        assert_eq!(bench.state(1), GangState::Queued);
        bench.pass(1);
        assert_eq!(bench.state(1), GangState::Placed);
    }
    bench.hear_gang(run(1, 4), GangPhase::Released);
    bench.hear_gang(run(1, 4), GangPhase::Ended(rank_failed(0)));
    bench.step(not_placed(5, &[1], &[0, 1]));
    bench.pass(10_000);
    assert_eq!(bench.state(1), GangState::Placed, "it was placed meanwhile: it begins anew with the shortest time");
}

#[test]
fn a_gang_that_is_not_placed_goes_to_other_nodes_at_once_and_holds_nobody_up() {
    let mut bench = Bench::established(3, 1);
    bench.submit(job(1, 2));
    bench.step(not_placed(1, &[1], &[0, 1]));
    assert_eq!(bench.launches(), [(run(1, 1), vec![0, 1]), (run(1, 2), vec![0, 2])]);
    bench.step(not_placed(2, &[0, 2], &[0, 2]));
    bench.submit(JobSpecification { priority: -1, ..job(2, 3) });
    assert_eq!((bench.state(1), bench.state(2)), (GangState::Queued, GangState::Placed));
}

#[test]
fn a_placement_that_came_to_nothing_is_over_when_nothing_of_it_can_live() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.step(not_placed(1, &[1], &[1]));
    assert_eq!(
        (bench.state(1), bench.authority.plan().gangs[0].desire),
        (GangState::Terminating, Desire::Terminate { grace: Duration::ZERO })
    );
    assert_eq!(bench.status(1).reason, StateReason::NotPlaced { position: 0, failure: PlacementFailure::TimedOut });
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!(bench.state(1), GangState::Queued);
}

#[test]
fn a_rank_that_failed_before_its_placement_came_to_nothing_has_failed() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.step(not_placed(1, &[1], &[1]));
    bench.hear_gang(run(1, 1), GangPhase::Ended(rank_failed(0)));
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Failed, StateReason::Ended(rank_failed(0))));
}

#[test]
fn a_gang_of_which_a_node_takes_no_pod_ends_elsewhere_and_goes_to_other_nodes_without_a_restart() {
    let mut bench = Bench::established(3, 1);
    bench.submit(job(1, 2));
    bench.hear_gang(run(1, 1), GangPhase::Launching);
    let (failure, blamed) = (PlacementFailure::Rejected, set(&[1]));
    bench.step(AuthorityInput::NotPlaced { run: run(1, 1), failure, blamed, empty: NodeSet::EMPTY });
    assert_eq!(bench.state(1), GangState::Terminating, "of its other node nothing is proven");
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!(bench.launches()[1..], [(run(1, 2), vec![0, 2])]);
    assert_eq!((bench.status(1).restarts, bench.status(1).preemptions), (0, 0));
}

#[test]
fn a_suspended_job_that_is_not_placed_is_suspended() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.step(AuthorityInput::NotPlaced { run: run(1, 1), failure: PlacementFailure::Image, blamed: set(&[1]), empty: set(&[1]) });
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!(bench.state(1), GangState::Suspended);
}
