//! A restarted agent's member: gangs that it found running count, whatever memory knows of them.

use std::sync::Arc;

use strobe_core::{
    machine::{Machine, Outbox},
    message::{GangSignal, Signal, SwitcherReport, ToManager, ToMember},
    model::{
        AgentIncarnation, CpuIndex, Desire, EndCause, Fence, GangId, GangIncarnation, GangRun, Instant, MatrixVersion, NodeIncarnation,
        NodeIndex, NodePlacement, PartitionUid, Plan, PlannedGang, RankIndex, RankOutcome, RecordNumber, RowIndex, Settings, Term,
        TermRecord, View,
    },
    node::{AdoptedGang, AdoptedLife, Member, MemberConfiguration, MemberEffect, MemberInput},
    primitives::{Cell, Compare, Comparison, GangCommand, GangVerb, Memory, Payload, Record},
};

const PARTITION: PartitionUid = PartitionUid(7);
const NODE: NodeIndex = NodeIndex(0);
const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
const OWN: NodeIncarnation = NodeIncarnation { node: NODE, incarnation: AgentIncarnation(2) };
const FENCE: Fence = Fence { partition: PARTITION, term: Term(2), view: View(1) };

struct Restarted {
    member: Member,
    out: Outbox<MemberEffect>,
    signals: Vec<GangSignal>,
    killed: bool,
    /// Its parts of compares.
    truths: Vec<bool>,
}

impl Restarted {
    /// The second life of an agent, whose gang of one rank was found.
    fn new(life: AdoptedLife) -> Self {
        let mut out = Outbox::default();
        let configuration = MemberConfiguration {
            partition: PARTITION,
            node: NODE,
            incarnation: OWN.incarnation,
            sealed: Some(Term(1)),
            settings: Settings::default(),
        };
        let member = Member::new(configuration, &mut out);
        let mut restarted = Self { member, out, signals: Vec::new(), killed: false, truths: Vec::new() };
        let completed = (life == AdoptedLife::Completed).then_some((RankIndex(0), RankOutcome::Exited(0)));
        let ended = completed.into_iter().collect();
        let adopted = AdoptedGang { run: RUN, entry: Payload::new([]), life, held: false, ranks: 1, ended };
        restarted.step(MemberInput::Inventory(vec![adopted]));
        restarted
    }

    fn step(&mut self, input: MemberInput) {
        self.member.step(Instant::ORIGIN, input, &mut self.out);
        for effect in self.out.drain() {
            match effect {
                MemberEffect::Send { message: ToManager::Signal(Signal { signal, .. }), .. } => self.signals.push(signal),
                MemberEffect::Send { message: ToManager::Compared { truth, .. }, .. } => self.truths.push(truth),
                MemberEffect::KillRanks(_) => self.killed = true,
                _ => {}
            }
        }
    }

    fn manager(&mut self, message: ToMember) {
        self.step(MemberInput::FromManager { from: NODE, message });
    }

    /// The only rank completes; its supervisor follows it, and the rank cgroup is empty.
    fn complete(&mut self) {
        self.step(MemberInput::RankEnded { run: RUN, rank: RankIndex(0), outcome: RankOutcome::Exited(0) });
        self.step(MemberInput::SupervisorLost(RUN));
        self.step(MemberInput::GangGone(RUN));
    }

    /// A term whose memory begins empty, with a plan that names the gang.
    fn admit_to_an_empty_memory(&mut self) {
        let record =
            TermRecord { partition: PARTITION, term: FENCE.term, manager: OWN, members: vec![OWN], established: None, since: Vec::new() };
        self.step(MemberInput::Introduced(record));
        self.step(MemberInput::Switcher(SwitcherReport::Sealed { term: FENCE.term }));
        self.step(MemberInput::SealPersisted(FENCE.term));
        self.manager(ToMember::Install { fence: FENCE, memory: Arc::new(Memory::empty(2, RecordNumber(0))) });
        self.manager(ToMember::Admitted { fence: FENCE, members: vec![OWN] });
        let placement = NodePlacement { node: NODE, cpus: [CpuIndex(0)].into_iter().collect(), first_rank: RankIndex(0), ranks: 1 };
        let gang = PlannedGang { run: RUN, desire: Desire::Run, rows: [RowIndex(0)].into_iter().collect(), placement: vec![placement] };
        self.apply(1, Record::Plan(Arc::new(Plan { version: MatrixVersion(1), gangs: vec![gang] })));
    }

    fn apply(&mut self, number: u64, record: Record) {
        self.manager(ToMember::Append { fence: FENCE, number: RecordNumber(number), record: Arc::new(record) });
        self.manager(ToMember::Stable { fence: FENCE, number: RecordNumber(number) });
    }

    fn compare_up(&mut self, number: u64) {
        let value = u64::from(RUN.incarnation.0);
        let set = [NODE].into_iter().collect();
        let compare = Compare { set, cell: Cell::Up(RUN.gang), comparison: Comparison::GreaterOrEqual, value, write: None };
        self.apply(number, Record::Compare { operation: None, compare });
    }

    fn release_again(&mut self, peers: Vec<Payload>) {
        let verb = GangVerb::Release { term: FENCE.term, at: Instant::ORIGIN, peers };
        self.apply(2, Record::Gang(GangCommand { run: RUN, verb }));
    }

    fn assert_completes(&mut self) {
        assert!(matches!(self.signals.last(), Some(GangSignal::Released(_))), "memory has to learn that it was released");
        self.release_again(vec![Payload::new([1])]);
        assert_eq!(self.signals.last(), Some(&GangSignal::Exited), "and then that it has completed");
        assert!(!self.signals.iter().any(|signal| matches!(signal, GangSignal::Failed(_))), "{:?}", self.signals);
    }
}

#[test]
fn ranks_that_complete_before_any_plan_is_known_have_not_failed() {
    let mut restarted = Restarted::new(AdoptedLife::Released);
    restarted.complete();
    restarted.admit_to_an_empty_memory();
    restarted.assert_completes();
}

#[test]
fn ranks_that_complete_before_an_empty_memory_knows_of_their_release_complete() {
    let mut restarted = Restarted::new(AdoptedLife::Released);
    restarted.admit_to_an_empty_memory();
    assert!(!restarted.killed, "a memory without a plan does not end what runs");
    restarted.complete();
    restarted.assert_completes();
}

#[test]
fn ranks_that_an_earlier_life_did_not_see_up_are_not_up_before_their_supervisor_says_so() {
    let mut restarted = Restarted::new(AdoptedLife::Starting);
    restarted.admit_to_an_empty_memory();
    restarted.compare_up(2);
    assert_eq!((&restarted.signals[..], &restarted.truths[..]), (&[][..], &[false][..]));
    restarted.step(MemberInput::SupervisorUp { run: RUN, entry: Payload::new([7]) });
    assert_eq!(restarted.signals.last(), Some(&GangSignal::Up(Payload::new([7]))));
}

#[test]
fn ranks_that_an_earlier_life_saw_complete_have_completed() {
    let mut restarted = Restarted::new(AdoptedLife::Completed);
    restarted.admit_to_an_empty_memory();
    restarted.assert_completes();
    assert!(!restarted.killed);
}

#[test]
fn a_rank_that_fails_while_there_is_no_manager_ends_the_others_at_once() {
    let failure = MemberInput::RankEnded { run: RUN, rank: RankIndex(0), outcome: RankOutcome::Exited(3) };
    let cause = EndCause::RankFailed { node: NODE, rank: RankIndex(0), outcome: RankOutcome::Exited(3) };
    let mut unknown = Restarted::new(AdoptedLife::Released);
    unknown.step(failure.clone());
    assert!(unknown.killed, "nobody has admitted it yet");
    assert_eq!(unknown.signals, [], "and there is nobody to tell");
    unknown.admit_to_an_empty_memory();
    assert_eq!(unknown.signals, [GangSignal::Failed(cause)], "whoever admits it is told");

    let mut left = Restarted::new(AdoptedLife::Released);
    left.admit_to_an_empty_memory();
    let told = left.signals.len();
    let later = Term(FENCE.term.0 + 1);
    let record = TermRecord { partition: PARTITION, term: later, manager: OWN, members: vec![OWN], established: None, since: Vec::new() };
    left.step(MemberInput::Introduced(record));
    assert!(!left.killed, "a later term ends no gang");
    left.step(failure);
    assert!(left.killed, "the earlier manager commands no more, and the later one not yet");
    assert_eq!(left.signals.len(), told, "and neither is told");
}

#[test]
fn ranks_that_an_earlier_life_saw_up_are_up() {
    let mut restarted = Restarted::new(AdoptedLife::Up);
    restarted.admit_to_an_empty_memory();
    restarted.compare_up(2);
    assert_eq!((&restarted.signals[..], &restarted.truths[..]), (&[GangSignal::Up(Payload::new([]))][..], &[true][..]));
}

#[test]
fn ranks_are_not_released_without_the_whole_peer_table() {
    for (missing, fails) in [(false, false), (true, true)] {
        let mut restarted = Restarted::new(AdoptedLife::Up);
        restarted.admit_to_an_empty_memory();
        let other = if missing { Payload::new([]) } else { Payload::new([2]) };
        restarted.release_again(vec![Payload::new([1]), other]);
        let failed = matches!(restarted.signals.last(), Some(GangSignal::Failed(EndCause::SupervisorLost { node: NODE })));
        assert_eq!((failed, restarted.killed), (fails, fails), "{:?}", restarted.signals);
    }
}

#[test]
fn the_highest_promise_that_a_seal_file_can_hold_ends_no_agent() {
    let settings = Settings::default();
    let configuration =
        MemberConfiguration { partition: PARTITION, node: NODE, incarnation: OWN.incarnation, sealed: Some(Term(u64::MAX)), settings };
    let member = Member::new(configuration, &mut Outbox::default());
    assert_eq!(member.sealed(), Some(Term(u64::MAX)));
}
