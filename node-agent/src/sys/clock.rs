//! Readings of the node's clocks as plain numbers, and the sleep to an announced instant.
//!
//! The boundary is kept thin on purpose: a reading is one `u64` of nanoseconds, so that the core's own
//! instants are made from it by one constructor call and the core never sees a clock.

use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A reading of `CLOCK_MONOTONIC`: nanoseconds since an unspecified start, the same for all processes of
/// the node. It does not advance while the machine is suspended and never steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicInstant(u64);

/// A reading of `CLOCK_BOOTTIME`: like [`MonotonicInstant`] but advancing during suspension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

// === impl MonotonicInstant ===

impl MonotonicInstant {
    /// The clock's reading now.
    #[must_use]
    pub fn now() -> Self {
        Self(read(ClockId::Monotonic))
    }

    /// The instant `nanoseconds` after the clock's start.
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanoseconds(self) -> u64 {
        self.0
    }

    /// The instant `span` later; at the end of the clock's range it stays there.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// The span from `earlier` to this instant; zero where `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

// === impl BootInstant ===

impl BootInstant {
    /// The clock's reading now.
    #[must_use]
    pub fn now() -> Self {
        Self(read(ClockId::Boottime))
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanoseconds(self) -> u64 {
        self.0
    }
}

/// How long this machine has been suspended since it started, by the difference of the two clocks.
///
/// The two readings are taken one after the other, so the figure carries the time between them (well
/// under a microsecond unless the thread is preempted in between). An agent whose figure jumps has slept
/// and is unsynchronised (ARCHITECTURE section 5).
#[must_use]
pub fn suspended_time() -> Duration {
    let monotonic = MonotonicInstant::now();
    let boot = BootInstant::now();
    Duration::from_nanos(boot.0.saturating_sub(monotonic.0))
}

/// Sleeps until `instant` of the monotonic clock; returns at once when it has passed.
///
/// Signals that interrupt the sleep do not end it. Allocates nothing, so that the strobe thread may use it.
pub fn sleep_until(instant: MonotonicInstant) {
    let request = timespec(instant);
    while let Err(error) = clock_nanosleep_absolute(ClockId::Monotonic, &request) {
        assert_eq!(error, Errno::INTR, "an absolute sleep on the monotonic clock only ends early by a signal");
    }
}

fn read(clock: ClockId) -> u64 {
    let reading = clock_gettime(clock);
    let seconds = u64::try_from(reading.tv_sec).expect("clocks that start at boot are never negative");
    let rest = u64::try_from(reading.tv_nsec).expect("the kernel's nanosecond part is within a second");
    seconds * NANOSECONDS_PER_SECOND + rest
}

fn timespec(instant: MonotonicInstant) -> Timespec {
    let seconds = instant.0 / NANOSECONDS_PER_SECOND;
    let rest = instant.0 % NANOSECONDS_PER_SECOND;
    Timespec {
        tv_sec: i64::try_from(seconds).expect("2^64 nanoseconds are less than 2^63 seconds"),
        tv_nsec: i64::try_from(rest).expect("less than a second of nanoseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_ends_at_or_after_the_instant() {
        let target = MonotonicInstant::now().after(Duration::from_millis(2));
        sleep_until(target);
        assert!(MonotonicInstant::now() >= target);
    }

    #[test]
    fn an_instant_in_the_past_does_not_block() {
        sleep_until(MonotonicInstant::from_nanoseconds(1));
    }

    #[test]
    fn spans_are_exact_and_never_negative() {
        let early = MonotonicInstant::from_nanoseconds(5);
        let late = early.after(Duration::from_nanos(7));
        assert_eq!(late.as_nanoseconds(), 12);
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.after(Duration::MAX).as_nanoseconds(), u64::MAX);
    }

    #[test]
    fn the_boot_clock_is_never_behind_the_monotonic_one() {
        let before = MonotonicInstant::now().as_nanoseconds();
        assert!(BootInstant::now().as_nanoseconds() >= before);
        assert!(suspended_time() < Duration::from_secs(365 * 24 * 3600));
    }
}
