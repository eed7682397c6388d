//! Members that rejoin a term, and what the order has promised meanwhile: events of blocks, receipts, refusals, each caller's own order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use strobe_core::{
    limits::{OUTCOMES_PER_NODE_MAX, PAYLOAD_BYTES_MAX, RECORDS_KEPT_MAX},
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerInput},
    message::{AnnouncerReport, SealAnswer, SwitcherReport, ToManager, ToMember},
    model::{
        AgentIncarnation, Appointment, Epoch, Fence, GangId, GangIncarnation, GangRun, Instant, NodeIncarnation, NodeIndex, NodeSet,
        PartitionUid, Plan, RecordNumber, Settings, Term, TermRecord, View,
    },
    node::{Member, MemberConfiguration, MemberEffect, MemberInput},
    primitives::{
        AbortReason, Cell, Compare, CompareResult, Comparison, Content, Memory, OperationId, Outcome, Payload, Record, RegionName, Request,
        Xfer,
    },
};

const PARTITION: PartitionUid = PartitionUid(7);
const TERM: Term = Term(2);
const MANAGER: NodeIndex = NodeIndex(1);
const NODE: NodeIndex = NodeIndex(0);
const FENCE: Fence = Fence { partition: PARTITION, term: TERM, view: View(1) };

fn agent(node: u16) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }
}

fn nodes(nodes: &[u16]) -> NodeSet {
    nodes.iter().copied().map(NodeIndex).collect()
}

fn operation(node: u16, sequence: u64) -> OperationId {
    OperationId { caller: agent(node), sequence }
}

fn block(set: &[u16], byte: u8) -> Xfer {
    let run = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
    Xfer { region: RegionName::of_gang(run, 1), set: nodes(set), content: Content::Inline(Payload::new([byte])) }
}

fn put(sequence: u64, set: &[u16], byte: u8) -> Record {
    Record::Xfer { operation: operation(1, sequence), xfer: block(set, byte) }
}

/// A memory that has so many blocks put under one name.
fn memory_after(puts: u64, set: &[u16]) -> Arc<Memory> {
    let mut memory = Memory::empty(1, RecordNumber(0));
    for sequence in 1..=puts {
        memory.apply(&put(sequence, set, u8::try_from(sequence).expect("few operations")));
    }
    Arc::new(memory)
}

fn record(members: &[u16]) -> TermRecord {
    let members = members.iter().map(|node| agent(*node)).collect();
    TermRecord { partition: PARTITION, term: TERM, manager: agent(1), members, established: None, since: Vec::new() }
}

// === the member ===

struct Follower {
    member: Member,
    effects: Vec<MemberEffect>,
}

impl Follower {
    fn sealed() -> Self {
        let incarnation = AgentIncarnation(1);
        let configuration =
            MemberConfiguration { partition: PARTITION, node: NODE, incarnation, sealed: None, settings: Settings::default() };
        let mut out = Outbox::default();
        let mut follower = Self { member: Member::new(configuration, &mut out), effects: Vec::new() };
        follower.step(MemberInput::Inventory(Vec::new()));
        follower.step(MemberInput::Introduced(record(&[0, 1])));
        follower.step(MemberInput::Switcher(SwitcherReport::Sealed { term: TERM }));
        follower.step(MemberInput::SealPersisted(TERM));
        follower
    }

    fn step(&mut self, input: MemberInput) {
        let mut out = Outbox::default();
        self.member.step(Instant::ORIGIN, input, &mut out);
        self.effects = out.drain().collect();
    }

    fn hears(&mut self, message: ToMember) {
        self.step(MemberInput::FromManager { from: MANAGER, message });
    }

    fn installs(&mut self, memory: &Arc<Memory>) {
        self.hears(ToMember::Install { fence: FENCE, memory: Arc::clone(memory) });
    }

    fn is_admitted(&mut self) {
        self.hears(ToMember::Admitted { fence: FENCE, members: vec![agent(0), agent(1)] });
    }

    fn is_left_out(&mut self) {
        self.step(MemberInput::Switcher(SwitcherReport::LeftOut { term: TERM }));
    }

    fn blocks(&self) -> Vec<&[u8]> {
        let mut blocks = Vec::new();
        for effect in &self.effects {
            if let MemberEffect::Put { content: Content::Inline(payload), .. } = effect {
                blocks.push(payload.bytes());
            }
        }
        blocks
    }

    /// Operations that the manager is asked to number, each with the one before it.
    fn submitted(&self) -> Vec<(u64, Option<u64>)> {
        let mut submitted = Vec::new();
        for effect in &self.effects {
            if let MemberEffect::Send { message: ToManager::Submit { operation, after, .. }, .. } = effect {
                submitted.push((operation.sequence, *after));
            }
        }
        submitted
    }

    /// Holds a record, which is stable.
    fn applies(&mut self, number: u64, record: Record) {
        let number = RecordNumber(number);
        self.hears(ToMember::Append { fence: FENCE, number, record: Arc::new(record) });
        self.hears(ToMember::Stable { fence: FENCE, number });
    }

    /// Its parts of compares.
    fn compared(&self) -> Vec<bool> {
        let truth = |effect: &MemberEffect| match effect {
            MemberEffect::Send { message: ToManager::Compared { truth, .. }, .. } => Some(*truth),
            _ => None,
        };
        self.effects.iter().filter_map(truth).collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |effect: &MemberEffect| if let MemberEffect::Outcome { outcome, .. } = effect { Some(*outcome) } else { None };
        self.effects.iter().filter_map(outcome).collect()
    }

    fn installed(&self) -> Option<u64> {
        self.effects.iter().find_map(|effect| match effect {
            MemberEffect::Send { message: ToManager::Installed { number, .. }, .. } => Some(number.0),
            _ => None,
        })
    }
}

#[test]
fn a_block_that_comes_with_a_whole_memory_has_its_event_once() {
    let mut follower = Follower::sealed();
    follower.installs(&memory_after(2, &[0]));
    follower.is_admitted();
    assert_eq!(follower.blocks(), [[2_u8].as_slice()], "the newest of its name");
    follower.is_left_out();
    follower.installs(&memory_after(2, &[0]));
    follower.is_admitted();
    assert!(follower.blocks().is_empty(), "it is known: {:?}", follower.effects);
    follower.is_left_out();
    follower.installs(&memory_after(3, &[0]));
    follower.is_admitted();
    assert_eq!(follower.blocks(), [[3_u8].as_slice()]);
}

#[test]
fn a_memory_is_seen_when_its_term_is_known_to_be_established() {
    let mut follower = Follower::sealed();
    follower.installs(&memory_after(1, &[0]));
    assert_eq!((follower.blocks().len(), follower.member.memory()), (0, None), "its manager may be one that was left behind");
    follower.hears(ToMember::Append { fence: FENCE, number: RecordNumber(2), record: Arc::new(put(2, &[0], 2)) });
    assert_eq!(follower.member.memory(), None);
    follower.hears(ToMember::Stable { fence: FENCE, number: RecordNumber(2) });
    assert_eq!(follower.blocks(), [[1_u8].as_slice(), &[2]], "all of a view has held a record");
    assert_eq!(follower.member.memory().map(|memory| memory.applied), Some(RecordNumber(2)));
}

#[test]
fn a_block_for_other_nodes_has_no_event_here() {
    let mut follower = Follower::sealed();
    follower.installs(&memory_after(1, &[1]));
    follower.is_admitted();
    assert!(follower.blocks().is_empty(), "{:?}", follower.effects);
}

#[test]
fn a_member_that_was_left_out_for_a_while_keeps_what_the_view_counts_on() {
    let mut follower = Follower::sealed();
    let prefix = memory_after(1, &[0]);
    follower.installs(&prefix);
    follower.is_admitted();
    follower.hears(ToMember::Append { fence: FENCE, number: RecordNumber(2), record: Arc::new(put(2, &[0], 2)) });
    follower.is_left_out();
    follower.installs(&prefix);
    assert_eq!(follower.installed(), Some(2), "record 2 is held still");
    follower.is_admitted();
    follower.hears(ToMember::Stable { fence: FENCE, number: RecordNumber(2) });
    assert_eq!(follower.blocks(), [[2_u8].as_slice()]);
}

#[test]
fn records_beyond_a_newer_memory_of_the_term_stay_held() {
    let mut follower = Follower::sealed();
    follower.installs(&memory_after(1, &[0]));
    follower.is_admitted();
    for number in [2, 3] {
        let record = put(number, &[0], u8::try_from(number).expect("few operations"));
        follower.hears(ToMember::Append { fence: FENCE, number: RecordNumber(number), record: Arc::new(record) });
    }
    follower.installs(&memory_after(2, &[0]));
    assert_eq!(follower.installed(), Some(3), "the manager has its receipt for record 3");
}

// === the manager ===

struct Reign {
    manager: Manager,
    now: Instant,
    sent: Vec<(NodeIndex, ToMember)>,
}

impl Reign {
    /// Two members, both in the view, under the lease.
    fn established() -> Self {
        let appointment =
            Appointment { record: record(&[0, 1]), dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: Arc::new(Plan::default()) };
        let mut reign = Self { manager: Manager::default(), now: Instant::from_nanoseconds(1), sent: Vec::new() };
        reign.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
        for node in [0, 1] {
            reign.sealed(node);
        }
        for node in [0, 1] {
            reign.hears(node, ToManager::Installed { fence: Fence { view: View(1), ..FENCE }, number: RecordNumber(0) });
        }
        let until = reign.now + Duration::from_secs(3);
        reign.step(ManagerInput::Announcer(AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(0), next_epoch_at: reign.now }));
        reign.sent.clear();
        reign
    }

    fn step(&mut self, input: ManagerInput) {
        let mut out = Outbox::default();
        self.manager.step(self.now, input, &mut out);
        for effect in out.drain() {
            if let ManagerEffect::Send { to, message } = effect {
                self.sent.push((to, message));
            }
        }
    }

    fn hears(&mut self, from: u16, message: ToManager) {
        self.step(ManagerInput::FromMember { from: NodeIndex(from), message });
    }

    fn sealed(&mut self, node: u16) {
        let answer = SealAnswer { term: TERM, member: agent(node), knows_from: Term(1), holding: None };
        self.hears(node, ToManager::Sealed(answer));
    }

    fn holds(&mut self, node: u16, number: u64) {
        self.hears(node, ToManager::Held { fence: FENCE, number: RecordNumber(number) });
    }

    fn submits(&mut self, sequence: u64, xfer: Xfer) {
        self.submits_after(sequence, None, xfer);
    }

    fn submits_after(&mut self, sequence: u64, after: Option<u64>, xfer: Xfer) {
        self.hears(0, ToManager::Submit { operation: operation(0, sequence), after, request: Request::Xfer(xfer) });
    }

    fn stable(&self) -> Option<u64> {
        let number = |message: &ToMember| if let ToMember::Stable { number, .. } = message { Some(number.0) } else { None };
        self.sent.iter().filter_map(|(_, message)| number(message)).max()
    }

    /// Node 0 has a block put, and both members hold the record.
    fn goes_on(&mut self, number: u64) {
        self.submits(number, block(&[0], 1));
        for node in [0, 1] {
            self.holds(node, number);
        }
    }

    /// What a node was sent of the order: whole memories by their last record, records by their number.
    fn sent_to(&self, node: u16) -> (Vec<u64>, Vec<u64>) {
        let (mut memories, mut records) = (Vec::new(), Vec::new());
        for (_, message) in self.sent.iter().filter(|(to, _)| *to == NodeIndex(node)) {
            match message {
                ToMember::Install { memory, .. } => memories.push(memory.applied.0),
                ToMember::Append { number, .. } => records.push(number.0),
                _ => {}
            }
        }
        (memories, records)
    }

    fn passes(&mut self, time: Duration) {
        let end = self.now + time;
        while self.manager.next_deadline().is_some_and(|deadline| deadline <= end) {
            self.now = self.manager.next_deadline().expect("there is one");
            self.step(ManagerInput::Timer);
        }
        self.now = end;
    }

    fn refusals(&self) -> Vec<Outcome> {
        let outcome = |message: &ToMember| if let ToMember::Refused { outcome, .. } = message { Some(*outcome) } else { None };
        self.sent.iter().filter_map(|(_, message)| outcome(message)).collect()
    }

    /// The sequences of node 0's operations in the order of their numbers.
    fn order(&self) -> Vec<u64> {
        let sequence = |message: &ToMember| match message {
            ToMember::Append { record, .. } => match &**record {
                Record::Xfer { operation, .. } => Some(operation.sequence),
                _ => None,
            },
            _ => None,
        };
        self.sent.iter().filter(|(to, _)| *to == NODE).filter_map(|(_, message)| sequence(message)).collect()
    }

    fn numbered(&self) -> BTreeSet<u64> {
        let number = |message: &ToMember| if let ToMember::Append { number, .. } = message { Some(number.0) } else { None };
        self.sent.iter().filter_map(|(_, message)| number(message)).collect()
    }
}

#[test]
fn nothing_is_stable_by_the_receipt_of_a_member_that_rejoins() {
    let mut reign = Reign::established();
    reign.submits(1, block(&[0], 1));
    assert_eq!(reign.numbered(), BTreeSet::from([1]));
    reign.holds(0, 1);
    reign.sealed(0);
    reign.sent.clear();
    reign.holds(1, 1);
    assert_eq!(reign.stable(), None, "node 0 may have dropped record 1 since it said that it holds it");
    reign.hears(0, ToManager::Installed { fence: FENCE, number: RecordNumber(1) });
    reign.holds(0, 1);
    assert_eq!(reign.stable(), Some(1));
}

#[test]
fn a_late_copy_of_a_refused_operation_is_refused_again() {
    let mut reign = Reign::established();
    let outside = Outcome::Aborted(AbortReason::SetOutsideView);
    reign.submits(1, block(&[5], 1));
    assert_eq!(reign.refusals(), [outside]);
    joins(&mut reign);
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    reign.sent.clear();
    reign.submits(1, block(&[5], 1));
    assert_eq!((reign.refusals(), reign.numbered()), (vec![outside], BTreeSet::new()), "its caller was told that it never takes effect");
    reign.submits(2, block(&[5], 1));
    assert_eq!(reign.numbered(), BTreeSet::from([1]), "node 5 belongs to the view now");
}

#[test]
fn an_operation_waits_for_one_before_it_that_was_lost_on_the_way() {
    let mut reign = Reign::established();
    reign.submits_after(3, Some(2), block(&[0], 3));
    reign.submits_after(2, Some(1), block(&[0], 2));
    assert_eq!(reign.order(), [0; 0]);
    reign.submits(1, block(&[0], 1));
    assert_eq!(reign.order(), [1, 2, 3]);
}

#[test]
fn an_operation_does_not_wait_for_one_that_was_refused() {
    let mut reign = Reign::established();
    reign.submits_after(2, Some(1), block(&[0], 2));
    reign.submits(1, block(&[5], 1));
    assert_eq!((reign.refusals(), reign.order()), (vec![Outcome::Aborted(AbortReason::SetOutsideView)], vec![2]));
}

#[test]
fn an_operation_that_a_later_one_shows_to_be_refused_is_so_again() {
    let out_of_order = Outcome::Aborted(AbortReason::OutOfOrder);
    let mut reign = Reign::established();
    reign.submits(2, block(&[0], 2));
    reign.submits(1, block(&[0], 1));
    assert_eq!((reign.refusals(), reign.order()), (vec![out_of_order], vec![2]), "the later one is in flight");
    let mut reign = Reign::established();
    reign.goes_on(1);
    reign.submits(3, block(&[0], 3));
    for node in [0, 1] {
        reign.holds(node, 2);
    }
    reign.sent.clear();
    reign.submits(2, block(&[0], 2));
    reign.submits(3, block(&[0], 3));
    reign.submits(4, block(&[0], 4));
    assert_eq!((reign.refusals(), reign.order()), (vec![out_of_order], vec![4]), "the later one is stable");
}

#[test]
fn the_next_life_of_a_caller_does_not_wait_for_what_the_one_before_it_lost() {
    let mut reign = Reign::established();
    reign.submits_after(2, Some(1), block(&[0], 2));
    let member = NodeIncarnation { incarnation: AgentIncarnation(2), ..agent(0) };
    let next = OperationId { caller: member, sequence: 1 };
    reign.hears(0, ToManager::Sealed(SealAnswer { term: TERM, member, knows_from: Term(1), holding: None }));
    reign.hears(0, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    reign.hears(0, ToManager::Submit { operation: next, after: None, request: Request::Xfer(block(&[0], 1)) });
    assert_eq!((reign.refusals(), reign.order()), (vec![], vec![1]), "nobody asks for the earlier ones any more");
}

#[test]
fn a_refusal_that_was_not_heard_is_remembered_longest() {
    let mut reign = Reign::established();
    let last = OUTCOMES_PER_NODE_MAX as u64 + 1;
    for sequence in 1..last {
        reign.submits(sequence, block(&[5], 1));
    }
    reign.submits(1, block(&[5], 1));
    reign.submits(last, block(&[5], 1));
    joins(&mut reign);
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    reign.submits(1, block(&[5], 1));
    assert_eq!(reign.order(), [0; 0], "its caller has asked again, and may have heard it since");
    reign.submits(2, block(&[5], 1));
    assert_eq!(reign.order(), [2], "that one is forgotten");
}

#[test]
fn of_many_large_operations_the_first_are_repeated() {
    let mut follower = Follower::sealed();
    follower.installs(&Arc::new(Memory::empty(1, RecordNumber(0))));
    follower.is_admitted();
    let large = Xfer { content: Content::Inline(Payload::new(vec![0; PAYLOAD_BYTES_MAX])), ..block(&[0], 1) };
    for _ in 0..6 {
        follower.step(MemberInput::Submit(Request::Xfer(large.clone())));
        assert_eq!(follower.submitted().len(), 1, "each is told at once");
    }
    follower.step(MemberInput::LinkUp(MANAGER));
    assert_eq!(follower.submitted(), [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(3))]);
}

#[test]
fn a_caller_says_behind_which_operation_another_stands_while_that_has_no_outcome() {
    let mut follower = Follower::sealed();
    follower.installs(&Arc::new(Memory::empty(1, RecordNumber(0))));
    follower.is_admitted();
    for byte in [1, 2, 3] {
        follower.step(MemberInput::Submit(Request::Xfer(block(&[0], byte))));
        assert_eq!(follower.submitted(), [(u64::from(byte), (byte > 1).then(|| u64::from(byte) - 1))]);
    }
    let refused = |fence| ToMember::Refused { fence, operation: operation(0, 2), outcome: Outcome::Aborted(AbortReason::MemoryFull) };
    follower.hears(refused(FENCE));
    assert_eq!(follower.outcomes(), [Outcome::Aborted(AbortReason::MemoryFull)]);
    follower.step(MemberInput::LinkUp(MANAGER));
    assert_eq!(follower.submitted(), [(1, None), (3, Some(1))]);
}

#[test]
fn what_the_manager_of_another_term_refuses_is_not_refused() {
    let mut follower = Follower::sealed();
    follower.installs(&Arc::new(Memory::empty(1, RecordNumber(0))));
    follower.is_admitted();
    follower.step(MemberInput::Submit(Request::Xfer(block(&[0], 1))));
    let outcome = Outcome::Aborted(AbortReason::SetOutsideView);
    for term in [Term(1), Term(3)] {
        follower.hears(ToMember::Refused { fence: Fence { term, ..FENCE }, operation: operation(0, 1), outcome });
        assert_eq!(follower.outcomes(), [], "the manager of term 2 may number it");
    }
    let refused = ToMember::Refused { fence: FENCE, operation: operation(0, 1), outcome };
    follower.step(MemberInput::FromManager { from: NODE, message: refused.clone() });
    assert_eq!(follower.outcomes(), [], "it is not of that manager");
    follower.hears(refused);
    assert_eq!(follower.outcomes(), [outcome]);
}

#[test]
fn a_store_waits_while_its_cell_is_compared() {
    let mut follower = Follower::sealed();
    follower.installs(&Arc::new(Memory::empty(1, RecordNumber(0))));
    follower.is_admitted();
    let cell = Cell::Stored(agent(1));
    let compare = Compare { set: nodes(&[0]), cell, comparison: Comparison::GreaterOrEqual, value: 1, write: None };
    let asked = || Record::Compare { operation: None, compare: compare.clone() };
    let said = |truth| Record::CompareResult(CompareResult { compare: RecordNumber(1), truth, first_failing: None, command: None });
    follower.applies(1, asked());
    assert_eq!(follower.compared(), [false]);
    follower.step(MemberInput::Store { cell, value: 1 });
    follower.hears(ToMember::Stable { fence: FENCE, number: RecordNumber(1) });
    assert_eq!(follower.compared(), [false], "it says the same when it is asked again");
    follower.applies(2, said(false));
    follower.applies(3, asked());
    assert_eq!(follower.compared(), [true]);
}

#[test]
fn a_manager_does_not_begin_again_in_a_term_that_was_refused() {
    let mut reign = Reign::established();
    reign.hears(0, ToManager::SealRefused { sealed: Term(3) });
    assert!(!reign.manager.is_appointed());
    let mut appointed = |term| {
        let record = TermRecord { term, ..record(&[0, 1]) };
        let appointment = Appointment { record, dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: Arc::new(Plan::default()) };
        reign.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
        reign.manager.is_appointed()
    };
    assert_eq!([TERM, Term(4)].map(&mut appointed), [false, true], "others have left its order, and may have begun another");
}

/// The reign's members with node 5, whose life has sealed the term.
fn joins(reign: &mut Reign) {
    reign.hears(5, ToManager::Sealed(SealAnswer { term: TERM, member: agent(5), knows_from: Term(1), holding: None }));
}

#[test]
fn a_node_is_admitted_under_a_steady_flow_of_records() {
    let mut reign = Reign::established();
    reign.goes_on(1);
    joins(&mut reign);
    for number in 2..=40 {
        reign.goes_on(number);
    }
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(1) });
    assert_eq!(reign.sent_to(5), (vec![1], (2..=40).collect()), "the memory once, and what became stable since as records");
    reign.sent.clear();
    reign.goes_on(41);
    assert_eq!(reign.stable(), None, "what is stable now is so by node 5 too");
    for number in [40, 41] {
        reign.holds(5, number);
    }
    assert_eq!(reign.stable(), Some(41));
}

#[test]
fn one_that_asks_twice_goes_on_from_what_it_has() {
    let mut reign = Reign::established();
    reign.goes_on(1);
    joins(&mut reign);
    for number in 2..=5 {
        reign.goes_on(number);
    }
    joins(&mut reign);
    reign.sent.clear();
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(1) });
    assert_eq!(reign.sent_to(5), (vec![], (2..=5).collect()));
}

#[test]
fn one_that_is_suspected_while_it_rejoins_goes_on_from_what_it_has() {
    let mut reign = Reign::established();
    reign.goes_on(1);
    joins(&mut reign);
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(1) });
    joins(&mut reign);
    let NodeIncarnation { node, incarnation } = agent(5);
    reign.step(ManagerInput::Announcer(AnnouncerReport::Suspect { fence: FENCE, node, incarnation }));
    reign.goes_on(2);
    reign.sent.clear();
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(1) });
    assert_eq!(reign.sent_to(5), (vec![], vec![2]));
}

#[test]
fn a_node_for_which_too_much_was_kept_is_sent_the_memory_anew() {
    let mut reign = Reign::established();
    joins(&mut reign);
    let last = RECORDS_KEPT_MAX as u64 + 1;
    for number in 1..=last {
        reign.goes_on(number);
    }
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert_eq!(reign.sent_to(5), (vec![0, last], vec![]));
    reign.goes_on(last + 1);
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(last) });
    assert_eq!(reign.sent_to(5), (vec![0, last], vec![last + 1]));
}

#[test]
fn a_node_that_vanished_while_it_was_admitted_is_sent_nothing_more() {
    let mut reign = Reign::established();
    joins(&mut reign);
    reign.passes(Settings::default().suspicion / 2);
    joins(&mut reign);
    reign.passes(Settings::default().suspicion / 2);
    reign.sent.clear();
    reign.passes(Settings::default().heartbeat);
    assert_eq!(reign.sent_to(5).0, [0], "it has spoken since");
    reign.passes(Settings::default().suspicion);
    reign.sent.clear();
    reign.passes(Settings::default().suspicion);
    assert!(reign.sent.iter().all(|(to, _)| *to != NodeIndex(5)), "{:?}", reign.sent);
    reign.hears(5, ToManager::Installed { fence: FENCE, number: RecordNumber(0) });
    assert!(matches!(reign.sent.last(), Some((NodeIndex(5), ToMember::Seal(_)))), "it may begin anew: {:?}", reign.sent.last());
}

#[test]
fn a_manager_stops_when_a_member_has_sealed_a_higher_term() {
    let mut reign = Reign::established();
    let mut follower = Follower::sealed();
    follower.installs(&Arc::new(Memory::empty(1, RecordNumber(0))));
    follower.is_admitted();
    follower.step(MemberInput::Introduced(TermRecord { term: Term(3), ..record(&[0, 1]) }));
    reign.passes(Settings::default().heartbeat);
    let told: Vec<ToMember> = reign.sent.iter().filter(|(to, _)| *to == NODE).map(|(_, message)| message.clone()).collect();
    for message in told {
        follower.hears(message);
        for effect in std::mem::take(&mut follower.effects) {
            if let MemberEffect::Send { to: MANAGER, message } = effect {
                reign.hears(NODE.0, message);
            }
        }
    }
    assert!(!reign.manager.is_appointed(), "two members, one of which obeys it no more, never make the lease again");
}
