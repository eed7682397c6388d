//! What a manager commands its gangs: what it was told of the nodes, what members have signalled.

use std::{sync::Arc, time::Duration};

use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerEvent, ManagerInput},
    message::{AnnouncerReport, GangSignal, SealAnswer, Signal, ToManager, ToMember},
    model::{
        AgentIncarnation, Appointment, CpuIndex, Desire, EndCause, Epoch, EstablishedTerm, Fence, GangId, GangIncarnation, GangRun,
        Instant, MatrixVersion, NodeIncarnation, NodeIndex, NodePlacement, NodeSet, PartitionUid, Plan, PlannedGang, RankIndex,
        RecordNumber, RowIndex, Settings, Term, TermRecord, View,
    },
    primitives::{GangVerb, Payload, Record},
};

const FENCE: Fence = Fence { partition: PartitionUid(7), term: Term(2), view: View(1) };
const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

fn agent(node: u16) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }
}

fn nodes(nodes: &[u16]) -> NodeSet {
    nodes.iter().copied().map(NodeIndex).collect()
}

/// One gang with a rank on each of these nodes.
fn plan(on: &[u16]) -> Arc<Plan> {
    let place = |(rank, node): (u32, &u16)| NodePlacement {
        node: NodeIndex(*node),
        cpus: [CpuIndex(0)].into_iter().collect(),
        first_rank: RankIndex(rank),
        ranks: 1,
    };
    let placement = (0..).zip(on).map(place).collect();
    let gang = PlannedGang { run: RUN, desire: Desire::Run, rows: [RowIndex(0)].into_iter().collect(), placement };
    Arc::new(Plan { version: MatrixVersion(1), gangs: vec![gang] })
}

/// An appointment of node 0 for a term of these members, after a term of these.
fn appointment(members: &[u16], earlier: &[u16]) -> Appointment {
    let record = TermRecord {
        partition: FENCE.partition,
        term: FENCE.term,
        manager: agent(0),
        members: members.iter().copied().map(agent).collect(),
        established: Some(EstablishedTerm { term: Term(1), members: nodes(earlier) }),
        since: Vec::new(),
    };
    Appointment { record, dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: plan(members) }
}

struct Bench {
    manager: Manager,
    now: Instant,
    sent: Vec<(NodeIndex, ToMember)>,
    numbered: Vec<Record>,
    last: RecordNumber,
}

impl Bench {
    fn appointed(appointment: Appointment) -> Self {
        let now = Instant::from_nanoseconds(1);
        let mut bench = Self { manager: Manager::default(), now, sent: Vec::new(), numbered: Vec::new(), last: RecordNumber(0) };
        bench.is_appointed(appointment);
        bench
    }

    /// The appointed manager of these members, all of them in the view, under the lease.
    fn established(members: &[u16]) -> Self {
        let mut bench = Self::appointed(appointment(members, members));
        for node in members {
            bench.seals(*node);
        }
        for node in members {
            bench.hears(*node, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
        }
        let until = bench.now + Duration::from_secs(60);
        let lease = AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(0), next_epoch_at: bench.now };
        bench.step(ManagerInput::Announcer(lease));
        bench.all_hold(members);
        bench
    }

    fn is_appointed(&mut self, appointment: Appointment) {
        self.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
    }

    fn step(&mut self, input: ManagerInput) {
        let mut out = Outbox::default();
        self.manager.step(self.now, input, &mut out);
        for effect in out.drain() {
            match effect {
                ManagerEffect::Send { to, message } => self.sent.push((to, message)),
                ManagerEffect::Event(ManagerEvent::Numbered { number, record }) => {
                    self.last = number;
                    self.numbered.push(Record::clone(&record));
                }
                ManagerEffect::Event(_) | ManagerEffect::Announcer(_) | ManagerEffect::Report(_) => {}
            }
        }
    }

    fn hears(&mut self, from: u16, message: ToManager) {
        self.step(ManagerInput::FromMember { from: NodeIndex(from), message });
    }

    fn seals(&mut self, node: u16) {
        self.hears(node, ToManager::Sealed(SealAnswer { term: FENCE.term, member: agent(node), knows_from: Term(1), holding: None }));
    }

    /// Everything that is numbered is stable, also what that leads to.
    fn all_hold(&mut self, members: &[u16]) {
        let mut held = None;
        while held != Some(self.last) {
            held = Some(self.last);
            for node in members {
                self.hears(*node, ToManager::Held { fence: FENCE, number: self.last });
            }
        }
    }

    fn signals(&mut self, node: u16, signal: GangSignal) {
        self.hears(node, ToManager::Signal(Signal { node: NodeIndex(node), run: RUN, signal }));
    }

    /// A member's part of the compare that was numbered last holds, and what follows is held by all.
    fn compare_holds(&mut self, members: &[u16]) {
        let compare = self.last;
        assert!(matches!(self.numbered.last(), Some(Record::Compare { .. })), "{:?}", self.numbered.last());
        for node in members {
            self.hears(*node, ToManager::Held { fence: FENCE, number: compare });
        }
        for node in members {
            self.hears(*node, ToManager::Compared { fence: FENCE, number: compare, truth: true });
        }
        self.all_hold(members);
    }

    fn is_planned(&mut self, version: u64, desire: Desire, members: &[u16]) {
        let mut wanted = Plan::clone(&plan(members));
        wanted.version = MatrixVersion(version);
        wanted.gangs[0].desire = desire;
        self.step(ManagerInput::Plan(Arc::new(wanted)));
        self.all_hold(members);
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(ManagerInput::Timer);
    }

    /// The peer table with which the gang was released.
    fn peers(&self) -> Option<&[Payload]> {
        match self.commanded()? {
            GangVerb::Release { peers, .. } => Some(peers),
            other => panic!("{other:?}"),
        }
    }

    /// The last command of the gang that was numbered.
    fn commanded(&self) -> Option<&GangVerb> {
        self.numbered.iter().rev().find_map(|record| match record {
            Record::Gang(command) => Some(&command.verb),
            Record::CompareResult(result) => result.command.as_ref().map(|command| &command.verb),
            Record::Plan(_) | Record::Xfer { .. } | Record::Compare { .. } => None,
        })
    }

    fn asked_to_install(&self) -> bool {
        self.sent.iter().any(|(_, message)| matches!(message, ToMember::Install { .. }))
    }
}

// === what is said of the nodes ===

#[test]
fn the_gangs_of_a_node_that_is_dead_and_not_lost_go_on_when_the_appointment_is_repeated() {
    let mut bench = Bench::established(&[0, 1]);
    let again = Appointment { dead: nodes(&[1]), ..appointment(&[0, 1], &[0, 1]) };
    bench.is_appointed(again.clone());
    assert_eq!(bench.commanded(), None, "it may still come back");
    bench.is_appointed(Appointment { lost: nodes(&[1]), ..again });
    let cause = EndCause::NodeLost { node: NodeIndex(1) };
    assert_eq!(bench.commanded(), Some(&GangVerb::End { cause, grace: Duration::ZERO }));
}

#[test]
fn a_repeated_appointment_with_more_deaths_gives_the_right_to_command() {
    let mut bench = Bench::appointed(appointment(&[0], &[0, 1, 2]));
    bench.seals(0);
    assert!(!bench.asked_to_install(), "one of three is less than half");
    bench.is_appointed(Appointment { dead: nodes(&[2]), ..appointment(&[0], &[0, 1, 2]) });
    assert!(bench.asked_to_install());
    bench.sent.clear();
    bench.is_appointed(Appointment { dead: nodes(&[2]), ..appointment(&[0], &[0, 1, 2]) });
    assert!(!bench.asked_to_install(), "the prefix is chosen once");
}

#[test]
fn an_appointment_lasts_until_a_member_has_promised_a_higher_term() {
    let mut bench = Bench::established(&[0, 1]);
    bench.hears(1, ToManager::SealRefused { sealed: FENCE.term });
    assert!(bench.manager.is_appointed());
    bench.hears(1, ToManager::SealRefused { sealed: Term(3) });
    assert!(!bench.manager.is_appointed());
}

#[test]
fn nothing_is_numbered_without_the_lease() {
    let mut bench = Bench::appointed(appointment(&[0], &[0]));
    bench.seals(0);
    bench.hears(0, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert_eq!(bench.numbered, []);
    let lease = |until| AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(0), next_epoch_at: Instant::ORIGIN };
    bench.step(ManagerInput::Announcer(lease(bench.now)));
    assert_eq!(bench.numbered, [], "it ends now");
    bench.step(ManagerInput::Announcer(lease(bench.now + Duration::from_nanos(1))));
    assert_eq!(bench.numbered, [Record::Plan(plan(&[0]))]);
}

// === pauses ===

#[test]
fn a_gang_that_is_to_be_paused_is_held_and_resumed_when_it_shall_run() {
    let mut bench = Bench::established(&[0]);
    bench.signals(0, GangSignal::Up(entry(0)));
    bench.compare_holds(&[0]);
    assert!(bench.peers().is_some(), "it is released");
    bench.is_planned(2, Desire::Pause, &[0]);
    assert!(matches!(bench.commanded(), Some(GangVerb::Hold { term: Term(2), .. })), "{:?}", bench.commanded());
    let held = bench.numbered.len();
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.numbered.len(), held, "once");
    bench.is_planned(3, Desire::Run, &[0]);
    assert!(matches!(bench.commanded(), Some(GangVerb::Resume { term: Term(2), .. })), "{:?}", bench.commanded());
}

#[test]
fn a_gang_that_is_paused_before_its_release_is_held_and_not_released() {
    let mut bench = Bench::established(&[0]);
    bench.is_planned(2, Desire::Pause, &[0]);
    assert!(matches!(bench.commanded(), Some(GangVerb::Hold { .. })), "{:?}", bench.commanded());
    bench.signals(0, GangSignal::Up(entry(0)));
    assert!(!matches!(bench.numbered.last(), Some(Record::Compare { .. })));
    bench.is_planned(3, Desire::Run, &[0]);
    bench.compare_holds(&[0]);
    assert!(bench.peers().is_some());
}

// === members that leave ===

#[test]
fn what_a_node_had_said_before_it_left_the_view_is_asked_anew() {
    let mut bench = Bench::established(&[0, 1, 2]);
    bench.signals(1, GangSignal::Up(entry(1)));
    bench.step(ManagerInput::Announcer(AnnouncerReport::Suspect { fence: FENCE, node: NodeIndex(1), incarnation: AgentIncarnation(1) }));
    bench.all_hold(&[0, 2]);
    bench.seals(1);
    bench.hears(1, ToManager::Installed { fence: FENCE, number: bench.last });
    bench.signals(0, GangSignal::Up(entry(0)));
    bench.signals(2, GangSignal::Up(entry(2)));
    assert!(!matches!(bench.numbered.last(), Some(Record::Compare { .. })), "its supervisor may be gone with it");
    bench.signals(1, GangSignal::Up(entry(1)));
    bench.compare_holds(&[0, 1, 2]);
    assert!(bench.peers().is_some());
}

// === what an earlier term has released, in a memory that began empty ===

fn entry(node: u8) -> Payload {
    Payload::new([node])
}

#[test]
fn a_gang_that_runs_on_one_node_and_only_came_up_on_another_is_released_with_the_whole_peer_table() {
    for released_first in [true, false] {
        let mut bench = Bench::established(&[0, 1]);
        let mut signals = [(0, GangSignal::Released(entry(0))), (1, GangSignal::Up(entry(1)))];
        if !released_first {
            signals.reverse();
        }
        for (node, signal) in signals {
            assert_eq!(bench.peers(), None);
            bench.signals(node, signal);
        }
        assert_eq!(bench.peers(), Some(&[entry(0), entry(1)][..]));
    }
}

#[test]
fn a_gang_that_runs_on_every_node_of_the_view_does_not_wait_for_the_others() {
    let mut bench = Bench::established(&[0, 1, 2]);
    bench.step(ManagerInput::Announcer(AnnouncerReport::Suspect { fence: FENCE, node: NodeIndex(2), incarnation: AgentIncarnation(1) }));
    bench.all_hold(&[0, 1]);
    bench.signals(0, GangSignal::Released(entry(0)));
    assert_eq!(bench.peers(), None);
    bench.signals(1, GangSignal::Released(entry(1)));
    assert!(bench.peers().is_some());
}

#[test]
fn a_gang_that_runs_does_not_wait_for_ever_for_a_node_that_says_nothing_of_it() {
    let mut bench = Bench::established(&[0, 1]);
    bench.signals(0, GangSignal::Released(entry(0)));
    bench.passes(Settings::default().suspicion - Duration::from_millis(1));
    assert_eq!(bench.peers(), None);
    bench.passes(Duration::from_millis(1));
    assert!(bench.peers().is_some(), "its supervisor is lost there, and the release says so");
}
