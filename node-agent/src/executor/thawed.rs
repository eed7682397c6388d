//! How long gangs were commanded thawed, each in its slot.

use std::time::Duration;

use strobe_core::model::{GangSlot, GangSlots, Instant};

use super::limits::GANGS_MAX;

/// Marks the word of a slot whose gang is commanded thawed.
const THAWED: u64 = 1 << 63;

/// The time in which one slot's gangs were commanded thawed, all of them one after the other, in one word: it can be handed over without
/// a lock, and goes on by itself while the gang is thawed.
///
/// While frozen it is that time, in nanoseconds; while thawed the instant at which an uninterrupted thaw would have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThawedTime(u64);

/// That of every slot.
#[derive(Debug)]
pub(super) struct ThawedTimes([ThawedTime; GANGS_MAX]);

// === impl ThawedTime ===

impl ThawedTime {
    /// Never thawed.
    pub const NONE: Self = Self(0);

    /// As one word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// What [`ThawedTime::to_word`] gave.
    #[must_use]
    pub const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// The time until `now`.
    #[must_use]
    pub const fn until(self, now: Instant) -> Duration {
        if self.0 & THAWED == 0 {
            Duration::from_nanos(self.0)
        } else {
            Duration::from_nanos(now.as_nanoseconds().saturating_sub(self.0 & !THAWED))
        }
    }

    const fn thaw(self, now: Instant) -> Self {
        if self.0 & THAWED == 0 { Self(now.as_nanoseconds().saturating_sub(self.0) | THAWED) } else { self }
    }

    fn freeze(self, now: Instant) -> Self {
        // A monotonic clock does not come to the highest bit in 292 years.
        Self(u64::try_from(self.until(now).as_nanos()).unwrap_or(u64::MAX) & !THAWED)
    }
}

// === impl ThawedTimes ===

impl ThawedTimes {
    pub(super) const fn new() -> Self {
        Self([ThawedTime::NONE; GANGS_MAX])
    }

    pub(super) const fn all(&self) -> &[ThawedTime; GANGS_MAX] {
        &self.0
    }

    pub(super) fn freeze(&mut self, slots: GangSlots, now: Instant) {
        for slot in slots.iter() {
            let time = self.of(slot);
            *time = time.freeze(now);
        }
    }

    pub(super) fn thaw(&mut self, slots: GangSlots, now: Instant) {
        for slot in slots.iter() {
            let time = self.of(slot);
            *time = time.thaw(now);
        }
    }

    const fn of(&mut self, slot: GangSlot) -> &mut ThawedTime {
        &mut self.0[slot.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_goes_on_while_a_gang_is_thawed_and_stands_while_it_is_frozen() {
        let (slot, at) =
            ([GangSlot(3)].into_iter().collect::<GangSlots>(), |second: u64| Instant::from_nanoseconds(second * 1_000_000_000));
        let mut times = ThawedTimes::new();
        let seconds = |times: &ThawedTimes, second: u64| ThawedTime::of_word(times.all()[3].to_word()).until(at(second)).as_secs();
        times.freeze(slot, at(5));
        assert_eq!(seconds(&times, 10), 0);
        times.thaw(slot, at(10));
        assert_eq!(seconds(&times, 12), 2);
        times.thaw(slot, at(13));
        assert_eq!(seconds(&times, 14), 4, "it was thawed all the time");
        times.freeze(slot, at(15));
        times.freeze(slot, at(16));
        assert_eq!(seconds(&times, 20), 5);
        times.thaw(slot, at(20));
        assert_eq!(seconds(&times, 21), 6);
        assert_eq!(times.all()[4], ThawedTime::NONE);
    }
}
