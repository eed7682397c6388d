//! Figures of small samples: quantiles, and how far a median may be trusted.

use serde::{Deserialize, Serialize};

/// Resamples of one bootstrap: the bounds then move by less than the width of a printed digit from one seed to another.
const RESAMPLES: usize = 10_000;
/// The interval leaves out so much on either side.
const TAIL: f64 = 0.025;
/// Fewer values than this give no interval that means anything: the smallest resample medians are the values themselves.
pub(super) const FEWEST_FOR_INTERVAL: usize = 5;

/// A distribution as an agent sums it up, in microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Figures {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Numbers that look random and are the same for the same seed: the SplitMix64 generator (G. Steele, D. Lea and C. Flood,
/// "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// What a sample says. All in the unit of its values.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Values.
    pub(super) count: usize,
    pub(super) median: f64,
    /// The bounds of the median's 95 % bootstrap confidence interval.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
}

/// The value that `share` (0 to 1) of the sorted values do not exceed, interpolated between neighbours; nothing without values.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The values, smallest first.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The median; nothing without values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

// === impl Random ===

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0. The upper half of a product: no remainder favours small numbers noticeably.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).expect("it is below a usize")
    }

    /// Puts the items into an order in which every permutation is as likely (R. Durstenfeld, "Algorithm 235", CACM 1964).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

// === impl Summary ===

impl Summary {
    /// The figures of a sample, its interval by the percentile bootstrap (B. Efron, "Bootstrap methods", Annals of Statistics 1979);
    /// nothing without values.
    pub(super) fn of(values: &[f64], seed: u64) -> Option<Self> {
        let values = sorted(values);
        let median = quantile(&values, 0.5)?;
        let (low, high) = interval(&values, seed);
        Some(Self { count: values.len(), median, low, high, minimum: values[0], maximum: values[values.len() - 1] })
    }
}

fn interval(values: &[f64], seed: u64) -> (f64, f64) {
    let mut random = Random::new(seed);
    let mut resample = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        resample.fill_with(|| values[random.below(values.len())]);
        resample.sort_by(f64::total_cmp);
        medians.extend(quantile(&resample, 0.5));
    }
    medians.sort_by(f64::total_cmp);
    let at = |share| quantile(&medians, share).expect("there is a median of every resample");
    (at(TAIL), at(1.0 - TAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let values = sorted(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(quantile(&values, 0.9), Some(3.7));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_summary_is_the_same_for_the_same_seed() {
        let values = [1.02, 1.01, 1.05, 1.03, 1.00, 1.04];
        assert_eq!(Summary::of(&values, 7), Summary::of(&values, 7));
        assert_eq!(Summary::of(&[], 7), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_stays_within_the_values() {
        let values: Vec<f64> = (1..=21).map(f64::from).collect();
        let summary = Summary::of(&values, 1).unwrap();
        assert_eq!((summary.count, summary.median, summary.minimum, summary.maximum), (21, 11.0, 1.0, 21.0));
        assert!(summary.minimum < summary.low && summary.low < 11.0 && 11.0 < summary.high && summary.high < summary.maximum);
        // Binomial order statistics put the exact 95 % interval of 21 values at the 6th and the 16th.
        assert!((summary.low - 6.0).abs() <= 1.0 && (summary.high - 16.0).abs() <= 1.0, "{summary:?}");
    }

    #[test]
    fn equal_values_leave_no_doubt() {
        let summary = Summary::of(&[2.0; 8], 3).unwrap();
        assert_eq!((summary.low, summary.high), (2.0, 2.0));
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut random = Random::new(11);
        let held = (0..100).filter(|seed| {
            let values: Vec<f64> = (0..15).map(|_| random.below(10_001) as f64).collect();
            let summary = Summary::of(&values, *seed).unwrap();
            (summary.low..=summary.high).contains(&5000.0)
        });
        assert!((86..=100).contains(&held.count()));
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_all() {
        let mut random = Random::new(5);
        let mut seen = [0_u32; 6];
        (0..6000).for_each(|_| seen[random.below(6)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..50).collect();
        Random::new(9).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
