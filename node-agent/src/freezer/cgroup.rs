//! The rank cgroup's freezer: one open `cgroup.freeze` to command, one open `cgroup.events` to read.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread, pwrite};

use super::{Commanded, Observed};
use crate::cgroup::{CgroupError, CgroupState, EVENTS_BYTES, RankCgroup};

/// Freezes and thaws one rank cgroup.
#[derive(Debug)]
pub struct CgroupFreezer {
    freeze: OwnedFd,
    events: OwnedFd,
}

// === impl CgroupFreezer ===

impl CgroupFreezer {
    /// Opens the two files of a rank cgroup.
    ///
    /// # Errors
    /// When the cgroup is gone or this process may not write to it.
    pub fn open(cgroup: &RankCgroup) -> Result<Self, CgroupError> {
        Ok(Self { freeze: cgroup.open_freeze()?, events: cgroup.open_events()? })
    }

    pub(super) fn freeze(&self) -> Result<Commanded, Errno> {
        self.write(b"1")
    }

    pub(super) fn thaw(&self) -> Result<Commanded, Errno> {
        self.write(b"0")
    }

    pub(super) fn observe(&self) -> Result<Observed, Errno> {
        let mut events = [0_u8; EVENTS_BYTES];
        match pread(&self.events, &mut events, 0) {
            Ok(bytes) if CgroupState::parse(&events[..bytes]).frozen => Ok(Observed::Frozen),
            Ok(_) => Ok(Observed::Running),
            Err(Errno::NODEV) => Ok(Observed::Gone),
            Err(errno) => Err(errno),
        }
    }

    /// True when `cgroup.freeze` says 0, which is not what a straggler's says.
    pub(super) fn is_commanded_thawed(&self) -> Result<bool, Errno> {
        let mut command = [0_u8; 1];
        match pread(&self.freeze, &mut command, 0) {
            Ok(_) => Ok(command == *b"0"),
            Err(Errno::NODEV) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// A cgroup that is being removed answers NOENT to a command until its files are gone, and NODEV from then on.
    fn write(&self, text: &[u8]) -> Result<Commanded, Errno> {
        match pwrite(&self.freeze, text, 0) {
            Ok(_) => Ok(Commanded::Taken),
            Err(Errno::NODEV | Errno::NOENT) => Ok(Commanded::Gone),
            Err(errno) => Err(errno),
        }
    }
}
