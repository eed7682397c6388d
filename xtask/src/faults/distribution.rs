//! How long the end of a gang took after one of its ranks was killed.

use std::fmt;

/// What the design promises while every member of the view answers, in microseconds.
const PROMISED: u64 = 100_000;

/// Times in microseconds, in order.
pub(super) struct Distribution(Vec<u64>);

// === impl Distribution ===

impl Distribution {
    pub(super) fn new(micros: &[u64]) -> Self {
        let mut sorted = micros.to_vec();
        sorted.sort_unstable();
        Self(sorted)
    }

    /// The time that this share of all, in percent, does not exceed.
    fn percentile(&self, percent: usize) -> u64 {
        let index = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(index).copied().unwrap_or(0)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(formatter, "no time was measured");
        }
        let [least, half, most, last] = [1, 50, 99, 100].map(|percent| self.percentile(percent) as f64 / 1000.0);
        let late = self.0.iter().filter(|micros| **micros > PROMISED).count();
        let count = self.0.len();
        write!(formatter, "from a rank's death to its gang's end on every node, {count} times: ")?;
        write!(formatter, "least {least:.1} ms, p50 {half:.1} ms, p99 {most:.1} ms, most {last:.1} ms; over 100 ms: {late}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_names_its_quantiles_and_what_is_late() {
        let micros: Vec<u64> = (1..=100).map(|milliseconds| milliseconds * 1100).collect();
        let text = Distribution::new(&micros).to_string();
        let right = "100 times: least 1.1 ms, p50 55.0 ms, p99 108.9 ms, most 110.0 ms; over 100 ms: 10";
        assert!(text.ends_with(right), "{text}");
    }

    #[test]
    fn nothing_measured_is_said() {
        assert_eq!(Distribution::new(&[]).to_string(), "no time was measured");
    }
}
