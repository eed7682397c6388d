//! Stopping and continuing the ranks of one gang on this node.
//!
//! A [`Freezer`] is prepared when its gang is registered and holds every descriptor that it needs: commanding and
//! observing open nothing, allocate nothing and take no lock of this process, so that the strobe thread may do them.
//! Two backends: the rank cgroup's freezer, and stop signals for users who may not use cgroups.

mod cgroup;
mod signal;

use rustix::io::Errno;

pub use cgroup::CgroupFreezer;
pub use signal::{SignalFreezer, SignalFreezerError};

/// Which backend stops the ranks, as the report says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FreezerKind {
    /// The freezer of a rank cgroup.
    Cgroup,
    /// Stop signals to process groups.
    Signal,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Commanded {
    /// The kernel took it.
    Taken,
    /// The ranks no longer exist (cgroup removed, all processes reaped), so there was nothing to command.
    Gone,
}

/// What is seen of a gang's ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    /// At least one may still execute.
    Running,
    /// All have stopped. A gang without processes has, too.
    Frozen,
    /// The ranks no longer exist.
    Gone,
}

/// The prepared freezer of one gang on this node.
#[derive(Debug)]
pub enum Freezer {
    /// By the rank cgroup.
    Cgroup(CgroupFreezer),
    /// By signals.
    Signal(SignalFreezer),
}

// === impl FreezerKind ===

impl FreezerKind {
    /// `cgroup` or `signal`, as report, status and metrics say it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Signal => "signal",
        }
    }
}

// === impl Freezer ===

impl Freezer {
    /// Which backend this is.
    #[must_use]
    pub const fn kind(&self) -> FreezerKind {
        match self {
            Self::Cgroup(_) => FreezerKind::Cgroup,
            Self::Signal(_) => FreezerKind::Signal,
        }
    }

    /// Commands the ranks to stop. They have stopped when [`Freezer::observe`] says so. Doing it twice is harmless.
    ///
    /// # Errors
    /// What the kernel answered; the ranks are as they were (of several process groups, some may be stopped).
    pub fn freeze(&self) -> Result<Commanded, Errno> {
        match self {
            Self::Cgroup(freezer) => freezer.freeze(),
            Self::Signal(freezer) => freezer.freeze(),
        }
    }

    /// Commands the ranks to go on. Doing it twice is harmless.
    ///
    /// # Errors
    /// What the kernel answered; the ranks are as they were (of several process groups, some may go on).
    pub fn thaw(&self) -> Result<Commanded, Errno> {
        match self {
            Self::Cgroup(freezer) => freezer.thaw(),
            Self::Signal(freezer) => freezer.thaw(),
        }
    }

    /// True when the last command that the kernel took was to go on, whoever gave it: a supervisor may have, while the
    /// agent was silent. The signal freezer cannot tell a command from its effect: there, true when a rank executes.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn is_commanded_thawed(&self) -> Result<bool, Errno> {
        match self {
            Self::Cgroup(freezer) => freezer.is_commanded_thawed(),
            Self::Signal(freezer) => freezer.observe().map(|observed| observed == Observed::Running),
        }
    }

    /// Looks at the ranks once, without waiting.
    ///
    /// # Errors
    /// What the kernel answered; nothing is known of the ranks then.
    pub fn observe(&self) -> Result<Observed, Errno> {
        match self {
            Self::Cgroup(freezer) => freezer.observe(),
            Self::Signal(freezer) => freezer.observe(),
        }
    }
}
