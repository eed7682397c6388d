//! Signals as readiness of a descriptor (self-pipe).

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    flag,
    low_level::pipe,
};

use rustix::process::Signal;

use super::{error::SupervisorError, life::PassedSignal};

const PASSED: [(i32, PassedSignal); 5] = [
    (SIGTERM, PassedSignal::Terminate),
    (SIGINT, PassedSignal::Interrupt),
    (SIGHUP, PassedSignal::Hangup),
    (SIGUSR1, PassedSignal::User1),
    (SIGUSR2, PassedSignal::User2),
];

/// The signals that the supervisor answers to.
#[derive(Debug)]
pub(super) struct Signals {
    wake: UnixStream,
    flags: Vec<(Arc<AtomicBool>, PassedSignal)>,
}

impl Signals {
    /// Takes over the handlers of the process.
    pub(super) fn register() -> Result<Self, SupervisorError> {
        Self::try_register().map_err(SupervisorError::io("registering signal handlers"))
    }

    fn try_register() -> io::Result<Self> {
        let (wake, write_end) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut flags = Vec::new();
        for (number, signal) in PASSED {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: handlers run in the order of registration, and the pipe announces the flag.
            flag::register(number, Arc::clone(&flag))?;
            pipe::register(number, write_end.try_clone()?)?;
            flags.push((flag, signal));
        }
        pipe::register(SIGCHLD, write_end)?;
        Ok(Self { wake, flags })
    }

    /// The signals to pass on that came since the last call. SIGCHLD only wakes.
    pub(super) fn take(&mut self) -> Vec<PassedSignal> {
        let mut bytes = [0; 64];
        // The socket is non-blocking: any error but an interruption means that it is empty.
        while matches!(self.wake.read(&mut bytes), Ok(count) if count > 0) {}
        self.flags.iter().filter(|(flag, _)| flag.swap(false, Ordering::AcqRel)).map(|&(_, signal)| signal).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The kernel's number of a signal that is passed on.
pub(super) fn kernel_signal(signal: PassedSignal) -> Signal {
    match signal {
        PassedSignal::Terminate => Signal::TERM,
        PassedSignal::Interrupt => Signal::INT,
        PassedSignal::Hangup => Signal::HUP,
        PassedSignal::User1 => Signal::USR1,
        PassedSignal::User2 => Signal::USR2,
    }
}
