//! Section 7 of the design, and what sections 2 and 6 say of restarts, suspension and pauses.

use std::time::Duration;

use strobe_core::{
    authority::{AuthorityInput, JOBS_MAX, JobSpecification, LaunchFailure, NodeState, PartitionConfiguration, RestartPolicy, StateReason},
    machine::Machine,
    matrix::NoPlacement,
    message::GangReport,
    model::{BarrierFailure, Desire, EndCause, GangId, GangState, NodeIndex, NodeSet, RowIndex},
    primitives::GangPhase,
};

use crate::bench::{Bench, agent, configuration, gang, job, rank_failed, restarting, run};

const COMPLETED: GangPhase = GangPhase::Ended(EndCause::Completed);
const TERMINATED: GangPhase = GangPhase::Ended(EndCause::Terminated);

fn desire(bench: &Bench, gang: u64) -> Option<Desire> {
    bench.authority.plan().gangs.iter().find(|planned| planned.run.gang == GangId(gang)).map(|planned| planned.desire)
}

fn only(node: u16) -> NodeSet {
    [NodeIndex(node)].into_iter().collect()
}

/// A bench with one running gang over all nodes.
fn running(nodes: u16, specification: JobSpecification) -> Bench {
    let mut bench = Bench::established(nodes, 1);
    bench.submit(specification);
    bench.hear_gang(run(1, 1), GangPhase::Released);
    assert_eq!(bench.state(1), GangState::Running);
    bench
}

#[test]
fn a_job_lives_from_the_queue_to_its_end() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    assert_eq!((bench.launches(), desire(&bench, 1)), (vec![(run(1, 1), vec![0, 1])], Some(Desire::Run)));
    bench.hear_gangs(vec![GangReport { nodes_up: 0, ..gang(run(1, 1), GangPhase::Launching) }]);
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Placed, StateReason::None), "no supervisor is up");
    bench.hear_gang(run(1, 1), GangPhase::Launching);
    bench.hear_gang(run(1, 1), GangPhase::Released);
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!(bench.states(1), [GangState::Placed, GangState::Launching, GangState::Running, GangState::Complete]);
    assert_eq!(bench.status(1).reason, StateReason::Ended(EndCause::Completed));
    assert_eq!((bench.removals(), desire(&bench, 1), bench.status(1).placement), (vec![run(1, 1)], None, None));
    assert!(bench.plans().is_sorted_by(|one, next| one.version < next.version), "every plan has a higher version");
}

#[test]
fn a_report_may_be_the_first_that_arrives() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!(bench.state(1), GangState::Complete);
}

#[test]
fn nothing_is_admitted_before_the_first_term_and_the_first_appointment_has_the_plan() {
    let mut bench = Bench::bare(1, 1);
    bench.submit(job(1, 1));
    assert_eq!(bench.status(1).reason, StateReason::NoTerm { position: 1 });
    bench.reach(agent(0, 1), None);
    assert_eq!(bench.state(1), GangState::Queued);
    bench.write();
    assert_eq!((bench.state(1), bench.appointments()[0].1.plan.gangs.len()), (GangState::Placed, 1));
}

#[test]
fn jobs_share_rows_by_priority_and_then_by_order_and_say_why_they_wait() {
    let mut bench = Bench::established(2, 1);
    for gang in 1..=3 {
        bench.submit(job(gang, 2));
    }
    bench.submit(JobSpecification { priority: 1, ..job(4, 2) });
    bench.submit(job(5, 1));
    let shortage = NoPlacement::Slots { free: 0, wanted: 2, slots: 1 };
    assert_eq!(bench.status(4).reason, StateReason::NoPlacement { position: 1, shortage });
    assert_eq!(bench.status(3).reason, StateReason::Behind { position: 2 });
    assert_eq!(bench.status(5).reason, StateReason::Behind { position: 3 });
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!((bench.state(4), bench.state(3)), (GangState::Placed, GangState::Queued));
}

#[test]
fn a_waiting_job_is_moved_in_the_queue_by_another_priority() {
    let mut bench = Bench::established(2, 1);
    for gang in 1..=4 {
        bench.submit(job(gang, 2));
    }
    assert_eq!(bench.status(4).reason, StateReason::Behind { position: 2 });
    bench.step(AuthorityInput::SetPriority { gang: GangId(4), priority: 1 });
    assert_eq!(bench.status(3).reason, StateReason::Behind { position: 2 });
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!((bench.state(4), bench.state(3)), (GangState::Placed, GangState::Queued));
}

#[test]
fn a_namespace_has_as_many_ranks_as_it_may_have_and_keeps_nobody_else_waiting() {
    let mut bench = Bench::established(3, 4);
    let limited = |limit| PartitionConfiguration { ranks_per_namespace: Some(limit), ..configuration(3, 4) };
    bench.step(AuthorityInput::Configure(limited(2)));
    bench.submit(job(1, 1));
    bench.submit(job(2, 2));
    bench.submit(JobSpecification { namespace: "chemistry".to_owned(), ..job(3, 2) });
    bench.submit(job(4, 1));
    assert_eq!(bench.status(2).reason, StateReason::NamespaceRanks { position: 1, held: 1, wanted: 2, limit: 2 });
    assert_eq!([3, 4].map(|gang| bench.state(gang)), [GangState::Placed; 2], "neither another's job nor one that fits waits for it");
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!(bench.status(2).reason, StateReason::NamespaceRanks { position: 1, held: 1, wanted: 2, limit: 2 });
    bench.step(AuthorityInput::Configure(limited(3)));
    assert_eq!(bench.state(2), GangState::Placed, "the partition allows more by now");
    bench.submit(JobSpecification { ranks_per_node: 2, ..job(5, 2) });
    assert_eq!(bench.status(5).reason, StateReason::NamespaceRanks { position: 1, held: 3, wanted: 4, limit: 3 });
}

#[test]
fn a_narrow_job_does_not_overtake_a_wide_one_that_waits() {
    let mut bench = Bench::established(2, 1);
    for gang in 1..=3 {
        bench.submit(job(gang, 1));
    }
    bench.submit(job(4, 2));
    bench.submit(job(5, 1));
    assert_eq!(
        bench.status(4).reason,
        StateReason::NoPlacement { position: 1, shortage: NoPlacement::Slots { free: 1, wanted: 2, slots: 1 } }
    );
    assert_eq!(bench.state(5), GangState::Queued, "one slot is free for it");
}

#[test]
fn a_job_that_no_end_of_others_would_help_does_not_hold_the_queue_up() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 3));
    bench.submit(job(2, 1));
    assert_eq!(bench.status(1).reason, StateReason::NoPlacement { position: 1, shortage: NoPlacement::Nodes { usable: 2, wanted: 3 } });
    assert_eq!(bench.state(2), GangState::Placed);
}

#[test]
fn the_end_of_a_gang_compacts_rows_and_keeps_cpus() {
    let mut bench = Bench::established(2, 1);
    bench.submit(job(1, 2));
    bench.submit(job(2, 2));
    let before = bench.status(2).placement.expect("it is placed");
    bench.hear_gang(run(1, 1), COMPLETED);
    let after = bench.status(2).placement.expect("it is placed");
    assert_eq!((before.rows, after.rows), ([RowIndex(1)].into_iter().collect(), [RowIndex(0)].into_iter().collect()));
    assert_eq!(before.nodes, after.nodes);
}

#[test]
fn a_failed_rank_ends_the_job_or_restarts_it_up_to_the_limit() {
    let mut bench = running(1, restarting(1, 1, 1));
    bench.hear_gang(run(1, 1), GangPhase::Ending(rank_failed(0)));
    assert_eq!((bench.state(1), bench.launches().len()), (GangState::Terminating, 1));
    assert_eq!(bench.status(1).reason, StateReason::Ended(rank_failed(0)));
    bench.hear_gang(run(1, 1), GangPhase::Ended(rank_failed(0)));
    assert_eq!((bench.state(1), bench.status(1).restarts, bench.launches().len()), (GangState::Placed, 1, 2));
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!(bench.state(1), GangState::Placed, "that was the life before");
    bench.hear_gang(run(1, 2), GangPhase::Ended(rank_failed(0)));
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Failed, StateReason::Ended(rank_failed(0))));
    assert_eq!(bench.removals(), [run(1, 1), run(1, 2)]);
}

#[test]
fn a_restart_needs_a_policy_for_its_cause() {
    let barrier = EndCause::BarrierFailed { node: NodeIndex(0), reason: BarrierFailure::MemoryFull };
    let policies = [rank_failed(0), barrier]
        .into_iter()
        .flat_map(|cause| [(true, false, cause, GangState::Placed), (false, true, cause, GangState::Failed)]);
    for (on_rank_failure, on_node_lost, cause, expected) in policies {
        let mut bench = running(1, JobSpecification { restart: RestartPolicy { limit: 3, on_rank_failure, on_node_lost }, ..job(1, 1) });
        bench.hear_gang(run(1, 1), GangPhase::Ended(cause));
        assert_eq!(bench.state(1), expected);
    }
}

#[test]
fn an_agent_that_is_gone_fails_nothing() {
    let mut bench = running(2, job(1, 2));
    bench.miss(agent(1, 1));
    bench.pass(3_600_000);
    assert_eq!(bench.state(1), GangState::Running);
    assert_eq!(bench.status(1).reason, StateReason::NodeUnreachable { nodes: only(1) });
    bench.reach(agent(1, 2), Some(1));
    assert_eq!(bench.status(1).reason, StateReason::None);
}

#[test]
fn a_suspected_node_costs_synchrony_only() {
    let mut bench = running(2, job(1, 2));
    assert!(bench.status(1).synchronised);
    bench.hear_gangs(vec![GangReport { nodes_absent: vec![NodeIndex(1)], ..gang(run(1, 1), GangPhase::Released) }]);
    assert_eq!((bench.status(1).synchronised, bench.state(1)), (false, GangState::Running));
}

#[test]
fn a_node_is_lost_only_with_proof_and_after_its_time_and_the_survivors_end_before_the_restart() {
    let mut bench = Bench::established(3, 1);
    bench.submit(restarting(1, 2, 1));
    bench.hear_gang(run(1, 1), GangPhase::Released);
    bench.miss(agent(1, 1));
    bench.pass(5_000);
    bench.prove_dead(1);
    assert_eq!((bench.state(1), bench.authority.node_state(NodeIndex(1))), (GangState::Running, Some(NodeState::Dead)));
    bench.pass(5_000);
    assert_eq!(bench.authority.node_state(NodeIndex(1)), Some(NodeState::Lost));
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Terminating, Some(Desire::Terminate { grace: Duration::ZERO })));
    assert_eq!(bench.launches().len(), 1, "the rank on node 0 may live");
    let absent = vec![NodeIndex(1)];
    bench.hear_gangs(vec![GangReport { nodes_absent: absent.clone(), ..gang(run(1, 1), GangPhase::Ending(EndCause::Terminated)) }]);
    assert_eq!(bench.launches().len(), 1);
    bench.hear_gangs(vec![GangReport { nodes_absent: absent, ..gang(run(1, 1), TERMINATED) }]);
    assert_eq!(bench.launches()[1..], [(run(1, 2), vec![0, 2])]);
    assert_eq!(bench.status(1).restarts, 1);
}

#[test]
fn a_node_whose_proof_comes_late_is_lost_at_once() {
    let mut bench = running(2, job(1, 2));
    bench.miss(agent(1, 1));
    bench.pass(20_000);
    assert_eq!(bench.state(1), GangState::Running);
    bench.prove_dead(1);
    assert_eq!(bench.state(1), GangState::Terminating);
}

#[test]
fn a_gang_that_ended_is_not_run_again_while_a_node_of_it_may_hold_a_rank() {
    let mut bench = running(2, restarting(1, 2, 1));
    bench.miss(agent(1, 1));
    let ended = GangReport { nodes_absent: vec![NodeIndex(1)], ..gang(run(1, 1), GangPhase::Ended(rank_failed(0))) };
    bench.hear_gangs(vec![ended]);
    bench.pass(3_600_000);
    assert_eq!((bench.state(1), bench.launches().len()), (GangState::Terminating, 1));
    assert_eq!(bench.status(1).reason, StateReason::NodeUnreachable { nodes: only(1) });
    bench.prove_dead(1);
    assert_eq!((bench.state(1), bench.status(1).restarts), (GangState::Queued, 1), "known dead; it waits for a second node");
}

#[test]
fn a_gang_whose_nodes_are_all_dead_needs_no_manager() {
    let mut bench = Bench::established(3, 1);
    bench.submit(JobSpecification { restart: RestartPolicy { limit: 1, on_rank_failure: false, on_node_lost: true }, ..job(1, 1) });
    bench.miss(agent(0, 1));
    bench.prove_dead(0);
    assert_eq!(bench.state(1), GangState::Placed);
    bench.pass(10_000);
    assert_eq!((bench.state(1), bench.launches()[1..].to_vec()), (GangState::Placed, vec![(run(1, 2), vec![1])]));
}

#[test]
fn a_node_that_comes_back_after_its_proof_has_lost_its_ranks() {
    for returned in [false, true] {
        let mut bench = running(2, job(1, 2));
        bench.miss(agent(1, 1));
        bench.prove_dead(1);
        assert_eq!(bench.state(1), GangState::Running);
        if returned {
            bench.step(AuthorityInput::NodeReturned { node: NodeIndex(1) });
        } else {
            bench.reach(agent(1, 2), None);
        }
        assert_eq!(
            (bench.state(1), bench.status(1).reason),
            (GangState::Terminating, StateReason::Ended(EndCause::NodeLost { node: NodeIndex(1) }))
        );
        bench.hear_gang(run(1, 1), TERMINATED);
        assert_eq!(bench.status(1).reason, StateReason::Ended(EndCause::NodeLost { node: NodeIndex(1) }));
    }
}

#[test]
fn a_failed_launch_ends_the_run_and_counts_as_a_failure() {
    let mut bench = Bench::established(2, 1);
    bench.submit(restarting(1, 2, 1));
    let failure = LaunchFailure::NotStarted(2);
    bench.step(AuthorityInput::LaunchFailed { run: run(1, 1), node: NodeIndex(1), failure });
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Terminating, Some(Desire::Terminate { grace: Duration::ZERO })));
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!(bench.launches().len(), 2);
    bench.step(AuthorityInput::LaunchFailed { run: run(1, 1), node: NodeIndex(1), failure });
    assert_eq!(bench.state(1), GangState::Placed, "that was the life before");
    for node in 0..2 {
        bench.step(AuthorityInput::LaunchFailed { run: run(1, 2), node: NodeIndex(node), failure });
    }
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Failed, StateReason::LaunchFailed { node: NodeIndex(0), failure }));
}

#[test]
fn a_pause_keeps_slots_and_a_resumption_goes_on() {
    let mut bench = running(1, job(1, 1));
    bench.step(AuthorityInput::SetPaused { gang: GangId(1), paused: true });
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Running, Some(Desire::Pause)));
    bench.hear_gangs(vec![GangReport { held: true, ..gang(run(1, 1), GangPhase::Released) }]);
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Paused, StateReason::Paused));
    assert!(bench.status(1).placement.is_some());
    bench.step(AuthorityInput::SetPaused { gang: GangId(1), paused: false });
    bench.hear_gang(run(1, 1), GangPhase::Released);
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Running, Some(Desire::Run)));
}

#[test]
fn a_job_that_is_paused_from_the_first_is_launched_and_does_not_run() {
    let mut bench = Bench::established(1, 1);
    bench.submit(JobSpecification { paused: true, ..job(1, 1) });
    assert_eq!(desire(&bench, 1), Some(Desire::Pause));
    bench.hear_gangs(vec![GangReport { held: true, ..gang(run(1, 1), GangPhase::Launching) }]);
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Launching, StateReason::Paused));
    bench.hear_gangs(vec![GangReport { held: true, ..gang(run(1, 1), GangPhase::Released) }]);
    assert_eq!(bench.states(1), [GangState::Placed, GangState::Launching, GangState::Paused]);
}

#[test]
fn a_suspension_releases_the_slots_and_its_end_queues_again_as_a_new_life() {
    let mut bench = running(2, job(1, 2));
    bench.submit(job(2, 2));
    bench.submit(job(3, 2));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    let grace = Duration::from_secs(30);
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Terminating, Some(Desire::Terminate { grace })));
    assert_eq!(bench.state(3), GangState::Queued, "the slots are held until the run is known dead");
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!((bench.state(1), bench.state(3)), (GangState::Suspended, GangState::Placed));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: false });
    assert_eq!(bench.state(1), GangState::Queued);
    bench.hear_gang(run(2, 1), COMPLETED);
    assert_eq!((bench.state(1), bench.status(1).restarts), (GangState::Placed, 0));
    assert_eq!(bench.launches().last().expect("it was launched").0, run(1, 2));
}

#[test]
fn a_running_job_that_shall_not_be_suspended_runs_on() {
    let mut bench = running(1, job(1, 1));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: false });
    assert_eq!((bench.state(1), desire(&bench, 1)), (GangState::Running, Some(Desire::Run)));
}

#[test]
fn a_suspension_that_is_taken_back_still_ends_the_run_and_then_queues() {
    let mut bench = running(1, job(1, 1));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: false });
    assert!(matches!(desire(&bench, 1), Some(Desire::Terminate { .. })));
    bench.hear_gang(run(1, 1), TERMINATED);
    assert_eq!(bench.launches().len(), 2);
}

#[test]
fn a_job_that_is_suspended_from_the_first_waits_for_nothing() {
    let mut bench = Bench::established(1, 1);
    bench.submit(JobSpecification { suspended: true, ..job(1, 1) });
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Suspended, StateReason::Suspended));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    assert_eq!(bench.state(1), GangState::Suspended, "it is already");
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: false });
    assert_eq!(bench.state(1), GangState::Placed);
    bench.submit(job(2, 1));
    bench.submit(job(3, 1));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(3), suspended: false });
    assert_eq!(bench.state(3), GangState::Queued, "it never was");
}

#[test]
fn a_rank_that_failed_before_a_suspension_reached_it_has_failed() {
    let mut bench = running(1, job(1, 1));
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    bench.hear_gang(run(1, 1), GangPhase::Ended(rank_failed(0)));
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Failed, StateReason::Ended(rank_failed(0))));
}

#[test]
fn a_cancelled_job_ends_for_good_wherever_it_stands() {
    let cancel = AuthorityInput::Cancel { gang: GangId(1) };
    let mut running = running(1, restarting(1, 1, 9));
    running.step(cancel.clone());
    assert_eq!((running.state(1), running.status(1).reason), (GangState::Terminating, StateReason::Cancelled));
    running.hear_gang(run(1, 1), GangPhase::Ended(rank_failed(0)));
    assert_eq!((running.state(1), running.status(1).reason), (GangState::Failed, StateReason::Cancelled));
    for suspended in [true, false] {
        let mut waiting = Bench::bare(1, 1);
        waiting.submit(JobSpecification { suspended, ..job(1, 1) });
        waiting.step(cancel.clone());
        assert_eq!((waiting.state(1), waiting.status(1).reason), (GangState::Failed, StateReason::Cancelled));
    }
}

#[test]
fn ranks_that_all_exited_well_before_a_cancellation_reached_them_have_completed() {
    let mut bench = running(1, job(1, 1));
    bench.step(AuthorityInput::Cancel { gang: GangId(1) });
    bench.hear_gang(run(1, 1), COMPLETED);
    assert_eq!(bench.state(1), GangState::Complete);
}

#[test]
fn the_active_deadline_counts_the_time_with_slots_over_all_runs() {
    let mut bench = Bench::established(1, 1);
    bench.submit(JobSpecification { active_deadline: Some(Duration::from_secs(10)), ..job(1, 1) });
    bench.hear_gang(run(1, 1), GangPhase::Released);
    bench.pass(6_000);
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: true });
    bench.hear_gang(run(1, 1), TERMINATED);
    bench.pass(100_000);
    bench.step(AuthorityInput::SetSuspended { gang: GangId(1), suspended: false });
    bench.hear_gang(run(1, 2), GangPhase::Released);
    bench.pass(3_999);
    assert_eq!(bench.state(1), GangState::Running);
    bench.pass(1);
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Terminating, StateReason::DeadlineExceeded));
    bench.hear_gang(run(1, 2), TERMINATED);
    assert_eq!((bench.state(1), bench.status(1).reason), (GangState::Failed, StateReason::DeadlineExceeded));
    assert_eq!(bench.authority.next_deadline(), None);
}

#[test]
fn a_repeated_submission_changes_nothing_and_an_ended_job_is_kept_until_forgotten() {
    let mut bench = running(1, job(1, 1));
    let forget = AuthorityInput::Forget { gang: GangId(1) };
    bench.step(forget.clone());
    bench.hear_gang(run(1, 1), COMPLETED);
    bench.submit(job(1, 1));
    assert_eq!((bench.state(1), bench.launches().len()), (GangState::Complete, 1));
    bench.step(forget);
    assert_eq!(bench.authority.job(GangId(1)), None);
}

#[test]
fn all_jobs_are_known_and_of_those_that_have_lived_something_must_not_be_forgotten() {
    let mut bench = Bench::established(1, 1);
    [3, 1, 2].into_iter().for_each(|gang| bench.submit(job(gang, 1)));
    assert_eq!(bench.authority.jobs().map(|job| job.gang.0).collect::<Vec<_>>(), [1, 2, 3]);
    let lived = bench.authority.recollections().map(|recollection| recollection.gang.0);
    assert_eq!(lived.collect::<Vec<_>>(), [1, 3], "there are two rows of one CPU, and 2 came last");
}

#[test]
fn a_state_is_said_once() {
    let mut bench = running(1, job(1, 1));
    let said = bench.states(1).len();
    bench.hear_gang(run(1, 1), GangPhase::Released);
    bench.step(AuthorityInput::Timer);
    assert_eq!(bench.states(1).len(), said);
}

#[test]
fn more_jobs_than_can_be_known_are_refused() {
    let mut bench = Bench::bare(1, 1);
    let jobs = u64::try_from(JOBS_MAX).expect("small");
    // Suspended and ended at once, so that nothing is said of them again.
    for gang in 1..=jobs {
        bench.submit(JobSpecification { suspended: true, ..job(gang, 1) });
        bench.step(AuthorityInput::Cancel { gang: GangId(gang) });
        bench.effects.clear();
    }
    bench.submit(job(jobs + 1, 1));
    assert_eq!((bench.states(jobs + 1), bench.authority.job(GangId(jobs + 1))), (vec![GangState::Failed], None));
}
