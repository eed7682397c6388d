//! When the gangs are looked at beside switches: stragglers soon, thaws by somebody else from time to time.

use std::time::Duration;

use strobe_core::model::{GangSlots, Instant};

use crate::strobe_thread::limits::{REFUSED_FREEZE_LOOK, STRAGGLER_LOOK_FIRST, STRAGGLER_LOOK_LONGEST};

#[derive(Debug)]
pub(super) struct GangWatch {
    period: Duration,
    next_look: Instant,
    straggling: GangSlots,
    straggler_wait: Duration,
    next_straggler_look: Option<Instant>,
}

// === impl GangWatch ===

impl GangWatch {
    pub(super) fn new(now: Instant, period: Duration) -> Self {
        Self {
            period,
            next_look: now + period,
            straggling: GangSlots::EMPTY,
            straggler_wait: STRAGGLER_LOOK_FIRST,
            next_straggler_look: None,
        }
    }

    /// When the gangs are to be looked at next.
    pub(super) fn next_deadline(&self) -> Instant {
        self.next_straggler_look.map_or(self.next_look, |look| look.min(self.next_look))
    }

    /// Says which gangs straggle at `now`, after a look at them. The waits grow while the set does not change.
    pub(super) fn note_stragglers(&mut self, now: Instant, straggling: GangSlots) {
        if straggling != self.straggling {
            self.straggling = straggling;
            self.straggler_wait = STRAGGLER_LOOK_FIRST;
            self.next_straggler_look = None;
        }
        if straggling.is_empty() || self.next_straggler_look.is_some_and(|look| look > now) {
            return;
        }
        self.next_straggler_look = Some(now + self.straggler_wait);
        self.straggler_wait = (self.straggler_wait * 2).min(STRAGGLER_LOOK_LONGEST);
    }

    /// True when the gangs are to be looked at for thaws by somebody else.
    pub(super) fn take_look(&mut self, now: Instant) -> bool {
        let due = self.next_look <= now;
        if due {
            self.next_look = now + self.period;
        }
        due
    }

    /// A freeze was refused at `now`: look soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next_look = self.next_look.min(now + REFUSED_FREEZE_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use strobe_core::model::GangSlot;

    use super::*;

    #[test]
    fn stragglers_are_looked_at_ever_more_rarely_until_another_one_comes() {
        let (period, mut now) = (Duration::from_secs(10), Instant::ORIGIN);
        let mut watch = GangWatch::new(now, period);
        assert_eq!(watch.next_deadline(), now + period);
        let mut one = GangSlots::EMPTY;
        one.insert(GangSlot(3));
        let mut waits = Vec::new();
        for _ in 0..10 {
            watch.note_stragglers(now, one);
            watch.note_stragglers(now, one);
            waits.push(watch.next_deadline().since(now));
            now = watch.next_deadline();
        }
        assert_eq!(waits[..3], [1, 2, 4].map(|times| STRAGGLER_LOOK_FIRST * times));
        assert_eq!(waits[9], STRAGGLER_LOOK_LONGEST);
        let mut two = one;
        two.insert(GangSlot(4));
        watch.note_stragglers(now, two);
        assert_eq!(watch.next_deadline(), now + STRAGGLER_LOOK_FIRST);
        watch.note_stragglers(now, GangSlots::EMPTY);
        assert_eq!(watch.next_deadline(), Instant::ORIGIN + period);
    }

    #[test]
    fn a_refused_freeze_brings_the_look_forward() {
        let now = Instant::ORIGIN;
        let mut watch = GangWatch::new(now, Duration::from_secs(1));
        assert!(!watch.take_look(now));
        watch.hurry(now);
        assert_eq!(watch.next_deadline(), now + REFUSED_FREEZE_LOOK);
        assert!(watch.take_look(now + REFUSED_FREEZE_LOOK));
        assert!(!watch.take_look(now + REFUSED_FREEZE_LOOK));
    }
}
