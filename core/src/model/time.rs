//! Instants as values.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// An instant of one monotonic clock, in nanoseconds since that clock's origin.
///
/// Which clock is said where an instant is used: a machine's `now` is its own node's; the `at` of a strobe is the
/// manager's. Instants of different clocks are only compared through an offset estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);

    /// The instant `nanoseconds` after the clock's origin.
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanoseconds(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant, zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant moved by `nanoseconds`, which may be negative; stops at the ends of the clock.
    #[must_use]
    pub const fn shifted(self, nanoseconds: i64) -> Self {
        Self(self.0.saturating_add_signed(nanoseconds))
    }

    /// Signed nanoseconds from `other` to this instant.
    #[must_use]
    pub const fn signed_nanoseconds_from(self, other: Self) -> i64 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// The nanoseconds of a duration, capped at what a clock can count (584 years).
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends_of_the_clock() {
        let instant = Instant::from_nanoseconds(5);
        assert_eq!(instant - Duration::from_secs(1), Instant::ORIGIN);
        assert_eq!(instant.since(instant + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(instant.shifted(-3), Instant::from_nanoseconds(2));
        assert_eq!(instant.signed_nanoseconds_from(Instant::from_nanoseconds(7)), -2);
    }
}
