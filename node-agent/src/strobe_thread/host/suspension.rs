//! Notices that the machine has slept: MONOTONIC stood still meanwhile, BOOTTIME did not.

use std::time::Duration;

use crate::{strobe_thread::limits::SUSPENSION_LEAST, sys::clock::suspended_time};

/// Readings of which the least is believed: each carries the time for which the thread was preempted within it.
const READINGS: usize = 3;

/// The time that the machine has slept since it was started, as far as is known.
#[derive(Debug)]
pub(super) struct SuspensionWatch {
    known: Duration,
}

// === impl SuspensionWatch ===

impl SuspensionWatch {
    pub(super) fn new() -> Self {
        Self { known: least(suspended_time) }
    }

    /// How long the machine has slept since the last look, if it has.
    pub(super) fn look(&mut self) -> Option<Duration> {
        self.look_with(suspended_time)
    }

    fn look_with(&mut self, read: impl Fn() -> Duration) -> Option<Duration> {
        if read() < self.known + SUSPENSION_LEAST {
            return None;
        }
        let suspended = least(read);
        if suspended < self.known + SUSPENSION_LEAST {
            return None;
        }
        let asleep = suspended - self.known;
        self.known = suspended;
        Some(asleep)
    }
}

fn least(read: impl Fn() -> Duration) -> Duration {
    (0..READINGS).map(|_| read()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_sleep_is_told_once_and_a_preempted_reading_never() {
        let second = Duration::from_secs(1);
        let mut watch = SuspensionWatch { known: second };
        assert_eq!(watch.look_with(|| second), None);
        let readings = Cell::new(0);
        let preempted_once = || {
            readings.set(readings.get() + 1);
            if readings.get() == 1 { 5 * second } else { second }
        };
        assert_eq!(watch.look_with(preempted_once), None);
        assert_eq!(watch.look_with(|| 3 * second), Some(2 * second));
        assert_eq!(watch.look_with(|| 3 * second), None);
    }

    #[test]
    fn this_machine_does_not_sleep_while_it_is_tested() {
        let mut watch = SuspensionWatch::new();
        assert!((0..1000).all(|_| watch.look().is_none()));
    }
}
