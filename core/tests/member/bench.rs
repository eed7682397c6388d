//! A member on a bench: what it does in one step, by short names.

use std::{sync::Arc, time::Duration};

use strobe_core::{
    machine::{Machine, Outbox},
    message::{GangSignal, SealAnswer, Signal, SwitcherCommand, SwitcherReport, ToManager, ToMember},
    model::{
        AgentIncarnation, CpuIndex, Desire, Fence, GangId, GangIncarnation, GangRun, Instant, MatrixVersion, NodeIncarnation, NodeIndex,
        NodePlacement, PartitionUid, Plan, PlannedGang, RankIndex, RecordNumber, RowIndex, Settings, Term, TermRecord, View,
    },
    node::{Member, MemberConfiguration, MemberEffect, MemberEvent, MemberInput},
    primitives::{Content, GangCommand, GangVerb, Memory, OperationId, Outcome, Payload, Record, RegionName, Request, Xfer},
};

pub(crate) const PARTITION: PartitionUid = PartitionUid(7);
pub(crate) const NODE: NodeIndex = NodeIndex(0);
pub(crate) const MANAGER: NodeIndex = NodeIndex(1);
/// The fence of the term that the bench follows.
pub(crate) const FENCE: Fence = fence(2, 1);

pub(crate) const fn fence(term: u64, view: u64) -> Fence {
    Fence { partition: PARTITION, term: Term(term), view: View(view) }
}

/// A fence of the same term and view, and of another partition.
pub(crate) fn elsewhere(fence: Fence) -> Fence {
    Fence { partition: PartitionUid(8), ..fence }
}

/// The first life of a node's agent.
pub(crate) const fn agent(node: u16) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }
}

pub(crate) const fn run(gang: u64) -> GangRun {
    GangRun { gang: GangId(gang), incarnation: GangIncarnation(1) }
}

pub(crate) fn term_record(term: u64, manager: u16) -> TermRecord {
    let members = vec![agent(0), agent(1)];
    TermRecord { partition: PARTITION, term: Term(term), manager: agent(manager), members, established: None, since: Vec::new() }
}

pub(crate) fn payload(byte: u8) -> Payload {
    Payload::new([byte])
}

/// The operation of that number of a node's agent.
pub(crate) const fn operation(node: u16, sequence: u64) -> OperationId {
    OperationId { caller: agent(node), sequence }
}

/// A block of so many bytes for the bench's node.
pub(crate) fn block(bytes: usize) -> Xfer {
    let content = Content::Inline(Payload::new(vec![1; bytes]));
    Xfer { region: RegionName::of_node(NODE, 1), set: [NODE].into_iter().collect(), content }
}

/// The record that puts the block of an operation.
pub(crate) fn put(operation: OperationId) -> Record {
    Record::Xfer { operation, xfer: block(1) }
}

/// A gang with two ranks on each of these nodes, in these rows.
pub(crate) fn planned(gang: u64, nodes: &[u16], rows: &[u8]) -> PlannedGang {
    let cpus = || [CpuIndex(0), CpuIndex(1)].into_iter().collect();
    let part = |node: &u16| NodePlacement { node: NodeIndex(*node), cpus: cpus(), first_rank: RankIndex(2 * u32::from(*node)), ranks: 2 };
    let placement = nodes.iter().map(part).collect();
    PlannedGang { run: run(gang), desire: Desire::Run, rows: rows.iter().copied().map(RowIndex).collect(), placement }
}

pub(crate) fn plan(version: u64, gangs: Vec<PlannedGang>) -> Record {
    Record::Plan(Arc::new(Plan { version: MatrixVersion(version), gangs }))
}

pub(crate) fn command(gang: u64, verb: GangVerb) -> Record {
    Record::Gang(GangCommand { run: run(gang), verb })
}

pub(crate) struct Bench {
    pub(crate) member: Member,
    pub(crate) now: Instant,
    /// What the last step wants done.
    pub(crate) effects: Vec<MemberEffect>,
    /// The last record that was applied.
    last: u64,
}

impl Bench {
    /// An agent's first life, whose seal file has this term.
    pub(crate) fn born(sealed: Option<u64>) -> Self {
        let (sealed, settings) = (sealed.map(Term), Settings::default());
        let configuration = MemberConfiguration { partition: PARTITION, node: NODE, incarnation: agent(0).incarnation, sealed, settings };
        let member = Member::new(configuration, &mut Outbox::default());
        Self { member, now: Instant::from_nanoseconds(1_000_000_000), effects: Vec::new(), last: 0 }
    }

    /// It has promised [`FENCE`]'s term.
    pub(crate) fn sealed() -> Self {
        let mut bench = Self::born(None);
        bench.promises(2);
        bench
    }

    /// It belongs to the view of [`FENCE`]; memory is empty.
    pub(crate) fn admitted() -> Self {
        let mut bench = Self::sealed();
        bench.joins(FENCE, Memory::empty(1, RecordNumber(0)));
        assert_eq!(bench.member.admitted(), Some(FENCE));
        bench
    }

    pub(crate) fn step(&mut self, input: MemberInput) {
        let mut out = Outbox::default();
        self.member.step(self.now, input, &mut out);
        self.effects = out.drain().collect();
    }

    pub(crate) fn hears_from(&mut self, from: NodeIndex, message: ToMember) {
        self.step(MemberInput::FromManager { from, message });
    }

    pub(crate) fn hears(&mut self, message: ToMember) {
        self.hears_from(MANAGER, message);
    }

    /// The manager asks for the promise, which is made.
    pub(crate) fn promises(&mut self, term: u64) {
        self.hears(ToMember::Seal(term_record(term, MANAGER.0)));
        self.step(MemberInput::Switcher(SwitcherReport::Sealed { term: Term(term) }));
        self.step(MemberInput::SealPersisted(Term(term)));
    }

    pub(crate) fn installs(&mut self, fence: Fence, memory: Memory) {
        self.last = memory.applied.0;
        self.hears(ToMember::Install { fence, memory: Arc::new(memory) });
    }

    pub(crate) fn is_admitted(&mut self, fence: Fence) {
        self.hears(ToMember::Admitted { fence, members: vec![agent(0), agent(1)] });
    }

    pub(crate) fn joins(&mut self, fence: Fence, memory: Memory) {
        self.installs(fence, memory);
        self.is_admitted(fence);
    }

    pub(crate) fn appends(&mut self, number: u64, record: Record) {
        self.hears(ToMember::Append { fence: FENCE, number: RecordNumber(number), record: Arc::new(record) });
    }

    pub(crate) fn stable(&mut self, number: u64) {
        self.hears(ToMember::Stable { fence: FENCE, number: RecordNumber(number) });
    }

    /// The next record comes, and is stable.
    pub(crate) fn applies(&mut self, record: Record) {
        self.last += 1;
        self.appends(self.last, record);
        self.stable(self.last);
    }

    pub(crate) fn submits(&mut self, xfer: Xfer) {
        self.step(MemberInput::Submit(Request::Xfer(xfer)));
    }

    pub(crate) fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(MemberInput::Timer);
    }

    // === what it did in the last step ===

    pub(crate) fn find<T>(&self, look: impl Fn(&MemberEffect) -> Option<T>) -> Vec<T> {
        self.effects.iter().filter_map(look).collect()
    }

    /// What was sent to the manager of the term.
    pub(crate) fn sent(&self) -> Vec<ToManager> {
        self.find(|effect| if let MemberEffect::Send { to: MANAGER, message } = effect { Some(message.clone()) } else { None })
    }

    pub(crate) fn answers(&self) -> Vec<SealAnswer> {
        let answer = |message| if let ToManager::Sealed(answer) = message { Some(answer) } else { None };
        self.sent().into_iter().filter_map(answer).collect()
    }

    /// How far records are held, as it says.
    pub(crate) fn held(&self) -> Vec<u64> {
        let number = |message| if let ToManager::Held { fence: FENCE, number } = message { Some(number.0) } else { None };
        self.sent().into_iter().filter_map(number).collect()
    }

    pub(crate) fn installed(&self) -> Vec<u64> {
        let number = |message| if let ToManager::Installed { number, .. } = message { Some(number.0) } else { None };
        self.sent().into_iter().filter_map(number).collect()
    }

    pub(crate) fn signals(&self) -> Vec<(GangRun, GangSignal)> {
        let signal = |message| match message {
            ToManager::Signal(Signal { node: NODE, run, signal }) => Some((run, signal)),
            _ => None,
        };
        self.sent().into_iter().filter_map(signal).collect()
    }

    pub(crate) fn submitted(&self) -> Vec<OperationId> {
        let operation = |message| if let ToManager::Submit { operation, .. } = message { Some(operation) } else { None };
        self.sent().into_iter().filter_map(operation).collect()
    }

    pub(crate) fn truths(&self) -> Vec<(u64, bool)> {
        let truth = |message| match message {
            ToManager::Compared { fence: FENCE, number, truth } => Some((number.0, truth)),
            _ => None,
        };
        self.sent().into_iter().filter_map(truth).collect()
    }

    pub(crate) fn commands(&self) -> Vec<SwitcherCommand> {
        self.find(|effect| if let MemberEffect::Switcher(command) = effect { Some(*command) } else { None })
    }

    pub(crate) fn events(&self) -> Vec<MemberEvent> {
        self.find(|effect| if let MemberEffect::Event(event) = effect { Some(event.clone()) } else { None })
    }

    pub(crate) fn outcomes(&self) -> Vec<(u64, Outcome)> {
        self.find(|effect| match effect {
            MemberEffect::Outcome { operation, outcome } if operation.caller == agent(0) => Some((operation.sequence, *outcome)),
            _ => None,
        })
    }

    pub(crate) fn killed(&self) -> Vec<GangRun> {
        self.find(|effect| if let MemberEffect::KillRanks(run) = effect { Some(*run) } else { None })
    }

    pub(crate) fn configured(&self) -> Vec<(GangRun, u8)> {
        self.find(|effect| if let MemberEffect::Configure { run, slot } = effect { Some((*run, slot.0)) } else { None })
    }
}
