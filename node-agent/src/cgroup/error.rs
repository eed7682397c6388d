//! What can go wrong with a cgroup, by operation.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use thiserror::Error;

use super::CgroupPath;
use super::limits::{DESCENDANTS_MAX, NAME_BYTES_MAX};

/// What was being done to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Make the cgroup.
    Create,
    /// Open the cgroup or one of its files.
    Open,
    /// Read one of its files.
    Read,
    /// List the cgroups below it.
    List,
    /// Move a process into it.
    Join,
    /// Write 1 to `cgroup.freeze`.
    Freeze,
    /// Write 0 to `cgroup.freeze`.
    Thaw,
    /// Kill its processes.
    Kill,
    /// Remove it.
    Remove,
}

/// Why an operation on cgroups failed.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No cgroup v2 file system is mounted.
    #[error("no cgroup v2 file system is mounted: mount one (`mount -t cgroup2 none /sys/fs/cgroup/unified`) or stop ranks by signals")]
    NoTree,
    /// The list of mounts cannot be read.
    #[error("the list of mounts cannot be read: is /proc mounted?")]
    Mounts {
        /// Why.
        source: io::Error,
    },
    /// This user may not do it.
    #[error(
        "not permitted to {operation} {path}: run as root, or name a parent cgroup that is delegated to this user \
         (`systemd-run --user --scope --property=Delegate=yes ...` makes one), or stop ranks by signals",
        path = path.display()
    )]
    NotPermitted {
        /// What was tried.
        operation: Operation,
        /// On which directory.
        path: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// The kernel refused for another reason than a missing right.
    #[error("the kernel refused to {operation} {path}", path = path.display())]
    Refused {
        /// What was tried.
        operation: Operation,
        /// On which directory.
        path: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// Not a usable name of a cgroup.
    #[error("{name:?} cannot name a cgroup: it takes 1 to {NAME_BYTES_MAX} bytes without slash or control characters, not `.` or `..`")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Not an absolute path of valid names.
    #[error("{path:?} is no cgroup path: it starts with a slash and holds cgroup names between single slashes")]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// The process ended before or while it was moved.
    #[error("the process has ended")]
    ProcessGone,
    /// The process lives in a PID namespace that this one does not see (the agent's pod needs `hostPID`).
    #[error("the process is not visible in this PID namespace")]
    ProcessInvisible,
    /// What `/proc` tells about a process cannot be read.
    #[error("what /proc tells about the process cannot be read")]
    ProcessUnreadable {
        /// Why.
        source: io::Error,
    },
    /// The process was not in the part of the tree from which it may be taken, so it was not moved.
    #[error("process {pid:?} is in {found}, not below {expected}: it is not moved")]
    Outside {
        /// The process.
        pid: Pid,
        /// Where it is.
        found: CgroupPath,
        /// Where it should have been.
        expected: CgroupPath,
    },
    /// The process is not in the rank cgroup after it was moved there.
    #[error("process {pid:?} is in {found} after it was moved to {expected}")]
    NotMoved {
        /// The process.
        pid: Pid,
        /// Where it is.
        found: CgroupPath,
        /// Where it was moved.
        expected: CgroupPath,
    },
    /// Killed processes did not end in time, so the cgroup cannot be removed; another attempt may succeed.
    #[error("{count} processes of {path} live {waited:?} after they were killed", count = processes.len(), path = path.display())]
    StillPopulated {
        /// The cgroup.
        path: PathBuf,
        /// What is left in it (possibly none that is visible).
        processes: Vec<Pid>,
        /// For how long they were waited for.
        waited: Duration,
    },
    /// More cgroups below than the agent is willing to walk through.
    #[error("{path} has more than {DESCENDANTS_MAX} cgroups below it", path = path.display())]
    TooMany {
        /// The cgroup.
        path: PathBuf,
    },
    /// A file of the cgroup does not read as the kernel documents it.
    #[error("{path} does not read as the kernel documents it", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
}

// === impl Operation ===

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::List => "list",
            Self::Join => "move a process into",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Kill => "kill the processes of",
            Self::Remove => "remove",
        })
    }
}

// === impl CgroupError ===

impl CgroupError {
    /// The error for the kernel's answer to `operation` on `path`.
    pub(super) fn kernel(operation: Operation, path: impl Into<PathBuf>, source: Errno) -> Self {
        let path = path.into();
        match source {
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Self::NotPermitted { operation, path, source },
            _ => Self::Refused { operation, path, source },
        }
    }

    /// True where cgroups cannot be used by this user at all, so that stop signals are the freezer that is left.
    #[must_use]
    pub const fn means_no_cgroups(&self) -> bool {
        matches!(self, Self::NoTree | Self::NotPermitted { .. })
    }
}
