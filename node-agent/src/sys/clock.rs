//! Readings of the node's clocks as the core's instants, and the sleep to an announced instant.

use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use strobe_core::model::Instant;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// The node's monotonic clock now: it never steps, does not advance while the machine is suspended, and is the same for
/// all processes of the node. Every instant of this crate is one of this clock unless it says otherwise.
#[must_use]
pub fn monotonic_now() -> Instant {
    read(ClockId::Monotonic)
}

/// The node's boot clock now: the monotonic clock plus the time that the machine was suspended.
#[must_use]
pub fn boot_now() -> Instant {
    read(ClockId::Boottime)
}

/// How long this machine has been suspended since it started, by the difference of the two clocks.
///
/// They are read one after the other, so the figure carries the time between the readings (well under a microsecond
/// unless the thread is preempted there). An agent whose figure jumps has slept and is unsynchronised (ARCHITECTURE
/// section 5).
#[must_use]
pub fn suspended_time() -> Duration {
    let monotonic = monotonic_now();
    boot_now().since(monotonic)
}

/// Sleeps until `instant` of the monotonic clock; returns at once when it has passed.
///
/// Signals that interrupt the sleep do not end it. Allocates nothing: the strobe thread sleeps by it.
pub fn sleep_until(instant: Instant) {
    let request = timespec(instant);
    while let Err(error) = clock_nanosleep_absolute(ClockId::Monotonic, &request) {
        assert_eq!(error, Errno::INTR, "an absolute sleep on the monotonic clock only ends early by a signal");
    }
}

fn read(clock: ClockId) -> Instant {
    let reading = clock_gettime(clock);
    let seconds = u64::try_from(reading.tv_sec).expect("clocks that start at boot are never negative");
    let rest = u64::try_from(reading.tv_nsec).expect("the kernel's nanosecond part is within a second");
    Instant::from_nanoseconds(seconds * NANOSECONDS_PER_SECOND + rest)
}

fn timespec(instant: Instant) -> Timespec {
    let nanoseconds = instant.as_nanoseconds();
    Timespec {
        tv_sec: i64::try_from(nanoseconds / NANOSECONDS_PER_SECOND).expect("2^64 nanoseconds are less than 2^63 seconds"),
        tv_nsec: i64::try_from(nanoseconds % NANOSECONDS_PER_SECOND).expect("less than a second of nanoseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_ends_at_or_after_the_instant() {
        let target = monotonic_now() + Duration::from_millis(2);
        sleep_until(target);
        assert!(monotonic_now() >= target);
    }

    #[test]
    fn an_instant_in_the_past_does_not_block() {
        sleep_until(Instant::from_nanoseconds(1));
    }

    #[test]
    fn an_instant_becomes_seconds_and_the_rest() {
        let request = timespec(Instant::from_nanoseconds(3_000_000_007));
        assert_eq!((request.tv_sec, request.tv_nsec), (3, 7));
        assert!(timespec(Instant::from_nanoseconds(u64::MAX)).tv_sec > 0);
    }

    #[test]
    fn the_boot_clock_is_never_behind_the_monotonic_one() {
        let before = monotonic_now();
        assert!(boot_now() >= before);
        assert!(suspended_time() < Duration::from_secs(365 * 24 * 3600));
    }
}
