//! How long to sleep before looking whether gangs are frozen.
//!
//! A look that comes too early costs more than itself: on the ranks' own CPU the timer's interrupt and two switches of tasks
//! come between a rank and the freezer, and where a hypervisor has to be asked for each timer, tens of microseconds more. One
//! that comes too late leaves the CPU idle. How long freezing takes depends on the machine and on the program (how many
//! threads have to reach the freezer, and how cold the caches are that they find), so the first sleep is learnt.

use std::time::Duration;

use super::limits::{PAUSE_LEARNT_LESS, PAUSE_LEARNT_MORE, PAUSE_LEAST, PAUSE_LONGEST};

/// The sleeps of this node, as earlier switches have taught them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    first: Duration,
}

// === impl Pauses ===

impl Pauses {
    pub(super) const fn new() -> Self {
        Self { first: PAUSE_LEAST }
    }

    /// The sleep before the first look, and those after it: short again, since little is missing, and growing.
    pub(super) fn sleeps(self) -> impl Iterator<Item = Duration> {
        let later = std::iter::successors(Some(PAUSE_LEAST * 2), |pause| Some((*pause * 2).min(PAUSE_LONGEST)));
        std::iter::once(self.first).chain(later)
    }

    /// Takes note of a switch whose gangs were all seen frozen, at the look of that number. The sleep grows quickly and shrinks
    /// slowly, so that about one first look in ten comes too early.
    pub(super) fn learn(&mut self, looks: u32) {
        self.first = match looks {
            0 => self.first,
            1 => self.first.saturating_sub(PAUSE_LEARNT_LESS).max(PAUSE_LEAST),
            _ => (self.first + PAUSE_LEARNT_MORE).min(PAUSE_LONGEST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCHES: u32 = 1_000;

    /// Switches of a gang that is frozen that long after the command: the sleep learnt, and how many first looks were too early.
    fn taught(pauses: &mut Pauses, frozen_after: Duration) -> (Duration, u32) {
        let mut early = 0;
        for _ in 0..SWITCHES {
            let mut slept = Duration::ZERO;
            let looks = pauses.sleeps().take_while(|pause| {
                let running = slept < frozen_after;
                slept += *pause;
                running
            });
            let looks = u32::try_from(looks.count()).unwrap();
            early += u32::from(looks > 1);
            pauses.learn(looks);
        }
        (pauses.first, early)
    }

    #[test]
    fn the_first_sleep_follows_the_time_that_freezing_takes() {
        let mut pauses = Pauses::new();
        for microseconds in [55, 90, 30] {
            let frozen_after = Duration::from_micros(microseconds);
            let (first, _while_learning) = taught(&mut pauses, frozen_after);
            assert!(first + PAUSE_LEARNT_LESS * 2 > frozen_after && first < frozen_after + PAUSE_LEARNT_MORE * 2, "{first:?}");
            let (_, early) = taught(&mut pauses, frozen_after);
            assert!(early > 0 && early < SWITCHES / 7, "{early} of {SWITCHES} first looks came too early");
        }
    }

    #[test]
    fn the_first_sleep_stays_within_its_bounds() {
        let mut pauses = Pauses::new();
        assert_eq!(taught(&mut pauses, Duration::from_micros(1)), (PAUSE_LEAST, 0));
        assert_eq!(taught(&mut pauses, Duration::from_millis(1)), (PAUSE_LONGEST, SWITCHES));
        let sleeps: Vec<Duration> = Pauses::new().sleeps().take(5).collect();
        assert_eq!(sleeps, [20, 40, 80, 100, 100].map(Duration::from_micros));
    }
}
