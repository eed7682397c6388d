//! A simulated node: its clock, its agent with the four machines, its supervisors.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Announcer, AnnouncerInput, Manager, ManagerInput},
    message::PartitionReport,
    model::{AgentIncarnation, GangRun, GangSlot, GangSlots, Instant, NodeIndex, PartitionUid, RecordNumber, Settings, Term},
    node::{AdoptedGang, Member, MemberConfiguration, MemberEffect, MemberInput, Switcher, SwitcherConfiguration, SwitcherInput},
};

use crate::{
    clock::{LocalClock, Moment},
    supervisor::Supervisor,
    world::{Blocks, Event},
};

/// The partition of every run.
pub(crate) const PARTITION: PartitionUid = PartitionUid(1);

/// What an agent can be given.
#[derive(Debug, Clone, Hash)]
pub(crate) enum AgentInput {
    Member(MemberInput),
    Manager(ManagerInput),
    Switcher(SwitcherInput),
    Announcer(AnnouncerInput),
    /// The operator tells it to expect the pod of its part of a run.
    Launch(GangRun),
    /// To the strobe thread: a slot's cgroup is that of this gang.
    Install(GangSlot, GangRun),
}

/// One of the four machines of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MachineKind {
    Member,
    Manager,
    Switcher,
    Announcer,
}

/// What the agent's shell knows of a gang.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShellGang {
    pub(crate) slot: Option<GangSlot>,
    /// It was told to kill it, or it is gone: a supervisor that comes late is refused.
    pub(crate) killed: bool,
    /// It takes the ranks' stubs in.
    pub(crate) accepting: bool,
    /// The member knows that the supervisor is up.
    pub(crate) told_up: bool,
}

/// One life of an agent.
pub(crate) struct Agent {
    pub(crate) life: AgentIncarnation,
    pub(crate) member: Member,
    pub(crate) manager: Manager,
    pub(crate) switcher: Switcher,
    pub(crate) announcer: Announcer,
    /// When the timers of the four fire.
    pub(crate) armed: [Option<Moment>; 4],
    pub(crate) pending: VecDeque<AgentInput>,
    /// Counts stops; odd while stopped.
    pub(crate) stops: u64,
    /// What came while it was stopped.
    pub(crate) backlog: Vec<Event>,
    pub(crate) link_term: Option<Term>,
    /// No link of a lower term is accepted. None: this boot of the node has promised nothing.
    pub(crate) floor: Option<Term>,
    pub(crate) report: Option<PartitionReport>,
    pub(crate) gangs: BTreeMap<GangRun, ShellGang>,
    /// Runs whose pods it lets begin.
    pub(crate) launched: BTreeSet<GangRun>,
    /// The strobe thread's table.
    pub(crate) slots: BTreeMap<GangSlot, GangRun>,
    /// What the strobe thread has commanded thawed.
    pub(crate) commanded: GangSlots,
    /// Gangs of its table that it was not told of as released, until their first resume.
    pub(crate) unreleased: BTreeSet<GangRun>,
    /// When the last message of each ring arrives: to the strobe thread, from it.
    pub(crate) rings: [Moment; 2],
    /// The generation and the last record that its member was seen to have applied.
    pub(crate) applied: Option<(u64, RecordNumber)>,
    pub(crate) blocks: Blocks,
}

/// A node.
pub(crate) struct Node {
    pub(crate) index: NodeIndex,
    pub(crate) clock: LocalClock,
    pub(crate) agent: Option<Agent>,
    /// The last life of its agent.
    pub(crate) life: AgentIncarnation,
    /// False from the node's death to its next boot.
    pub(crate) booted: bool,
    /// Counts deaths: the proof of an earlier one proves nothing.
    pub(crate) deaths: u64,
    pub(crate) seal_file: Option<Term>,
    pub(crate) supervisors: BTreeMap<GangRun, Supervisor>,
    /// Runs whose supervisor was here and is gone without having been told to go.
    pub(crate) lost: BTreeSet<GangRun>,
    /// What the agent has noted of gangs whose ranks have all completed here.
    pub(crate) completed: BTreeMap<GangRun, AdoptedGang>,
    /// Rank cgroups that are frozen.
    pub(crate) frozen: BTreeSet<GangRun>,
    /// Gangs whose hold is in effect.
    pub(crate) held: BTreeSet<GangRun>,
    /// The operator's session with its agent.
    pub(crate) session: Option<u64>,
    pub(crate) session_dialling: bool,
}

impl Agent {
    pub(crate) fn new(
        node: NodeIndex,
        life: AgentIncarnation,
        sealed: Option<Term>,
        settings: &Settings,
        out: &mut Outbox<MemberEffect>,
    ) -> Self {
        let configuration = MemberConfiguration { partition: PARTITION, node, incarnation: life, sealed, settings: settings.clone() };
        Self {
            life,
            member: Member::new(configuration, out),
            manager: Manager::default(),
            switcher: Switcher::new(SwitcherConfiguration { node, incarnation: life, settings: settings.clone() }),
            announcer: Announcer::new(),
            armed: [None; 4],
            pending: VecDeque::new(),
            stops: 0,
            backlog: Vec::new(),
            link_term: None,
            floor: sealed,
            report: None,
            gangs: BTreeMap::new(),
            launched: BTreeSet::new(),
            slots: BTreeMap::new(),
            commanded: GangSlots::EMPTY,
            unreleased: BTreeSet::new(),
            rings: [Moment::default(); 2],
            applied: None,
            blocks: Blocks::default(),
        }
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        !self.stops.is_multiple_of(2)
    }

    pub(crate) fn deadline(&self, machine: MachineKind) -> Option<Instant> {
        match machine {
            MachineKind::Member => self.member.next_deadline(),
            MachineKind::Manager => self.manager.next_deadline(),
            MachineKind::Switcher => self.switcher.next_deadline(),
            MachineKind::Announcer => self.announcer.next_deadline(),
        }
    }
}

impl MachineKind {
    pub(crate) const ALL: [Self; 4] = [Self::Member, Self::Manager, Self::Switcher, Self::Announcer];

    pub(crate) const fn timer(self) -> AgentInput {
        match self {
            Self::Member => AgentInput::Member(MemberInput::Timer),
            Self::Manager => AgentInput::Manager(ManagerInput::Timer),
            Self::Switcher => AgentInput::Switcher(SwitcherInput::Timer),
            Self::Announcer => AgentInput::Announcer(AnnouncerInput::Timer),
        }
    }
}

impl Node {
    pub(crate) fn new(index: NodeIndex, clock: LocalClock) -> Self {
        Self {
            index,
            clock,
            agent: None,
            life: AgentIncarnation(0),
            booted: true,
            deaths: 0,
            seal_file: None,
            supervisors: BTreeMap::new(),
            completed: BTreeMap::new(),
            lost: BTreeSet::new(),
            frozen: BTreeSet::new(),
            held: BTreeSet::new(),
            session: None,
            session_dialling: false,
        }
    }

    /// Writes `cgroup.freeze`. Returns when the next rank is done, if ranks run now, with the count of the change.
    pub(crate) fn write_freeze(&mut self, now: Moment, run: GangRun, thaw: bool) -> Option<(Moment, u64)> {
        if thaw {
            self.frozen.remove(&run);
        } else {
            self.frozen.insert(run);
        }
        let supervisor = self.supervisors.get_mut(&run)?;
        let done = supervisor.change(now, |supervisor| supervisor.thawed = thaw)?;
        Some((done, supervisor.changes))
    }
}

/// A moment at least a microsecond away, so that time goes on whatever a machine wants.
pub(crate) fn soon(now: Moment, wanted: Moment) -> Moment {
    wanted.max(now + Duration::from_micros(1))
}
