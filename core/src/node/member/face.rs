//! What goes into a member and what comes out.

use std::{sync::Arc, time::Duration};

use crate::{
    message::{GangSignal, Staging, SwitcherCommand, SwitcherReport, ToManager, ToMember},
    model::{
        AgentIncarnation, BarrierFailure, EndCause, GangRun, GangSlot, NodeIndex, PartitionUid, RankIndex, RankOutcome, Settings, Term,
        TermRecord,
    },
    primitives::{Content, OperationId, Outcome, Payload, RegionName, Request},
};

/// What a member is born with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemberConfiguration {
    /// The partition it serves.
    pub partition: PartitionUid,
    /// Its node.
    pub node: NodeIndex,
    /// This life of the agent.
    pub incarnation: AgentIncarnation,
    /// The highest term that any life of the agent has promised, as read from the seal file.
    pub sealed: Option<Term>,
    /// Times and policy.
    pub settings: Settings,
}

/// What can happen to a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MemberInput {
    /// The agent has looked at the rank cgroups and supervisors that an earlier life left: these are there. Given once,
    /// first; gangs whose supervisor is gone have been killed and are not listed.
    Inventory(Vec<AdoptedGang>),
    /// The authority says which term is current: join it when it is not lower than the seal.
    Introduced(TermRecord),
    /// A message of the manager of a term, over a link whose peer is that node.
    FromManager {
        /// The sender.
        from: NodeIndex,
        /// The message.
        message: ToMember,
    },
    /// A link to a node came up: what was sent to it before may not have arrived.
    LinkUp(NodeIndex),
    /// A report of the strobe thread.
    Switcher(SwitcherReport),
    /// The seal file holds this term.
    SealPersisted(Term),
    /// The supervisor of a gang is up, every rank blocked before its program, in the rank cgroup. The payload is this
    /// node's entry of the peer table.
    SupervisorUp {
        /// The gang's life.
        run: GangRun,
        /// The entry.
        entry: Payload,
    },
    /// The supervisor knows that its gang is to be held: the hold may take effect.
    HoldAcknowledged(GangRun),
    /// A rank ended.
    RankEnded {
        /// The gang's life.
        run: GangRun,
        /// The rank.
        rank: RankIndex,
        /// How.
        outcome: RankOutcome,
    },
    /// A wire-up barrier of the gang can never be complete.
    BarrierFailed {
        /// The gang's life.
        run: GangRun,
        /// Why.
        reason: BarrierFailure,
    },
    /// The supervisor ended or could not be started.
    SupervisorLost(GangRun),
    /// No process of the gang is left on this node: its rank cgroup is empty and removed.
    GangGone(GangRun),
    /// The agent's own caller asks for an operation; the name is returned in [`MemberEffect::Submitted`].
    Submit(Request),
    /// What became of a block that was to be staged, see [`MemberEffect::Stage`].
    Staged {
        /// Whose block it is.
        operation: OperationId,
        /// True when all of it is held here and its digest is right; false when nothing of it came for too long.
        held: bool,
    },
    /// The agent's own caller stores into a cell that this node owns; smaller values than the present one are ignored.
    Store {
        /// The cell, not an ordered one.
        cell: crate::primitives::Cell,
        /// The value.
        value: u64,
    },
    /// [`crate::machine::Machine::next_deadline`] is reached.
    Timer,
}

/// A gang that an earlier life of the agent left running.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdoptedGang {
    /// The gang's life.
    pub run: GangRun,
    /// This node's entry of the peer table.
    pub entry: Payload,
    /// How far it had come.
    pub life: AdoptedLife,
    /// True when the supervisor knows it as held.
    pub held: bool,
    /// Ranks of the gang on this node: their end counts also before a plan names the gang again.
    pub ranks: u32,
    /// Ranks that have ended meanwhile.
    pub ended: Vec<(RankIndex, RankOutcome)>,
}

/// How far a gang had come on its node when an earlier life of the agent left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdoptedLife {
    /// Its supervisor knows what to run, and not every rank waits before its program: [`MemberInput::SupervisorUp`] follows.
    Starting,
    /// Every rank waits before its program.
    Up,
    /// Its ranks were released.
    Released,
    /// Every rank here has exited with status 0, and no process is left.
    Completed,
}

/// What a member wants done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MemberEffect {
    /// Send to the manager of the sealed term.
    Send {
        /// The manager's node.
        to: NodeIndex,
        /// The message.
        message: ToManager,
    },
    /// To the strobe thread; order is kept.
    Switcher(SwitcherCommand),
    /// Cut every link of terms below this one, before anything later is sent.
    CloseLinks(Term),
    /// Write the seal file, then answer with [`MemberInput::SealPersisted`].
    PersistSeal(Term),
    /// A gang has its place in the switcher's table: prepare (or keep, when adopted) its rank cgroup under that slot and
    /// let its supervisor begin, with these ranks.
    Configure {
        /// The gang's life.
        run: GangRun,
        /// Its slot.
        slot: GangSlot,
    },
    /// The gang's ranks may begin; the entries of the peer table are in the order of its placement.
    ReleaseRanks {
        /// The gang's life.
        run: GangRun,
        /// The peer table.
        peers: Vec<Payload>,
    },
    /// Tell the supervisor that its gang is to be held, and wait for its acknowledgement.
    AnnounceHold(GangRun),
    /// Tell the supervisor that its gang is held no more.
    AnnounceResume(GangRun),
    /// SIGTERM to the ranks, after `grace` kill the rank cgroup; answered by [`MemberInput::GangGone`].
    TerminateRanks {
        /// The gang's life.
        run: GangRun,
        /// Time between the two.
        grace: Duration,
    },
    /// Kill the rank cgroup at once, confirm that it is empty, remove it; answered by [`MemberInput::GangGone`], also when
    /// nothing was there.
    KillRanks(GangRun),
    /// The gang's life is over everywhere and its slot is free: forget it.
    Forget {
        /// The gang's life.
        run: GangRun,
        /// Its slot, if it had one.
        slot: Option<GangSlot>,
    },
    /// The operation that was just submitted has this name.
    Submitted(OperationId),
    /// What became of an operation of this node.
    Outcome {
        /// The operation.
        operation: OperationId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A block was put into this node's memory: its remote event. One that was staged here becomes readable whole, in one step.
    Put {
        /// The block's name.
        region: RegionName,
        /// What has put it.
        operation: OperationId,
        /// The block.
        content: Content,
    },
    /// Make room for the bytes of a block and take them from others, where this node is of the set; where it is the caller, give them. Answered
    /// by [`MemberInput::Staged`] of each node of the set.
    Stage(Staging),
    /// A block was put into this node's memory that this life of the agent never held: its bytes are to be had from others of the set.
    Absent {
        /// The block's name.
        region: RegionName,
        /// Whose block it is, for whom, and what.
        staging: Staging,
    },
    /// The bytes that were staged for this operation are wanted no more.
    Discard(OperationId),
    /// For telemetry and the authority's inventory.
    Event(MemberEvent),
}

/// What an agent's telemetry shows of its member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MemberEvent {
    /// A term was sealed.
    Sealed(Term),
    /// A command of a term below the seal was refused.
    StaleRefused(Term),
    /// This life was admitted to the view.
    Admitted(crate::model::Fence),
    /// A gang ended on this node for this cause.
    GangFailed {
        /// The gang's life.
        run: GangRun,
        /// Why.
        cause: EndCause,
    },
    /// A signal of a gang went to the manager.
    Signalled {
        /// The gang's life.
        run: GangRun,
        /// The signal.
        signal: GangSignal,
    },
    /// A plan of this version took effect here.
    Planned(Arc<crate::model::Plan>),
}
