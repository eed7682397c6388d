//! A wake-up from one thread to another: an eventfd that is written at most once until it is heard.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{Errno, read, write},
};

/// Readable from the first [`Bell::ring`] to the next [`Bell::silence`].
#[derive(Debug)]
pub(super) struct Bell {
    descriptor: OwnedFd,
    rung: AtomicBool,
}

// === impl Bell ===

impl Bell {
    pub(super) fn new() -> Result<Self, Errno> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { descriptor, rung: AtomicBool::new(false) })
    }

    /// Wakes the other side. What was handed over before is seen by it after its [`Bell::silence`].
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It can only fail when the counter is full, and then the other side is awake.
            let _already_readable = write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// To be called before the other side's things are looked at, so that what comes later rings again.
    pub(super) fn silence(&self) {
        let _nothing_to_read = read(&self.descriptor, &mut [0_u8; 8]);
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn it_is_readable_from_the_first_ring_until_it_is_silenced() {
        let bell = Bell::new().unwrap();
        assert!(!is_readable(&bell));
        for _ in 0..2 {
            bell.ring();
            bell.ring();
            assert!(is_readable(&bell));
            bell.silence();
            assert!(!is_readable(&bell));
        }
        bell.silence();
        assert!(!is_readable(&bell));
    }
}
