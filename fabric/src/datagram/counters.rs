//! What happened to datagrams, as plain atomics that a metrics thread may read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::DatagramError;

/// Counters of one socket or key ring; written by the strobe thread without locks.
#[derive(Debug, Default)]
pub struct DatagramCounters {
    /// Datagrams given to the kernel.
    pub sent: AtomicU64,
    /// Datagrams that the kernel did not take: its buffer was full, or it had no route.
    pub send_failed: AtomicU64,
    /// Datagrams that were opened.
    pub received: AtomicU64,
    /// Shorter than header and tag.
    pub truncated: AtomicU64,
    /// Longer than a datagram may be.
    pub oversized: AtomicU64,
    /// Of another version.
    pub wrong_version: AtomicU64,
    /// For which there was no key.
    pub unknown_key: AtomicU64,
    /// Whose seal did not fit.
    pub refused: AtomicU64,
    /// Received before, or too old.
    pub replayed: AtomicU64,
}

impl DatagramCounters {
    /// The refusals, each with its kind as a metric label.
    #[must_use]
    pub const fn refusals(&self) -> [(&'static str, &AtomicU64); 6] {
        [
            ("truncated", &self.truncated),
            ("oversized", &self.oversized),
            ("wrong_version", &self.wrong_version),
            ("unknown_key", &self.unknown_key),
            ("wrong_seal", &self.refused),
            ("replayed", &self.replayed),
        ]
    }

    pub(super) fn refuse(&self, error: DatagramError) {
        let counter = match error {
            DatagramError::Truncated(_) => &self.truncated,
            DatagramError::Oversized => &self.oversized,
            DatagramError::WrongVersion(_) => &self.wrong_version,
            DatagramError::UnknownKey => &self.unknown_key,
            DatagramError::Refused => &self.refused,
            DatagramError::Replayed(_) => &self.replayed,
        };
        count(counter);
    }
}

/// Adds one. Relaxed: the counters order nothing.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
