//! What goes into an announcer and what comes out.

use std::time::Duration;

use crate::{
    message::{AnnouncerCommand, AnnouncerReport, Datagram},
    model::NodeIndex,
};

/// What can happen to an announcer.
///
/// *Caveat:* `now` must be read after a datagram was received, not before: a clock probe's arrival is taken from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "inputs live on the stack of the strobe path, which allocates nothing")]
pub enum AnnouncerInput {
    /// A command of the manager.
    Command(AnnouncerCommand),
    /// An authentic datagram of a member of the term.
    Datagram {
        /// The node that sealed it.
        from: NodeIndex,
        /// Heartbeat reply or clock probe; others are refused and counted.
        datagram: Datagram,
    },
    /// BOOTTIME gained on MONOTONIC by this much: the machine slept, and every answer is older than the clock says. Given
    /// before anything else that happens after the sleep.
    ClockDisturbed {
        /// How long the machine slept.
        asleep: Duration,
    },
    /// [`crate::machine::Machine::next_deadline`] is reached.
    Timer,
}

/// What an announcer wants done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "effects live in the preallocated outbox of the strobe path")]
pub enum AnnouncerEffect {
    /// Send a datagram, also to the own node.
    Send {
        /// The member's node.
        to: NodeIndex,
        /// The datagram.
        datagram: Datagram,
    },
    /// To the manager; order is kept.
    Report(AnnouncerReport),
}

/// What an announcer has counted since it was born.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AnnouncerCounters {
    /// Announcements, each sent to all members of the view.
    pub announcements: u64,
    /// Announcements that were due and not sent because no lease was held.
    pub withheld: u64,
    /// Heartbeats, each sent to all members of the view.
    pub heartbeats: u64,
    /// Replies and probes refused: another term, another life, a heartbeat that was never sent, no member.
    pub refused: u64,
}
