//! What the two halves of one agent say to each other: the strobe thread's half and the rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    limits::ROWS_MAX,
    message::AgentState,
    model::{AgentIncarnation, Epoch, Fence, GangSlot, GangSlots, Instant, MatrixVersion, NodeIncarnation, NodeIndex, RowSet, Term},
};

/// The rows of one matrix version as one node sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RowTable {
    /// The version.
    pub version: MatrixVersion,
    /// The local gangs of each row.
    pub rows: [GangSlots; ROWS_MAX],
}

/// Member → switcher. The order of these is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SwitcherCommand {
    /// Refuse every term below this one from now on, drop what was announced, and say so.
    Seal {
        /// The sealed term.
        term: Term,
    },
    /// This life of the agent belongs to the view of this fence: obey its strobes.
    Admit {
        /// Who commands.
        fence: Fence,
        /// The node whose clock the term's instants are of.
        manager: NodeIndex,
    },
    /// Other times or another policy.
    Settings {
        /// Time without a lease renewal after which gangs are thawed.
        watchdog: Duration,
        /// Time without a renewal after which a stopped agent knows that it was left out.
        suspicion: Duration,
        /// Error bound above which the agent acts on receipt.
        clock_tolerance: Duration,
        /// True under the gang policy; otherwise every gang that is not held is thawed.
        switching: bool,
    },
    /// The rows of a matrix version.
    Table(RowTable),
    /// A gang's rank cgroup exists in this slot: it is frozen and held until released.
    Present {
        /// Its slot.
        slot: GangSlot,
        /// True when it was adopted running: it is not held, and observed thawed.
        released: bool,
    },
    /// The slot is empty again.
    Absent {
        /// Its slot.
        slot: GangSlot,
    },
    /// A numbered hold or resume.
    Hold(Hold),
}

/// A numbered hold or resume of one gang on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// The gang's slot.
    pub slot: GangSlot,
    /// Hold or resume.
    pub change: HoldChange,
    /// The term whose clock `at` is of; in any other term it takes effect at once.
    pub term: Term,
    /// The announced instant, of the manager's clock.
    pub at: Instant,
}

/// The two directions of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HoldChange {
    /// Freeze, whatever the row.
    Hold,
    /// Follow the rows again.
    Resume,
}

/// Switcher → member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SwitcherReport {
    /// Nothing below this term will be obeyed any more.
    Sealed {
        /// The sealed term.
        term: Term,
    },
    /// The agent's state changed.
    State(AgentState),
    /// A strobe names a version whose table has not come: the row is kept.
    VersionMissing {
        /// The version.
        version: MatrixVersion,
    },
    /// The agent was stopped for longer than `suspicion`: it obeys nobody until it is admitted again.
    LeftOut {
        /// The term it was admitted to.
        term: Term,
    },
    /// A hold or resume has taken effect.
    HoldEffective {
        /// The gang's slot.
        slot: GangSlot,
        /// Which.
        change: HoldChange,
    },
}

/// Manager → announcer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AnnouncerCommand {
    /// Begin to ask for the lease of this term: heartbeats to the members of the view.
    Start {
        /// The fence with the first view.
        fence: Fence,
        /// The node of this agent.
        manager: NodeIndex,
        /// Members of the term's record: more than half of them make the lease.
        record: Vec<NodeIncarnation>,
        /// Members of the view.
        view: Vec<NodeIncarnation>,
        /// Period of heartbeats.
        heartbeat: Duration,
        /// Length of the lease; silence that is suspect.
        suspicion: Duration,
        /// How far ahead instants are announced.
        lead: Duration,
    },
    /// A raised view.
    View {
        /// The fence with the new view.
        fence: Fence,
        /// Members of the view.
        view: Vec<NodeIncarnation>,
    },
    /// What to strobe from the next announcement on.
    Rotation {
        /// Version of the matrix.
        version: MatrixVersion,
        /// Rows with at least one gang that is released and not held.
        rows: RowSet,
        /// Time between row switches.
        quantum: Duration,
    },
    /// Strobe and ask no more.
    Stop,
}

/// Announcer → manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AnnouncerReport {
    /// The lease is held until this instant of the own clock, unless renewed.
    Lease {
        /// The fence it is held under.
        fence: Fence,
        /// Its end.
        until: Instant,
        /// The last epoch that has begun.
        epoch: Epoch,
        /// Where the epoch after it begins: holds aim at a multiple of the quantum from there.
        next_epoch_at: Instant,
    },
    /// A member of the view has been silent for `suspicion`.
    Suspect {
        /// The fence.
        fence: Fence,
        /// The member.
        node: NodeIndex,
        /// The life that is silent.
        incarnation: AgentIncarnation,
    },
}
