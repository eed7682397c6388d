//! How long a link waits before it is dialled again.

use std::time::Duration;

use crate::limits::{BACK_OFF_MAX, BACK_OFF_MIN};

/// Exponential waits from [`BACK_OFF_MIN`] to [`BACK_OFF_MAX`], each shortened by up to half: nodes that lost a peer at
/// the same instant do not come back at the same instant. The jitter is a function of the caller's seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackOff {
    next: Duration,
    state: u64,
}

impl BackOff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: BACK_OFF_MIN, state: seed }
    }

    /// The link was up: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.next = BACK_OFF_MIN;
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(BACK_OFF_MAX);
        let half_us = u64::try_from(whole.as_micros() / 2).expect("the longest wait is a second");
        whole - Duration::from_micros(self.random() % (half_us + 1))
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_stay_between_half_and_whole() {
        let mut back_off = BackOff::new(7);
        let mut whole = BACK_OFF_MIN;
        for _ in 0..20 {
            let wait = back_off.wait();
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(BACK_OFF_MAX);
        }
        back_off.reset();
        assert!(back_off.wait() <= BACK_OFF_MIN);
    }

    #[test]
    fn two_seeds_do_not_come_back_together() {
        let waits = |seed| {
            let mut back_off = BackOff::new(seed);
            (0..8).map(|_| back_off.wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
