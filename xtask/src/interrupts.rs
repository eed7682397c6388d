//! The signals that ask a recipe to end, for recipes that have something to take away first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// What a shell is told of a recipe that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// A descriptor that can be read once a signal has come, and from then on.
#[derive(Debug)]
pub(crate) struct Interrupts(OwnedFd);

impl Interrupts {
    /// From now on SIGINT, SIGTERM and SIGHUP do not end this process.
    ///
    /// # Errors
    /// The kernel refuses a socket pair or a handler.
    pub(crate) fn catch() -> Result<Self> {
        let caught = || -> io::Result<OwnedFd> {
            let (told, teller) = UnixStream::pair()?;
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                pipe::register(signal, teller.try_clone()?)?;
            }
            Ok(told.into())
        };
        Ok(Self(caught().context("wait for signals")?))
    }

    /// Whether one has come.
    pub(crate) fn have_come(&self) -> bool {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// A descriptor for another thread.
    ///
    /// # Errors
    /// This process has too many.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned().context("copy a descriptor")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    /// Interrupts that come when something is written.
    pub(crate) fn by_hand() -> (Interrupts, UnixStream) {
        let (told, teller) = UnixStream::pair().unwrap();
        (Interrupts(told.into()), teller)
    }

    #[test]
    fn they_have_come_once_and_for_ever() {
        let (interrupts, mut teller) = by_hand();
        assert!(!interrupts.have_come());
        teller.write_all(b"x").unwrap();
        assert!(interrupts.have_come() && interrupts.have_come());
    }
}
