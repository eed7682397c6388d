//! The clock that this process shares with its agents.

use rustix::time::{ClockId, clock_gettime};
use strobe_core::model::Instant;

/// The machine's monotonic clock now. Agents of the same machine read the same clock, so that their instants and these
/// can be compared.
pub(super) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Instant::from_nanoseconds(part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec))
}
