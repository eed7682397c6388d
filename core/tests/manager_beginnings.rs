//! How a term begins: which prefix it goes on from, and who is asked to join later.

use std::sync::Arc;

use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerInput},
    message::{Holding, SealAnswer, ToManager, ToMember},
    model::{
        AgentIncarnation, Appointment, EstablishedTerm, Fence, Instant, NodeIncarnation, NodeIndex, NodeSet, PartitionUid, Plan,
        RecordNumber, Settings, Term, TermRecord, View,
    },
    primitives::Memory,
};

const PARTITION: PartitionUid = PartitionUid(7);
const TERM: Term = Term(6);
const MANAGER: NodeIndex = NodeIndex(1);

fn agent(node: u16, incarnation: u64) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) }
}

fn earlier(term: u64, nodes: &[u16]) -> EstablishedTerm {
    let members: NodeSet = nodes.iter().copied().map(NodeIndex).collect();
    EstablishedTerm { term: Term(term), members }
}

struct Bench {
    manager: Manager,
    sent: Vec<(NodeIndex, ToMember)>,
}

impl Bench {
    /// The manager of term 6, which node 0 shall join with a second life of its agent.
    fn appointed(established: EstablishedTerm, since: Vec<EstablishedTerm>) -> Self {
        let record = TermRecord {
            partition: PARTITION,
            term: TERM,
            manager: agent(1, 1),
            members: vec![agent(0, 2), agent(1, 1)],
            established: Some(established),
            since,
        };
        let appointment = Appointment { record, dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: Arc::new(Plan::default()) };
        let mut bench = Self { manager: Manager::default(), sent: Vec::new() };
        bench.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
        bench
    }

    fn step(&mut self, input: ManagerInput) {
        let mut out = Outbox::default();
        self.manager.step(Instant::ORIGIN, input, &mut out);
        for effect in out.drain() {
            if let ManagerEffect::Send { to, message } = effect {
                self.sent.push((to, message));
            }
        }
    }

    fn hears(&mut self, from: u16, message: ToManager) {
        self.step(ManagerInput::FromMember { from: NodeIndex(from), message });
    }

    fn answers(&mut self, member: NodeIncarnation, knows_from: u64, holding: Option<Holding>) {
        let answer = SealAnswer { term: TERM, member, knows_from: Term(knows_from), holding };
        self.hears(member.node.0, ToManager::Sealed(answer));
    }

    /// Generation and last record of the prefix that is installed.
    fn installed(&self) -> (u64, u64) {
        let memory = self.sent.iter().find_map(|(_, message)| match message {
            ToMember::Install { memory, .. } => Some(memory),
            _ => None,
        });
        let memory = memory.expect("both members have sealed");
        (memory.generation, memory.applied.0)
    }
}

/// What term 3 has left.
fn of_term_three() -> Option<Holding> {
    let memory = Arc::new(Memory::empty(1, RecordNumber(39)));
    Some(Holding { term: Term(3), memory, records: Vec::new() })
}

#[test]
fn a_prefix_goes_on_where_nothing_can_be_missing() {
    let mut bench = Bench::appointed(earlier(3, &[0, 1]), vec![earlier(4, &[0, 1])]);
    bench.answers(agent(0, 2), 5, None);
    bench.answers(agent(1, 1), 1, of_term_three());
    assert_eq!(bench.installed(), (1, 39), "node 1 would hold what term 4 had committed with it");
}

#[test]
fn what_a_term_without_a_witness_may_have_committed_is_not_done_again_otherwise() {
    let mut bench = Bench::appointed(earlier(3, &[0, 1]), vec![earlier(4, &[0])]);
    bench.answers(agent(0, 2), 5, None);
    bench.answers(agent(1, 1), 1, of_term_three());
    assert_eq!(bench.installed(), (TERM.0, 0), "term 4 was of node 0 alone, whose agent restarted since");
}

#[test]
fn a_life_that_was_there_and_was_sent_no_prefix_is_a_witness() {
    let mut bench = Bench::appointed(earlier(3, &[0, 1]), vec![earlier(4, &[0])]);
    bench.answers(agent(0, 2), 4, None);
    bench.answers(agent(1, 1), 1, of_term_three());
    assert_eq!(bench.installed(), (1, 39));
}

#[test]
fn a_node_that_installed_too_late_is_asked_to_join() {
    let mut bench = Bench::appointed(earlier(3, &[1]), Vec::new());
    bench.answers(agent(0, 2), 5, None);
    bench.answers(agent(1, 1), 1, of_term_three());
    let fence = Fence { partition: PARTITION, term: TERM, view: View(0) };
    for node in [0, 1] {
        bench.hears(node, ToManager::Installed { fence, number: RecordNumber(39) });
    }
    bench.sent.clear();
    bench.hears(5, ToManager::Installed { fence, number: RecordNumber(39) });
    assert!(matches!(&bench.sent[..], [(NodeIndex(5), ToMember::Seal(_))]), "{:?}", bench.sent);
    bench.sent.clear();
    bench.hears(5, ToManager::Held { fence, number: RecordNumber(39) });
    assert!(matches!(&bench.sent[..], [(NodeIndex(5), ToMember::Seal(_))]), "nor is one forgotten that left the view: {:?}", bench.sent);
    bench.sent.clear();
    bench.hears(MANAGER.0, ToManager::Installed { fence, number: RecordNumber(39) });
    assert!(!bench.sent.iter().any(|(_, message)| matches!(message, ToMember::Seal(_))), "one of the view answers twice");
}
