//! Stop signals to the process groups of a gang's ranks, for users who may not use cgroups.
//!
//! Weaker than a cgroup in three ways, which the report's word "signal" stands for: a process that a rank started in
//! another process group runs on; the state that is read is that of each rank's first thread; and a rank sees SIGCONT.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pread};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use thiserror::Error;

use super::{Commanded, Observed};

/// Room for `/proc/PID/stat` up to the state: the number, at most 64 bytes of name in brackets, one letter.
const STAT_BYTES: usize = 128;

/// Why signals cannot stop a gang's ranks.
#[derive(Debug, Error)]
pub enum SignalFreezerError {
    /// The rank has ended.
    #[error("rank process {rank:?} has ended")]
    RankGone {
        /// The rank.
        rank: Pid,
    },
    /// The rank's process group is led by a process that is not one of the ranks: stopping it would stop others too,
    /// perhaps the supervisor or the agent.
    #[error("rank process {rank:?} is in process group {group:?}, which no rank leads")]
    ForeignGroup {
        /// The rank.
        rank: Pid,
        /// Its process group.
        group: Pid,
    },
    /// `/proc` does not tell the rank's state.
    #[error("the state of rank process {rank:?} cannot be read from /proc")]
    StateUnreadable {
        /// The rank.
        rank: Pid,
        /// Why.
        source: Errno,
    },
}

/// Stops and continues the process groups of some ranks.
#[derive(Debug)]
pub struct SignalFreezer {
    /// Sorted by process group.
    ranks: Box<[Rank]>,
}

#[derive(Debug)]
struct Rank {
    group: Pid,
    /// Open `/proc/PID/stat`: it keeps meaning this process, and answers ESRCH once it is reaped.
    stat: OwnedFd,
}

// === impl SignalFreezer ===

impl SignalFreezer {
    /// Prepares to stop `ranks`: each leads a process group or is in one that another of them leads.
    ///
    /// # Errors
    /// [`SignalFreezerError`].
    pub fn open(ranks: &[Pid]) -> Result<Self, SignalFreezerError> {
        let mut opened = ranks.iter().map(|&rank| Rank::open(rank, ranks)).collect::<Result<Vec<_>, _>>()?;
        opened.sort_by_key(|rank| rank.group.as_raw_pid());
        Ok(Self { ranks: opened.into_boxed_slice() })
    }

    pub(super) fn freeze(&self) -> Result<Commanded, Errno> {
        self.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> Result<Commanded, Errno> {
        self.signal(Signal::CONT)
    }

    pub(super) fn observe(&self) -> Result<Observed, Errno> {
        let mut combined = Observed::Gone;
        for rank in &self.ranks {
            match rank.observe()? {
                Observed::Running => return Ok(Observed::Running),
                Observed::Frozen => combined = Observed::Frozen,
                Observed::Gone => {}
            }
        }
        Ok(combined)
    }

    /// Signals each group once that still has a rank. The number of a group whose ranks were all reaped may belong to a
    /// stranger by now, so such a group is left alone.
    fn signal(&self, signal: Signal) -> Result<Commanded, Errno> {
        let mut signalled = None;
        for rank in &self.ranks {
            if signalled == Some(rank.group) || rank.observe()? == Observed::Gone {
                continue;
            }
            match kill_process_group(rank.group, signal) {
                Ok(()) => signalled = Some(rank.group),
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(if signalled.is_some() { Commanded::Taken } else { Commanded::Gone })
    }
}

// === impl Rank ===

impl Rank {
    fn open(rank: Pid, ranks: &[Pid]) -> Result<Self, SignalFreezerError> {
        let group = getpgid(Some(rank)).map_err(|_| SignalFreezerError::RankGone { rank })?;
        if !ranks.contains(&group) {
            return Err(SignalFreezerError::ForeignGroup { rank, group });
        }
        let path = format!("/proc/{}/stat", rank.as_raw_pid());
        let stat = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| SignalFreezerError::StateUnreadable { rank, source })?;
        Ok(Self { group, stat })
    }

    fn observe(&self) -> Result<Observed, Errno> {
        let mut stat = [0_u8; STAT_BYTES];
        match pread(&self.stat, &mut stat, 0) {
            Ok(bytes) => Ok(observed(&stat[..bytes])),
            Err(Errno::SRCH) => Ok(Observed::Gone),
            Err(errno) => Err(errno),
        }
    }
}

/// The state letter behind the bracketed name (proc(5)): stopped, traced, zombie and dead ones execute nothing.
fn observed(stat: &[u8]) -> Observed {
    let after_name = stat.iter().rposition(|&byte| byte == b')').map(|index| index + 2);
    match after_name.and_then(|index| stat.get(index)) {
        Some(b'T' | b't' | b'Z' | b'X') => Observed::Frozen,
        _ => Observed::Running,
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn the_state_follows_the_last_bracket() {
        assert_eq!(observed(b"12 (a) T) S 1 2"), Observed::Running);
        assert_eq!(observed(b"12 (a) S) T 1 2"), Observed::Frozen);
        assert_eq!(observed(b"12 (a) Z 1 2"), Observed::Frozen);
        assert_eq!(observed(b"12 (a)"), Observed::Running);
        assert_eq!(observed(b""), Observed::Running);
    }

    #[test]
    fn a_group_that_no_rank_leads_is_refused() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let rank = Pid::from_child(&child);
        let outcome = SignalFreezer::open(&[rank]);
        let group = getpgid(Some(getpid())).unwrap();
        assert!(matches!(outcome, Err(SignalFreezerError::ForeignGroup { group: found, .. }) if found == group));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
