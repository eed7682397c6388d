//! Waits of growing length between tries of what the system refuses, or of a peer that is not there.

use std::time::Duration;

/// The first wait; doubled at every further one.
const WAIT_MIN: Duration = Duration::from_millis(10);

/// Longest wait: what is refused for long is tried, and said to be refused, that often.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackOff {
    next: Duration,
    shortest: Duration,
    longest: Duration,
}

impl BackOff {
    pub(crate) const fn new() -> Self {
        Self::between(WAIT_MIN, WAIT_MAX)
    }

    /// With waits of its own.
    pub(crate) const fn between(shortest: Duration, longest: Duration) -> Self {
        Self { next: shortest, shortest, longest }
    }

    /// How long to wait now.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait
    }

    /// It was not refused: the next refusal is a first one.
    pub(crate) const fn reset(&mut self) {
        self.next = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut back_off = BackOff::new();
        assert_eq!([back_off.wait(), back_off.wait(), back_off.wait()], [WAIT_MIN, WAIT_MIN * 2, WAIT_MIN * 4]);
        assert_eq!((0..20).map(|_| back_off.wait()).max(), Some(WAIT_MAX));
        back_off.reset();
        assert_eq!(back_off.wait(), WAIT_MIN);
    }
}
