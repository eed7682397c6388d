//! Tells whoever asks within the pod whether the ranks run: a byte and the end of the connection, at an abstract socket of the pod's
//! network. A probe needs it (see [`super::probe`]), and cannot see the rank cgroup by itself.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use super::error::SupervisorError;

/// The ranks run.
const RUNNING: u8 = b'1';

/// The ranks are switched out or held, or were not released yet.
const STOPPED: u8 = b'0';

/// The socket.
#[derive(Debug)]
pub(super) struct ProbeService(UnixListener);

impl ProbeService {
    /// Listens.
    pub(super) fn open(name: &str) -> Result<Self, SupervisorError> {
        let listen = || {
            let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        listen().map(Self).map_err(SupervisorError::io("listen for probes"))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Answers those that have asked. Before their release, and while `cgroup.freeze` behind `freeze` says 1, the ranks do not run.
    pub(super) fn answer(&self, released: bool, freeze: Option<&OwnedFd>) {
        while let Ok((mut asker, _)) = self.0.accept() {
            let word = if released && !freeze.is_some_and(is_frozen) { RUNNING } else { STOPPED };
            // An asker that has gone meanwhile hears nothing.
            let _gone = asker.write_all(&[word]);
        }
    }
}

/// Where it cannot be read the ranks are taken to run: a probe that fails wrongly is seen, one that never does is not.
fn is_frozen(freeze: &OwnedFd) -> bool {
    let mut word = [0];
    matches!(rustix::io::pread(freeze, &mut word, 0), Ok(1)) && word == *b"1"
}

/// Whether the ranks run; true where nobody answers.
pub(super) fn runs(name: &str) -> bool {
    let ask = || {
        let mut word = [0];
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?.read_exact(&mut word)?;
        std::io::Result::Ok(word[0])
    };
    ask().map_or(true, |word| word != STOPPED)
}
