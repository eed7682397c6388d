//! What was promised of gangs on one machine.

use super::cell::Sharing;
use super::results::Results;
use crate::bench::goal::{Bound, Goal, Unit};

/// Goals of the makespan of gangs, by quantum in milliseconds.
pub(super) const RATIO_GOALS: [(u32, f64); 3] = [(50, 1.005), (10, 1.01), (2, 1.05)];
/// Least ratio of kernel sharing at [`KERNEL_GRAIN_US`].
const KERNEL_GOAL: f64 = 1.9;
const KERNEL_GRAIN_US: u32 = 100;
/// Largest p50 and p99 of the switch cost, in microseconds.
pub(super) const SWITCH_GOALS: [(f64, f64); 2] = [(0.5, 80.0), (0.99, 300.0)];
/// Largest p99 of the skew, in microseconds.
pub(super) const SKEW_GOALS: [(f64, f64); 1] = [(0.99, 100.0)];
const FIRST_INSTRUCTION_MS: f64 = 50.0;
const REST_PERCENT: f64 = 1.0;
const REST_MEGABYTES: f64 = 30.0;

/// All goals, the ratios first.
pub(super) fn all(results: &Results<'_>) -> Vec<Goal> {
    let mut goals = Vec::new();
    for grain_us in super::cell::GRAINS_US {
        for (quantum_ms, most) in RATIO_GOALS {
            let measured = results.ratio(grain_us, Sharing::GangAtMs(quantum_ms)).map(|ratio| ratio.of_runs);
            let name = format!("gangs at {quantum_ms} ms, grain {grain_us} µs: time together over the sum of the times alone");
            goals.push(Goal { name, bound: Bound::AtMost(most), unit: Unit::Ratio, measured });
        }
    }
    let kernel = results.ratio(KERNEL_GRAIN_US, Sharing::Kernel).map(|ratio| ratio.of_runs);
    let name = format!("kernel sharing, grain {KERNEL_GRAIN_US} µs: the same");
    goals.push(Goal { name, bound: Bound::AtLeast(KERNEL_GOAL), unit: Unit::Ratio, measured: kernel });
    let others = [
        ("switch cost p50 of a run", SWITCH_GOALS[0].1, Unit::Microseconds, results.switch_p50),
        ("switch cost p99 of a run", SWITCH_GOALS[1].1, Unit::Microseconds, results.switch_p99),
        ("skew p99 between two agents", SKEW_GOALS[0].1, Unit::Microseconds, results.skew_p99),
        (
            "submission to the first instruction of a 12 MB static program",
            FIRST_INSTRUCTION_MS,
            Unit::Milliseconds,
            results.first_instruction_ms,
        ),
        ("agent beside one gang, CPU", REST_PERCENT, Unit::PercentOfCore, results.rest_percent),
        ("agent beside one gang, memory", REST_MEGABYTES, Unit::Megabytes, results.rest_megabytes),
    ];
    goals.extend(others.map(|(name, most, unit, measured)| Goal { name: name.to_owned(), bound: Bound::AtMost(most), unit, measured }));
    goals
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::records;
    use super::super::store::tests::header;
    use super::*;
    use crate::bench::goal::Verdict;

    #[test]
    fn a_whole_measurement_judges_every_goal() {
        let (header, records) = (header(), records(5));
        let goals = all(&Results::of(&header, &records));
        assert_eq!(goals.len(), 2 * 3 + 1 + 6);
        let verdicts: Vec<Verdict> = goals.iter().map(Goal::verdict).collect();
        // Time together is 1.01 times the sum in all of these records.
        assert_eq!(verdicts[0], Verdict::NotMet);
        assert_eq!(verdicts[2], Verdict::Met);
        assert!(verdicts[6..].iter().all(|verdict| *verdict == Verdict::Met), "{verdicts:?}");
    }

    #[test]
    fn too_few_rounds_prove_nothing() {
        let (header, records) = (header(), records(1));
        assert_eq!(all(&Results::of(&header, &records))[0].verdict(), Verdict::NotMeasured);
        assert_eq!(all(&Results::of(&header, &[]))[0].measured_text(), "-");
    }
}
