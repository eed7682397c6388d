//! The rank cgroup: one a gang and node, holding only its ranks; the unit of freeze, kill and CPU accounting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkdirat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::directory::Directory;
use super::process::{cgroup_of, process_of};
use super::{CgroupError, CgroupName, CgroupPath, CgroupState, CgroupTree, Operation, removal};

/// A rank cgroup that exists.
///
/// # Caveats
/// Dropping it leaves the cgroup and its ranks as they are, since ranks outlive their agent (ARCHITECTURE section 2);
/// [`RankCgroup::remove`] ends them.
#[derive(Debug)]
pub struct RankCgroup {
    path: CgroupPath,
    directory: Directory,
}

// === impl RankCgroup ===

impl RankCgroup {
    /// Makes the rank cgroup `name` below `parent`, which must exist.
    ///
    /// # Errors
    /// [`CgroupError::Refused`] with `EEXIST` when there is one of that name (a leftover to be removed or adopted
    /// first), [`CgroupError::NotPermitted`] without the right to make one.
    pub fn create(tree: &CgroupTree, parent: &CgroupPath, name: &CgroupName) -> Result<Self, CgroupError> {
        let path = parent.child(name);
        let disk = tree.on_disk(&path)?;
        mkdirat(CWD, &disk, Mode::from_raw_mode(0o755)).map_err(|source| CgroupError::kernel(Operation::Create, &disk, source))?;
        Ok(Self { path, directory: Directory::open(disk)? })
    }

    /// Opens a rank cgroup that exists: how a restarted agent adopts one whose supervisor lives.
    ///
    /// # Errors
    /// [`CgroupError::Refused`] with `ENOENT` when there is none.
    pub fn open(tree: &CgroupTree, path: &CgroupPath) -> Result<Self, CgroupError> {
        Ok(Self { path: path.clone(), directory: Directory::open(tree.on_disk(path)?)? })
    }

    /// Its path in the tree.
    #[must_use]
    pub const fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Its directory on disk.
    #[must_use]
    pub fn disk_path(&self) -> &Path {
        self.directory.disk()
    }

    /// Moves the process of a pidfd into this cgroup.
    ///
    /// # Expected flow
    /// The supervisor keeps the stub blocked before exec while its agent does this; it is released afterwards.
    ///
    /// # Guarantees
    /// Only a process that is in `below` or deeper is moved, and on success it was seen here afterwards. The number of
    /// the process meant the same process from the first check to the last, because the pidfd still names it then.
    ///
    /// # Errors
    /// [`CgroupError::Outside`], [`CgroupError::NotMoved`], [`CgroupError::ProcessGone`], or what the kernel refused.
    pub fn admit(&self, pidfd: BorrowedFd<'_>, below: &CgroupPath) -> Result<Pid, CgroupError> {
        let pid = process_of(pidfd)?;
        let found = cgroup_of(pid)?;
        if process_of(pidfd)? != pid || !below.holds(&found) {
            return Err(CgroupError::Outside { pid, found, expected: below.clone() });
        }
        self.join(pid)?;
        let found = cgroup_of(pid)?;
        if process_of(pidfd)? != pid || found != self.path {
            return Err(CgroupError::NotMoved { pid, found, expected: self.path.clone() });
        }
        Ok(pid)
    }

    /// Moves a child of the calling process into this cgroup, as [`RankCgroup::admit`] does.
    ///
    /// # Caveats
    /// The number must be that of a process that the caller has not reaped; of any other it may by now mean a stranger.
    ///
    /// # Errors
    /// As [`RankCgroup::admit`].
    pub fn admit_child(&self, child: Pid, below: &CgroupPath) -> Result<Pid, CgroupError> {
        let pidfd = pidfd_open(child, PidfdFlags::empty()).map_err(|source| self.joining(source))?;
        self.admit(pidfd.as_fd(), below)
    }

    /// The ranks and their children, as far as they are in this cgroup itself.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        self.directory.processes()
    }

    /// What the kernel says of it now.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn state(&self) -> Result<CgroupState, CgroupError> {
        self.directory.state()
    }

    /// Commands the cgroup frozen; its processes are frozen some time later. The strobe thread's way is
    /// [`crate::freezer::CgroupFreezer`].
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.directory.write("cgroup.freeze", b"1", Operation::Freeze)
    }

    /// Commands the cgroup thawed.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.directory.write("cgroup.freeze", b"0", Operation::Thaw)
    }

    /// A descriptor of `cgroup.freeze` for the supervisor, which writes `0` to it when its agent is gone (ARCHITECTURE section 2), and
    /// reads by it whether its ranks run, for their probes. Whoever holds it needs no right of its own.
    ///
    /// # Errors
    /// When the cgroup is gone or this process may not write to it.
    pub fn open_thaw_descriptor(&self) -> Result<OwnedFd, CgroupError> {
        self.directory.open_file("cgroup.freeze", OFlags::RDWR)
    }

    /// A read and write descriptor of `cgroup.freeze`.
    pub(crate) fn open_freeze(&self) -> Result<OwnedFd, CgroupError> {
        self.directory.open_file("cgroup.freeze", OFlags::RDWR)
    }

    /// A read descriptor of `cgroup.events`.
    pub(crate) fn open_events(&self) -> Result<OwnedFd, CgroupError> {
        self.directory.open_file("cgroup.events", OFlags::RDONLY)
    }

    /// Kills every process here and below, frozen ones too, by `cgroup.kill`, or process by process on a kernel without
    /// it. Returns without waiting for their end where the kernel has `cgroup.kill`.
    ///
    /// # Errors
    /// When the cgroup is gone or the right is missing.
    pub fn kill(&self) -> Result<(), CgroupError> {
        removal::kill(&self.directory)
    }

    /// What [`RankCgroup::kill`] does on a kernel without `cgroup.kill`: freezes, kills process by process and thaws,
    /// in rounds, so that none escapes by forking.
    ///
    /// # Errors
    /// When the cgroup cannot be read or written.
    pub fn kill_each(&self) -> Result<(), CgroupError> {
        removal::kill_each(&self.directory)
    }

    /// CPU time that all processes, here and below, living and dead, have used since the cgroup was made.
    ///
    /// # Errors
    /// When the cgroup is gone, or the kernel has no `cpu.stat` for cgroups without controllers (before 4.15).
    pub fn cpu_time(&self) -> Result<Duration, CgroupError> {
        let text = self.directory.read("cpu.stat")?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let micros = micros.and_then(|number| number.parse().ok());
        micros.map(Duration::from_micros).ok_or_else(|| CgroupError::Unreadable { path: self.directory.disk().join("cpu.stat") })
    }

    /// Waits until no process is left here or below, at most for `within`; true when none is.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn wait_unpopulated(&self, within: Duration) -> Result<bool, CgroupError> {
        removal::wait_unpopulated(&self.directory, within)
    }

    /// Kills what is in it and removes it and all cgroups below, waiting at most `within` for the processes to end.
    ///
    /// # Errors
    /// [`CgroupError::StillPopulated`] when they do not end in time; the cgroup can be opened and removed again later.
    pub fn remove(self, within: Duration) -> Result<(), CgroupError> {
        removal::remove(&self.directory, within)
    }

    fn join(&self, pid: Pid) -> Result<(), CgroupError> {
        let number = pid.as_raw_pid().to_string();
        self.directory.try_write("cgroup.procs", number.as_bytes()).map_err(|source| self.joining(source))
    }

    fn joining(&self, source: Errno) -> CgroupError {
        match source {
            Errno::SRCH => CgroupError::ProcessGone,
            _ => CgroupError::kernel(Operation::Join, self.directory.disk(), source),
        }
    }
}
