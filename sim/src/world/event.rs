//! What can happen in the world.

use std::time::Duration;

use strobe_core::{
    authority::AuthorityInput,
    message::Datagram,
    model::{AgentIncarnation, GangId, GangRun, GangSlots, NodeIndex, NodeSet, TermRecord},
    node::{SwitchCause, SwitchSample},
    primitives::OperationId,
};

use crate::{
    clock::Moment,
    network::LinkKey,
    node::{AgentInput, MachineKind},
};

/// Something that happens at its time. Nodes are named by their place.
pub(crate) enum Event {
    /// A machine's timer may be due.
    Timer {
        node: usize,
        life: AgentIncarnation,
        machine: MachineKind,
        at: Moment,
    },
    /// Something inside an agent, or from its supervisors.
    Input {
        node: usize,
        life: AgentIncarnation,
        input: Box<AgentInput>,
    },
    Datagram {
        from: usize,
        to: usize,
        datagram: Box<Datagram>,
    },
    Frame {
        key: LinkKey,
        link_life: u64,
        sent: Moment,
        to: usize,
        input: Box<AgentInput>,
    },
    /// A link may come up.
    Dial {
        key: LinkKey,
    },
    LinkUp {
        node: usize,
        life: AgentIncarnation,
        key: LinkKey,
        link_life: u64,
    },
    /// Links are closed later than they should be.
    LateClose {
        node: usize,
        life: AgentIncarnation,
        term: strobe_core::model::Term,
    },
    SealWritten {
        node: usize,
        life: AgentIncarnation,
        term: strobe_core::model::Term,
    },
    /// The bytes of a block may be there, over the links of that term.
    BlockComes {
        node: usize,
        life: AgentIncarnation,
        operation: OperationId,
        term: Option<strobe_core::model::Term>,
    },
    /// A node has waited long enough for a block.
    BlockStalls {
        node: usize,
        life: AgentIncarnation,
        operation: OperationId,
    },
    /// A switch is carried out later than it should be.
    LateSwitch {
        node: usize,
        life: AgentIncarnation,
        switch: Box<Switch>,
    },
    PodStarts {
        node: usize,
        run: GangRun,
    },
    /// A pod is ended by the cluster, with all that runs in it.
    PodKilled {
        node: usize,
        run: GangRun,
    },
    /// The operator gives a run up, for want of these nodes.
    GiveUp {
        run: GangRun,
        nodes: NodeSet,
    },
    /// A node takes gangs again.
    Uncordon {
        node: NodeIndex,
    },
    SupervisorConnects {
        node: usize,
        run: GangRun,
    },
    StubsUp {
        node: usize,
        run: GangRun,
    },
    ToSupervisor {
        node: usize,
        run: GangRun,
        order: Order,
    },
    RankDone {
        node: usize,
        run: GangRun,
        change: u64,
    },
    SigtermActs {
        node: usize,
        run: GangRun,
    },
    GraceOver {
        node: usize,
        run: GangRun,
    },
    /// Supervisors notice that the agent is gone, or silent since that stop.
    AgentMissed {
        node: usize,
        life: AgentIncarnation,
        stops: Option<u64>,
    },
    SessionDial {
        node: usize,
    },
    SessionLost {
        node: usize,
        session: u64,
    },
    /// The API server tells the operator what users and the cluster want.
    Watched {
        input: Box<AuthorityInput>,
    },
    ToOperator {
        life: u64,
        input: Box<AuthorityInput>,
    },
    /// Over the session with that life of the agent.
    ToAgent {
        node: usize,
        life: AgentIncarnation,
        input: Box<AgentInput>,
    },
    OperatorTimer {
        at: Moment,
    },
    Stored {
        record: Box<TermRecord>,
        life: u64,
    },
    /// The operator hears of a node for the first time.
    Enrols {
        node: usize,
    },
    AgentStarts {
        node: usize,
    },
    /// An agent that has said so leaves.
    AgentLeaves {
        node: usize,
        life: AgentIncarnation,
        gone_for: Duration,
    },
    Submit {
        job: u64,
    },
    /// An event of the scenario.
    Happens(usize),
    /// A stopped agent goes on.
    Continue {
        node: usize,
        life: AgentIncarnation,
        stops: u64,
        asleep: Option<Duration>,
    },
    /// A dead node comes back.
    Boots {
        node: usize,
    },
    Proof {
        node: usize,
        deaths: u64,
    },
    OperatorBack,
    /// A partition ends.
    Join {
        partitions: u64,
    },
    /// Two nodes reach each other again.
    Unite {
        node: NodeIndex,
        other: NodeIndex,
    },
    /// Everything is healed.
    Heal,
    /// Is everything at rest?
    Look,
    /// A job's deadline is over.
    LookAtDeadline {
        gang: GangId,
    },
}

/// What a supervisor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Release,
    Hold,
    Resume,
    Terminate { grace: Duration },
    Kill,
}

/// What a strobe thread carries out, and says of it.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    pub(crate) work: Option<(GangSlots, GangSlots, SwitchCause)>,
    pub(crate) sample: Option<SwitchSample>,
}

impl Event {
    /// The node whose agent has to run for this to happen.
    pub(super) fn stopped_with(&self) -> Option<usize> {
        match self {
            Self::Timer { node, .. }
            | Self::Input { node, .. }
            | Self::LinkUp { node, .. }
            | Self::LateClose { node, .. }
            | Self::SealWritten { node, .. }
            | Self::BlockComes { node, .. }
            | Self::BlockStalls { node, .. }
            | Self::LateSwitch { node, .. }
            | Self::SupervisorConnects { node, .. }
            | Self::ToAgent { node, .. } => Some(*node),
            Self::Datagram { to, .. } | Self::Frame { to, .. } => Some(*to),
            Self::Dial { .. }
            | Self::PodStarts { .. }
            | Self::PodKilled { .. }
            | Self::GiveUp { .. }
            | Self::Uncordon { .. }
            | Self::StubsUp { .. }
            | Self::ToSupervisor { .. }
            | Self::RankDone { .. }
            | Self::SigtermActs { .. }
            | Self::GraceOver { .. }
            | Self::AgentMissed { .. }
            | Self::SessionDial { .. }
            | Self::SessionLost { .. }
            | Self::ToOperator { .. }
            | Self::Watched { .. }
            | Self::OperatorTimer { .. }
            | Self::Stored { .. }
            | Self::Enrols { .. }
            | Self::AgentStarts { .. }
            | Self::AgentLeaves { .. }
            | Self::Submit { .. }
            | Self::Happens(_)
            | Self::Continue { .. }
            | Self::Boots { .. }
            | Self::Proof { .. }
            | Self::OperatorBack
            | Self::Join { .. }
            | Self::Unite { .. }
            | Self::Heal
            | Self::Look
            | Self::LookAtDeadline { .. } => None,
        }
    }
}
