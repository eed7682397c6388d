//! Which process a pidfd means, and in which cgroup a process is.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::{CgroupError, CgroupPath};

/// The process that a pidfd refers to, in the PID namespace of this process.
///
/// # Errors
/// [`CgroupError::ProcessGone`] when it has been reaped, [`CgroupError::ProcessInvisible`] when this PID namespace has
/// no number for it.
pub fn process_of(pidfd: BorrowedFd<'_>) -> Result<Pid, CgroupError> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .map_err(|source| CgroupError::ProcessUnreadable { source })?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|number| number.trim().parse().ok());
    match number {
        Some(number) if number > 0 => Pid::from_raw(number).ok_or(CgroupError::ProcessInvisible),
        Some(0) => Err(CgroupError::ProcessInvisible),
        Some(_) => Err(CgroupError::ProcessGone),
        None => Err(CgroupError::ProcessUnreadable { source: io::ErrorKind::InvalidData.into() }),
    }
}

/// The cgroup v2 path of a process.
///
/// # Errors
/// [`CgroupError::ProcessGone`] when there is no such process.
pub fn cgroup_of(pid: Pid) -> Result<CgroupPath, CgroupError> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())).map_err(unreadable)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or(CgroupError::NoTree)?;
    CgroupPath::parse(path)
}

fn unreadable(source: io::Error) -> CgroupError {
    match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::SRCH) => CgroupError::ProcessGone,
        _ => CgroupError::ProcessUnreadable { source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn a_pidfd_means_its_process_until_it_is_reaped() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        assert_eq!(process_of(pidfd.as_fd()).unwrap(), pid);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(process_of(pidfd.as_fd()), Err(CgroupError::ProcessGone)));
    }

    #[test]
    fn what_is_no_pidfd_is_refused() {
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(matches!(process_of(file.as_fd()), Err(CgroupError::ProcessUnreadable { .. })));
    }

    #[test]
    fn this_process_has_a_place_in_the_tree() {
        assert!(CgroupPath::root().holds(&cgroup_of(getpid()).unwrap()));
    }
}
