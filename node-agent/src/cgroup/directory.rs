//! One cgroup's directory, held open: its files are reached through the descriptor, so that a cgroup that was removed
//! and made again under the same path is never mistaken for this one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::io::{Errno, pread, write};
use rustix::process::Pid;

use super::limits::DESCENDANTS_MAX;
use super::{CgroupError, CgroupState, EVENTS_BYTES, Operation};

/// Bytes that one read of a cgroup's file takes at a time.
const READ_BYTES: usize = 4096;

/// A cgroup's directory on disk.
#[derive(Debug)]
pub(super) struct Directory {
    disk: PathBuf,
    descriptor: OwnedFd,
}

// === impl Directory ===

impl Directory {
    pub(super) fn open(disk: PathBuf) -> Result<Self, CgroupError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = open(&disk, flags, Mode::empty()).map_err(|source| CgroupError::kernel(Operation::Open, &disk, source))?;
        Ok(Self { disk, descriptor })
    }

    pub(super) fn disk(&self) -> &Path {
        &self.disk
    }

    /// Opens one of the cgroup's files for reading or writing.
    pub(super) fn open_file(&self, file: &str, access: OFlags) -> Result<OwnedFd, CgroupError> {
        self.try_open(file, access).map_err(|source| CgroupError::kernel(Operation::Open, self.disk.join(file), source))
    }

    /// Writes to one of the cgroup's files in one call, as the kernel wants it.
    pub(super) fn write(&self, file: &str, text: &[u8], operation: Operation) -> Result<(), CgroupError> {
        self.try_write(file, text).map_err(|source| CgroupError::kernel(operation, &self.disk, source))
    }

    /// Like [`Self::write`], with the kernel's answer as it is.
    pub(super) fn try_write(&self, file: &str, text: &[u8]) -> Result<(), Errno> {
        let descriptor = self.try_open(file, OFlags::WRONLY)?;
        write(&descriptor, text).map(drop)
    }

    /// The whole text of one of the cgroup's files.
    pub(super) fn read(&self, file: &str) -> Result<String, CgroupError> {
        let refused = |source| CgroupError::kernel(Operation::Read, self.disk.join(file), source);
        let descriptor = self.try_open(file, OFlags::RDONLY).map_err(refused)?;
        let mut text = Vec::new();
        let mut block = [0_u8; READ_BYTES];
        loop {
            let bytes = pread(&descriptor, &mut block, text.len() as u64).map_err(refused)?;
            if bytes == 0 {
                break;
            }
            text.extend_from_slice(&block[..bytes]);
        }
        String::from_utf8(text).map_err(|_| CgroupError::Unreadable { path: self.disk.join(file) })
    }

    /// What `cgroup.events` says now.
    pub(super) fn state(&self) -> Result<CgroupState, CgroupError> {
        Self::state_of(&self.open_file("cgroup.events", OFlags::RDONLY)?)
            .map_err(|source| CgroupError::kernel(Operation::Read, &self.disk, source))
    }

    /// What an open `cgroup.events` says now.
    pub(super) fn state_of(events: &OwnedFd) -> Result<CgroupState, Errno> {
        let mut text = [0_u8; EVENTS_BYTES];
        let bytes = pread(events, &mut text, 0)?;
        Ok(CgroupState::parse(&text[..bytes]))
    }

    /// The processes of this cgroup alone, not of those below.
    pub(super) fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let unreadable = || CgroupError::Unreadable { path: self.disk.join("cgroup.procs") };
        let text = self.read("cgroup.procs")?;
        let numbers = text.lines().map(|line| line.parse::<i32>().map_err(|_| unreadable()));
        // A 0 stands for a process outside this PID namespace, which has no number here.
        numbers.filter_map(|number| number.map(|number| Pid::from_raw(number.max(0))).transpose()).collect()
    }

    /// This cgroup and all below it, parents before children.
    pub(super) fn with_descendants(&self) -> Result<Vec<PathBuf>, CgroupError> {
        let mut found = vec![self.disk.clone()];
        let mut next = 0;
        while let Some(parent) = found.get(next) {
            let children = children(parent)?;
            found.extend(children);
            if found.len() > DESCENDANTS_MAX {
                return Err(CgroupError::TooMany { path: self.disk.clone() });
            }
            next += 1;
        }
        Ok(found)
    }

    /// The processes of this cgroup and of all below it. One that vanishes meanwhile is left out.
    pub(super) fn all_processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let mut processes = Vec::new();
        for disk in self.with_descendants()? {
            match Self::open(disk).and_then(|directory| directory.processes()) {
                Ok(some) => processes.extend(some),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(processes)
    }

    fn try_open(&self, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.descriptor, file, access | OFlags::CLOEXEC, Mode::empty())
    }
}

/// The cgroups right below a directory on disk; none where it has vanished meanwhile.
pub(super) fn children(disk: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let refused = |source| CgroupError::kernel(Operation::List, disk, source);
    let directory = match openat(CWD, disk, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(Vec::new()),
        Err(source) => return Err(refused(source)),
    };
    let mut children = Vec::new();
    for entry in rustix::fs::Dir::new(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() && name != "." && name != ".." {
            children.push(disk.join(&*name));
        }
    }
    Ok(children)
}

/// True when the error says that the cgroup is no longer there.
pub(crate) const fn is_gone(error: &CgroupError) -> bool {
    matches!(error, CgroupError::Refused { source: Errno::NOENT | Errno::NODEV, .. })
}
