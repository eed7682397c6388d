//! Silent managers and stopped agents.

use std::time::Duration;

use strobe_core::{
    machine::Machine,
    message::{AgentState, Datagram, HoldChange, SwitcherReport},
    model::{GangSlots, Term},
    node::{SwitchCause, SwitcherEffect, SwitcherInput},
};

use crate::fixture::{Bench, admit, fence, from_manager, heartbeat, hold, ms, reports, samples, slots, strobe, switches};

fn next_strobe(announcement: u64, epoch: u64, at: u64) -> SwitcherInput {
    from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, announcement, epoch, ms(at), &[Some(0), Some(1)])))
}

#[test]
fn the_watchdog_thaws_all_but_held_gangs_and_the_next_strobe_returns() {
    let mut bench = Bench::strobed();
    bench.step(ms(20), hold(1, HoldChange::Hold, 0, ms(0)));
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    let effects = bench.timers_until(ms(5_029));
    assert_eq!(bench.switcher.state(), AgentState::Strobed);
    assert!(reports(&effects).is_empty(), "a silent manager is no stop of the agent: {effects:?}");

    let effects = bench.timers_until(ms(5_030));
    assert_eq!(switches(&effects), [(GangSlots::EMPTY, slots(&[0]), SwitchCause::Watchdog)]);
    assert_eq!(reports(&effects), [SwitcherReport::State(AgentState::FreeRunning)]);
    assert_eq!(bench.switcher.counters().watchdog_expiries, 1);

    bench.timers_until(ms(5_990));
    let effects = bench.step(ms(6_000), next_strobe(2, 100, 6_000));
    assert_eq!(reports(&effects), [SwitcherReport::State(AgentState::Strobed)]);
    assert_eq!(bench.switcher.thawed(), slots(&[0, 2]));
    assert_eq!(samples(&effects).iter().map(|sample| sample.missed).sum::<u64>(), 0, "nothing announced was superseded");
    bench.timers_until(ms(6_020));
    assert_eq!(bench.switcher.state(), AgentState::Strobed, "the return is not undone by the next timer");
}

#[test]
fn the_epoch_in_which_the_watchdog_expired_may_be_entered_again() {
    let mut bench = Bench::strobed();
    bench.timers_until(ms(5_100));
    assert_eq!(bench.switcher.state(), AgentState::FreeRunning);
    let (_, last) = bench.switcher.switched();
    let effects = bench.step(ms(5_110), next_strobe(2, last.0, 5_000));
    assert_eq!(reports(&effects), [SwitcherReport::State(AgentState::Strobed)]);
    assert_eq!(bench.switcher.thawed(), slots(&[1, 2]), "the second of its epochs is due");
}

#[test]
fn only_a_heartbeat_under_a_lease_renews() {
    for (lease, sequence, state) in
        [(true, 2, AgentState::Strobed), (false, 2, AgentState::FreeRunning), (true, 1, AgentState::FreeRunning)]
    {
        let mut bench = Bench::strobed();
        bench.step(ms(100), heartbeat(fence(3, 2), 1, ms(99), true));
        bench.timers_until(ms(2_000));
        bench.step(ms(2_000), heartbeat(fence(3, 2), sequence, ms(1_999), lease));
        bench.step(ms(2_000), next_strobe(2, 40, 2_000));
        bench.timers_until(ms(5_500));
        assert_eq!(bench.switcher.state(), state, "lease {lease}, sequence {sequence}");
    }
}

#[test]
fn a_stopped_agent_obeys_nobody_until_it_is_admitted_again() {
    let mut bench = Bench::strobed();
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    bench.step(ms(40), hold(2, HoldChange::Hold, 3, ms(300)));
    let queued = heartbeat(fence(3, 2), 2, ms(500), true);
    let effects = bench.step(ms(3_031), queued);
    assert_eq!(switches(&effects), [(slots(&[2]), slots(&[1]), SwitchCause::LeftOut)], "the hold that came due is kept");
    let expected = [
        SwitcherReport::LeftOut { term: Term(3) },
        SwitcherReport::HoldEffective { slot: strobe_core::model::GangSlot(2), change: HoldChange::Hold },
        SwitcherReport::State(AgentState::Unsealed),
    ];
    assert_eq!(reports(&effects), expected);
    assert!(!effects.iter().any(|effect| matches!(effect, SwitcherEffect::Send { .. })), "the queued heartbeat is dropped");

    assert_eq!(bench.step(ms(3_032), next_strobe(2, 60, 3_030)), []);
    assert_eq!(bench.step(ms(3_033), admit(fence(3, 2))), [], "the view it was left out of admits it no more");
    assert_eq!(bench.switcher.next_deadline(), None);
    bench.step(ms(3_034), admit(fence(3, 4)));
    assert_eq!(bench.switcher.state(), AgentState::FreeRunning);
    let strobe = strobe(fence(3, 4), 1, 9, 62, ms(3_040), &[Some(0)]);
    bench.step(ms(3_040), from_manager(Datagram::Strobe(strobe)));
    assert_eq!((bench.switcher.state(), bench.switcher.thawed()), (AgentState::Strobed, slots(&[0])));
}

#[test]
fn a_stop_is_longer_than_a_quarter_of_suspicion_and_ends_after_more_than_all_of_it() {
    let mut bench = Bench::strobed();
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    bench.step(ms(3_030), SwitcherInput::Timer);
    assert_eq!(bench.switcher.counters().left_out, 0, "the last renewal is not older than suspicion");
    bench.step(ms(3_780), SwitcherInput::Timer);
    assert_eq!(bench.switcher.counters().left_out, 0, "what is queued is not older than a quarter of it");
    bench.step(ms(4_531), SwitcherInput::Timer);
    assert_eq!(bench.switcher.counters().left_out, 1);
}

#[test]
fn a_short_stop_changes_nothing() {
    let mut bench = Bench::strobed();
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    let effects = bench.step(ms(2_900), heartbeat(fence(3, 2), 2, ms(500), true));
    assert_eq!(bench.switcher.counters().left_out, 0);
    assert!(effects.iter().any(|effect| matches!(effect, SwitcherEffect::Send { .. })), "it answers");
}

#[test]
fn sleep_that_the_clock_does_not_see_counts_as_a_stop() {
    let mut bench = Bench::strobed();
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    let effects = bench.step(ms(40), SwitcherInput::ClockDisturbed { asleep: Duration::from_secs(60) });
    assert!(reports(&effects).contains(&SwitcherReport::LeftOut { term: Term(3) }));
    let mut bench = Bench::strobed();
    bench.step(ms(30), heartbeat(fence(3, 2), 1, ms(29), true));
    bench.step(ms(40), SwitcherInput::ClockDisturbed { asleep: Duration::from_millis(10) });
    assert_eq!(bench.switcher.counters().left_out, 0);
}

#[test]
fn an_agent_that_runs_free_and_is_then_stopped_is_left_out_too() {
    let mut bench = Bench::strobed();
    bench.timers_until(ms(6_000));
    assert_eq!(bench.switcher.state(), AgentState::FreeRunning);
    let effects = bench.step(ms(8_000), SwitcherInput::Timer);
    assert_eq!(switches(&effects), [], "its gangs run already");
    assert!(reports(&effects).contains(&SwitcherReport::LeftOut { term: Term(3) }));
}
