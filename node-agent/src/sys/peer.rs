//! Who is at the other end of a unix socket.
//!
//! The kernel gives 0 for the process of a peer that has no number in the asker's PID namespace, as an agent has none in a pod's.
//! rustix's `socket_peercred` has a type in its answer that cannot hold 0, so the call is made here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// What the kernel noted when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id in the asker's PID namespace; 0 where it has none there.
    pub pid: i32,
    /// User id in the asker's user namespace.
    pub uid: u32,
    /// Group id in the asker's user namespace.
    pub gid: u32,
}

/// Asks for the peer of a connected unix socket.
///
/// # Errors
/// What the kernel answers, for example `ENOTSOCK`.
#[allow(unsafe_code)]
pub fn peer_of(socket: BorrowedFd<'_>) -> Result<Peer, Errno> {
    const BYTES: libc::socklen_t = size_of::<libc::ucred>() as libc::socklen_t;
    let mut answer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = BYTES;
    // SAFETY: the kernel writes at most `bytes` bytes, which is the size of `answer`, and `bytes` itself; both live across the
    // call, and three integers may have any value.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut answer).cast(), &raw mut bytes) };
    match result {
        0 if bytes == BYTES => Ok(Peer { pid: answer.pid, uid: answer.uid, gid: answer.gid }),
        0 => Err(Errno::INVAL),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::process::{getegid, geteuid};

    use super::*;

    #[test]
    fn a_socket_s_other_end_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(peer_of(one.as_fd()), Ok(Peer { pid, uid: geteuid().as_raw(), gid: getegid().as_raw() }));
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        assert_eq!(peer_of(File::open("/dev/null").unwrap().as_fd()), Err(Errno::NOTSOCK));
    }
}
