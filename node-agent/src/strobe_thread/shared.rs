//! What the two sides of the strobe thread share beside the rings: nothing that one could wait for.

use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use super::{
    bell::Bell,
    counters::{PublishedCounters, PublishedThaws},
};

#[derive(Debug)]
pub(super) struct Shared {
    /// The thread shall end.
    pub(super) stopping: AtomicBool,
    /// Wakes the thread: a command came, it shall end, or there is room for its reports again.
    pub(super) to_thread: Bell,
    /// Wakes the agent: reports wait, or the thread has ended.
    pub(super) to_agent: Bell,
    /// The thread has reports for which there was no room.
    pub(super) stalled: AtomicBool,
    pub(super) counters: PublishedCounters,
    pub(super) thaws: PublishedThaws,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            stopping: AtomicBool::new(false),
            to_thread: Bell::new()?,
            to_agent: Bell::new()?,
            stalled: AtomicBool::new(false),
            counters: PublishedCounters::default(),
            thaws: PublishedThaws::default(),
        })
    }
}
