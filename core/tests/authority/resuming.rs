//! An authority that begins anew goes on where an earlier one stood, from what that must not forget.

use std::time::Duration;

use strobe_core::{
    authority::{AuthorityInput, JobSpecification, PlacementFailure, Recollection, StateReason},
    model::{EndCause, GangId, GangState, MatrixVersion, NodeIndex, NodeSet, RowIndex, TermRecord},
    primitives::GangPhase,
};

use crate::bench::{Bench, agent, job, restarting, run};

/// What is left of an authority: its record, and what it must not forget.
struct Legacy {
    record: TermRecord,
    recollections: Vec<Recollection>,
    plan: MatrixVersion,
    /// How long ago the runs were admitted.
    held: Duration,
}

fn legacy(bench: &Bench) -> Legacy {
    let record = bench.authority.term_record().expect("a term reigns").clone();
    Legacy { record, recollections: bench.authority.recollections().collect(), plan: bench.authority.plan().version, held: Duration::ZERO }
}

/// A new authority that knows the jobs of the earlier one.
fn heir(nodes: u16, cpus: u16, legacy: &Legacy, jobs: &[JobSpecification]) -> Bench {
    let mut bench = Bench::bare(nodes, cpus);
    bench.step(AuthorityInput::Recovered(Some(legacy.record.clone())));
    for specification in jobs {
        let known = legacy.recollections.iter().find(|recollection| recollection.gang == specification.gang);
        match known.cloned() {
            Some(recollection) => {
                bench.step(AuthorityInput::Resume { specification: specification.clone(), recollection, held: legacy.held });
            }
            None => bench.step(AuthorityInput::Submit(specification.clone())),
        }
    }
    bench
}

fn take_over(bench: &mut Bench, nodes: u16) {
    (0..nodes).for_each(|node| bench.reach(agent(node, 1), Some(1)));
    bench.write();
    bench.establish();
}

#[test]
fn a_run_goes_on_in_its_own_slots_under_a_newer_plan_and_is_not_launched_again() {
    let mut first = Bench::established(2, 1);
    [1, 2].into_iter().for_each(|gang| first.submit(job(gang, 2)));
    first.hear_gang(run(1, 1), GangPhase::Released);
    let legacy = legacy(&first);
    let mut second = heir(2, 1, &legacy, &[job(1, 2), job(2, 2)]);
    assert_eq!(second.launches(), []);
    take_over(&mut second, 2);
    assert!(second.authority.plan().version > legacy.plan, "{:?} after {:?}", second.authority.plan().version, legacy.plan);
    assert_eq!(second.authority.plan().gangs, first.authority.plan().gangs, "rows, nodes and CPUs are what they were");
    second.hear_gang(run(1, 1), GangPhase::Released);
    assert_eq!((second.state(1), second.state(2)), (GangState::Running, GangState::Placed));
    second.hear_gang(run(1, 1), GangPhase::Ended(EndCause::Completed));
    assert_eq!((second.state(1), second.launches()), (GangState::Complete, vec![]));
}

#[test]
fn a_run_is_resumed_once() {
    let mut first = Bench::established(2, 1);
    first.submit(job(1, 2));
    first.hear_gang(run(1, 1), GangPhase::Released);
    let legacy = legacy(&first);
    let mut second = heir(2, 1, &legacy, &[job(1, 2)]);
    let recollection = legacy.recollections[0].clone();
    second.step(AuthorityInput::Resume { specification: job(1, 2), recollection, held: legacy.held });
    take_over(&mut second, 2);
    second.hear_gang(run(1, 1), GangPhase::Released);
    assert_eq!(second.state(1), GangState::Running, "a second time it would find its own slots taken");
}

#[test]
fn restarts_are_counted_on_and_the_next_life_has_the_next_number() {
    let mut first = Bench::established(2, 1);
    first.submit(restarting(1, 2, 1));
    first.hear_gang(run(1, 1), GangPhase::Ended(crate::bench::rank_failed(0)));
    assert_eq!(first.status(1).restarts, 1);
    let mut second = heir(2, 1, &legacy(&first), &[restarting(1, 2, 1)]);
    take_over(&mut second, 2);
    second.hear_gang(run(1, 2), GangPhase::Ended(crate::bench::rank_failed(0)));
    assert_eq!((second.state(1), second.status(1).restarts), (GangState::Failed, 1), "its one restart is used up");
}

#[test]
fn a_gang_that_could_not_be_placed_keeps_away_for_as_long_as_it_would_have() {
    let mut first = Bench::established(2, 1);
    let specification = job(1, 2);
    first.submit(specification.clone());
    let nodes = |nodes: &[u16]| nodes.iter().copied().map(NodeIndex).collect::<NodeSet>();
    let not_placed = |incarnation: u32| {
        let failure = PlacementFailure::TimedOut;
        AuthorityInput::NotPlaced { run: run(1, incarnation), failure, blamed: nodes(&[1]), empty: nodes(&[0, 1]) }
    };
    first.step(not_placed(1));
    first.pass(10_000);
    first.step(not_placed(2));
    let mut second = heir(2, 1, &legacy(&first), &[specification]);
    take_over(&mut second, 2);
    assert_eq!(second.state(1), GangState::Placed, "another authority tries at once");
    second.step(not_placed(3));
    second.pass(39_999);
    assert_eq!(second.state(1), GangState::Queued);
    second.pass(1);
    assert_eq!(second.state(1), GangState::Placed, "twice as long as the time before");
}

#[test]
fn what_has_ended_is_not_run_again_and_not_said_again() {
    let mut first = Bench::established(1, 1);
    first.submit(job(1, 1));
    first.hear_gang(run(1, 1), GangPhase::Ended(EndCause::Completed));
    let mut second = heir(1, 1, &legacy(&first), &[job(1, 1)]);
    take_over(&mut second, 1);
    assert_eq!((second.state(1), second.states(1), second.launches()), (GangState::Complete, vec![], vec![]));
    assert_eq!(second.status(1).reason, StateReason::EndedBefore);
}

#[test]
fn what_was_suspended_meanwhile_is_ended() {
    let mut first = Bench::established(1, 1);
    first.submit(job(1, 1));
    let mut second = heir(1, 1, &legacy(&first), &[JobSpecification { suspended: true, ..job(1, 1) }]);
    take_over(&mut second, 1);
    assert_eq!(second.state(1), GangState::Terminating);
    second.hear_gang(run(1, 1), GangPhase::Ended(EndCause::Terminated));
    assert_eq!(second.state(1), GangState::Suspended);
}

#[test]
fn time_that_the_earlier_authority_saw_counts_for_the_deadline() {
    let limited = || JobSpecification { active_deadline: Some(Duration::from_secs(60)), ..job(1, 1) };
    let mut first = Bench::established(1, 1);
    first.submit(limited());
    let legacy = Legacy { held: Duration::from_secs(60), ..legacy(&first) };
    let mut second = heir(1, 1, &legacy, &[limited()]);
    take_over(&mut second, 1);
    assert_eq!((second.state(1), second.status(1).reason), (GangState::Terminating, StateReason::DeadlineExceeded));
}

#[test]
fn time_that_an_earlier_authority_saw_counts_once_however_many_follow() {
    let limited = || JobSpecification { active_deadline: Some(Duration::from_secs(60)), ..job(1, 1) };
    let mut first = Bench::established(1, 1);
    first.submit(limited());
    let mut second = heir(1, 1, &Legacy { held: Duration::from_secs(40), ..legacy(&first) }, &[limited()]);
    take_over(&mut second, 1);
    let mut third = heir(1, 1, &Legacy { held: Duration::from_secs(45), ..legacy(&second) }, &[limited()]);
    take_over(&mut third, 1);
    assert_eq!(third.state(1), GangState::Placed);
    third.pass(15_000);
    assert_eq!(third.status(1).reason, StateReason::DeadlineExceeded);
}

#[test]
fn a_run_without_its_place_is_neither_ended_nor_run_again() {
    let mut first = Bench::established(2, 1);
    first.submit(job(1, 2));
    let mut legacy = legacy(&first);
    let spoil: [fn(&mut Recollection); 3] = [
        |recollection| recollection.run.as_mut().expect("it runs").home = RowIndex(9),
        |recollection| recollection.run.as_mut().expect("it runs").placement[1].node = NodeIndex(7),
        |recollection| recollection.run.as_mut().expect("it runs").placement.clear(),
    ];
    for spoil in spoil {
        let whole = legacy.recollections[0].clone();
        spoil(&mut legacy.recollections[0]);
        let mut second = heir(2, 1, &legacy, &[job(1, 2)]);
        take_over(&mut second, 2);
        assert_eq!((second.state(1), second.status(1).reason), (GangState::Failed, StateReason::NotResumed));
        assert_eq!(second.launches(), []);
        legacy.recollections[0] = whole;
    }
    assert_eq!(legacy.recollections[0].gang, GangId(1));
}

#[test]
fn a_run_whose_part_was_proven_dead_under_an_earlier_authority_ends_when_the_node_is_back() {
    let mut first = Bench::established(2, 1);
    let specification = restarting(1, 2, 1);
    first.submit(specification.clone());
    first.miss(agent(1, 1));
    first.prove_dead(1);
    assert_eq!(first.state(1), GangState::Placed, "the node may come back in time");
    let mut second = heir(2, 1, &legacy(&first), &[specification]);
    let parts = |bench: &Bench| [0, 1].map(|node| bench.authority.part(run(1, 1), NodeIndex(node)));
    assert_eq!(parts(&second), [Some(GangState::Placed), None], "nothing may begin where it is dead");
    second.reach(agent(0, 1), Some(1));
    assert_eq!(second.state(1), GangState::Placed);
    second.reach(agent(1, 2), None);
    assert_eq!(second.state(1), GangState::Terminating);
    assert_eq!(second.authority.part(run(1, 2), NodeIndex(0)), None, "no such life");
}
