//! What the machine hears.

use crate::pmi::GroupEntered;
use crate::supervisor_protocol::{BarrierFault, LaunchFailure, Rank, RankEnd, ToSupervisor};

/// Signals that are passed on to the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassedSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection to the agent stands.
    Connected,
    /// It is gone.
    Disconnected,
    /// The agent says.
    Message(ToSupervisor),
    /// A stub was forked.
    StubStarted {
        /// Its rank.
        rank: Rank,
        /// Its process id.
        pid: u32,
    },
    /// A program could not be started.
    LaunchFailed(LaunchFailure),
    /// A rank's process was reaped.
    RankEnded {
        /// The rank.
        rank: Rank,
        /// How it ended.
        end: RankEnd,
    },
    /// A rank called PMI abort.
    PmiAborted {
        /// The rank.
        rank: Rank,
        /// The code that it asks for.
        code: i32,
        /// What it said.
        explanation: String,
    },
    /// Ranks were told that their barrier failed.
    PmiBarrierFailed {
        /// Why.
        fault: BarrierFault,
    },
    /// All local ranks are in a barrier.
    PmiBarrierEntered {
        /// Number of the barrier.
        number: u64,
        /// This node's new keys.
        block: Vec<u8>,
    },
    /// All ranks that a group has here are in its barrier.
    PmiGroupEntered(GroupEntered),
    /// The supervisor got a signal.
    Signal(PassedSignal),
    /// The owner's process is gone.
    OwnerGone,
    /// Time has passed.
    Tick,
}
