//! What goes into a switcher and what comes out.

use std::time::Duration;

use crate::{
    message::{Datagram, SwitcherCommand, SwitcherReport},
    model::{AgentIncarnation, Epoch, GangSlots, Instant, MatrixVersion, NodeIndex, RowIndex, Settings, Term},
};

/// What a switcher is born with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SwitcherConfiguration {
    /// Its node.
    pub node: NodeIndex,
    /// This life of the agent.
    pub incarnation: AgentIncarnation,
    /// Times and policy until a [`SwitcherCommand::Settings`] replaces them.
    pub settings: Settings,
}

/// What can happen to a switcher.
///
/// *Caveat:* `now` must be read after a datagram was received, not before: an instant that is too early would make a
/// round trip look shorter than it was, and the bound of the clock's error wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "inputs live on the stack of the strobe path, which allocates nothing")]
pub enum SwitcherInput {
    /// A command of the member.
    Command(SwitcherCommand),
    /// An authentic datagram of the term's manager.
    Datagram {
        /// The node that sealed it.
        from: NodeIndex,
        /// Strobe, heartbeat or clock reply; others are counted as malformed.
        datagram: Datagram,
    },
    /// The last [`SwitcherEffect::Switch`] was carried out.
    Executed {
        /// Gangs that were not frozen when the straggler bound was over. Their freezing stays commanded.
        stragglers: GangSlots,
    },
    /// These gangs were found thawed though they are commanded frozen: a supervisor thawed them while the agent was
    /// silent, or a freeze was refused.
    ObservedThawed(GangSlots),
    /// BOOTTIME gained on MONOTONIC by this much: the machine slept, and every offset is in doubt.
    ClockDisturbed {
        /// How long the machine slept.
        asleep: Duration,
    },
    /// [`crate::machine::Machine::next_deadline`] is reached.
    Timer,
}

/// What a switcher wants done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "effects live in the preallocated outbox of the strobe path")]
pub enum SwitcherEffect {
    /// Freeze, wait until these are frozen or the bound is over, then thaw; answer with [`SwitcherInput::Executed`].
    /// The two sets are disjoint and not both empty. Later effects of the step are carried out after it.
    Switch {
        /// The gangs to freeze.
        freeze: GangSlots,
        /// The gangs to thaw.
        thaw: GangSlots,
        /// What for.
        cause: SwitchCause,
        /// How long stragglers are waited for.
        straggler_bound: Duration,
    },
    /// Send a datagram.
    Send {
        /// The manager's node.
        to: NodeIndex,
        /// The datagram.
        datagram: Datagram,
    },
    /// To the member; order is kept.
    Report(SwitcherReport),
    /// An epoch was executed, whether or not a gang had to be touched. For telemetry.
    Sample(SwitchSample),
}

/// Why gangs are frozen or thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwitchCause {
    /// An epoch's instant came.
    Epoch {
        /// The term.
        term: Term,
        /// The epoch.
        epoch: Epoch,
        /// Its instant, of the own clock.
        due: Instant,
    },
    /// An announcement came while the offset to the manager's clock was not known well enough.
    Receipt {
        /// The term.
        term: Term,
        /// The epoch.
        epoch: Epoch,
    },
    /// The table of a version that an earlier epoch named came.
    Table {
        /// The version.
        version: MatrixVersion,
    },
    /// A hold or a resume took effect.
    Hold,
    /// A gang appeared, or was observed thawed.
    Presence,
    /// The policy changed.
    Policy,
    /// No renewal for `watchdog`.
    Watchdog,
    /// The agent was stopped for longer than `suspicion`.
    LeftOut,
}

/// How one epoch was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SwitchSample {
    /// The term.
    pub term: Term,
    /// The epoch.
    pub epoch: Epoch,
    /// Its row.
    pub row: Option<RowIndex>,
    /// Its instant, of the manager's clock.
    pub at: Instant,
    /// Its instant, of the own clock; none when the epoch was acted on at receipt.
    pub due: Option<Instant>,
    /// When the machine acted, of the own clock.
    pub acted: Instant,
    /// The bound of the error of `due`; none when it was acted on at receipt.
    pub bound: Option<Duration>,
    /// True when it was acted on later than [`crate::limits::LATE_TOLERANCE`] after its instant.
    pub late: bool,
    /// Epochs before it that were superseded.
    pub missed: u64,
    /// True when the row was kept because the table of its version has not come.
    pub version_missing: bool,
}

/// What a switcher has counted since it was born.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SwitcherCounters {
    /// Epochs executed.
    pub executed: u64,
    /// Of these, acted on later than the tolerance after their instant.
    pub late: u64,
    /// Epochs that were superseded before they were acted on.
    pub missed: u64,
    /// Gangs that were not frozen within the bound, once for every switch.
    pub stragglers: u64,
    /// Epochs whose row was kept because the table had not come.
    pub version_missing: u64,
    /// Epochs acted on at receipt because the clock offset was not known well enough.
    pub unsynchronised: u64,
    /// Samples that contradicted the clock's prediction, and disturbances of the own clock.
    pub clock_disturbances: u64,
    /// Datagrams and admissions refused: another partition, another term, a lower view, not the manager, not admitted.
    pub refused: u64,
    /// Strobes and heartbeats that came twice or after a newer one, and clock replies without an open question.
    pub duplicates: u64,
    /// Datagrams that no manager sends.
    pub malformed: u64,
    /// Expiries of the watchdog.
    pub watchdog_expiries: u64,
    /// Times that the agent found itself left out.
    pub left_out: u64,
}
