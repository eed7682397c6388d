//! How many datagrams are taken before the socket is left alone.

use strobe_core::model::Instant;

use crate::strobe_thread::limits::{DATAGRAMS_PER_WINDOW, FLOOD_REST};

/// Counts datagrams in windows of [`FLOOD_REST`]. Used up, the next window begins a whole rest later.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    window_ends: Instant,
}

// === impl Allowance ===

impl Allowance {
    pub(super) const fn new() -> Self {
        Self { left: DATAGRAMS_PER_WINDOW, window_ends: Instant::ORIGIN }
    }

    /// Counts a datagram; false when it was the last one before a rest.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.window_ends <= now {
            *self = Self { left: DATAGRAMS_PER_WINDOW, window_ends: now + FLOOD_REST };
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.use_up(now);
        }
        self.left > 0
    }

    /// Leaves the socket alone from now on for a rest.
    pub(super) fn use_up(&mut self, now: Instant) {
        *self = Self { left: 0, window_ends: now + FLOOD_REST };
    }

    /// The end of the rest, if there is one at `now`.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        (self.left == 0 && now < self.window_ends).then_some(self.window_ends)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_followed_by_a_whole_rest_and_ordinary_traffic_by_none() {
        let mut allowance = Allowance::new();
        let mut now = Instant::ORIGIN + Duration::from_secs(1);
        for _ in 0..10 * DATAGRAMS_PER_WINDOW {
            assert!(allowance.take(now));
            assert_eq!(allowance.rests_until(now), None);
            now = now + FLOOD_REST / (DATAGRAMS_PER_WINDOW - 10);
        }
        now = now + FLOOD_REST;
        let taken = (0..).take_while(|_| allowance.take(now)).count();
        assert_eq!(taken, DATAGRAMS_PER_WINDOW as usize - 1);
        assert_eq!(allowance.rests_until(now), Some(now + FLOOD_REST));
        assert_eq!(allowance.rests_until(now + FLOOD_REST), None);
        assert!(allowance.take(now + FLOOD_REST));
    }
}
