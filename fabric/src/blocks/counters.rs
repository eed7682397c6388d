//! What the task that carries blocks has done, for the agent's metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Plain atomics, written by the task alone.
#[derive(Debug, Default)]
pub struct BlockCounters {
    /// Bytes of blocks that are here, whole or in part, and of those that are offered.
    pub held_bytes: AtomicU64,
    /// Bytes of pieces that came and were wanted.
    pub received_bytes: AtomicU64,
    /// Bytes of pieces that were queued for other nodes.
    pub given_bytes: AtomicU64,
    /// Blocks that this node was asked for and does not hold: no piece came for too long, there was no room, or they were not what they should be.
    pub given_up: AtomicU64,
}

impl BlockCounters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
