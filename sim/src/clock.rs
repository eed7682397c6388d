//! Virtual time, and the clocks of the nodes, each of which runs at a rate of its own.

use std::{ops::Add, time::Duration};

use strobe_core::model::Instant;

const BILLION: i64 = 1_000_000_000;

/// An instant of virtual time, in nanoseconds since the run began. No machine ever sees one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

/// The monotonic clock of one node: so many parts per billion too fast, from an origin of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalClock {
    /// Where the present rate began.
    since: Moment,
    /// What the clock showed there.
    shown: u64,
    rate_ppb: i64,
    stopped: bool,
}

impl Moment {
    /// The time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl LocalClock {
    /// A clock that shows `shown` when the run begins.
    #[must_use]
    pub const fn new(shown: Instant, rate_ppb: i64) -> Self {
        Self { since: Moment(0), shown: shown.as_nanoseconds(), rate_ppb, stopped: false }
    }

    /// What the clock shows.
    #[must_use]
    pub fn at(&self, now: Moment) -> Instant {
        Instant::from_nanoseconds(self.shown + self.elapsed(now))
    }

    /// The first moment at which the clock shows at least `instant`; the present rate's beginning when it is over.
    #[must_use]
    pub fn when(&self, instant: Instant) -> Moment {
        let ahead = i64::try_from(instant.as_nanoseconds().saturating_sub(self.shown)).unwrap_or(i64::MAX);
        // ahead / (1 + rate), rounded up.
        let elapsed = ahead.saturating_sub(part(ahead, self.rate_ppb, BILLION + self.rate_ppb));
        Moment(self.since.0.saturating_add(u64::try_from(elapsed).expect("a rate is far above -100 %")))
    }

    /// The clock runs at another rate from now on.
    pub fn set_rate(&mut self, now: Moment, rate_ppb: i64) {
        self.rebase(now);
        self.rate_ppb = rate_ppb;
    }

    /// The clock jumps forward, as that of a virtual machine does when its host had no time for it.
    pub fn jump(&mut self, now: Moment, by: Duration) {
        self.rebase(now);
        self.shown += u64::try_from(by.as_nanos()).expect("a jump is far below 584 years");
    }

    /// The clock stands still, as CLOCK_MONOTONIC does while the machine sleeps.
    pub fn stop(&mut self, now: Moment) {
        self.rebase(now);
        self.stopped = true;
    }

    /// The clock goes on from where it stood.
    pub fn go_on(&mut self, now: Moment) {
        self.rebase(now);
        self.stopped = false;
    }

    fn rebase(&mut self, now: Moment) {
        self.shown = self.at(now).as_nanoseconds();
        self.since = now;
    }

    fn elapsed(&self, now: Moment) -> u64 {
        if self.stopped {
            return 0;
        }
        let elapsed = i64::try_from(now.0.saturating_sub(self.since.0)).expect("a run is far below 292 years");
        u64::try_from(elapsed + part(elapsed, self.rate_ppb, BILLION)).expect("a rate is far above -100 %")
    }
}

/// `time * rate / whole`, rounded down: in 64 bits where that fits, because clocks are read at every event.
fn part(time: i64, rate: i64, whole: i64) -> i64 {
    match time.checked_mul(rate) {
        Some(product) => product.div_euclid(whole),
        None => i64::try_from((i128::from(time) * i128::from(rate)).div_euclid(i128::from(whole))).expect("a rate is far below its whole"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_at_which_the_clock_shows_the_instant() {
        for rate in [-500_000, -1, 0, 3, 500_000] {
            let mut clock = LocalClock::new(Instant::from_nanoseconds(1_000), rate);
            clock.set_rate(Moment(77_777), -rate);
            for instant in [78_888, 123_457, 9_876_543_210] {
                let instant = Instant::from_nanoseconds(instant + 1_001);
                let moment = clock.when(instant);
                assert!(clock.at(moment) >= instant && clock.at(Moment(moment.0 - 1)) < instant, "{rate} {instant:?} {moment:?}");
            }
        }
    }

    #[test]
    fn a_sleeping_clock_stands_still_and_goes_on() {
        let mut clock = LocalClock::new(Instant::ORIGIN, 0);
        clock.stop(Moment(10));
        assert_eq!(clock.at(Moment(1_000)), Instant::from_nanoseconds(10));
        clock.go_on(Moment(1_000));
        clock.jump(Moment(1_000), Duration::from_nanos(5));
        assert_eq!(clock.at(Moment(1_001)), Instant::from_nanoseconds(16));
    }
}
