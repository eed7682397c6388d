//! Whether a file is in use by nobody else, as the kernel itself knows it.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Of the Linux interface (asm-generic/fcntl.h), the same on all its architectures that this builds for.
const F_SETSIG: libc::c_int = 10;

/// Takes a write lease on the file of a descriptor (fcntl(2), `F_SETLEASE`). The kernel grants it only while nobody else has
/// the file open or mapped, and holds whoever opens it until the lease is given back, which closing the descriptor does.
///
/// # Errors
/// `EAGAIN` when somebody else has the file open or mapped; `EACCES` for the file of another user without `CAP_LEASE`;
/// `EINVAL` on a file system without leases.
#[expect(unsafe_code, reason = "rustix has no call for leases")]
pub fn take_write_lease(file: impl AsFd) -> Result<(), Errno> {
    let descriptor = file.as_fd().as_raw_fd();
    // Whoever opens the file meanwhile makes the kernel send a signal. The usual one would end this process; this one is
    // ignored unless a handler was set for it.
    // SAFETY: F_SETSIG takes an integer and touches no memory of this process; the descriptor is borrowed and so open.
    let set = unsafe { libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) };
    answer(set)?;
    // SAFETY: F_SETLEASE takes an integer and touches no memory of this process; the descriptor is borrowed and so open.
    let leased = unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_WRLCK) };
    answer(leased)
}

fn answer(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_is_leased_only_while_nobody_else_has_it() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("file");
        let other = File::create(&path).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(take_write_lease(&file), Err(Errno::AGAIN));
        drop(other);
        assert_eq!(take_write_lease(&file), Ok(()));
    }
}
