//! Blocks beside the order: when an operation gets its number, what a node lets be read, and what it drops.

use std::{sync::Arc, time::Duration};

use strobe_core::{
    limits::{BLOCK_BYTES_MAX, STAGED_BYTES_MAX, STAGINGS_MAX},
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerEvent, ManagerInput},
    message::{AnnouncerReport, SealAnswer, Staging, SwitcherReport, ToManager, ToMember},
    model::{
        AgentIncarnation, Appointment, Epoch, Fence, GangId, GangIncarnation, GangRun, Instant, MatrixVersion, NodeIncarnation, NodeIndex,
        NodeSet, PartitionUid, Plan, RecordNumber, Settings, Term, TermRecord, View,
    },
    node::{Member, MemberConfiguration, MemberEffect, MemberInput},
    primitives::{AbortReason, Block, Content, Memory, OperationId, Outcome, Payload, Record, RegionName, Request, Xfer},
};

const PARTITION: PartitionUid = PartitionUid(7);
const FENCE: Fence = fence(2);
const NODE: NodeIndex = NodeIndex(0);
const MANAGER: NodeIndex = NodeIndex(1);
const BLOCK: Block = Block { digest: 5, length: 1 << 20 };

const fn fence(term: u64) -> Fence {
    Fence { partition: PARTITION, term: Term(term), view: View(1) }
}

fn agent(node: u16) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }
}

fn nodes(nodes: &[u16]) -> NodeSet {
    nodes.iter().copied().map(NodeIndex).collect()
}

fn operation(node: u16, sequence: u64) -> OperationId {
    OperationId { caller: agent(node), sequence }
}

fn region(number: u32) -> RegionName {
    RegionName::of_gang(GangRun { gang: GangId(1), incarnation: GangIncarnation(1) }, number)
}

fn staged(set: &[u16], block: Block) -> Xfer {
    Xfer { region: region(1), set: nodes(set), content: Content::Staged(block) }
}

fn inline(set: &[u16]) -> Xfer {
    Xfer { region: region(2), set: nodes(set), content: Content::Inline(Payload::new([1])) }
}

fn record(term: u64, manager: u16, members: &[u16]) -> TermRecord {
    let members = members.iter().map(|node| agent(*node)).collect();
    TermRecord { partition: PARTITION, term: Term(term), manager: agent(manager), members, established: None, since: Vec::new() }
}

// === the manager ===

struct Bench {
    manager: Manager,
    now: Instant,
    /// What it sent since the last look.
    sent: Vec<(NodeIndex, ToMember)>,
    /// Operations in the order of their numbers.
    numbered: Vec<OperationId>,
    last: RecordNumber,
}

impl Bench {
    /// Node 0 commands nodes 0 to 2, under the lease.
    fn established() -> Self {
        let now = Instant::from_nanoseconds(1);
        let mut bench = Self { manager: Manager::default(), now, sent: Vec::new(), numbered: Vec::new(), last: RecordNumber(0) };
        let appointment =
            Appointment { record: record(2, 0, &[0, 1, 2]), dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: Arc::new(Plan::default()) };
        bench.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
        for node in 0..3 {
            bench.seals(node, 1);
        }
        for node in 0..3 {
            bench.hears(node, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
        }
        let until = now + Duration::from_secs(60);
        bench.step(ManagerInput::Announcer(AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(0), next_epoch_at: now }));
        bench
    }

    fn step(&mut self, input: ManagerInput) {
        let mut out = Outbox::default();
        self.manager.step(self.now, input, &mut out);
        for effect in out.drain() {
            match effect {
                ManagerEffect::Send { to, message } => self.sent.push((to, message)),
                ManagerEffect::Event(ManagerEvent::Numbered { number, record }) => {
                    self.last = number;
                    if let Record::Xfer { operation, .. } = &*record {
                        self.numbered.push(*operation);
                    }
                }
                ManagerEffect::Event(_) | ManagerEffect::Announcer(_) | ManagerEffect::Report(_) => {}
            }
        }
    }

    fn hears(&mut self, from: u16, message: ToManager) {
        self.step(ManagerInput::FromMember { from: NodeIndex(from), message });
    }

    fn seals(&mut self, node: u16, incarnation: u64) {
        let member = NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) };
        self.hears(node, ToManager::Sealed(SealAnswer { term: FENCE.term, member, knows_from: Term(1), holding: None }));
    }

    fn submits(&mut self, operation: OperationId, xfer: Xfer) {
        self.hears(operation.caller.node.0, ToManager::Submit { operation, after: None, request: Request::Xfer(xfer) });
    }

    fn answers(&mut self, node: u16, operation: OperationId, held: bool) {
        self.hears(node, ToManager::Staged { fence: FENCE, operation, held });
    }

    fn all_hold(&mut self) {
        for node in 0..3 {
            self.hears(node, ToManager::Held { fence: FENCE, number: self.last });
        }
    }

    /// The last list of what is open that a node was sent.
    fn open(&self, node: u16) -> Option<Vec<OperationId>> {
        self.sent.iter().rev().find_map(|(to, message)| match message {
            ToMember::Stagings { open, .. } if *to == NodeIndex(node) => Some(open.iter().map(|staging| staging.operation).collect()),
            _ => None,
        })
    }

    fn refused(&self, operation: OperationId) -> Option<Outcome> {
        self.sent.iter().find_map(|(to, message)| match message {
            ToMember::Refused { operation: refused, outcome, .. } if (*to, *refused) == (operation.caller.node, operation) => {
                Some(*outcome)
            }
            _ => None,
        })
    }
}

#[test]
fn an_operation_is_numbered_when_all_of_its_set_hold_its_block() {
    let mut bench = Bench::established();
    let (first, second, other) = (operation(2, 1), operation(2, 2), operation(1, 1));
    bench.submits(first, staged(&[0, 1], BLOCK));
    assert_eq!([bench.open(0), bench.open(1), bench.open(2)], [(); 3].map(|()| Some(vec![first])), "the caller has to give it");
    bench.submits(second, inline(&[0]));
    bench.submits(other, inline(&[0]));
    assert_eq!(bench.numbered, [other], "what its caller asked for later waits, and nobody else");
    bench.answers(0, first, true);
    bench.answers(2, first, true);
    assert_eq!(bench.numbered, [other], "a node outside of the set says nothing of it");
    bench.sent.clear();
    bench.answers(1, first, true);
    assert_eq!(bench.numbered, [other, first, second]);
    let place = |wanted: &dyn Fn(&ToMember) -> bool| bench.sent.iter().position(|(to, message)| *to == NodeIndex(1) && wanted(message));
    let appended = place(&|message| matches!(message, ToMember::Append { .. })).unwrap();
    let closed = place(&|message| matches!(message, ToMember::Stagings { open, .. } if open.is_empty())).unwrap();
    assert!(appended < closed, "who hears first that it is closed would drop the block");
}

#[test]
fn an_operation_whose_block_does_not_come_is_aborted() {
    let mut bench = Bench::established();
    bench.submits(operation(2, 1), staged(&[0, 1], BLOCK));
    bench.submits(operation(2, 2), inline(&[0]));
    bench.answers(0, operation(2, 1), true);
    bench.answers(1, operation(2, 1), false);
    assert_eq!(bench.refused(operation(2, 1)), Some(Outcome::Aborted(AbortReason::Stalled)));
    assert_eq!([bench.open(0), bench.open(1), bench.open(2)], [(); 3].map(|()| Some(Vec::new())));
    assert_eq!(bench.numbered, [operation(2, 2)]);
    bench.answers(1, operation(2, 1), true);
    bench.submits(operation(2, 1), staged(&[0, 1], BLOCK));
    assert_eq!(bench.numbered, [operation(2, 2)], "it was told to be aborted");
}

#[test]
fn a_life_that_leaves_the_view_has_staged_nothing() {
    let mut bench = Bench::established();
    let first = operation(2, 1);
    bench.submits(first, staged(&[0, 1], BLOCK));
    bench.answers(1, first, true);
    bench.seals(1, 2);
    bench.answers(1, first, true);
    bench.hears(1, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert_eq!(bench.open(1), Some(vec![first]), "the new life is told");
    bench.answers(0, first, true);
    assert!(bench.numbered.is_empty(), "the life that held it is gone");
    bench.answers(1, first, true);
    assert_eq!(bench.numbered, [first]);

    let second = operation(2, 2);
    bench.all_hold();
    bench.submits(second, staged(&[0, 1], BLOCK));
    bench.answers(0, second, true);
    let silent = AnnouncerReport::Suspect { fence: FENCE, node: NodeIndex(1), incarnation: AgentIncarnation(2) };
    bench.step(ManagerInput::Announcer(silent));
    assert_eq!(bench.refused(second), Some(Outcome::Aborted(AbortReason::SetOutsideView)));
    assert_eq!(bench.open(0), Some(Vec::new()));
}

#[test]
fn who_is_being_admitted_is_not_told_what_is_open_before_it_holds_what_is_numbered() {
    let mut bench = Bench::established();
    bench.seals(1, 1);
    bench.sent.clear();
    bench.submits(operation(2, 1), staged(&[0, 1], BLOCK));
    assert_eq!((bench.open(0), bench.open(1)), (Some(vec![operation(2, 1)]), None));
    bench.hears(1, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert_eq!(bench.open(1), Some(vec![operation(2, 1)]));
}

#[test]
fn what_a_gone_life_was_to_give_is_aborted_and_its_next_life_does_not_wait_for_it() {
    let mut bench = Bench::established();
    bench.submits(operation(2, 1), staged(&[0, 1], BLOCK));
    bench.seals(2, 2);
    bench.hears(2, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert_eq!(bench.open(2), Some(Vec::new()), "it has not what the earlier life was to give");
    let anew = OperationId { caller: NodeIncarnation { incarnation: AgentIncarnation(2), ..agent(2) }, sequence: 1 };
    bench.submits(anew, inline(&[0]));
    assert_eq!(bench.numbered, [anew]);
    assert_eq!(bench.open(0), Some(Vec::new()));
}

#[test]
fn blocks_have_limits_in_size_together_and_in_number() {
    let mut bench = Bench::established();
    bench.submits(operation(1, 1), staged(&[0], Block { length: BLOCK_BYTES_MAX + 1, ..BLOCK }));
    assert_eq!(bench.refused(operation(1, 1)), Some(Outcome::Aborted(AbortReason::PayloadTooLarge)));
    let largest = |caller: u16, sequence| (operation(caller, sequence), staged(&[0], Block { length: BLOCK_BYTES_MAX, ..BLOCK }));
    let fit = STAGED_BYTES_MAX / BLOCK_BYTES_MAX;
    for sequence in 1..=fit {
        let (operation, xfer) = largest(2, sequence);
        bench.submits(operation, xfer);
        bench.answers(0, operation, true);
        bench.all_hold();
    }
    // All of one name: the last is readable, and the room of the others is free again.
    assert_eq!(bench.numbered.len(), usize::try_from(fit).unwrap());
    let small = |caller: u16, sequence| (operation(caller, sequence), staged(&[0], Block { length: 1, ..BLOCK }));
    for caller in 0..3 {
        let (operation, xfer) = if caller == 0 { small(0, 1) } else { largest(caller, 20) };
        bench.submits(operation, xfer);
    }
    let (late, xfer) = largest(1, 21);
    bench.answers(0, operation(1, 20), true);
    bench.submits(late, xfer);
    assert_eq!(bench.refused(late), Some(Outcome::Aborted(AbortReason::MemoryFull)), "one readable, one numbered, one open");
}

#[test]
fn so_many_blocks_are_staged_at_a_time_and_the_others_wait() {
    let mut bench = Bench::established();
    // Of each caller one at a time: so many callers there are not in three nodes, unless each has several that may be staged together.
    let first = operation(1, 1);
    for caller in 0..3 {
        bench.submits(operation(caller, 1), staged(&[0], BLOCK));
        bench.submits(operation(caller, 2), staged(&[0], BLOCK));
    }
    let open = bench.open(0).unwrap();
    assert!(open.len() == 3 && open.len() <= STAGINGS_MAX && open.contains(&first), "the first of each caller: {open:?}");
    bench.answers(0, first, true);
    assert_eq!(bench.open(1), Some(vec![operation(1, 2)]), "its next one follows");
}

// === the member ===

struct Follower {
    member: Member,
    effects: Vec<MemberEffect>,
}

impl Follower {
    /// A member of the view, whose memory is empty.
    fn admitted() -> Self {
        let incarnation = AgentIncarnation(1);
        let configuration =
            MemberConfiguration { partition: PARTITION, node: NODE, incarnation, sealed: None, settings: Settings::default() };
        let mut out = Outbox::default();
        let mut follower = Self { member: Member::new(configuration, &mut out), effects: Vec::new() };
        follower.step(MemberInput::Inventory(Vec::new()));
        follower.step(MemberInput::Introduced(record(2, 1, &[0, 1])));
        follower.joins(2, &Arc::new(Memory::empty(1, RecordNumber(0))));
        follower
    }

    fn joins(&mut self, term: u64, memory: &Arc<Memory>) {
        self.step(MemberInput::Switcher(SwitcherReport::Sealed { term: Term(term) }));
        self.step(MemberInput::SealPersisted(Term(term)));
        self.hears(ToMember::Install { fence: fence(term), memory: Arc::clone(memory) });
        self.hears(ToMember::Admitted { fence: fence(term), members: vec![agent(0), agent(1)] });
    }

    fn step(&mut self, input: MemberInput) {
        let mut out = Outbox::default();
        self.member.step(Instant::ORIGIN, input, &mut out);
        self.effects = out.drain().collect();
    }

    fn hears(&mut self, message: ToMember) {
        self.step(MemberInput::FromManager { from: MANAGER, message });
    }

    fn is_to_stage(&mut self, operations: &[OperationId]) {
        self.is_to_stage_after(0, operations);
    }

    /// So many numbers were given.
    fn is_to_stage_after(&mut self, numbered: u64, operations: &[OperationId]) {
        let staging = |operation: &OperationId| Staging { operation: *operation, set: nodes(&[0, 1]), block: BLOCK };
        let open = operations.iter().map(staging).collect();
        self.hears(ToMember::Stagings { fence: FENCE, numbered: RecordNumber(numbered), open });
    }

    fn has_staged(&mut self, operation: OperationId) {
        self.is_to_stage(&[operation]);
        self.step(MemberInput::Staged { operation, held: true });
    }

    fn holds(&mut self, number: u64, operation: OperationId) {
        let record = Arc::new(Record::Xfer { operation, xfer: staged(&[0, 1], BLOCK) });
        self.hears(ToMember::Append { fence: FENCE, number: RecordNumber(number), record });
    }

    fn applies(&mut self, number: u64) {
        self.hears(ToMember::Stable { fence: FENCE, number: RecordNumber(number) });
    }

    fn staged_anew(&self) -> Vec<OperationId> {
        self.find(|effect| if let MemberEffect::Stage(staging) = effect { Some(staging.operation) } else { None })
    }

    fn put(&self) -> Vec<OperationId> {
        self.find(|effect| if let MemberEffect::Put { operation, .. } = effect { Some(*operation) } else { None })
    }

    fn absent(&self) -> Vec<OperationId> {
        self.find(|effect| if let MemberEffect::Absent { staging, .. } = effect { Some(staging.operation) } else { None })
    }

    fn discarded(&self) -> Vec<OperationId> {
        self.find(|effect| if let MemberEffect::Discard(operation) = effect { Some(*operation) } else { None })
    }

    fn told(&self) -> Vec<(OperationId, bool)> {
        self.find(|effect| match effect {
            MemberEffect::Send { to: MANAGER, message: ToManager::Staged { operation, held, .. } } => Some((*operation, *held)),
            _ => None,
        })
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.find(|effect| if let MemberEffect::Outcome { outcome, .. } = effect { Some(*outcome) } else { None })
    }

    fn find<T>(&self, look: impl Fn(&MemberEffect) -> Option<T>) -> Vec<T> {
        self.effects.iter().filter_map(look).collect()
    }
}

#[test]
fn a_node_stages_what_is_open_once_and_says_what_became_of_it_until_that_is_heard() {
    let mut follower = Follower::admitted();
    let (first, second) = (operation(1, 1), operation(1, 2));
    follower.step(MemberInput::Staged { operation: first, held: true });
    assert!(follower.told().is_empty(), "nobody has asked for it");
    follower.is_to_stage(&[first]);
    assert_eq!(follower.staged_anew(), [first]);
    follower.is_to_stage(&[first, second]);
    assert_eq!(follower.staged_anew(), [second]);
    follower.step(MemberInput::Staged { operation: first, held: true });
    assert_eq!(follower.told(), [(first, true)]);
    follower.step(MemberInput::Staged { operation: first, held: false });
    assert!(follower.told().is_empty(), "it was said");
    follower.step(MemberInput::Staged { operation: second, held: false });
    follower.step(MemberInput::LinkUp(MANAGER));
    assert_eq!(follower.told(), [(first, true), (second, false)], "the word may have been lost");
    follower.is_to_stage(&[first]);
    assert_eq!(follower.discarded(), [second]);
}

#[test]
fn a_block_is_readable_from_its_record_on_until_another_has_its_name() {
    let mut follower = Follower::admitted();
    let (first, second) = (operation(1, 1), operation(1, 2));
    follower.has_staged(first);
    follower.holds(1, first);
    assert!(follower.put().is_empty(), "its record is not stable");
    follower.is_to_stage(&[]);
    assert!(follower.discarded().is_empty(), "it has its number");
    follower.applies(1);
    assert_eq!((follower.put(), follower.discarded()), (vec![first], vec![]));
    follower.is_to_stage(&[]);
    assert!(follower.discarded().is_empty(), "it is read");
    follower.has_staged(second);
    follower.holds(2, second);
    follower.applies(2);
    assert_eq!((follower.put(), follower.discarded()), (vec![second], vec![first]));
}

#[test]
fn a_block_is_not_dropped_while_its_record_may_be_on_the_way() {
    let mut follower = Follower::admitted();
    let (first, second) = (operation(1, 1), operation(1, 2));
    follower.has_staged(first);
    // Its record was lost with a link; the list comes over the next one.
    follower.is_to_stage_after(1, &[second]);
    assert_eq!((follower.discarded(), follower.staged_anew()), (vec![], vec![second]));
    follower.holds(1, first);
    follower.is_to_stage_after(1, &[]);
    assert_eq!(follower.discarded(), [second]);
    follower.applies(1);
    assert_eq!(follower.put(), [first]);
}

#[test]
fn a_block_of_a_memory_that_is_not_seen_yet_is_not_dropped() {
    let mut follower = Follower::admitted();
    let first = operation(1, 1);
    follower.has_staged(first);
    follower.step(MemberInput::Switcher(SwitcherReport::LeftOut { term: FENCE.term }));
    let mut memory = Memory::empty(1, RecordNumber(0));
    memory.apply(&Record::Xfer { operation: first, xfer: staged(&[0, 1], BLOCK) });
    follower.hears(ToMember::Install { fence: FENCE, memory: Arc::new(memory) });
    follower.is_to_stage_after(1, &[]);
    assert!(follower.discarded().is_empty());
    follower.hears(ToMember::Admitted { fence: FENCE, members: vec![agent(0), agent(1)] });
    assert_eq!((follower.put(), follower.absent()), (vec![first], vec![]));
}

#[test]
fn a_caller_outside_of_the_set_lets_go_when_its_block_is_put() {
    let mut follower = Follower::admitted();
    let own = operation(0, 1);
    follower.is_to_stage(&[own]);
    let record = Arc::new(Record::Xfer { operation: own, xfer: staged(&[1], BLOCK) });
    follower.hears(ToMember::Append { fence: FENCE, number: RecordNumber(1), record });
    follower.applies(1);
    assert_eq!((follower.put(), follower.discarded()), (vec![], vec![own]));
}

#[test]
fn a_block_that_this_life_never_held_is_absent() {
    let mut follower = Follower::admitted();
    follower.holds(1, operation(1, 1));
    follower.applies(1);
    assert_eq!((follower.put(), follower.absent()), (vec![], vec![operation(1, 1)]));
    follower.has_staged(operation(1, 2));
    follower.holds(2, operation(1, 2));
    follower.applies(2);
    assert_eq!(follower.put(), [operation(1, 2)]);
    assert_eq!(follower.discarded(), [operation(1, 1)], "what others were asked for is wanted no more");
}

#[test]
fn a_block_of_which_not_all_is_here_is_absent_and_what_is_here_let_go() {
    for given_up in [false, true] {
        let mut follower = Follower::admitted();
        let first = operation(1, 1);
        follower.is_to_stage(&[first]);
        if given_up {
            follower.step(MemberInput::Staged { operation: first, held: false });
        }
        follower.holds(1, first);
        follower.applies(1);
        assert_eq!((follower.put(), follower.absent(), follower.discarded()), (vec![], vec![first], vec![first]));
    }
}

#[test]
fn a_block_of_a_gang_that_is_over_is_let_go() {
    let mut follower = Follower::admitted();
    let first = operation(1, 1);
    follower.has_staged(first);
    follower.holds(1, first);
    follower.applies(1);
    let record = Arc::new(Record::Plan(Arc::new(Plan { version: MatrixVersion(1), gangs: Vec::new() })));
    follower.hears(ToMember::Append { fence: FENCE, number: RecordNumber(2), record });
    follower.applies(2);
    assert_eq!(follower.discarded(), [first]);
}

#[test]
fn what_an_earlier_term_has_not_numbered_is_dropped_and_aborted() {
    let mut follower = Follower::admitted();
    follower.step(MemberInput::Submit(Request::Xfer(staged(&[0, 1], BLOCK))));
    let (own, other) = (operation(0, 1), operation(1, 1));
    follower.has_staged(own);
    follower.is_to_stage(&[own, other]);
    follower.step(MemberInput::Staged { operation: other, held: true });
    follower.hears(ToMember::Seal(record(3, 1, &[0, 1])));
    let mut memory = Memory::empty(1, RecordNumber(0));
    memory.apply(&Record::Xfer { operation: other, xfer: staged(&[0, 1], BLOCK) });
    follower.joins(3, &Arc::new(memory));
    assert_eq!((follower.put(), follower.discarded()), (vec![other], vec![own]), "one of them is in the prefix");
    assert_eq!(follower.outcomes(), [Outcome::Aborted(AbortReason::TermChanged)]);
    let submits = follower.find(|effect| matches!(effect, MemberEffect::Send { message: ToManager::Submit { .. }, .. }).then_some(()));
    assert!(submits.is_empty(), "its caller has heard that it is aborted");
}

#[test]
fn what_the_next_term_has_asked_for_before_it_was_established_stays() {
    let mut follower = Follower::admitted();
    let (first, second) = (operation(1, 1), operation(1, 2));
    follower.is_to_stage(&[first]);
    follower.hears(ToMember::Seal(record(3, 1, &[0, 1])));
    follower.step(MemberInput::Switcher(SwitcherReport::Sealed { term: Term(3) }));
    follower.step(MemberInput::SealPersisted(Term(3)));
    follower.hears(ToMember::Install { fence: fence(3), memory: Arc::new(Memory::empty(1, RecordNumber(0))) });
    let open = vec![Staging { operation: second, set: nodes(&[0, 1]), block: BLOCK }];
    follower.hears(ToMember::Stagings { fence: fence(3), numbered: RecordNumber(0), open });
    follower.hears(ToMember::Admitted { fence: fence(3), members: vec![agent(0), agent(1)] });
    assert_eq!(follower.discarded(), [first]);
    follower.step(MemberInput::Staged { operation: first, held: true });
    assert_eq!(follower.told(), []);
    follower.step(MemberInput::Staged { operation: second, held: true });
    assert_eq!(follower.told(), [(second, true)]);
}

#[test]
fn an_operation_that_was_not_submitted_in_the_earlier_term_is_submitted_in_the_next() {
    let mut follower = Follower::admitted();
    follower.hears(ToMember::Seal(record(3, 1, &[0, 1])));
    follower.step(MemberInput::Submit(Request::Xfer(staged(&[0, 1], BLOCK))));
    follower.joins(3, &Arc::new(Memory::empty(1, RecordNumber(0))));
    assert!(follower.outcomes().is_empty());
    let submits = follower.find(|effect| matches!(effect, MemberEffect::Send { message: ToManager::Submit { .. }, .. }).then_some(()));
    assert_eq!(submits.len(), 1);
}

#[test]
fn an_operation_whose_block_is_on_its_way_is_not_over_with_the_next_record() {
    let mut follower = Follower::admitted();
    follower.step(MemberInput::Submit(Request::Xfer(staged(&[0, 1], BLOCK))));
    follower.holds(1, operation(1, 1));
    follower.applies(1);
    assert_eq!((follower.absent(), follower.outcomes()), (vec![operation(1, 1)], vec![]));
}

#[test]
fn a_block_beyond_the_limit_is_refused_at_the_call() {
    let mut follower = Follower::admitted();
    follower.step(MemberInput::Submit(Request::Xfer(staged(&[0], Block { length: BLOCK_BYTES_MAX + 1, ..BLOCK }))));
    assert_eq!(follower.outcomes(), [Outcome::Aborted(AbortReason::PayloadTooLarge)]);
    follower.step(MemberInput::Submit(Request::Xfer(staged(&[0], Block { length: BLOCK_BYTES_MAX, ..BLOCK }))));
    assert!(follower.outcomes().is_empty());
}
