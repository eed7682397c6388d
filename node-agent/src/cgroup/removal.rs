//! Ending and removing a cgroup: kill, thaw, wait, remove.
//!
//! The wait is by poll(2) on `cgroup.events`: its notifications may come 10 ms late, which is right here and would be
//! wrong in the switching step. Frozen processes are killed before they are thawed, so that no rank runs on in between.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, OFlags, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use strobe_core::model::Instant;

use super::directory::{Directory, is_gone};
use super::limits::{KILL_ROUND_WAIT, KILL_ROUNDS_MAX, REMOVAL_PAUSE};
use super::{CgroupError, Operation};
use crate::sys::clock::monotonic_now;

/// Kills everything in a cgroup and below it.
pub(super) fn kill(directory: &Directory) -> Result<(), CgroupError> {
    match directory.try_write("cgroup.kill", b"1") {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => kill_each(directory),
        Err(source) => Err(CgroupError::kernel(Operation::Kill, directory.disk(), source)),
    }
}

/// Kills process by process, with the cgroup frozen so that nothing forks meanwhile, and thaws it in the end.
pub(super) fn kill_each(directory: &Directory) -> Result<(), CgroupError> {
    let outcome = kill_in_rounds(directory);
    directory.write("cgroup.freeze", b"0", Operation::Thaw)?;
    outcome
}

fn kill_in_rounds(directory: &Directory) -> Result<(), CgroupError> {
    directory.write("cgroup.freeze", b"1", Operation::Freeze)?;
    for _ in 0..KILL_ROUNDS_MAX {
        for process in directory.all_processes()? {
            kill_one(directory, process)?;
        }
        if wait_unpopulated(directory, KILL_ROUND_WAIT)? {
            break;
        }
    }
    Ok(())
}

/// Kills one process that was listed in the cgroup, unless it has ended since; its number may mean another one by then,
/// so it is looked for in the list once more while a pidfd holds it.
fn kill_one(directory: &Directory, process: Pid) -> Result<(), CgroupError> {
    let Ok(pidfd) = pidfd_open(process, PidfdFlags::empty()) else { return Ok(()) };
    if !directory.all_processes()?.contains(&process) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(CgroupError::kernel(Operation::Kill, directory.disk(), source)),
    }
}

/// Waits until nothing is left in the cgroup and below it, at most for `within`; true when nothing is.
pub(super) fn wait_unpopulated(directory: &Directory, within: Duration) -> Result<bool, CgroupError> {
    let refused = |source| CgroupError::kernel(Operation::Read, directory.disk(), source);
    let events = directory.open_file("cgroup.events", OFlags::RDONLY)?;
    let deadline = monotonic_now() + within;
    loop {
        // Reading also tells the kernel which change has been seen, so that none is missed before the poll.
        if !Directory::state_of(&events).map_err(refused)?.populated {
            return Ok(true);
        }
        let left = deadline.since(monotonic_now());
        if left.is_zero() {
            return Ok(false);
        }
        await_change(&events, left).map_err(refused)?;
    }
}

/// Kills, thaws, waits and removes, all within `within`.
pub(super) fn remove(directory: &Directory, within: Duration) -> Result<(), CgroupError> {
    let deadline = monotonic_now() + within;
    let outcome = kill(directory).and_then(|()| thaw_all(directory)).and_then(|()| remove_dead(directory, deadline, within));
    match outcome {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

fn remove_dead(directory: &Directory, deadline: Instant, within: Duration) -> Result<(), CgroupError> {
    loop {
        let left = deadline.since(monotonic_now());
        if !wait_unpopulated(directory, left)? {
            return Err(still_populated(directory, within));
        }
        match remove_directories(directory) {
            // A process that is just leaving holds its cgroup a moment longer than it populates it.
            Err(CgroupError::Refused { source: Errno::BUSY, .. }) if !left.is_zero() => pause(directory, left.min(REMOVAL_PAUSE))?,
            Err(CgroupError::Refused { source: Errno::BUSY, .. }) => return Err(still_populated(directory, within)),
            outcome => return outcome,
        }
    }
}

/// Waits for the next change of `cgroup.events`, at most for `longest`.
fn pause(directory: &Directory, longest: Duration) -> Result<(), CgroupError> {
    let refused = |source| CgroupError::kernel(Operation::Read, directory.disk(), source);
    let events = directory.open_file("cgroup.events", OFlags::RDONLY)?;
    // What has not been read yet counts as a change, and the poll would return at once.
    Directory::state_of(&events).map_err(refused)?;
    await_change(&events, longest).map_err(refused)
}

fn still_populated(directory: &Directory, waited: Duration) -> CgroupError {
    let processes = directory.all_processes().unwrap_or_default();
    CgroupError::StillPopulated { path: directory.disk().to_owned(), processes, waited }
}

/// Thaws a cgroup and all below it: a process that joins one that was left frozen would stop at once.
pub(super) fn thaw_all(directory: &Directory) -> Result<(), CgroupError> {
    for disk in directory.with_descendants()? {
        let outcome = Directory::open(disk).and_then(|below| below.write("cgroup.freeze", b"0", Operation::Thaw));
        match outcome {
            Err(error) if is_gone(&error) => {}
            other => other?,
        }
    }
    Ok(())
}

fn remove_directories(directory: &Directory) -> Result<(), CgroupError> {
    for disk in directory.with_descendants()?.into_iter().rev() {
        match unlinkat(CWD, &disk, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(source) => return Err(CgroupError::kernel(Operation::Remove, disk, source)),
        }
    }
    Ok(())
}

/// Waits for a change of `cgroup.events` since it was last read, at most for `longest`; a signal ends the wait too.
fn await_change(events: &OwnedFd, longest: Duration) -> Result<(), Errno> {
    let timeout = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    match poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
