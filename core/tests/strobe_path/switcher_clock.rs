//! A switcher whose manager is another node: probes of its clock, and what is done without it.

use std::time::Duration;

use strobe_core::{
    limits::CLOCK_PROBES_OPEN_MAX,
    machine::Machine,
    message::{ClockProbe, ClockReply, Datagram, SwitcherCommand},
    model::{Epoch, GangSlots, Instant, NodeIndex, Term},
    node::{SwitchCause, SwitcherEffect, SwitcherInput},
};

use crate::fixture::{Bench, admit, fence, from_manager, ms, present, samples, sent, slots, strobe, switches, table};

const NONE: GangSlots = GangSlots::EMPTY;

/// A bench on node 1, whose clock is 7 ms behind the manager's.
fn far_from_the_manager() -> Bench {
    let mut bench = Bench::on_node(1);
    bench.step(ms(0), present(0, true));
    bench.step(ms(0), present(1, true));
    bench.step(ms(0), table(1, &[&[0], &[1]]));
    bench
}

fn answer_probes(bench: &mut Bench, effects: &[SwitcherEffect]) {
    for datagram in sent(effects) {
        if let Datagram::ClockProbe(probe) = datagram {
            let there = probe.sent_at + Duration::from_millis(7) + Duration::from_micros(50);
            let reply = ClockReply { term: probe.term, probe_sent_at: probe.sent_at, received_at: there, replied_at: there };
            bench.step(probe.sent_at + Duration::from_micros(100), from_manager(Datagram::ClockReply(reply)));
        }
    }
}

#[test]
fn an_unsynchronised_agent_acts_on_receipt_and_is_counted() {
    let mut bench = far_from_the_manager();
    bench.step(ms(0), admit(fence(3, 2)));
    let effects = bench.step(ms(1), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 1, 1, ms(10), &[Some(0), Some(1)]))));
    let cause = SwitchCause::Receipt { term: Term(3), epoch: Epoch(1) };
    assert_eq!(switches(&effects), [(slots(&[1]), NONE, cause)]);
    assert_eq!(switches(&bench.timers_until(ms(200))), [], "without the offset no instant means anything");
    bench.step(ms(201), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 2, 4, ms(210), &[Some(1)]))));
    assert_eq!(bench.switcher.thawed(), slots(&[1]));
    assert_eq!(bench.switcher.counters().unsynchronised, 2);
}

#[test]
fn a_synchronised_agent_acts_at_the_translated_instant() {
    let mut bench = far_from_the_manager();
    let mut effects = bench.step(ms(0), admit(fence(3, 2)));
    for _ in 0..3 {
        answer_probes(&mut bench, &effects);
        let next = bench.switcher.next_deadline().expect("probes go on");
        effects = bench.step(next, SwitcherInput::Timer);
    }
    bench.step(ms(20), from_manager(Datagram::Strobe(strobe(fence(3, 2), 1, 1, 1, ms(47), &[Some(0)]))));
    let samples = samples(&bench.timers_until(ms(45)));
    let [sample] = samples[..] else { panic!("one epoch: {samples:?}") };
    assert!(sample.acted.since(ms(40)) < Duration::from_micros(2) && sample.bound.is_some_and(|bound| bound >= Duration::from_micros(50)));

    bench.step(ms(50), SwitcherInput::ClockDisturbed { asleep: Duration::ZERO });
    assert_eq!(bench.switcher.clock_bound(ms(50)), None, "a disturbed clock is asked anew");
}

/// Instants at which probes go out when none is answered.
fn probed(bench: &mut Bench, until: Instant) -> Vec<u64> {
    let mut instants = Vec::new();
    while let Some(deadline) = bench.switcher.next_deadline().filter(|deadline| *deadline <= until) {
        let effects = bench.step(deadline, SwitcherInput::Timer);
        instants.extend(sent(&effects).iter().map(|_| u64::try_from(deadline.since(ms(0)).as_millis()).expect("short")));
    }
    instants
}

fn reply(probe: ClockProbe, ahead: Duration) -> ClockReply {
    let there = probe.sent_at + ahead + Duration::from_micros(50);
    ClockReply { term: probe.term, probe_sent_at: probe.sent_at, received_at: there, replied_at: there }
}

fn probe(effects: &[SwitcherEffect]) -> ClockProbe {
    let [Datagram::ClockProbe(probe)] = sent(effects)[..] else { panic!("one probe: {effects:?}") };
    probe
}

/// Synchronised by three answers, the last of them just now.
fn synchronised() -> (Bench, Instant) {
    let mut bench = far_from_the_manager();
    let mut effects = bench.step(ms(0), admit(fence(3, 2)));
    let mut now = ms(0);
    for _ in 0..3 {
        now = probe(&effects).sent_at + Duration::from_micros(100);
        answer_probes(&mut bench, &effects);
        let next = bench.switcher.next_deadline().expect("probes go on");
        effects = bench.step(next, SwitcherInput::Timer);
    }
    (bench, now)
}

#[test]
fn probes_begin_with_a_burst_and_become_rare() {
    let mut bench = far_from_the_manager();
    let first = probe(&bench.step(ms(0), admit(fence(3, 2))));
    assert_eq!((first.term, first.node, first.sent_at), (Term(3), NodeIndex(1), ms(0)));
    let expected = [2, 4, 6, 8, 10, 12, 14, 16, 18, 22, 30, 46, 78, 142, 270, 520, 770, 1_020];
    assert_eq!(probed(&mut bench, ms(1_020)), expected);
    bench.step(ms(1_030), SwitcherInput::ClockDisturbed { asleep: Duration::ZERO });
    assert_eq!(bench.switcher.counters().clock_disturbances, 1);
    assert_eq!(probed(&mut bench, ms(1_036)), [1_032, 1_034, 1_036], "a burst again");
}

#[test]
fn the_manager_s_own_node_asks_nobody_and_knows_its_clock_whatever_disturbs_it() {
    let mut bench = Bench::admitted();
    assert_eq!(bench.switcher.next_deadline(), Some(ms(375)), "an eighth of suspicion: there are no probes");
    let effects = bench.step(ms(20), SwitcherInput::ClockDisturbed { asleep: Duration::ZERO });
    assert_eq!((sent(&effects), bench.switcher.clock_bound(ms(20))), (vec![], Some(Duration::ZERO)));
}

#[test]
fn a_clock_is_known_within_the_tolerance_and_no_further() {
    let (mut bench, now) = synchronised();
    let bound = bench.switcher.clock_bound(now).expect("three samples agree");
    for (clock_tolerance, known) in [(bound, Some(bound)), (bound - Duration::from_nanos(1), None)] {
        let (watchdog, suspicion) = (Duration::from_secs(5), Duration::from_secs(3));
        bench.step(now, SwitcherInput::Command(SwitcherCommand::Settings { watchdog, suspicion, clock_tolerance, switching: true }));
        assert_eq!(bench.switcher.clock_bound(now), known);
    }
}

#[test]
fn answers_count_from_the_term_s_manager_and_once() {
    let ahead = Duration::from_millis(7);
    let mut bench = far_from_the_manager();
    let asked = probe(&bench.step(ms(0), admit(fence(3, 2))));
    let good = reply(asked, ahead);
    let late = ms(0) + Duration::from_micros(100);
    let counted = |bench: &Bench| {
        let counters = bench.switcher.counters();
        (counters.refused, counters.duplicates, counters.malformed, counters.clock_disturbances)
    };
    bench.step(late, SwitcherInput::Datagram { from: NodeIndex(2), datagram: Datagram::ClockReply(good) });
    assert_eq!(counted(&bench), (1, 0, 0, 0));
    bench.step(late, from_manager(Datagram::ClockReply(ClockReply { term: Term(2), ..good })));
    assert_eq!(counted(&bench), (2, 0, 0, 0));
    bench.step(late, from_manager(Datagram::ClockReply(good)));
    assert_eq!(counted(&bench), (2, 0, 0, 0));
    bench.step(late, from_manager(Datagram::ClockReply(good)));
    assert_eq!(counted(&bench), (2, 1, 0, 0));
    let asked = probe(&bench.step(ms(2), SwitcherInput::Timer));
    let backwards = ClockReply { replied_at: ms(1), ..reply(asked, ahead) };
    bench.step(ms(3), from_manager(Datagram::ClockReply(backwards)));
    assert_eq!(counted(&bench), (2, 1, 1, 0));
    let asked = probe(&bench.step(ms(4), SwitcherInput::Timer));
    let effects = bench.step(ms(5), from_manager(Datagram::ClockReply(reply(asked, Duration::from_millis(90)))));
    assert_eq!(counted(&bench), (2, 1, 1, 1), "its clock has jumped");
    assert_eq!(probe(&effects).sent_at, ms(5), "it is asked anew at once");
}

#[test]
fn so_many_probes_are_open_and_an_answer_to_an_older_one_is_ignored() {
    let ahead = Duration::from_millis(7);
    let mut bench = far_from_the_manager();
    let first = probe(&bench.step(ms(0), admit(fence(3, 2))));
    let second = probe(&bench.step(ms(2), SwitcherInput::Timer));
    let probes = probed(&mut bench, ms(520)).len();
    assert_eq!(probes + 2, CLOCK_PROBES_OPEN_MAX + 1);
    bench.step(ms(521), from_manager(Datagram::ClockReply(reply(first, ahead))));
    assert_eq!(bench.switcher.counters().duplicates, 1);
    bench.step(ms(521), from_manager(Datagram::ClockReply(reply(second, ahead))));
    assert_eq!(bench.switcher.counters().duplicates, 1);
}
