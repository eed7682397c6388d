//! A manager on a bench: nodes 0 to 2 are the record's, of which node 0 manages.

use std::{sync::Arc, time::Duration};

use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerEvent, ManagerInput},
    message::{AnnouncerCommand, AnnouncerReport, GangSignal, PartitionReport, SealAnswer, Signal, ToManager, ToMember},
    model::{
        AgentIncarnation, Appointment, CpuIndex, Desire, Epoch, Fence, GangId, GangIncarnation, GangRun, Instant, MatrixVersion,
        NodeIncarnation, NodeIndex, NodePlacement, NodeSet, PartitionUid, Plan, PlannedGang, RankIndex, RecordNumber, RowIndex, Settings,
        Term, TermRecord, View,
    },
    primitives::{Content, OperationId, Outcome, Payload, Record, RegionName, Request, Xfer},
};

/// Of the first view.
pub(crate) const FENCE: Fence = Fence { partition: PartitionUid(7), term: Term(2), view: View(1) };
pub(crate) const ALL: [u16; 3] = [0, 1, 2];
const SECOND: u64 = 1_000_000_000;

pub(crate) const fn agent(node: u16, incarnation: u64) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) }
}

pub(crate) fn nodes(nodes: &[u16]) -> NodeSet {
    nodes.iter().copied().map(NodeIndex).collect()
}

pub(crate) const fn run(gang: u64) -> GangRun {
    GangRun { gang: GangId(gang), incarnation: GangIncarnation(1) }
}

/// A gang with a rank on each of these nodes, in the row of its number.
pub(crate) fn planned(gang: u64, on: &[u16], desire: Desire) -> PlannedGang {
    let part = |node: &u16| NodePlacement {
        node: NodeIndex(*node),
        cpus: [CpuIndex(0)].into_iter().collect(),
        first_rank: RankIndex(u32::from(*node)),
        ranks: 1,
    };
    let row = RowIndex(u8::try_from(gang).expect("few gangs"));
    PlannedGang { run: run(gang), desire, rows: [row].into_iter().collect(), placement: on.iter().map(part).collect() }
}

pub(crate) fn plan(version: u64, gangs: Vec<PlannedGang>) -> Arc<Plan> {
    Arc::new(Plan { version: MatrixVersion(version), gangs })
}

pub(crate) fn appointment() -> Appointment {
    let record = TermRecord {
        partition: FENCE.partition,
        term: FENCE.term,
        manager: agent(0, 1),
        members: ALL.iter().map(|node| agent(*node, 1)).collect(),
        established: None,
        since: Vec::new(),
    };
    Appointment { record, dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: plan(0, Vec::new()) }
}

pub(crate) fn answer(member: NodeIncarnation) -> SealAnswer {
    SealAnswer { term: FENCE.term, member, knows_from: Term(1), holding: None }
}

pub(crate) const fn operation(node: u16, sequence: u64) -> OperationId {
    OperationId { caller: agent(node, 1), sequence }
}

/// A block of so many bytes for these nodes, under a name of its own.
pub(crate) fn block(number: u32, set: &[u16], bytes: usize) -> Request {
    let region = RegionName::of_gang(run(1), number);
    Request::Xfer(Xfer { region, set: nodes(set), content: Content::Inline(Payload::new(vec![1; bytes])) })
}

pub(crate) struct Bench {
    pub(crate) manager: Manager,
    pub(crate) now: Instant,
    /// What the last step wants done.
    pub(crate) effects: Vec<ManagerEffect>,
    /// All records in the order of their numbers.
    pub(crate) numbered: Vec<Record>,
}

impl Bench {
    pub(crate) fn appointed() -> Self {
        let mut bench =
            Self { manager: Manager::default(), now: Instant::from_nanoseconds(9 * SECOND), effects: Vec::new(), numbered: Vec::new() };
        bench.is_appointed(appointment());
        bench
    }

    /// All have sealed, and are sent the prefix.
    pub(crate) fn installing() -> Self {
        let mut bench = Self::appointed();
        ALL.iter().for_each(|node| bench.seals(agent(*node, 1)));
        bench
    }

    /// All belong to the view; there is no lease.
    pub(crate) fn established() -> Self {
        let mut bench = Self::installing();
        ALL.iter().for_each(|node| bench.installs(*node, 0));
        bench
    }

    /// It has the lease for a minute.
    pub(crate) fn leading() -> Self {
        let mut bench = Self::established();
        bench.has_lease(Duration::from_secs(60));
        bench
    }

    pub(crate) fn is_appointed(&mut self, appointment: Appointment) {
        self.step(ManagerInput::Appointed { appointment, settings: Settings::default() });
    }

    pub(crate) fn step(&mut self, input: ManagerInput) {
        let mut out = Outbox::default();
        self.manager.step(self.now, input, &mut out);
        self.effects = out.drain().collect();
        for effect in &self.effects {
            if let ManagerEffect::Event(ManagerEvent::Numbered { record, .. }) = effect {
                self.numbered.push(Record::clone(record));
            }
        }
    }

    pub(crate) fn hears(&mut self, from: u16, message: ToManager) {
        self.step(ManagerInput::FromMember { from: NodeIndex(from), message });
    }

    pub(crate) fn seals(&mut self, member: NodeIncarnation) {
        self.hears(member.node.0, ToManager::Sealed(answer(member)));
    }

    pub(crate) fn installs(&mut self, node: u16, number: u64) {
        self.hears(node, ToManager::Installed { fence: FENCE, number: RecordNumber(number) });
    }

    pub(crate) fn has_lease(&mut self, time: Duration) {
        let until = self.now + time;
        let lease = AnnouncerReport::Lease { fence: FENCE, until, epoch: Epoch(0), next_epoch_at: self.now };
        self.step(ManagerInput::Announcer(lease));
    }

    pub(crate) fn suspects(&mut self, member: NodeIncarnation) {
        let NodeIncarnation { node, incarnation } = member;
        self.step(ManagerInput::Announcer(AnnouncerReport::Suspect { fence: FENCE, node, incarnation }));
    }

    pub(crate) fn holds(&mut self, node: u16, number: u64) {
        self.hears(node, ToManager::Held { fence: FENCE, number: RecordNumber(number) });
    }

    /// These nodes hold all that is numbered.
    pub(crate) fn all_hold(&mut self, on: &[u16]) {
        let last = self.numbered.len() as u64;
        on.iter().for_each(|node| self.holds(*node, last));
    }

    pub(crate) fn submits(&mut self, operation: OperationId, request: Request) {
        self.hears(operation.caller.node.0, ToManager::Submit { operation, after: None, request });
    }

    pub(crate) fn compares(&mut self, node: u16, number: u64, truth: bool) {
        self.hears(node, ToManager::Compared { fence: FENCE, number: RecordNumber(number), truth });
    }

    pub(crate) fn signals(&mut self, node: u16, gang: u64, signal: GangSignal) {
        self.hears(node, ToManager::Signal(Signal { node: NodeIndex(node), run: run(gang), signal }));
    }

    pub(crate) fn is_planned(&mut self, plan: Arc<Plan>) {
        self.step(ManagerInput::Plan(plan));
    }

    pub(crate) fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(ManagerInput::Timer);
    }

    // === what it did in the last step ===

    pub(crate) fn find<T>(&self, look: impl Fn(&ManagerEffect) -> Option<T>) -> Vec<T> {
        self.effects.iter().filter_map(look).collect()
    }

    /// To whom messages went that pass the test.
    pub(crate) fn sent(&self, test: impl Fn(&ToMember) -> bool) -> Vec<u16> {
        self.find(|effect| match effect {
            ManagerEffect::Send { to, message } if test(message) => Some(to.0),
            _ => None,
        })
    }

    pub(crate) fn asked(&self) -> Vec<u16> {
        self.sent(|message| matches!(message, ToMember::Seal(_)))
    }

    pub(crate) fn sent_prefix(&self) -> Vec<u16> {
        self.sent(|message| matches!(message, ToMember::Install { .. }))
    }

    pub(crate) fn admitted(&self) -> Vec<u16> {
        self.sent(|message| matches!(message, ToMember::Admitted { .. }))
    }

    /// Numbers of the records that a node was sent.
    pub(crate) fn appended(&self, node: u16) -> Vec<u64> {
        self.find(|effect| match effect {
            ManagerEffect::Send { to, message: ToMember::Append { number, .. } } if to.0 == node => Some(number.0),
            _ => None,
        })
    }

    /// Up to which number a node was told that records are stable, in the order in which it was told.
    pub(crate) fn stable(&self, node: u16) -> Vec<u64> {
        self.find(|effect| match effect {
            ManagerEffect::Send { to, message: ToMember::Stable { number, .. } } if to.0 == node => Some(number.0),
            _ => None,
        })
    }

    pub(crate) fn refusals(&self) -> Vec<(OperationId, Outcome)> {
        self.find(|effect| match effect {
            ManagerEffect::Send { message: ToMember::Refused { operation, outcome, .. }, .. } => Some((*operation, *outcome)),
            _ => None,
        })
    }

    pub(crate) fn reports(&self) -> Vec<PartitionReport> {
        self.find(|effect| if let ManagerEffect::Report(report) = effect { Some(report.clone()) } else { None })
    }

    pub(crate) fn commands(&self) -> Vec<AnnouncerCommand> {
        self.find(|effect| if let ManagerEffect::Announcer(command) = effect { Some(command.clone()) } else { None })
    }

    /// The view that was announced to the strobe thread.
    pub(crate) fn raised(&self) -> Option<(u64, Vec<NodeIncarnation>)> {
        self.commands().into_iter().find_map(|command| match command {
            AnnouncerCommand::View { fence, view } => Some((fence.view.0, view)),
            _ => None,
        })
    }
}
