//! The replay window: which of the last sequence numbers were received (RFC 6479 explains the problem; here the window is
//! one machine integer, shifted).

use crate::limits::REPLAY_WINDOW;

/// The highest sequence number seen, and a bit for each of the [`REPLAY_WINDOW`] numbers that end with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit `k` stands for `highest - k`.
    seen: u128,
}

impl ReplayWindow {
    /// Whether `sequence` was not received and is not too old. Number 0 is never sent.
    pub(super) fn is_fresh(&self, sequence: u64) -> bool {
        if sequence > self.highest {
            return true;
        }
        let age = self.highest - sequence;
        sequence != 0 && age < REPLAY_WINDOW && self.seen & (1 << age) == 0
    }

    /// Notes `sequence` as received. Only for numbers of authenticated datagrams that were fresh: a forged number would
    /// move the window away from the honest sender.
    pub(super) fn note(&mut self, sequence: u64) {
        debug_assert!(self.is_fresh(sequence));
        if sequence > self.highest {
            let step = sequence - self.highest;
            self.seen = if step < REPLAY_WINDOW { self.seen << step } else { 0 };
            self.highest = sequence;
        }
        self.seen |= 1 << (self.highest - sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same rule, with a set that forgets nothing.
    fn oracle(received: &BTreeSet<u64>, sequence: u64) -> bool {
        let highest = received.last().copied().unwrap_or(0);
        sequence != 0 && !received.contains(&sequence) && sequence + REPLAY_WINDOW > highest
    }

    proptest! {
        #[test]
        fn accepts_exactly_what_a_set_would(sequences in proptest::collection::vec(0u64..400, 1..300)) {
            let (mut window, mut received) = (ReplayWindow::default(), BTreeSet::new());
            for sequence in sequences {
                prop_assert_eq!(window.is_fresh(sequence), oracle(&received, sequence), "sequence {}", sequence);
                if window.is_fresh(sequence) {
                    window.note(sequence);
                    received.insert(sequence);
                }
            }
        }
    }

    #[test]
    fn the_last_of_all_numbers_is_accepted_once() {
        let mut window = ReplayWindow::default();
        window.note(u64::MAX);
        assert!(!window.is_fresh(u64::MAX) && window.is_fresh(u64::MAX - 1) && !window.is_fresh(u64::MAX - REPLAY_WINDOW));
    }
}
