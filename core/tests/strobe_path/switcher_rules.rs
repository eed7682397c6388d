//! Each rule of switching, holding, sealing and acting on receipt, one test a rule.

use std::time::Duration;

use strobe_core::{
    limits::GANGS_PER_NODE_MAX,
    machine::Machine,
    message::{AgentState, ClockProbe, Datagram, HoldChange, SwitcherCommand, SwitcherReport},
    model::{Epoch, GangSlot, GangSlots, Instant, MatrixVersion, NodeIndex, RowIndex, Term},
    node::{SwitchCause, Switcher, SwitcherEffect, SwitcherInput},
};

use crate::fixture::{
    Bench, admit, fence, from_manager, heartbeat, hold, ms, present, reports, samples, seal, sent, slots, strobe, switches, table,
};

const NONE: GangSlots = GangSlots::EMPTY;

fn epoch(epoch: u64, due: Instant) -> SwitchCause {
    SwitchCause::Epoch { term: Term(3), epoch: Epoch(epoch), due }
}

#[test]
fn a_row_is_entered_by_set_difference_and_nothing_else_is_touched() {
    let mut bench = Bench::strobed();
    let effects = bench.timers_until(ms(110));
    let expected = [(slots(&[0]), slots(&[1]), epoch(2, ms(60))), (slots(&[1]), slots(&[0]), epoch(3, ms(110)))];
    assert_eq!(switches(&effects), expected);
    let bound = effects.iter().find_map(|effect| match effect {
        SwitcherEffect::Switch { straggler_bound, .. } => Some(*straggler_bound),
        SwitcherEffect::Send { .. } | SwitcherEffect::Report(_) | SwitcherEffect::Sample(_) => None,
    });
    assert_eq!(bound, Some(Duration::from_millis(2)));
}

#[test]
fn one_occupied_row_needs_no_freeze() {
    let mut bench = Bench::admitted();
    let effects = bench.step(ms(5), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 1, 1, ms(10), &[Some(0); 4]))));
    assert_eq!(switches(&effects), []);
    let effects = bench.timers_until(ms(160));
    assert_eq!(switches(&effects), [(slots(&[1]), NONE, epoch(1, ms(10)))]);
    assert_eq!(samples(&effects).len(), 4, "every epoch is counted all the same");
}

#[test]
fn an_epoch_without_a_row_freezes_what_is_thawed() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 2, 2, ms(60), &[None]))));
    assert_eq!(switches(&bench.timers_until(ms(60))), [(slots(&[0, 2]), NONE, epoch(2, ms(60)))]);
}

#[test]
fn only_the_admitted_fence_from_its_manager_is_obeyed() {
    let good = strobe(fence(3, 2), 1, 9, 2, ms(20), &[Some(1)]);
    let mut other_partition = fence(3, 2);
    other_partition.partition.0 += 1;
    let refused = [fence(2, 9), fence(4, 2), fence(3, 1), other_partition];
    let mut bench = Bench::strobed();
    for (index, wrong) in refused.into_iter().enumerate() {
        let wrong = strobe_core::message::Strobe { fence: wrong, ..good.clone() };
        assert_eq!(bench.step(ms(20), from_manager(Datagram::Strobe(wrong))), []);
        assert_eq!(bench.switcher.counters().refused, index as u64 + 1);
    }
    assert_eq!(bench.step(ms(20), SwitcherInput::Datagram { from: NodeIndex(1), datagram: Datagram::Strobe(good.clone()) }), []);
    assert_eq!(bench.step(ms(20), heartbeat(fence(3, 1), 1, ms(19), true)), []);
    assert_eq!(bench.switcher.counters().refused, 6);
    let effects = bench.step(ms(20), from_manager(Datagram::Strobe(good)));
    assert_eq!(switches(&effects), [(slots(&[0]), slots(&[1]), epoch(2, ms(20)))]);
}

#[test]
fn a_higher_view_raises_the_own_one() {
    let mut bench = Bench::strobed();
    let replies = sent(&bench.step(ms(20), heartbeat(fence(3, 5), 1, ms(19), true)));
    let [Datagram::HeartbeatReply(reply)] = replies[..] else { panic!("one reply: {replies:?}") };
    assert_eq!((reply.fence, reply.sequence, reply.sent_at, reply.switched), (fence(3, 5), 1, ms(19), Epoch(1)));
    assert_eq!(bench.step(ms(21), heartbeat(fence(3, 4), 2, ms(20), true)), []);
    assert_eq!(bench.switcher.counters().refused, 1);
    assert_eq!(bench.step(ms(21), heartbeat(fence(3, 5), 1, ms(19), true)), []);
    assert_eq!(bench.switcher.counters().duplicates, 1);
}

#[test]
fn malformed_strobes_change_nothing() {
    let good = strobe(fence(3, 2), 1, 9, 2, ms(20), &[Some(1)]);
    let mut bench = Bench::strobed();
    let empty = strobe_core::message::Strobe { schedule: strobe_core::message::Schedule::new(), ..good.clone() };
    let hasty = strobe_core::message::Strobe { quantum: Duration::ZERO, ..good };
    let no_row = strobe(fence(3, 2), 1, 9, 2, ms(20), &[Some(16)]);
    for wrong in [empty, hasty, no_row] {
        assert_eq!(bench.step(ms(20), from_manager(Datagram::Strobe(wrong))), []);
    }
    assert_eq!(bench.switcher.counters().malformed, 3);
}

#[test]
fn of_several_due_the_newest_is_executed_and_the_others_are_missed() {
    let mut bench = Bench::strobed();
    let effects = bench.step(ms(212), SwitcherInput::Timer);
    let [sample] = samples(&effects)[..] else { panic!("one epoch: {effects:?}") };
    assert_eq!((sample.epoch, sample.missed, sample.late, sample.due), (Epoch(5), 3, true, Some(ms(210))));
    assert_eq!(switches(&effects), [], "epoch 5 runs the row of epoch 1");
    let counters = *bench.switcher.counters();
    assert_eq!((counters.executed, counters.missed, counters.late), (2, 3, 1));
}

#[test]
fn an_epoch_just_after_its_instant_is_not_late() {
    let mut bench = Bench::strobed();
    let effects = bench.step(ms(61), SwitcherInput::Timer);
    assert_eq!(samples(&effects).iter().map(|sample| sample.late).collect::<Vec<_>>(), [false]);
}

#[test]
fn a_newer_announcement_replaces_what_it_names_and_keeps_what_comes_before() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), table(2, &[&[2], &[], &[0, 1]]));
    bench.step(ms(20), from_manager(Datagram::Strobe(strobe(fence(3, 2), 2, 2, 3, ms(110), &[Some(2), Some(0)]))));
    let effects = bench.timers_until(ms(160));
    let expected = [
        (slots(&[0]), slots(&[1]), epoch(2, ms(60))),
        (slots(&[2]), slots(&[0]), epoch(3, ms(110))),
        (slots(&[0, 1]), slots(&[2]), epoch(4, ms(160))),
    ];
    assert_eq!(switches(&effects), expected);
}

#[test]
fn changes_that_follow_each_other_each_keep_their_epochs() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), table(2, &[&[], &[], &[1]]));
    bench.step(ms(20), table(3, &[&[], &[], &[2]]));
    bench.step(ms(20), from_manager(Datagram::Strobe(strobe(fence(3, 2), 2, 2, 2, ms(60), &[Some(2), Some(2)]))));
    bench.step(ms(21), from_manager(Datagram::Strobe(strobe(fence(3, 2), 3, 3, 3, ms(110), &[Some(2)]))));
    let thawed: Vec<_> = switches(&bench.timers_until(ms(110))).into_iter().map(|(_, thaw, _)| thaw).collect();
    assert_eq!(thawed, [slots(&[1]), slots(&[2])]);
}

#[test]
fn an_announcement_that_is_repeated_drives_nothing_out_that_comes_before_it() {
    let mut bench = Bench::strobed();
    for announcement in 2..10 {
        let ahead = strobe(fence(3, 2), 1, announcement, 4, ms(160), &[Some(0), Some(1)]);
        bench.step(ms(20), from_manager(Datagram::Strobe(ahead)));
    }
    let epochs: Vec<_> = samples(&bench.timers_until(ms(210))).iter().map(|sample| (sample.epoch.0, sample.row)).collect();
    let row = |row| Some(RowIndex(row));
    assert_eq!(epochs, [(2, row(1)), (3, row(0)), (4, row(0)), (5, row(1))]);
}

#[test]
fn an_older_announcement_is_a_duplicate() {
    let mut bench = Bench::strobed();
    let old = strobe(fence(3, 2), 1, 1, 2, ms(20), &[Some(1)]);
    assert_eq!(bench.step(ms(30), from_manager(Datagram::Strobe(old))), []);
    assert_eq!(bench.switcher.counters().duplicates, 1);
}

#[test]
fn a_missing_version_keeps_the_row_and_is_reported_once() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), from_manager(Datagram::Strobe(strobe(fence(3, 2), 2, 2, 2, ms(60), &[Some(1), Some(1)]))));
    let effects = bench.timers_until(ms(110));
    assert_eq!(switches(&effects), []);
    assert_eq!(reports(&effects), [SwitcherReport::VersionMissing { version: MatrixVersion(2) }]);
    assert_eq!(bench.switcher.counters().version_missing, 2);

    let effects = bench.step(ms(120), table(2, &[&[0], &[1]]));
    let cause = SwitchCause::Table { version: MatrixVersion(2) };
    assert_eq!(switches(&effects), [(slots(&[0, 2]), slots(&[1]), cause)], "the present epoch's row is caught up with");
}

#[test]
fn without_the_first_table_the_gangs_go_on_running_free() {
    let mut bench = Bench::admitted();
    bench.step(ms(5), from_manager(Datagram::Strobe(strobe(fence(3, 2), 2, 1, 1, ms(10), &[Some(0), Some(0)]))));
    bench.timers_until(ms(10));
    assert_eq!((bench.switcher.state(), bench.switcher.thawed()), (AgentState::FreeRunning, slots(&[0, 1, 2])));
    let effects = bench.step(ms(20), table(2, &[&[0]]));
    assert_eq!(reports(&effects), [SwitcherReport::State(AgentState::Strobed)]);
    assert_eq!(bench.switcher.thawed(), slots(&[0]));
}

#[test]
fn the_kernel_policy_thaws_all_but_held_gangs() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(1, HoldChange::Hold, 0, ms(0)));
    bench.step(ms(20), hold(0, HoldChange::Hold, 0, ms(0)));
    let settings = |switching| {
        SwitcherInput::Command(SwitcherCommand::Settings {
            watchdog: Duration::from_secs(5),
            suspicion: Duration::from_secs(3),
            clock_tolerance: Duration::from_millis(1),
            switching,
        })
    };
    bench.step(ms(21), present(5, true));
    assert_eq!(switches(&bench.step(ms(22), settings(false))), [(NONE, slots(&[5]), SwitchCause::Policy)]);
    assert_eq!(switches(&bench.timers_until(ms(200))), [], "rows mean nothing");
    assert_eq!(switches(&bench.step(ms(201), settings(true))), [(slots(&[5]), NONE, SwitchCause::Policy)]);
}

#[test]
fn settings_take_effect_when_they_come() {
    let settings = |watchdog, suspicion| {
        SwitcherInput::Command(SwitcherCommand::Settings {
            watchdog: Duration::from_millis(watchdog),
            suspicion: Duration::from_millis(suspicion),
            clock_tolerance: Duration::from_millis(1),
            switching: true,
        })
    };
    let mut bench = Bench::strobed();
    bench.step(ms(10), settings(1_000, 800));
    assert_eq!(bench.switcher.next_deadline(), Some(ms(60)));
    bench.timers_until(ms(1_009));
    assert_eq!(bench.switcher.next_deadline(), Some(ms(1_010)), "the watchdog, since the strobe is followed");
    bench.timers_until(ms(1_010));
    assert_eq!(bench.switcher.state(), AgentState::FreeRunning);
    assert_eq!(bench.switcher.next_deadline(), Some(ms(1_110)), "an eighth of suspicion");
    bench.step(ms(1_211), SwitcherInput::Timer);
    assert_eq!(bench.switcher.counters().left_out, 1, "a step that is more than a quarter of it late");
}

#[test]
fn so_many_tables_are_kept_and_the_lowest_version_makes_room() {
    let mut bench = Bench::strobed();
    for version in [6, 2, 3, 4] {
        bench.step(ms(20), table(version, &[&[0], &[1]]));
    }
    bench.step(ms(20), table(6, &[&[1], &[0]]));
    for (announcement, version, missing) in [(2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 6, 0), (6, 1, 1), (7, 5, 2)] {
        let now = strobe(fence(3, 2), version, announcement, announcement, ms(20), &[Some(1)]);
        bench.step(ms(20), from_manager(Datagram::Strobe(now)));
        assert_eq!(bench.switcher.counters().version_missing, missing, "version {version}");
        if version == 6 {
            assert_eq!(bench.switcher.thawed(), slots(&[0]), "the newer table of that version");
        }
    }
}

#[test]
fn datagrams_that_no_manager_sends_are_counted() {
    let mut bench = Bench::strobed();
    for times in 1..=2 {
        let probe = ClockProbe { term: Term(3), node: NodeIndex(0), sent_at: ms(20) };
        assert_eq!(bench.step(ms(20), from_manager(Datagram::ClockProbe(probe))), []);
        assert_eq!(bench.switcher.counters().malformed, times);
    }
}

#[test]
fn a_hold_waits_for_its_instant_and_no_strobe_thaws_what_is_held() {
    let mut bench = Bench::strobed();
    assert_eq!(bench.step(ms(20), hold(2, HoldChange::Hold, 3, ms(110))), []);
    let effects = bench.timers_until(ms(160));
    let expected = [
        (slots(&[0]), slots(&[1]), epoch(2, ms(60))),
        (slots(&[1, 2]), slots(&[0]), epoch(3, ms(110))),
        (slots(&[0]), slots(&[1]), epoch(4, ms(160))),
    ];
    assert_eq!(switches(&effects), expected);
    assert!(reports(&effects).contains(&SwitcherReport::HoldEffective { slot: GangSlot(2), change: HoldChange::Hold }));

    bench.step(ms(170), hold(2, HoldChange::Resume, 3, ms(180)));
    assert_eq!(switches(&bench.timers_until(ms(180))), [(NONE, slots(&[2]), SwitchCause::Hold)], "its row runs");
}

#[test]
fn all_that_waits_for_one_instant_fits_into_one_step() {
    let mut bench = Bench::strobed();
    let gangs = u8::try_from(GANGS_PER_NODE_MAX).expect("a slot is a bit of a word");
    for slot in 3..gangs {
        bench.step(ms(20), present(slot, true));
    }
    for (slot, change) in (0..gangs).flat_map(|slot| [(slot, HoldChange::Hold), (slot, HoldChange::Resume)]) {
        bench.step(ms(20), hold(slot, change, 3, ms(60)));
    }
    let effects = bench.step(ms(60), SwitcherInput::Timer);
    assert_eq!(reports(&effects).len(), 2 * GANGS_PER_NODE_MAX);
    assert!(effects.len() <= Switcher::EFFECTS_MAX, "a step would allocate room for {}", effects.len());
}

#[test]
fn a_resume_outside_its_row_waits_for_its_row() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(1, HoldChange::Hold, 0, ms(0)));
    let effects = bench.step(ms(21), hold(1, HoldChange::Resume, 0, ms(0)));
    assert_eq!(switches(&effects), []);
    assert_eq!(switches(&bench.timers_until(ms(60))), [(slots(&[0]), slots(&[1]), epoch(2, ms(60)))]);
}

#[test]
fn a_hold_waits_for_earlier_ones_of_its_own_gang_only() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(0, HoldChange::Hold, 3, ms(55)));
    bench.step(ms(20), hold(2, HoldChange::Hold, 3, ms(50)));
    bench.timers_until(ms(50));
    assert_eq!(bench.switcher.held(), slots(&[2]));
    bench.timers_until(ms(55));
    assert_eq!(bench.switcher.held(), slots(&[0, 2]));
}

#[test]
fn a_gang_that_disappears_takes_its_holds_with_it_and_no_others() {
    let absent = |slot| SwitcherInput::Command(SwitcherCommand::Absent { slot: GangSlot(slot) });
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(0, HoldChange::Hold, 0, ms(0)));
    for slot in [1, 2] {
        bench.step(ms(20), hold(slot, HoldChange::Hold, 3, ms(50)));
    }
    for slot in [0, 2] {
        bench.step(ms(21), absent(slot));
    }
    assert_eq!((bench.switcher.thawed(), bench.switcher.held()), (NONE, NONE), "they are there no more");
    for slot in [0, 2] {
        bench.step(ms(22), present(slot, true));
    }
    bench.timers_until(ms(50));
    assert_eq!(bench.switcher.held(), slots(&[1]), "the slots have other gangs");
}

#[test]
fn a_hold_of_another_term_is_effective_at_once() {
    let mut bench = Bench::strobed();
    let effects = bench.step(ms(20), hold(0, HoldChange::Hold, 2, ms(9_000)));
    assert_eq!(switches(&effects), [(slots(&[0]), NONE, SwitchCause::Hold)]);
    bench.step(ms(21), hold(2, HoldChange::Hold, 3, ms(9_000)));
    let effects = bench.step(ms(22), seal(4));
    assert_eq!(switches(&effects), [(slots(&[2]), NONE, SwitchCause::Hold)], "its term is over");
}

#[test]
fn the_newest_numbered_command_of_a_gang_holds_in_the_end() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(2, HoldChange::Hold, 3, ms(50)));
    bench.step(ms(21), hold(2, HoldChange::Resume, 3, ms(40)));
    bench.timers_until(ms(50));
    assert_eq!(bench.switcher.held(), NONE);

    bench.step(ms(51), hold(2, HoldChange::Hold, 3, ms(90)));
    bench.step(ms(52), hold(2, HoldChange::Resume, 3, ms(91)));
    let effects = bench.step(ms(53), hold(2, HoldChange::Hold, 3, ms(92)));
    assert_eq!(
        reports(&effects),
        [SwitcherReport::HoldEffective { slot: GangSlot(2), change: HoldChange::Hold }],
        "a third drives one out"
    );
    bench.timers_until(ms(92));
    assert_eq!(bench.switcher.held(), slots(&[2]));
}

#[test]
fn a_seal_ends_the_old_term_before_it_is_reported() {
    let mut bench = Bench::strobed();
    let effects = bench.step(ms(20), seal(4));
    assert_eq!(effects, [SwitcherEffect::Report(SwitcherReport::Sealed { term: Term(4) })]);
    assert_eq!(bench.switcher.fence(), None);
    assert_eq!(switches(&bench.timers_until(ms(400))), [], "nothing announced is left, the row is kept");
    assert_eq!(bench.switcher.state(), AgentState::Strobed);

    let old = strobe(fence(3, 3), 1, 8, 4, ms(400), &[Some(1)]);
    assert_eq!(bench.step(ms(401), from_manager(Datagram::Strobe(old))), []);
    assert_eq!(bench.step(ms(401), admit(fence(3, 4))), [], "no admission to a lower term");
    assert_eq!(bench.step(ms(401), seal(3)), [], "no lower seal");
    assert_eq!(bench.switcher.counters().refused, 3);

    bench.step(ms(402), admit(fence(4, 1)));
    let effects = bench.step(ms(403), from_manager(Datagram::Strobe(strobe(fence(4, 1), 1, 1, 1, ms(403), &[Some(1)]))));
    let cause = SwitchCause::Epoch { term: Term(4), epoch: Epoch(1), due: ms(403) };
    assert_eq!(switches(&effects), [(slots(&[0]), slots(&[1]), cause)], "epochs of a new term begin anew");
}

#[test]
fn an_admission_to_a_higher_view_changes_nothing_else() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), admit(fence(3, 5)));
    assert_eq!(bench.switcher.fence(), Some(fence(3, 5)));
    bench.step(ms(21), admit(fence(3, 4)));
    assert_eq!(bench.switcher.fence(), Some(fence(3, 5)), "views do not fall");
    assert_eq!(switches(&bench.timers_until(ms(60))), [(slots(&[0]), slots(&[1]), epoch(2, ms(60)))], "what was announced goes on");
}

#[test]
fn an_admission_to_another_term_or_partition_begins_anew() {
    let mut other_partition = fence(3, 1);
    other_partition.partition.0 += 1;
    for next in [fence(4, 1), other_partition] {
        let mut bench = Bench::strobed();
        bench.step(ms(20), admit(next));
        assert_eq!(bench.switcher.fence(), Some(next));
        assert_eq!(switches(&bench.timers_until(ms(200))), [], "nobody has announced anything in it");
    }
}

#[test]
fn a_table_that_comes_after_its_term_is_over_makes_nobody_follow_it() {
    let mut bench = Bench::admitted();
    bench.step(ms(5), from_manager(Datagram::Strobe(strobe(fence(3, 2), 2, 1, 1, ms(10), &[Some(0), Some(0)]))));
    bench.timers_until(ms(10));
    bench.step(ms(15), seal(4));
    assert_eq!(bench.step(ms(20), table(2, &[&[0]])), []);
    assert_eq!(bench.switcher.state(), AgentState::FreeRunning);
}

#[test]
fn a_seal_is_answered_again() {
    let mut bench = Bench::strobed();
    assert_eq!(reports(&bench.step(ms(20), seal(3))), [SwitcherReport::Sealed { term: Term(3) }]);
    assert_eq!(bench.switcher.fence(), Some(fence(3, 2)), "and nothing else changes");
}

#[test]
fn unsealed_gangs_run_free_once_released() {
    let mut bench = Bench::on_node(1);
    assert_eq!(switches(&bench.step(ms(0), present(0, true))), [(NONE, slots(&[0]), SwitchCause::Presence)]);
    assert_eq!(switches(&bench.step(ms(0), present(1, false))), [(slots(&[1]), NONE, SwitchCause::Presence)]);
    let effects = bench.step(ms(1), hold(1, HoldChange::Resume, 3, ms(900)));
    assert_eq!(switches(&effects), [(NONE, slots(&[1]), SwitchCause::Hold)]);
    assert!(bench.switcher.next_deadline().is_none());
}

#[test]
fn a_slot_s_next_gang_is_in_none_of_the_old_rows() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), SwitcherInput::Command(SwitcherCommand::Absent { slot: GangSlot(0) }));
    bench.step(ms(20), present(0, true));
    bench.timers_until(ms(110));
    assert_eq!(bench.switcher.thawed(), slots(&[2]));
}

#[test]
fn a_gang_found_thawed_is_frozen_unless_its_row_runs() {
    let mut bench = Bench::strobed();
    let effects = bench.step(ms(20), SwitcherInput::ObservedThawed(slots(&[0, 1, 9])));
    assert_eq!(switches(&effects), [(slots(&[1]), NONE, SwitchCause::Presence)]);
}

#[test]
fn stragglers_are_counted() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), SwitcherInput::Executed { stragglers: slots(&[1, 2]) });
    assert_eq!(bench.switcher.counters().stragglers, 2);
}
