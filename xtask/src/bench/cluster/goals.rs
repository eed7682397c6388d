//! What was promised of gangs on a cluster.

use super::cell::COARSE_US;
use super::results::{Results, Sharing, summary};
use crate::bench::goal::{Bound, Goal, Unit};

/// Goals of the makespan of gangs, by quantum in milliseconds.
pub(super) const RATIO_GOALS: [(u32, f64); 2] = [(50, 1.03), (10, 1.05)];
/// Longest part of a start that is ours, in milliseconds.
const OURS_MS: f64 = 100.0;

/// All goals, the ratios first.
pub(super) fn all(results: &Results<'_>) -> Vec<Goal> {
    let ratio = |(quantum_ms, most): (u32, f64)| Goal {
        name: format!("gangs at {quantum_ms} ms, grain 5 ms: time together over the sum of the times alone"),
        bound: Bound::AtMost(most),
        unit: Unit::Ratio,
        measured: results.ratio(COARSE_US, Sharing::GangAtMs(quantum_ms)).map(|ratio| ratio.ratio),
    };
    let ours = |name: &str, measured| Goal { name: name.to_owned(), bound: Bound::AtMost(OURS_MS), unit: Unit::Milliseconds, measured };
    let starts = &results.starts;
    let mut goals: Vec<Goal> = RATIO_GOALS.into_iter().map(ratio).collect();
    goals.push(ours("last container's start to the first rank's first instruction", summary(&starts.ours)));
    goals.push(ours("the same, the slowest start of each round", starts.ours_most));
    goals
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::header;
    use super::super::results::tests::records;
    use super::*;
    use crate::bench::goal::Verdict;

    #[test]
    fn a_whole_measurement_judges_every_goal_and_one_round_none_of_the_ratios() {
        let (header, records) = (header(), records(5));
        let verdicts: Vec<Verdict> = all(&Results::of(&header, &records)).iter().map(Goal::verdict).collect();
        assert_eq!(verdicts, [Verdict::Met; 4]);
        let one: Vec<_> = records.into_iter().filter(|record| record.round == 0).collect();
        assert_eq!(all(&Results::of(&header, &one))[0].verdict(), Verdict::NotMeasured);
    }
}
