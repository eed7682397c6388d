//! Strobes, heartbeats and clock samples: small, of fixed size, and soft state.

use std::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{
    limits::SCHEDULE_EPOCHS_MAX,
    model::{AgentIncarnation, Epoch, Fence, Instant, MatrixVersion, NodeIndex, RowIndex, Term},
};

/// Rows of consecutive epochs, the first at a strobe's own epoch. `None`: no gang runs in that epoch.
pub type Schedule = ArrayVec<Option<RowIndex>, SCHEDULE_EPOCHS_MAX>;

/// Anything that travels as a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "datagrams live on the stack of the strobe path, which allocates nothing")]
pub enum Datagram {
    /// Manager → member.
    Strobe(Strobe),
    /// Manager → member.
    Heartbeat(Heartbeat),
    /// Member → manager.
    HeartbeatReply(HeartbeatReply),
    /// Member → manager.
    ClockProbe(ClockProbe),
    /// Manager → member.
    ClockReply(ClockReply),
}

/// The announcement of rows and instants (section 5): epoch `epoch + i` begins at `at + i · quantum` and runs
/// `schedule[i]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Strobe {
    /// Who commands.
    pub fence: Fence,
    /// Version of the matrix whose rows the schedule names.
    pub version: MatrixVersion,
    /// Number of this announcement in its term: of two that differ, the higher one holds.
    pub announcement: u64,
    /// The first epoch.
    pub epoch: Epoch,
    /// Its instant, of the manager's clock.
    pub at: Instant,
    /// Length of each epoch.
    pub quantum: Duration,
    /// The rows.
    pub schedule: Schedule,
}

/// The manager's question "who follows me?", of fixed period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who commands.
    pub fence: Fence,
    /// Number of the heartbeat in its term.
    pub sequence: u64,
    /// When it was sent, of the manager's clock; returned in the reply.
    pub sent_at: Instant,
    /// True when the manager held its lease as it sent this: only then it renews the watchdog.
    pub lease: bool,
}

/// A member's answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The fence of the heartbeat.
    pub fence: Fence,
    /// The number of the heartbeat.
    pub sequence: u64,
    /// When the heartbeat was sent, of the manager's clock.
    pub sent_at: Instant,
    /// Who answers.
    pub node: NodeIndex,
    /// Its life.
    pub incarnation: AgentIncarnation,
    /// Its state.
    pub state: AgentState,
    /// The last epoch it switched in this term.
    pub switched: Epoch,
}

/// Whether an agent follows a strobe (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgentState {
    /// Belongs to no term; its gangs run free.
    Unsealed,
    /// Follows the strobe of a term.
    Strobed,
    /// Its watchdog expired; its gangs run free until a strobe of its term comes.
    FreeRunning,
}

/// A member's question for the manager's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockProbe {
    /// The term: offsets belong to a term.
    pub term: Term,
    /// Who asks.
    pub node: NodeIndex,
    /// When it asked, of its own clock.
    pub sent_at: Instant,
}

/// The manager's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockReply {
    /// The term.
    pub term: Term,
    /// `sent_at` of the probe.
    pub probe_sent_at: Instant,
    /// When the probe arrived, of the manager's clock.
    pub received_at: Instant,
    /// When this answer was sent, of the manager's clock.
    pub replied_at: Instant,
}
