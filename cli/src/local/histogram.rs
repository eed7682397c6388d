//! Distributions of short times, in bounded memory.

use serde::Serialize;

use super::limits::HISTOGRAM_TIME;

/// Decimal digits that are told apart.
const DIGITS: u8 = 3;

/// A distribution of times in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Histogram(hdrhistogram::Histogram<u64>);

/// What is said of a distribution, in microseconds. All zero when nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Figures {
    /// Half of all are at most this long.
    pub p50: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        let longest = u64::try_from(HISTOGRAM_TIME.as_nanos()).expect("an hour has fewer nanoseconds");
        Self(hdrhistogram::Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds and digits are in range"))
    }
}

impl Histogram {
    /// Records one time, in nanoseconds.
    pub(super) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// How many were recorded.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Its figures.
    pub(super) fn figures(&self) -> Figures {
        if self.0.is_empty() {
            return Figures::default();
        }
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Figures { p50: at(0.5), p99: at(0.99), max: micros(self.0.max()) }
    }
}

/// Microseconds, to a tenth.
fn micros(nanoseconds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an hour in tenths of microseconds is exact")]
    let tenths = (nanoseconds / 100) as f64;
    tenths / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_microseconds() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.figures(), Figures::default());
        (1..=100).for_each(|number| histogram.record(number * 1_000));
        let figures = histogram.figures();
        assert!((figures.p50 - 50.0).abs() < 0.2 && (figures.p99 - 99.0).abs() < 0.2 && (figures.max - 100.0).abs() < 0.2, "{figures:?}");
        histogram.record(u64::MAX);
        assert_eq!(histogram.count(), 101);
    }
}
