//! The manager's clock as seen from another node: offset, rate, and how wrong they may be (section 5 of the design).
//!
//! A probe leaves at `a`, arrives at `b`, is answered at `c`, and the answer arrives at `d`; `a` and `d` are of the own
//! clock, `b` and `c` of the manager's. Whatever part of the round trip `(d − a) − (c − b)` each way took, the offset lies
//! within half a round trip of `(b + c)/2 − (a + d)/2`. The estimate stands on the recent sample with the smallest bound
//! and grows less certain as that sample ages. See docs/adr/0007-clock-offsets.md.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::{limits::CLOCK_SAMPLES, model::Instant};

/// Samples that must agree before an estimate is used, at first and after a disturbance.
pub const CLOCK_AGREEING: usize = 3;

/// How much two clocks may drift apart while their rates have not been compared: 500 ppm each, the most that Linux slews.
const DRIFT_MAX_PPB: i128 = 1_000_000;

/// How much a compared rate may wander, by temperature for instance, while the samples that it rests on age.
const DRIFT_WANDER_PPB: i128 = 10_000;

/// Error of reading clocks and of rounding, added to every bound.
const READING_ERROR_NS: i128 = 1_000;

const BILLION: i128 = 1_000_000_000;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleVerdict {
    /// It agrees with what the earlier ones predict.
    Agrees,
    /// It lies outside both bounds: a clock was disturbed. All earlier samples are forgotten, this one is the first of
    /// the fresh ones.
    Contradicts,
    /// No exchange can have these instants; it changes nothing.
    Impossible,
}

/// The instants of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClockExchange {
    /// When the probe was sent, of the own clock.
    pub asked: Instant,
    /// When it arrived, of the manager's clock.
    pub received: Instant,
    /// When the answer was sent, of the manager's clock.
    pub replied: Instant,
    /// When the answer arrived, of the own clock.
    pub heard: Instant,
}

/// The offset of the manager's clock from the own one. It belongs to a term: another manager's clock needs another
/// estimator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OffsetEstimator {
    /// True on the manager's own node: no offset, no error.
    own: bool,
    /// Oldest first.
    samples: ArrayVec<Sample, CLOCK_SAMPLES>,
    line: Line,
}

/// One exchange: at `local` the offset was within `half_round_trip` of `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Sample {
    local: Instant,
    offset: i128,
    half_round_trip: i128,
}

/// The estimate: a sample, the manager's rate relative to the own clock, and how wrong that rate may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Line {
    base: Sample,
    rate_ppb: i128,
    drift_ppb: i128,
}

// === impl OffsetEstimator ===

impl OffsetEstimator {
    /// The estimator of a manager that is another node: unsynchronised until [`CLOCK_AGREEING`] samples agree.
    #[must_use]
    pub fn of_other_node() -> Self {
        Self { own: false, samples: ArrayVec::new(), line: Line::default() }
    }

    /// The estimator on the manager's own node: one clock, no error.
    #[must_use]
    pub fn of_own_node() -> Self {
        Self { own: true, ..Self::of_other_node() }
    }

    /// Takes one exchange in.
    pub fn observe(&mut self, exchange: ClockExchange) -> SampleVerdict {
        let Some(sample) = Sample::of(exchange) else {
            return SampleVerdict::Impossible;
        };
        let contradicts = !self.samples.is_empty() && !self.line.agrees_with(&sample);
        if contradicts {
            self.samples.clear();
        } else if self.samples.is_full() {
            self.samples.remove(0);
        }
        self.samples.push(sample);
        self.line = Line::through(&self.samples, exchange.heard);
        if contradicts { SampleVerdict::Contradicts } else { SampleVerdict::Agrees }
    }

    /// Forgets every sample: the own clock was disturbed.
    pub fn disturb(&mut self) {
        self.samples.clear();
    }

    /// How wrong the offset may be at `now`; none while unsynchronised.
    #[must_use]
    pub fn bound(&self, now: Instant) -> Option<Duration> {
        if self.own {
            return Some(Duration::ZERO);
        }
        (self.samples.len() >= CLOCK_AGREEING).then(|| Duration::from_nanos(u64::try_from(self.line.bound(now)).unwrap_or(u64::MAX)))
    }

    /// The instant of the own clock at which the manager's clock shows `at`; none while unsynchronised.
    #[must_use]
    pub fn to_own(&self, at: Instant) -> Option<Instant> {
        if self.own {
            return Some(at);
        }
        (self.samples.len() >= CLOCK_AGREEING).then(|| self.line.to_own(at))
    }

    /// The instant of the manager's clock when the own clock shows `local`; none while unsynchronised.
    #[must_use]
    pub fn to_manager(&self, local: Instant) -> Option<Instant> {
        if self.own {
            return Some(local);
        }
        (self.samples.len() >= CLOCK_AGREEING).then(|| self.line.to_manager(local))
    }
}

// === impl Sample ===

impl Sample {
    /// None when the instants do not go forward, or the manager took longer to answer than the whole exchange.
    fn of(exchange: ClockExchange) -> Option<Self> {
        let [asked, received, replied, heard] = [exchange.asked, exchange.received, exchange.replied, exchange.heard].map(nanoseconds);
        let (whole, answering) = (heard - asked, replied - received);
        let round_trip = whole - answering;
        if whole < 0 || answering < 0 || round_trip < -READING_ERROR_NS {
            return None;
        }
        let local = asked + whole / 2;
        Some(Self { local: instant(local), offset: received + answering / 2 - local, half_round_trip: round_trip.max(0) / 2 })
    }
}

// === impl Line ===

impl Line {
    /// The best line through the samples, of which there is at least one, for use at `now`.
    fn through(samples: &[Sample], now: Instant) -> Self {
        let (rate_ppb, drift_ppb) = compared_rates(samples).unwrap_or((0, DRIFT_MAX_PPB));
        samples
            .iter()
            .map(|base| Self { base: *base, rate_ppb, drift_ppb })
            .min_by_key(|line| line.bound(now))
            .expect("a line is drawn after a sample was added")
    }

    /// How wrong the offset may be when the own clock shows `local`.
    fn bound(&self, local: Instant) -> i128 {
        self.base.half_round_trip + self.age(local).abs() * self.drift_ppb / BILLION + READING_ERROR_NS
    }

    fn age(&self, local: Instant) -> i128 {
        nanoseconds(local) - nanoseconds(self.base.local)
    }

    fn offset(&self, local: Instant) -> i128 {
        self.base.offset + self.age(local) * self.rate_ppb / BILLION
    }

    /// True when the offset may be what both the line and the sample say.
    fn agrees_with(&self, sample: &Sample) -> bool {
        (self.offset(sample.local) - sample.offset).abs() <= self.bound(sample.local) + sample.half_round_trip
    }

    fn to_manager(self, local: Instant) -> Instant {
        instant(nanoseconds(local) + self.offset(local))
    }

    /// Inverse of [`Self::to_manager`], to within a nanosecond of rounding.
    fn to_own(self, at: Instant) -> Instant {
        let elapsed_at_manager = nanoseconds(at) - nanoseconds(self.base.local) - self.base.offset;
        let elapsed = elapsed_at_manager - elapsed_at_manager * self.rate_ppb / (BILLION + self.rate_ppb);
        instant(nanoseconds(self.base.local) + elapsed)
    }
}

/// The manager's rate relative to the own clock and its error, both in parts per billion, from the best sample of the
/// older half and the best of the newer half; none when these are too close together or too uncertain to say more than
/// [`DRIFT_MAX_PPB`] does.
fn compared_rates(samples: &[Sample]) -> Option<(i128, i128)> {
    let (older, newer) = samples.split_at(samples.len() / 2);
    let best = |half: &[Sample]| half.iter().copied().min_by_key(|sample| sample.half_round_trip);
    let (first, second) = (best(older)?, best(newer)?);
    let apart = nanoseconds(second.local) - nanoseconds(first.local);
    if apart <= 0 {
        return None;
    }
    let rate = (second.offset - first.offset) * BILLION / apart;
    let error = (first.half_round_trip + second.half_round_trip + READING_ERROR_NS) * BILLION / apart + DRIFT_WANDER_PPB;
    (error < DRIFT_MAX_PPB && rate.abs() <= DRIFT_MAX_PPB + error).then_some((rate, error))
}

fn nanoseconds(instant: Instant) -> i128 {
    i128::from(instant.as_nanoseconds())
}

/// The instant, or the nearest end of the clock.
fn instant(nanoseconds: i128) -> Instant {
    Instant::from_nanoseconds(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
}
