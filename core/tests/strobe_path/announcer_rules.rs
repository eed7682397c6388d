//! Lease, suspicion, heartbeats and the rolling schedule, one test a rule.

use std::time::Duration;

use strobe_core::{
    limits::{SCHEDULE_COVER, SCHEDULE_EPOCHS_MAX},
    machine::{Machine, Outbox},
    manager::{Announcer, AnnouncerEffect, AnnouncerInput},
    message::{AgentState, AnnouncerCommand, AnnouncerReport, ClockProbe, Datagram, Heartbeat, HeartbeatReply, Strobe},
    model::{AgentIncarnation, Epoch, Fence, Instant, MatrixVersion, NodeIncarnation, NodeIndex, RowIndex, Term},
};

use crate::fixture::{MANAGER, fence, ms};

/// An announcer of a term's record of nodes 0 to `members − 1`, default times.
struct Bench {
    announcer: Announcer,
    out: Outbox<AnnouncerEffect>,
    /// The last heartbeat.
    heartbeat: Option<Heartbeat>,
}

fn members(nodes: impl IntoIterator<Item = u16>) -> Vec<NodeIncarnation> {
    nodes.into_iter().map(|node| NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }).collect()
}

fn rotation(version: u64, rows: &[u8], quantum_ms: u64) -> AnnouncerInput {
    AnnouncerInput::Command(AnnouncerCommand::Rotation {
        version: MatrixVersion(version),
        rows: rows.iter().copied().map(RowIndex).collect(),
        quantum: Duration::from_millis(quantum_ms),
    })
}

fn view(fence: Fence, nodes: impl IntoIterator<Item = u16>) -> AnnouncerInput {
    AnnouncerInput::Command(AnnouncerCommand::View { fence, view: members(nodes) })
}

impl Bench {
    fn of(nodes: u16) -> Self {
        let mut bench = Self { announcer: Announcer::new(), out: Outbox::with_capacity(Announcer::EFFECTS_MAX), heartbeat: None };
        bench.step(ms(0), AnnouncerInput::Command(start(nodes, 3)));
        bench
    }

    /// Of one node that has answered at 1 ms, so that the lease lasts until 3000 ms.
    fn leading() -> Self {
        let mut bench = Self::of(1);
        bench.answers(ms(1), &[0]);
        assert_eq!(bench.announcer.lease(ms(1)), Some(ms(3_000)));
        bench
    }

    fn step(&mut self, now: Instant, input: AnnouncerInput) -> Vec<AnnouncerEffect> {
        self.announcer.step(now, input, &mut self.out);
        let effects: Vec<_> = self.out.drain().collect();
        self.heartbeat = heartbeats(&effects).last().map(|(_, heartbeat)| *heartbeat).or(self.heartbeat);
        effects
    }

    /// These nodes answer the last heartbeat.
    fn answers(&mut self, now: Instant, nodes: &[u16]) -> Vec<AnnouncerEffect> {
        let heartbeat = self.heartbeat.expect("a heartbeat was sent");
        nodes.iter().flat_map(|node| self.step(now, reply(heartbeat, *node, 1))).collect()
    }

    /// Fires every timer up to and at `until`; the one node answers every heartbeat at once.
    fn answered_until(&mut self, until: Instant) -> Vec<AnnouncerEffect> {
        let mut effects = Vec::new();
        while let Some(deadline) = self.announcer.next_deadline().filter(|deadline| *deadline <= until) {
            let fired = self.step(deadline, AnnouncerInput::Timer);
            let asked = !heartbeats(&fired).is_empty();
            effects.extend(fired);
            if asked {
                effects.extend(self.answers(deadline, &[0]));
            }
            assert!(self.announcer.next_deadline().is_none_or(|next| next > deadline), "a timer that fired is over");
        }
        effects
    }

    /// Fires timers until a member is suspected, and says when.
    fn first_suspected(&mut self) -> Instant {
        loop {
            let deadline = self.announcer.next_deadline().expect("heartbeats go on");
            let fired = self.step(deadline, AnnouncerInput::Timer);
            if reports(&fired).iter().any(|report| matches!(report, AnnouncerReport::Suspect { .. })) {
                return deadline;
            }
        }
    }

    /// Three members that have answered the heartbeat of 1501 ms last.
    fn answered_at_1501() -> Self {
        let mut bench = Self::of(3);
        bench.answers(ms(1), &[0, 1, 2]);
        for asked in [501, 1_001, 1_501] {
            bench.timers_until(ms(asked));
            bench.answers(ms(asked + 1), &[0, 1, 2]);
        }
        bench
    }

    fn timers_until(&mut self, until: Instant) -> Vec<AnnouncerEffect> {
        let mut effects = Vec::new();
        while let Some(deadline) = self.announcer.next_deadline().filter(|deadline| *deadline <= until) {
            effects.extend(self.step(deadline, AnnouncerInput::Timer));
        }
        effects
    }
}

fn start(nodes: u16, term: u64) -> AnnouncerCommand {
    AnnouncerCommand::Start {
        fence: fence(term, 1),
        manager: MANAGER,
        record: members(0..nodes),
        view: members(0..nodes),
        heartbeat: Duration::from_millis(500),
        suspicion: Duration::from_secs(3),
        lead: Duration::from_millis(5),
    }
}

fn reply(heartbeat: Heartbeat, node: u16, incarnation: u64) -> AnnouncerInput {
    let reply = HeartbeatReply {
        fence: heartbeat.fence,
        sequence: heartbeat.sequence,
        sent_at: heartbeat.sent_at,
        node: NodeIndex(node),
        incarnation: AgentIncarnation(incarnation),
        state: AgentState::Strobed,
        switched: Epoch(0),
    };
    AnnouncerInput::Datagram { from: NodeIndex(node), datagram: Datagram::HeartbeatReply(reply) }
}

fn heartbeats(effects: &[AnnouncerEffect]) -> Vec<(NodeIndex, Heartbeat)> {
    let heartbeat = |effect: &AnnouncerEffect| match effect {
        AnnouncerEffect::Send { to, datagram: Datagram::Heartbeat(heartbeat) } => Some((*to, *heartbeat)),
        AnnouncerEffect::Send { .. } | AnnouncerEffect::Report(_) => None,
    };
    effects.iter().filter_map(heartbeat).collect()
}

fn strobes(effects: &[AnnouncerEffect]) -> Vec<Strobe> {
    let strobe = |effect: &AnnouncerEffect| match effect {
        AnnouncerEffect::Send { datagram: Datagram::Strobe(strobe), .. } => Some(strobe.clone()),
        AnnouncerEffect::Send { .. } | AnnouncerEffect::Report(_) => None,
    };
    effects.iter().filter_map(strobe).collect()
}

fn reports(effects: &[AnnouncerEffect]) -> Vec<AnnouncerReport> {
    let report = |effect: &AnnouncerEffect| match effect {
        AnnouncerEffect::Report(report) => Some(*report),
        AnnouncerEffect::Send { .. } => None,
    };
    effects.iter().filter_map(report).collect()
}

/// Ends of the lease as reported.
fn lease_ends(effects: &[AnnouncerEffect]) -> Vec<Instant> {
    let end = |report| match report {
        AnnouncerReport::Lease { until, .. } => Some(until),
        AnnouncerReport::Suspect { .. } => None,
    };
    reports(effects).into_iter().filter_map(end).collect()
}

fn rows(strobe: &Strobe) -> Vec<Option<u8>> {
    strobe.schedule.iter().take(6).map(|row| row.map(|row| row.0)).collect()
}

#[test]
fn more_than_half_of_the_record_make_the_lease() {
    for (nodes, too_few, enough) in [(1, 0, 1), (2, 1, 2), (3, 1, 2), (4, 2, 3), (5, 2, 3), (64, 32, 33)] {
        let mut bench = Bench::of(nodes);
        bench.answers(ms(1), &(0..too_few).collect::<Vec<_>>());
        assert_eq!(bench.announcer.lease(ms(1)), None, "{too_few} of {nodes}");
        bench.answers(ms(1), &(too_few..enough).collect::<Vec<_>>());
        assert_eq!(bench.announcer.lease(ms(1)), Some(ms(3_000)), "{enough} of {nodes}: from when the heartbeat was sent");
        assert_eq!(bench.announcer.lease(ms(3_000)), None, "less than suspicion ago, not suspicion ago");
    }
}

#[test]
fn nodes_outside_the_record_count_for_nothing() {
    let mut bench = Bench::of(2);
    bench.step(ms(1), view(fence(3, 2), 0..4));
    bench.answers(ms(2), &[0, 2, 3]);
    assert_eq!(bench.announcer.lease(ms(2)), None);
}

#[test]
fn only_the_present_life_in_the_view_counts() {
    let mut bench = Bench::of(3);
    let asked = bench.heartbeat.expect("a heartbeat was sent");
    bench.step(ms(1), reply(asked, 0, 1));
    bench.step(ms(1), reply(asked, 1, 2));
    assert_eq!((bench.announcer.lease(ms(1)), bench.announcer.counters().refused), (None, 1));

    let mut newer = members(0..3);
    newer[1].incarnation = AgentIncarnation(2);
    bench.step(ms(2), AnnouncerInput::Command(AnnouncerCommand::View { fence: fence(3, 2), view: newer }));
    bench.step(ms(3), reply(asked, 1, 2));
    assert_eq!(bench.announcer.lease(ms(3)), None, "an answer to a view before its admission");
    let asked = bench.heartbeat.expect("a heartbeat was sent");
    assert_eq!(asked.fence, fence(3, 2));
    bench.step(ms(3), reply(asked, 1, 2));
    assert_eq!(bench.announcer.lease(ms(3)), Some(ms(3_000)), "the older of the two answers ends it");
    bench.step(ms(4), view(fence(3, 3), [0, 2]));
    assert_eq!(bench.announcer.lease(ms(4)), None, "removed from the view");
}

#[test]
fn what_was_never_sent_cannot_be_answered() {
    let mut bench = Bench::of(1);
    let asked = bench.heartbeat.expect("a heartbeat was sent");
    let wrong = [
        Heartbeat { sequence: 9, ..asked },
        Heartbeat { sent_at: ms(100), ..asked },
        Heartbeat { fence: fence(2, 1), ..asked },
        Heartbeat { fence: fence(4, 1), ..asked },
    ];
    for wrong in wrong {
        bench.step(ms(1), reply(wrong, 0, 1));
    }
    assert_eq!((bench.announcer.lease(ms(1)), bench.announcer.counters().refused), (None, 4));
}

#[test]
fn without_the_lease_there_are_heartbeats_that_say_so_and_no_strobes() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 50));
    let effects = bench.timers_until(ms(2_999));
    assert!(!strobes(&effects).is_empty() && heartbeats(&effects).iter().all(|(_, heartbeat)| heartbeat.lease));
    let effects = bench.timers_until(ms(4_000));
    assert!(strobes(&effects).is_empty() && bench.announcer.counters().withheld > 0);
    assert!(!heartbeats(&effects).is_empty() && heartbeats(&effects).iter().all(|(_, heartbeat)| !heartbeat.lease));

    let effects = bench.answers(ms(4_001), &[0]);
    assert!(heartbeats(&effects)[0].1.lease, "held anew: said at once");
    assert_eq!(strobes(&effects).len(), 1);
}

#[test]
fn heartbeats_are_of_fixed_period_and_numbered() {
    let mut bench = Bench::leading();
    let sent: Vec<_> =
        heartbeats(&bench.answered_until(ms(2_001))).into_iter().map(|(_, heartbeat)| (heartbeat.sequence, heartbeat.sent_at)).collect();
    assert_eq!(sent, [(3, ms(501)), (4, ms(1_001)), (5, ms(1_501)), (6, ms(2_001))]);
}

#[test]
fn the_lease_is_sought_soon_and_then_less_often() {
    let sent = |effects: &[AnnouncerEffect]| -> Vec<u128> {
        heartbeats(effects).iter().map(|(_, heartbeat)| heartbeat.sent_at.since(ms(0)).as_micros()).collect()
    };
    let mut bench = Bench::of(1);
    // After the first one at 0 ms: 1, 2, 4 … 32 ms, and then an eighth of the period, 62.5 ms.
    let expected = [1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 125_500, 188_000, 250_500];
    assert_eq!(sent(&bench.timers_until(ms(300))), expected);
    bench.answers(ms(300), &[0]);
    let lost = sent(&bench.timers_until(ms(10_000)));
    let sought: Vec<_> = lost.windows(2).map(|pair| pair[1] - pair[0]).filter(|pause| *pause < 62_500).collect();
    assert_eq!(sought, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000], "a lease that was lost is sought like the first");
}

#[test]
fn a_renewal_is_reported_with_its_end_and_the_next_epoch() {
    let mut bench = Bench::leading();
    let effects = bench.step(ms(2), rotation(1, &[0], 50));
    let lease = |until, epoch, next_epoch_at| AnnouncerReport::Lease { fence: fence(3, 1), until, epoch: Epoch(epoch), next_epoch_at };
    assert_eq!(reports(&effects), [lease(ms(3_000), 0, ms(7))]);
    let effects = bench.answered_until(ms(501));
    assert_eq!(reports(&effects), [lease(ms(3_501), 10, ms(507))]);
}

#[test]
fn a_silent_member_is_suspected_once() {
    let mut bench = Bench::of(3);
    let mut effects = Vec::new();
    for heartbeat in 1..=14 {
        effects.extend(bench.answers(ms(heartbeat * 500 - 499), &[0, 1]));
        effects.extend(bench.timers_until(ms(heartbeat * 500)));
    }
    let suspect = AnnouncerReport::Suspect { fence: fence(3, 1), node: NodeIndex(2), incarnation: AgentIncarnation(1) };
    assert_eq!(
        reports(&effects).into_iter().filter(|report| matches!(report, AnnouncerReport::Suspect { .. })).collect::<Vec<_>>(),
        [suspect]
    );
}

#[test]
fn a_member_that_stays_silent_is_suspected_in_every_view() {
    let mut bench = Bench::of(2);
    let silent = |effects: Vec<AnnouncerEffect>| {
        reports(&effects).into_iter().filter(|report| matches!(report, AnnouncerReport::Suspect { node: NodeIndex(1), .. })).count()
    };
    assert_eq!(silent(bench.timers_until(ms(4_000))), 1);
    let effects = bench.step(ms(4_000), view(fence(3, 2), 0..3));
    assert_eq!(silent(effects), 1, "a larger view can do without it");
    assert_eq!(silent(bench.timers_until(ms(5_000))), 0);
}

#[test]
fn a_member_that_joins_has_the_whole_of_suspicion_to_answer() {
    let mut bench = Bench::of(1);
    bench.answers(ms(1), &[0]);
    bench.answered_until(ms(2_900));
    bench.step(ms(2_900), view(fence(3, 2), 0..2));
    let effects = bench.answered_until(ms(5_899));
    assert!(!reports(&effects).iter().any(|report| matches!(report, AnnouncerReport::Suspect { .. })));
    let effects = bench.answered_until(ms(5_900));
    assert!(reports(&effects).iter().any(|report| matches!(report, AnnouncerReport::Suspect { node: NodeIndex(1), .. })));
}

#[test]
fn a_manager_that_was_stopped_suspects_nobody_for_it() {
    let mut bench = Bench::of(3);
    bench.answers(ms(1), &[0, 1, 2]);
    let effects = bench.step(ms(60_000), AnnouncerInput::Timer);
    assert_eq!(reports(&effects), []);
    assert!(heartbeats(&effects).iter().all(|(_, heartbeat)| !heartbeat.lease), "and has no lease");
}

/// A quarter of the suspicion, 750 ms, tells a stop from a timer that is late.
#[test]
fn a_timer_that_is_late_by_more_than_a_quarter_of_suspicion_excuses_the_others() {
    let late = |by: u64| {
        let mut bench = Bench::answered_at_1501();
        let deadline = bench.announcer.next_deadline().unwrap();
        bench.step(deadline + Duration::from_millis(by), AnnouncerInput::Timer);
        (bench.first_suspected(), deadline)
    };
    assert_eq!(late(750).0, ms(4_501), "silent since the last answer");
    let (suspected, deadline) = late(751);
    assert_eq!(suspected, deadline + Duration::from_millis(3_751), "asked anew since then");
}

#[test]
fn a_sleep_of_more_than_a_quarter_of_suspicion_excuses_the_others() {
    let slept = |milliseconds| {
        let mut bench = Bench::answered_at_1501();
        bench.step(ms(1_600), AnnouncerInput::ClockDisturbed { asleep: Duration::from_millis(milliseconds) });
        bench.first_suspected()
    };
    assert_eq!(slept(750), ms(3_751), "silent since the last answer, and longer than the clock says");
    assert_eq!(slept(751), ms(4_600), "asked anew since then");
}

#[test]
fn without_a_schedule_the_next_epoch_is_as_far_as_an_announcement_is_ahead() {
    let mut bench = Bench::of(1);
    let effects = bench.answers(ms(1), &[0]);
    let expected = AnnouncerReport::Lease { fence: fence(3, 1), until: ms(3_000), epoch: Epoch(0), next_epoch_at: ms(6) };
    assert_eq!(reports(&effects), [expected]);
}

#[test]
fn heartbeats_and_announcements_are_counted() {
    let mut bench = Bench::leading();
    let begun = *bench.announcer.counters();
    bench.step(ms(2), rotation(1, &[0], 50));
    let effects = bench.answered_until(ms(2_001));
    let counters = *bench.announcer.counters();
    assert_eq!(counters.heartbeats - begun.heartbeats, u64::try_from(heartbeats(&effects).len()).unwrap());
    assert_eq!(counters.announcements - begun.announcements, 1 + u64::try_from(strobes(&effects).len()).unwrap());
    assert!(begun.heartbeats >= 2 && counters.announcements > 2, "{begun:?} {counters:?}");
}

#[test]
fn a_step_has_no_more_effects_than_its_outbox_has_room_for() {
    let all: Vec<u16> = (0..64).collect();
    let mut bench = Bench::of(64);
    bench.answers(ms(1), &all);
    bench.step(ms(2), rotation(1, &[0], 2_000));
    let mut most = 0;
    while let Some(deadline) = bench.announcer.next_deadline().filter(|deadline| *deadline <= ms(2_000)) {
        most = most.max(bench.step(deadline, AnnouncerInput::Timer).len());
        bench.answers(deadline, &all);
    }
    assert!(most >= 2 * all.len() && most <= Announcer::EFFECTS_MAX, "a strobe that rides on heartbeats: {most}");
}

/// The lease counts the time in which this machine slept, although its clock did not.
#[test]
fn a_sleep_ages_the_answers() {
    let mut bench = Bench::leading();
    bench.step(ms(10), rotation(1, &[0], 50));
    let before = bench.heartbeat.expect("a heartbeat was sent");
    let woken = bench.step(ms(100), AnnouncerInput::ClockDisturbed { asleep: Duration::from_secs(1) });
    assert_eq!(bench.announcer.lease(ms(100)), Some(ms(2_000)));
    assert_eq!(lease_ends(&woken), [ms(2_000)], "the shorter lease is reported");
    bench.step(ms(110), reply(Heartbeat { sent_at: ms(100), ..before }, 0, 1));
    assert_eq!(bench.announcer.lease(ms(110)), Some(ms(2_000)), "an answer to a heartbeat from before the sleep says nothing");

    let woken = bench.step(ms(200), AnnouncerInput::ClockDisturbed { asleep: Duration::from_secs(3) });
    assert_eq!(bench.announcer.lease(ms(200)), None);
    assert_eq!(lease_ends(&woken), [ms(200)], "the lease is over at once");
    assert!(heartbeats(&woken).iter().all(|(_, heartbeat)| !heartbeat.lease), "and heartbeats say so");
    assert!(strobes(&bench.timers_until(ms(400))).is_empty(), "nothing is strobed without it");
    bench.answers(ms(401), &[0]);
    assert!(bench.announcer.lease(ms(401)).is_some());
}

#[test]
fn rows_take_turns_and_the_schedule_covers_what_it_must() {
    for (quantum_ms, epochs) in [(50, 11), (1, 501), (10_000, 3), (500, 3)] {
        let mut bench = Bench::leading();
        let strobes = strobes(&bench.step(ms(2), rotation(1, &[0, 2, 3], quantum_ms)));
        let [strobe] = &strobes[..] else { panic!("one strobe: {strobes:?}") };
        assert_eq!((strobe.epoch, strobe.at, strobe.announcement, strobe.fence), (Epoch(1), ms(7), 1, fence(3, 1)));
        assert_eq!(strobe.schedule.len(), epochs, "{quantum_ms} ms");
        assert!(strobe.schedule.len() <= SCHEDULE_EPOCHS_MAX && strobe.quantum * u32::try_from(epochs).expect("few") >= SCHEDULE_COVER);
        assert!(strobe.schedule.iter().zip([0, 2, 3].into_iter().cycle()).all(|(row, expected)| *row == Some(RowIndex(expected))));
    }
}

#[test]
fn it_is_announced_again_where_an_epoch_begins_and_every_row_has_its_turn() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 10));
    let again = strobes(&bench.answered_until(ms(300)));
    assert_eq!(again.iter().map(|strobe| strobe.at).take(3).collect::<Vec<_>>(), [ms(7), ms(57), ms(107)]);
    assert_eq!(again.iter().map(|strobe| rows(strobe)[0]).take(4).collect::<Vec<_>>(), [Some(0), Some(1), Some(0), Some(1)]);
    assert_eq!(again.iter().map(|strobe| strobe.announcement).take(3).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn with_a_long_quantum_a_strobe_rides_on_the_heartbeats() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 10_000));
    let again = strobes(&bench.answered_until(ms(2_100)));
    assert!(again.len() >= 3, "{}", again.len());
    assert!(again.iter().all(|strobe| strobe.epoch == Epoch(1) && strobe.at == ms(7)));
}

#[test]
fn a_change_keeps_what_begins_within_the_lead_and_goes_on_after_the_current_row() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 50));
    bench.answered_until(ms(60));
    let strobes_of = |bench: &mut Bench, now, input| strobes(&bench.step(now, input));
    let [strobe] = &strobes_of(&mut bench, ms(70), rotation(2, &[0, 1, 2], 50))[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at, strobe.version), (Epoch(3), ms(107), MatrixVersion(2)));
    assert_eq!(rows(strobe)[..3], [Some(2), Some(0), Some(1)], "epoch 2 runs row 1");
    let [strobe] = &strobes_of(&mut bench, ms(103), rotation(3, &[1, 2], 50))[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at), (Epoch(4), ms(157)), "epoch 3 begins in 4 ms and stays");
    assert_eq!(rows(strobe)[..2], [Some(1), Some(2)]);
}

#[test]
fn an_idle_epoch_does_not_keep_the_first_row_waiting() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[], 50));
    bench.answered_until(ms(60));
    let [strobe] = &strobes(&bench.step(ms(70), rotation(2, &[1], 50)))[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at), (Epoch(3), ms(75)));
    assert!(strobe.schedule.iter().all(|row| *row == Some(RowIndex(1))), "one row: constant");
}

#[test]
fn a_row_that_ended_does_not_keep_the_others_waiting() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 10_000));
    bench.answered_until(ms(100));
    let [strobe] = &strobes(&bench.step(ms(110), rotation(2, &[1], 10_000)))[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at, rows(strobe)[0]), (Epoch(2), ms(115), Some(1)));
}

#[test]
fn another_quantum_restarts_the_schedule_with_growing_epochs() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 10_000));
    bench.answered_until(ms(100));
    let [strobe] = &strobes(&bench.step(ms(110), rotation(1, &[0, 1], 20)))[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at, strobe.quantum), (Epoch(2), ms(115), Duration::from_millis(20)));
}

#[test]
fn the_same_rotation_again_is_no_change() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 50));
    assert_eq!(bench.step(ms(3), rotation(1, &[0, 1], 50)), []);
}

#[test]
fn a_long_silence_of_its_own_does_not_confuse_the_epochs() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 50));
    bench.step(ms(60_010), AnnouncerInput::Timer);
    let effects = bench.answers(ms(60_020), &[0]);
    let [strobe] = &strobes(&effects)[..] else { panic!("announced at once") };
    assert_eq!((strobe.epoch, strobe.at), (Epoch(1_201), ms(60_007)));
}

#[test]
fn a_raised_view_is_strobed_at_once_and_a_lower_one_ignored() {
    let mut bench = Bench::leading();
    bench.step(ms(2), rotation(1, &[0, 1], 50));
    let effects = bench.step(ms(10), view(fence(3, 2), 0..2));
    let targets: Vec<_> = strobes(&effects).iter().map(|strobe| strobe.fence).collect();
    assert_eq!(targets, [fence(3, 2); 2]);
    assert_eq!(heartbeats(&effects).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [NodeIndex(0), NodeIndex(1)]);
    assert_eq!(bench.step(ms(11), view(fence(3, 2), 0..1)), []);
    assert_eq!(bench.step(ms(11), view(fence(4, 3), 0..1)), []);
}

#[test]
fn clock_probes_of_the_term_are_answered() {
    let mut bench = Bench::leading();
    let probe = |term| ClockProbe { term: Term(term), node: NodeIndex(1), sent_at: ms(77) };
    let ask = |from, term| AnnouncerInput::Datagram { from: NodeIndex(from), datagram: Datagram::ClockProbe(probe(term)) };
    let effects = bench.step(ms(5), ask(1, 3));
    let [AnnouncerEffect::Send { to: NodeIndex(1), datagram: Datagram::ClockReply(reply) }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((reply.term, reply.probe_sent_at, reply.received_at, reply.replied_at), (Term(3), ms(77), ms(5), ms(5)));
    assert_eq!((bench.step(ms(6), ask(1, 2)), bench.step(ms(6), ask(0, 3))), (vec![], vec![]));
    assert_eq!(bench.announcer.counters().refused, 2);
}

#[test]
fn a_reign_ends_by_stop_or_a_higher_term_only() {
    let mut bench = Bench::leading();
    bench.step(ms(2), AnnouncerInput::Command(start(1, 2)));
    bench.step(ms(2), AnnouncerInput::Command(start(1, 3)));
    assert_eq!(bench.announcer.lease(ms(2)), Some(ms(3_000)), "neither a lower term nor the same one begins anew");
    bench.step(ms(3), AnnouncerInput::Command(start(1, 4)));
    assert_eq!((bench.announcer.lease(ms(3)), bench.announcer.fence()), (None, Some(fence(4, 1))));
    bench.step(ms(4), AnnouncerInput::Command(AnnouncerCommand::Stop));
    assert_eq!((bench.announcer.fence(), bench.announcer.next_deadline()), (None, None));
    assert_eq!(bench.step(ms(5), rotation(1, &[0], 50)), []);
}
