//! What the authority is told.

use std::{slice::from_ref, time::Duration};

use strobe_core::{
    manager::ManagerInput,
    message::{AnnouncerCommand, AnnouncerReport, GangReport, GangSignal, PartitionReport, ToManager},
    model::{Desire, Fence, MatrixVersion, NodeIndex, Term, View},
    primitives::{GangPhase, Payload},
};

use crate::bench::{ALL, Bench, FENCE, agent, plan, planned, run};

#[test]
fn the_whole_state_is_reported_when_it_changes() {
    let mut bench = Bench::established();
    let first = PartitionReport {
        fence: FENCE,
        sequence: 1,
        established: true,
        leads: false,
        refused_by: None,
        view: ALL.map(|node| agent(node, 1)).to_vec(),
        generation: 2,
        plan: MatrixVersion(0),
        gangs: Vec::new(),
    };
    assert_eq!(bench.reports(), from_ref(&first));
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.reports(), [], "nothing has changed");
    bench.has_lease(Duration::from_millis(9));
    let leads = PartitionReport { sequence: 2, leads: true, ..first.clone() };
    assert_eq!(bench.reports(), from_ref(&leads));
    bench.is_planned(plan(1, vec![planned(1, &[1, 2], Desire::Run)]));
    assert_eq!(bench.reports(), [], "the plan is not stable");
    bench.all_hold(&ALL);
    let gang = GangReport { run: run(1), phase: GangPhase::Launching, held: false, nodes_up: 0, nodes_absent: Vec::new() };
    let launching = PartitionReport { sequence: 3, plan: MatrixVersion(1), gangs: vec![gang.clone()], ..leads };
    assert_eq!(bench.reports(), from_ref(&launching));
    bench.signals(1, 1, GangSignal::Up(Payload::new([1])));
    let up = PartitionReport { sequence: 4, gangs: vec![GangReport { nodes_up: 1, ..gang.clone() }], ..launching };
    assert_eq!(bench.reports(), from_ref(&up));
    bench.suspects(agent(2, 1));
    let without = PartitionReport {
        fence: Fence { view: View(2), ..FENCE },
        sequence: 5,
        view: vec![agent(0, 1), agent(1, 1)],
        gangs: vec![GangReport { nodes_up: 1, nodes_absent: vec![NodeIndex(2)], ..gang }],
        ..up
    };
    assert_eq!(bench.reports(), from_ref(&without));
    bench.passes(Duration::from_millis(9));
    assert_eq!(bench.reports(), [PartitionReport { sequence: 6, leads: false, ..without }], "the lease is over at its end");
}

#[test]
fn a_higher_promise_of_a_member_is_the_last_thing_that_is_reported() {
    let refused = |mut bench: Bench| {
        bench.hears(1, ToManager::SealRefused { sealed: Term(4) });
        assert!(!bench.manager.is_appointed() && bench.commands() == [AnnouncerCommand::Stop]);
        let [report] = &bench.reports()[..] else { panic!("{:?}", bench.effects) };
        (report.sequence, report.established, report.leads, report.refused_by)
    };
    assert_eq!(refused(Bench::appointed()), (1, false, false, Some(Term(4))));
    assert_eq!(refused(Bench::leading()), (3, false, false, Some(Term(4))));
}

#[test]
fn what_is_said_of_the_lease_and_of_silence_counts_in_its_own_term() {
    let earlier = Fence { term: Term(1), ..FENCE };
    let mut bench = Bench::established();
    let (until, next_epoch_at) = (bench.now + Duration::from_secs(60), bench.now);
    let lease = |fence| AnnouncerReport::Lease { fence, until, epoch: strobe_core::model::Epoch(0), next_epoch_at };
    bench.step(ManagerInput::Announcer(lease(earlier)));
    assert_eq!(bench.effects, []);
    let silent = AnnouncerReport::Suspect { fence: earlier, node: NodeIndex(2), incarnation: agent(2, 1).incarnation };
    bench.step(ManagerInput::Announcer(silent));
    assert_eq!(bench.effects, []);
    bench.step(ManagerInput::Announcer(lease(FENCE)));
    assert!(bench.reports()[0].leads);
}

#[test]
fn the_strobe_thread_is_told_the_rows_of_the_gangs_that_run() {
    let mut bench = Bench::leading();
    bench.is_planned(plan(1, vec![planned(1, &[0], Desire::Run), planned(2, &[0], Desire::Run)]));
    bench.all_hold(&ALL);
    let rotation = |bench: &Bench| match &bench.commands()[..] {
        [AnnouncerCommand::Rotation { version, rows, .. }] => Some((version.0, rows.iter().map(|row| row.0).collect::<Vec<_>>())),
        [] => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(rotation(&bench), Some((1, vec![])));
    bench.signals(0, 2, GangSignal::Up(Payload::new([1])));
    bench.all_hold(&ALL);
    assert_eq!(rotation(&bench), None, "it is asked whether it is up");
    bench.compares(0, 2, true);
    bench.all_hold(&ALL);
    assert_eq!(rotation(&bench), Some((1, vec![2])));
}
