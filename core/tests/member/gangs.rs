//! The gangs of a member's node: what memory wants of each against what is there.

use std::time::Duration;

use strobe_core::{
    limits::GANGS_PER_NODE_MAX,
    message::{GangSignal, Hold, HoldChange, RowTable, SwitcherCommand},
    model::{BarrierFailure, EndCause, GangSlot, GangSlots, Instant, MatrixVersion, RankIndex, RankOutcome, RecordNumber, Settings, Term},
    node::{AdoptedGang, AdoptedLife, MemberEffect, MemberEvent, MemberInput},
    primitives::{Cell, Compare, Comparison, GangVerb, Memory, Record},
};

use crate::bench::{Bench, FENCE, NODE, command, fence, payload, plan, planned, run};

const LOST: EndCause = EndCause::SupervisorLost { node: NODE };
const TERMINATED: EndCause = EndCause::Terminated;

/// When the gang's last command takes effect, of the manager's clock.
const AT: Instant = Instant::from_nanoseconds(77);

fn release() -> GangVerb {
    GangVerb::Release { term: Term(2), at: AT, peers: vec![payload(8), payload(9)] }
}

fn end(grace: Duration) -> GangVerb {
    GangVerb::End { cause: TERMINATED, grace }
}

const fn hold() -> GangVerb {
    GangVerb::Hold { term: Term(2), at: AT }
}

const fn resume() -> GangVerb {
    GangVerb::Resume { term: Term(2), at: AT }
}

/// The switcher holds or resumes the gang of slot 0.
fn switched(change: HoldChange) -> SwitcherCommand {
    SwitcherCommand::Hold(Hold { slot: GangSlot(0), change, term: Term(2), at: AT })
}

fn table(version: u64, rows: &[&[u8]]) -> SwitcherCommand {
    let mut table = RowTable { version: MatrixVersion(version), ..RowTable::default() };
    for (row, slots) in table.rows.iter_mut().zip(rows) {
        *row = slots.iter().copied().map(GangSlot).collect::<GangSlots>();
    }
    SwitcherCommand::Table(table)
}

fn failed(cause: EndCause) -> MemberEvent {
    MemberEvent::GangFailed { run: run(1), cause }
}

fn ends(bench: &mut Bench, rank: u32, outcome: RankOutcome) {
    bench.step(MemberInput::RankEnded { run: run(1), rank: RankIndex(rank), outcome });
}

fn comes_up(bench: &mut Bench) {
    bench.step(MemberInput::SupervisorUp { run: run(1), entry: payload(7) });
}

/// A plan has gang 1 on this node and another, in row 0.
fn launching() -> Bench {
    let mut bench = Bench::admitted();
    bench.applies(plan(1, vec![planned(1, &[0, 1], &[0])]));
    bench
}

fn up() -> Bench {
    let mut bench = launching();
    comes_up(&mut bench);
    bench
}

fn released() -> Bench {
    let mut bench = up();
    bench.applies(command(1, release()));
    bench
}

#[test]
fn the_gangs_that_a_plan_has_here_get_slots_and_rows() {
    let mut bench = Bench::admitted();
    bench.applies(plan(1, vec![planned(1, &[0, 1], &[0]), planned(2, &[1], &[1]), planned(3, &[0], &[0, 1])]));
    assert_eq!(bench.configured(), [(run(1), 0), (run(3), 1)]);
    let present = |slot| SwitcherCommand::Present { slot: GangSlot(slot), released: false };
    assert_eq!(bench.commands(), [present(0), present(1), table(1, &[&[0, 1], &[1]])]);
    assert!(matches!(&bench.events()[..], [MemberEvent::Planned(plan)] if plan.version == MatrixVersion(1)));
    bench.applies(command(1, hold()));
    assert_eq!(bench.commands(), [], "the table is the same");
    bench.applies(plan(2, vec![planned(1, &[0, 1], &[1]), planned(3, &[0], &[0, 1])]));
    assert_eq!((bench.configured(), bench.commands()), (vec![], vec![table(2, &[&[1], &[0, 1]])]));
}

#[test]
fn so_many_gangs_as_a_node_has_slots_are_configured() {
    let mut bench = Bench::admitted();
    let gangs = GANGS_PER_NODE_MAX as u64 + 1;
    bench.applies(plan(1, (1..=gangs).map(|gang| planned(gang, &[0], &[0])).collect()));
    let slots: Vec<u8> = bench.configured().iter().map(|(_, slot)| *slot).collect();
    assert_eq!(slots, (0..64).collect::<Vec<u8>>());
}

#[test]
fn a_supervisor_that_is_up_is_told_once_and_again_every_heartbeat() {
    let mut bench = launching();
    bench.step(MemberInput::SupervisorUp { run: run(9), entry: payload(7) });
    assert_eq!(bench.effects, [], "no such gang is here");
    comes_up(&mut bench);
    let told = [(run(1), GangSignal::Up(payload(7)))];
    assert_eq!(bench.signals(), told);
    assert_eq!(bench.events(), [MemberEvent::Signalled { run: run(1), signal: GangSignal::Up(payload(7)) }]);
    comes_up(&mut bench);
    bench.applies(plan(2, vec![planned(1, &[0, 1], &[1])]));
    assert_eq!(bench.signals(), []);
    bench.passes(Settings::default().heartbeat);
    assert_eq!(bench.signals(), told);
    bench.is_admitted(fence(2, 2));
    assert_eq!(bench.signals(), told, "a manager may have forgotten it with the view");
}

#[test]
fn ranks_are_released_with_the_peer_table_and_run_from_the_instant_on() {
    let mut bench = up();
    bench.applies(command(1, release()));
    let released = MemberEffect::ReleaseRanks { run: run(1), peers: vec![payload(8), payload(9)] };
    assert_eq!(bench.effects, [released, MemberEffect::Switcher(switched(HoldChange::Resume))]);
    bench.applies(plan(2, vec![planned(1, &[0, 1], &[0])]));
    assert_eq!(bench.commands(), [table(2, &[&[0]])], "they were released once");
}

#[test]
fn a_gang_that_is_held_when_it_is_released_does_not_run() {
    let mut bench = up();
    bench.applies(command(1, hold()));
    assert_eq!(bench.effects, [], "its ranks wait anyway");
    bench.applies(command(1, release()));
    let released = MemberEffect::ReleaseRanks { run: run(1), peers: vec![payload(8), payload(9)] };
    assert_eq!(bench.effects, [released, MemberEffect::AnnounceHold(run(1))]);
}

#[test]
fn a_release_that_finds_no_supervisor_up_ends_the_gang() {
    let mut bench = launching();
    bench.applies(command(1, release()));
    assert_eq!((bench.killed(), bench.signals()), (vec![run(1)], vec![(run(1), GangSignal::Failed(LOST))]));
    assert_eq!(bench.events()[0], failed(LOST));
}

#[test]
fn a_pause_is_announced_acknowledged_and_only_then_in_effect() {
    let acknowledged = MemberInput::HoldAcknowledged(run(1));
    let mut bench = released();
    bench.step(acknowledged.clone());
    assert_eq!(bench.effects, [], "nobody has announced a hold");
    bench.applies(command(1, hold()));
    assert_eq!(bench.effects, [MemberEffect::AnnounceHold(run(1))]);
    bench.step(acknowledged.clone());
    assert_eq!(bench.effects, [MemberEffect::Switcher(switched(HoldChange::Hold))]);
    bench.step(acknowledged.clone());
    assert_eq!(bench.effects, [], "it is in effect");
    bench.applies(command(1, resume()));
    let resumed = [MemberEffect::Switcher(switched(HoldChange::Resume)), MemberEffect::AnnounceResume(run(1))];
    assert_eq!(bench.effects, resumed);
    bench.applies(command(1, hold()));
    bench.applies(command(1, resume()));
    assert_eq!(bench.effects, resumed);
    bench.step(acknowledged);
    assert_eq!(bench.effects, [], "the gang is not to be held any more");
}

#[test]
fn a_gang_ends_by_its_grace_and_at_once_where_it_has_none_or_never_ran() {
    let grace = Duration::from_secs(30);
    let terminated = MemberEffect::TerminateRanks { run: run(1), grace };
    let mut bench = released();
    bench.applies(command(1, end(grace)));
    assert_eq!(bench.effects, [terminated, MemberEffect::Event(failed(TERMINATED))]);
    bench.applies(plan(2, vec![planned(1, &[0, 1], &[0])]));
    assert_eq!((bench.killed(), bench.events().len()), (vec![], 1), "it is ending: {:?}", bench.effects);
    for (mut bench, grace) in [(released(), Duration::ZERO), (up(), grace), (launching(), grace)] {
        bench.applies(command(1, end(grace)));
        assert_eq!(bench.effects, [MemberEffect::KillRanks(run(1)), MemberEffect::Event(failed(TERMINATED))]);
    }
}

#[test]
fn a_gang_of_which_nothing_is_left_is_gone_once_for_the_strobe_thread_and_the_manager() {
    let mut bench = released();
    bench.applies(command(1, end(Duration::ZERO)));
    bench.step(MemberInput::GangGone(run(1)));
    assert_eq!(bench.commands(), [SwitcherCommand::Absent { slot: GangSlot(0) }, table(1, &[&[]])]);
    assert_eq!((bench.signals(), bench.killed()), (vec![(run(1), GangSignal::Gone)], vec![]));
    bench.step(MemberInput::GangGone(run(1)));
    assert_eq!(bench.effects, []);
    ends(&mut bench, 0, RankOutcome::Signalled(9));
    assert_eq!(bench.effects, [], "it is known that no rank is left");
    [0, 1].into_iter().for_each(|rank| ends(&mut bench, rank, RankOutcome::Exited(0)));
    let set = [NODE].into_iter().collect();
    let exited = Compare { set, cell: Cell::Exited(run(1).gang), comparison: Comparison::GreaterOrEqual, value: 1, write: None };
    bench.applies(Record::Compare { operation: None, compare: exited });
    assert_eq!(bench.truths(), [(4, false)], "what comes late does not make it one that completed");
}

#[test]
fn a_gang_that_is_ending_here_is_not_held_any_more() {
    let mut bench = released();
    bench.step(MemberInput::SupervisorLost(run(1)));
    bench.applies(command(1, hold()));
    assert_eq!(bench.effects, [], "there is no supervisor to announce it to");
}

#[test]
fn a_gang_that_is_gone_without_a_cause_has_lost_its_supervisor() {
    let mut bench = released();
    bench.step(MemberInput::GangGone(run(1)));
    assert_eq!((bench.signals(), &bench.events()[0]), (vec![(run(1), GangSignal::Failed(LOST))], &failed(LOST)));
    let mut bench = released();
    [0, 1].into_iter().for_each(|rank| ends(&mut bench, rank, RankOutcome::Exited(0)));
    bench.step(MemberInput::GangGone(run(1)));
    assert_eq!((bench.signals(), bench.events()), (vec![], vec![]), "all of its ranks had exited");
}

#[test]
fn a_gang_that_has_ended_elsewhere_is_ended_here() {
    let mut bench = released();
    bench.applies(command(1, GangVerb::Ended));
    assert_eq!(bench.killed(), [run(1)]);
    bench.applies(plan(2, vec![planned(1, &[0, 1], &[0])]));
    assert_eq!(bench.killed(), [], "it is ending");
}

#[test]
fn ranks_complete_when_each_has_exited_well() {
    let mut bench = released();
    ends(&mut bench, 0, RankOutcome::Exited(0));
    ends(&mut bench, 0, RankOutcome::Exited(0));
    assert_eq!(bench.signals(), [], "one of them, told twice");
    bench.step(MemberInput::SupervisorLost(run(9)));
    assert_eq!(bench.effects, []);
    ends(&mut bench, 1, RankOutcome::Exited(0));
    assert_eq!(bench.signals(), [(run(1), GangSignal::Exited)]);
    bench.step(MemberInput::SupervisorLost(run(1)));
    assert_eq!(bench.effects, [], "it had nothing left to supervise");
}

#[test]
fn what_fails_here_ends_the_gang_here_at_once_and_is_told() {
    let outcome = RankOutcome::Exited(3);
    let reason = BarrierFailure::RankLeft;
    let failures = [
        (
            MemberInput::RankEnded { run: run(1), rank: RankIndex(1), outcome },
            EndCause::RankFailed { node: NODE, rank: RankIndex(1), outcome },
        ),
        (MemberInput::BarrierFailed { run: run(1), reason }, EndCause::BarrierFailed { node: NODE, reason }),
        (MemberInput::SupervisorLost(run(1)), LOST),
    ];
    for (failure, cause) in failures {
        let mut bench = released();
        bench.step(failure.clone());
        assert_eq!((bench.killed(), bench.signals()), (vec![run(1)], vec![(run(1), GangSignal::Failed(cause))]));
        assert_eq!(bench.events()[0], failed(cause));
        bench.step(failure);
        assert_eq!(bench.effects, [], "it is ending, and the first cause counts");
    }
}

#[test]
fn what_no_plan_has_any_more_is_killed_and_then_forgotten_with_its_slot() {
    let mut bench = released();
    bench.applies(plan(2, vec![planned(2, &[0], &[0])]));
    assert_eq!((bench.killed(), bench.configured()), (vec![run(1)], vec![(run(2), 1)]));
    bench.applies(plan(3, vec![planned(2, &[0], &[1])]));
    assert_eq!(bench.effects.len(), 2, "it is ending, and the plan has another table: {:?}", bench.effects);
    bench.step(MemberInput::GangGone(run(1)));
    assert!(bench.effects.contains(&MemberEffect::Forget { run: run(1), slot: Some(GangSlot(0)) }), "{:?}", bench.effects);
    bench.applies(plan(4, vec![planned(2, &[0], &[1]), planned(3, &[0], &[0])]));
    assert_eq!(bench.configured(), [(run(3), 0)]);
}

/// A memory of one plan with gang 1, and of what became of the gang.
fn memory_after(verbs: &[GangVerb]) -> Memory {
    let mut memory = Memory::empty(1, RecordNumber(0));
    memory.apply(&plan(1, vec![planned(1, &[0, 1], &[0])]));
    verbs.iter().for_each(|verb| {
        memory.apply(&command(1, verb.clone()));
    });
    memory
}

#[test]
fn nothing_is_begun_for_a_gang_that_is_ending_or_has_ended() {
    for verbs in [&[end(Duration::ZERO)][..], &[end(Duration::ZERO), GangVerb::Ended]] {
        let mut bench = Bench::sealed();
        bench.joins(FENCE, memory_after(verbs));
        assert_eq!((bench.configured(), bench.killed()), (vec![], vec![run(1)]));
        assert!(!bench.commands().iter().any(|command| matches!(command, SwitcherCommand::Present { .. })), "{:?}", bench.effects);
    }
}

#[test]
fn a_memory_without_a_plan_says_nothing_about_what_was_found_running() {
    let mut bench = Bench::born(Some(1));
    let found = AdoptedGang { run: run(1), entry: payload(7), life: AdoptedLife::Released, held: false, ranks: 2, ended: Vec::new() };
    bench.step(MemberInput::Inventory(vec![found]));
    bench.promises(2);
    bench.joins(FENCE, Memory::empty(1, RecordNumber(0)));
    assert_eq!(bench.killed(), []);
    bench.applies(plan(1, Vec::new()));
    assert_eq!(bench.killed(), [run(1)]);
}

fn adopted(gang: u64, life: AdoptedLife, held: bool) -> AdoptedGang {
    AdoptedGang { run: run(gang), entry: payload(7), life, held, ranks: 2, ended: Vec::new() }
}

#[test]
fn gangs_that_were_found_run_on_unless_they_are_held_or_wait_for_their_release() {
    let mut bench = Bench::born(Some(1));
    bench.step(MemberInput::Inventory(vec![
        adopted(1, AdoptedLife::Released, false),
        adopted(2, AdoptedLife::Released, true),
        adopted(3, AdoptedLife::Up, false),
        adopted(4, AdoptedLife::Starting, false),
    ]));
    let present = |slot, released| SwitcherCommand::Present { slot: GangSlot(slot), released };
    assert_eq!(bench.commands(), [present(0, true), present(1, false), present(2, false), present(3, false)]);
    assert_eq!(bench.configured(), [(run(1), 0), (run(2), 1), (run(3), 2), (run(4), 3)]);
}

#[test]
fn what_ended_of_a_gang_that_was_found_counts() {
    let outcome = RankOutcome::Exited(0);
    let mut bench = Bench::born(Some(1));
    let ended = vec![(RankIndex(0), outcome), (RankIndex(1), outcome)];
    bench.step(MemberInput::Inventory(vec![AdoptedGang { ended, ..adopted(1, AdoptedLife::Released, false) }]));
    bench.promises(2);
    bench.joins(FENCE, memory_after(&[release()]));
    assert_eq!((bench.signals().last(), bench.killed()), (Some(&(run(1), GangSignal::Exited)), vec![]));
}

#[test]
fn a_gang_that_was_found_held_is_resumed_by_the_order_only() {
    let mut bench = Bench::born(Some(1));
    bench.step(MemberInput::Inventory(vec![adopted(1, AdoptedLife::Released, true)]));
    bench.promises(2);
    bench.joins(FENCE, memory_after(&[release(), hold()]));
    assert!(!bench.commands().iter().any(|command| matches!(command, SwitcherCommand::Hold(_))), "{:?}", bench.effects);
    assert!(!bench.effects.contains(&MemberEffect::AnnounceHold(run(1))), "its supervisor knows it");
    let resumed: Record = command(1, resume());
    bench.appends(4, resumed);
    bench.stable(4);
    assert_eq!(bench.effects, [MemberEffect::Switcher(switched(HoldChange::Resume)), MemberEffect::AnnounceResume(run(1))]);
}

#[test]
fn a_gang_that_was_found_held_and_is_not_to_be_runs_with_its_first_memory() {
    let mut bench = Bench::born(Some(1));
    bench.step(MemberInput::Inventory(vec![adopted(1, AdoptedLife::Released, true)]));
    bench.promises(2);
    bench.joins(FENCE, memory_after(&[]));
    assert!(!bench.effects.contains(&MemberEffect::AnnounceResume(run(1))), "a memory that knows of no release knows of no hold");
    bench.appends(2, command(1, release()));
    bench.stable(2);
    assert!(bench.effects.contains(&MemberEffect::AnnounceResume(run(1))), "{:?}", bench.effects);
}
