//! Goals of a measurement, and whether they were reached.

use std::fmt;

use serde_json::{Value, json};

use super::statistics::{FEWEST_FOR_INTERVAL, Summary};

/// One goal, with what was measured.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    pub(super) name: String,
    pub(super) bound: Bound,
    pub(super) unit: Unit,
    /// Nothing when it was not measured.
    pub(super) measured: Option<Summary>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ratio,
    Microseconds,
    Milliseconds,
    PercentOfCore,
    Megabytes,
}

/// Whether a goal was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The whole interval is on the good side.
    Met,
    /// The median is, but the interval is not: the noise is larger than the distance.
    MetWithinNoise,
    NotMetWithinNoise,
    NotMet,
    /// Too few rounds for an interval, or none at all.
    NotMeasured,
}

// === impl Goal ===

impl Goal {
    pub(super) fn verdict(&self) -> Verdict {
        let Some(summary) = self.measured.filter(|summary| summary.count >= FEWEST_FOR_INTERVAL) else { return Verdict::NotMeasured };
        match (self.bound.holds(summary.median), self.bound.holds(summary.low) && self.bound.holds(summary.high)) {
            (true, true) => Verdict::Met,
            (true, false) => Verdict::MetWithinNoise,
            (false, _) if self.bound.holds(summary.low) || self.bound.holds(summary.high) => Verdict::NotMetWithinNoise,
            (false, _) => Verdict::NotMet,
        }
    }

    /// The goal's bound, with its unit.
    pub(super) fn bound_text(&self) -> String {
        match self.bound {
            Bound::AtMost(most) => format!("≤ {}", self.unit.bound(most)),
            Bound::AtLeast(least) => format!("≥ {}", self.unit.bound(least)),
        }
    }

    /// For a file of raw results.
    pub(super) fn value(&self) -> Value {
        json!({ "name": self.name, "goal": self.bound_text(), "measured": self.measured, "verdict": self.verdict().to_string() })
    }

    /// A line for a terminal.
    pub(super) fn line(&self) -> String {
        format!("{:<72} {:>16}  {}  {}", self.name, self.bound_text(), self.measured_text(), self.verdict())
    }

    /// Median and interval, with their unit.
    pub(super) fn measured_text(&self) -> String {
        match &self.measured {
            Some(summary) => self.unit.interval(summary),
            None => "-".to_owned(),
        }
    }
}

// === impl Bound ===

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

// === impl Unit ===

impl Unit {
    /// Digits after the point of a measured value.
    const fn digits(self) -> usize {
        match self {
            Self::Ratio => 4,
            Self::PercentOfCore => 2,
            Self::Microseconds | Self::Milliseconds | Self::Megabytes => 1,
        }
    }

    const fn symbol(self) -> &'static str {
        match self {
            Self::Ratio => "",
            Self::Microseconds => " µs",
            Self::Milliseconds => " ms",
            Self::PercentOfCore => " % of a core",
            Self::Megabytes => " MB",
        }
    }

    fn bound(self, value: f64) -> String {
        format!("{value}{}", self.symbol())
    }

    /// A median with its 95 % interval.
    pub(super) fn interval(self, summary: &Summary) -> String {
        let digits = self.digits();
        format!("{:.digits$} [{:.digits$}, {:.digits$}]{}", summary.median, summary.low, summary.high, self.symbol())
    }
}

// === impl Verdict ===

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Met => "met",
            Self::MetWithinNoise => "met by the median; the interval reaches over the goal",
            Self::NotMetWithinNoise => "not met by the median; the interval reaches the goal",
            Self::NotMet => "NOT met",
            Self::NotMeasured => "not measured (too few rounds)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: Bound, low: f64, median: f64, high: f64) -> Verdict {
        let measured = Some(Summary { count: 7, median, low, high, minimum: low, maximum: high });
        Goal { name: String::new(), bound, unit: Unit::Ratio, measured }.verdict()
    }

    #[test]
    fn the_interval_decides_and_the_median_where_it_cannot() {
        let most = Bound::AtMost(1.05);
        assert_eq!(verdict(most, 1.0, 1.01, 1.05), Verdict::Met);
        assert_eq!(verdict(most, 1.0, 1.04, 1.06), Verdict::MetWithinNoise);
        assert_eq!(verdict(most, 1.04, 1.06, 1.07), Verdict::NotMetWithinNoise);
        assert_eq!(verdict(most, 1.06, 1.07, 1.08), Verdict::NotMet);
        let least = Bound::AtLeast(1.9);
        assert_eq!(verdict(least, 1.95, 2.0, 2.1), Verdict::Met);
        assert_eq!(verdict(least, 1.85, 2.0, 2.1), Verdict::MetWithinNoise);
        assert_eq!(verdict(least, 1.7, 1.8, 1.95), Verdict::NotMetWithinNoise);
        assert_eq!(verdict(least, 1.1, 1.2, 1.3), Verdict::NotMet);
    }

    #[test]
    fn figures_carry_their_unit() {
        let summary = Summary { count: 7, median: 0.5, low: 0.4, high: 0.61, minimum: 0.0, maximum: 1.0 };
        assert_eq!(Unit::PercentOfCore.interval(&summary), "0.50 [0.40, 0.61] % of a core");
        assert_eq!(Unit::Ratio.interval(&summary), "0.5000 [0.4000, 0.6100]");
        let goal = Goal { name: String::new(), bound: Bound::AtMost(1.005), unit: Unit::Ratio, measured: None };
        assert_eq!(goal.bound_text(), "≤ 1.005");
    }
}
