//! What the records of a measurement say: ratios within each round, distributions over all rounds, and what disturbed them.

use std::collections::BTreeSet;

use super::cell::{Cell, GRAINS_US, Job, QUANTA_MS, Sharing};
use super::manifest::rest_seconds;
use super::report::{Distributions, Report, Strobes};
use super::store::{Header, Record};
use crate::bench::disturbances::Disturbances;
use crate::bench::statistics::{Summary, quantile, sorted};

/// Seed of all intervals: the same records give the same document.
const INTERVAL_SEED: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) header: &'a Header,
    pub(super) rounds: usize,
    pub(super) ratios: Vec<Ratio>,
    pub(super) alone: Vec<Alone>,
    pub(super) quanta: Vec<Quantum>,
    /// The p50 of the switch cost of each timed gang run, and so on; microseconds.
    pub(super) switch_p50: Option<Summary>,
    pub(super) switch_p99: Option<Summary>,
    pub(super) skew_p99: Option<Summary>,
    /// From the submission to the first instruction, in milliseconds.
    pub(super) first_instruction_ms: Option<Summary>,
    /// The busiest agent beside one gang, in percent of a core.
    pub(super) rest_percent: Option<Summary>,
    /// The largest agent beside one gang, in megabytes.
    pub(super) rest_megabytes: Option<Summary>,
    pub(super) disturbances: Disturbances,
}

/// Time of both jobs together over the sum of their times alone in the same round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) grain_us: u32,
    pub(super) sharing: Sharing,
    /// From the first release to the last end: launching is in none of the times.
    pub(super) of_runs: Summary,
    /// From the first submission to the last end. Two launches are then in the sum, and one in the time together.
    pub(super) of_makespans: Summary,
}

/// The jobs alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alone {
    pub(super) grain_us: u32,
    /// Both jobs of all rounds, in seconds.
    pub(super) seconds: Summary,
    /// The first job's time over the second's, which does the same: what is seen where there is nothing to see.
    pub(super) first_over_second: Summary,
}

/// The strobes at one quantum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantum {
    pub(super) quantum_ms: u32,
    /// Of the timed runs, grains and rounds together, in microseconds.
    pub(super) switch_p50: Summary,
    pub(super) switch_p99: Summary,
    pub(super) skew_p50: Summary,
    pub(super) skew_p99: Summary,
    pub(super) counts: Counts,
    /// Largest error bound of a clock estimate, in microseconds.
    pub(super) clock_bound_micros: f64,
    /// Of the traced runs.
    pub(super) traced: Distributions,
}

/// Sums over timed runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) strobes: u64,
    pub(super) late: u64,
    pub(super) missed: u64,
    pub(super) stragglers: u64,
    pub(super) unsynchronised: u64,
}

/// The records of one grain, looked at round by round.
struct Rounds<'a> {
    records: &'a [Record],
    numbers: BTreeSet<u32>,
}

// === impl Results ===

impl<'a> Results<'a> {
    /// Of these records; what they lack is left out.
    pub(super) fn of(header: &'a Header, records: &[Record]) -> Self {
        let rounds = Rounds { records, numbers: records.iter().map(|record| record.round).collect() };
        let gangs: Vec<&Strobes> = gang_runs(records, |_| true).map(|record| &record.report.strobes).collect();
        let over = |figure: fn(&Strobes) -> f64| summary(gangs.iter().map(|strobes| figure(strobes)));
        let rests: Vec<(f64, f64)> = rounds.each(|round| rest(&rounds, round, rest_seconds(header.quick)));
        Self {
            header,
            rounds: rounds.numbers.len(),
            ratios: ratios(&rounds),
            alone: GRAINS_US.iter().filter_map(|grain_us| Alone::of(&rounds, *grain_us)).collect(),
            quanta: QUANTA_MS.iter().filter_map(|quantum_ms| Quantum::of(records, *quantum_ms)).collect(),
            switch_p50: over(|strobes| strobes.switch_micros.p50),
            switch_p99: over(|strobes| strobes.switch_micros.p99),
            skew_p99: over(|strobes| strobes.skew_micros.p99),
            first_instruction_ms: summary(records.iter().filter_map(|record| record.first_instruction_ms)),
            rest_percent: summary(rests.iter().map(|(percent, _)| *percent)),
            rest_megabytes: summary(rests.iter().map(|(_, megabytes)| *megabytes)),
            disturbances: Disturbances::of(records.iter().map(|record| &record.noise), is_degraded(records)),
        }
    }

    /// The ratio of one cell.
    pub(super) fn ratio(&self, grain_us: u32, sharing: Sharing) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.grain_us == grain_us && ratio.sharing == sharing)
    }
}

fn summary(values: impl Iterator<Item = f64>) -> Option<Summary> {
    Summary::of(&values.collect::<Vec<_>>(), INTERVAL_SEED)
}

fn ratios(rounds: &Rounds<'_>) -> Vec<Ratio> {
    let sharings = || std::iter::once(Sharing::Kernel).chain(QUANTA_MS.map(Sharing::GangAtMs));
    GRAINS_US.iter().flat_map(|grain_us| sharings().filter_map(|sharing| Ratio::of(rounds, *grain_us, sharing))).collect()
}

fn span(report: &Report) -> Option<f64> {
    report.span_seconds().ok()
}

/// The timed runs of gangs at those quanta.
fn gang_runs(records: &[Record], wanted: impl Fn(u32) -> bool) -> impl Iterator<Item = &Record> {
    records
        .iter()
        .filter(move |record| matches!(record.cell, Cell::Together { sharing: Sharing::GangAtMs(quantum), .. } if wanted(quantum)))
}

/// What the busiest agent used between the shorter and the longer rest, in percent of a core, and the largest one's megabytes.
fn rest(rounds: &Rounds<'_>, round: u32, [short, long]: [u32; 2]) -> Option<(f64, f64)> {
    const MEGABYTE: f64 = 1e6;
    let [short, long] = [rounds.report(round, Cell::Rest { seconds: short })?, rounds.report(round, Cell::Rest { seconds: long })?];
    let seconds = span(long)? - span(short)?;
    let agents = long.nodes.iter().zip(&short.nodes).map(|(long, short)| long.agent_cpu_seconds - short.agent_cpu_seconds);
    let bytes = long.nodes.iter().map(|node| node.agent_resident_bytes).max()?;
    Some((100.0 * agents.fold(0.0, f64::max) / seconds, bytes as f64 / MEGABYTE))
}

// === impl Rounds ===

impl Rounds<'_> {
    fn report(&self, round: u32, cell: Cell) -> Option<&Report> {
        self.records.iter().find(|record| record.round == round && record.cell == cell).map(|record| &record.report)
    }

    /// A value of each round that has it.
    fn each<Value>(&self, value: impl Fn(u32) -> Option<Value>) -> Vec<Value> {
        self.numbers.iter().filter_map(|round| value(*round)).collect()
    }

    fn summary(&self, value: impl Fn(u32) -> Option<f64>) -> Option<Summary> {
        Summary::of(&self.each(value), INTERVAL_SEED)
    }

    /// Both jobs alone in a round.
    fn alone(&self, round: u32, grain_us: u32, figure: fn(&Report) -> Option<f64>) -> Option<[f64; 2]> {
        let of = |job| figure(self.report(round, Cell::Alone { grain_us, job })?);
        Some([of(Job::A)?, of(Job::B)?])
    }
}

// === impl Ratio ===

impl Ratio {
    fn of(rounds: &Rounds<'_>, grain_us: u32, sharing: Sharing) -> Option<Self> {
        let over = |round: u32, figure: fn(&Report) -> Option<f64>| {
            let [first, second] = rounds.alone(round, grain_us, figure)?;
            Some(figure(rounds.report(round, Cell::Together { grain_us, sharing })?)? / (first + second))
        };
        let of_runs = rounds.summary(|round| over(round, span))?;
        let of_makespans = rounds.summary(|round| over(round, |report| Some(report.makespan_seconds)))?;
        Some(Self { grain_us, sharing, of_runs, of_makespans })
    }
}

// === impl Alone ===

impl Alone {
    fn of(rounds: &Rounds<'_>, grain_us: u32) -> Option<Self> {
        let pairs = rounds.each(|round| rounds.alone(round, grain_us, span));
        let seconds = summary(pairs.iter().flatten().copied())?;
        let first_over_second = summary(pairs.iter().map(|[first, second]| first / second))?;
        Some(Self { grain_us, seconds, first_over_second })
    }
}

// === impl Quantum ===

impl Quantum {
    fn of(records: &[Record], quantum_ms: u32) -> Option<Self> {
        let runs: Vec<&Strobes> = gang_runs(records, |quantum| quantum == quantum_ms).map(|record| &record.report.strobes).collect();
        let over = |figure: fn(&Strobes) -> f64| summary(runs.iter().map(|strobes| figure(strobes)));
        Some(Self {
            quantum_ms,
            switch_p50: over(|strobes| strobes.switch_micros.p50)?,
            switch_p99: over(|strobes| strobes.switch_micros.p99)?,
            skew_p50: over(|strobes| strobes.skew_micros.p50)?,
            skew_p99: over(|strobes| strobes.skew_micros.p99)?,
            counts: runs.iter().fold(Counts::default(), |sum, strobes| sum.and(strobes)),
            clock_bound_micros: runs.iter().map(|strobes| strobes.clock_bound_micros).fold(0.0, f64::max),
            traced: pooled(records, quantum_ms),
        })
    }
}

/// The distributions of all traced runs at one quantum, each run with the same weight.
fn pooled(records: &[Record], quantum_ms: u32) -> Distributions {
    let traced =
        || records.iter().filter(|record| record.cell == Cell::Traced { quantum_ms }).filter_map(|record| record.distributions.as_ref());
    let all = |of: fn(&Distributions) -> &Vec<f64>| sorted(&traced().flat_map(|run| of(run).iter().copied()).collect::<Vec<_>>());
    Distributions {
        switch_micros: all(|run| &run.switch_micros),
        skew_micros: all(|run| &run.skew_micros),
        after_instant_micros: all(|run| &run.after_instant_micros),
    }
}

// === impl Counts ===

impl Counts {
    fn and(self, strobes: &Strobes) -> Self {
        Self {
            strobes: self.strobes + strobes.count,
            late: self.late + strobes.late,
            missed: self.missed + strobes.missed,
            stragglers: self.stragglers + strobes.stragglers,
            unsynchronised: self.unsynchronised + strobes.unsynchronised,
        }
    }
}

/// No real-time priority, or no cgroups, in some cell.
fn is_degraded(records: &[Record]) -> bool {
    let fit = |report: &Report| report.freezer.as_deref() == Some("cgroup") && report.scheduler.as_deref() == Some("fifo");
    records.iter().any(|record| !fit(&record.report))
}

/// The values at these shares of a sorted distribution; nothing without values.
pub(super) fn at_shares<const COUNT: usize>(sorted: &[f64], shares: [f64; COUNT]) -> Option<[f64; COUNT]> {
    (!sorted.is_empty()).then(|| shares.map(|share| quantile(sorted, share).expect("it has values")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::cell;
    use super::super::store::tests::{header, record};
    use super::*;
    use crate::bench::processor_time::Noise;

    /// Rounds in which everything alone takes 2 s, gangs 1 % and kernel sharing 100 % more than both.
    pub(in super::super) fn records(rounds: u32) -> Vec<Record> {
        let one = |round: u32, cell: Cell| {
            let mut record = record(round, cell, seconds(cell) * (1.0 + 0.001 * f64::from(round)));
            match cell {
                Cell::Start { number } => record.first_instruction_ms = Some(40.0 + f64::from(number)),
                Cell::Rest { seconds } => {
                    record.report.nodes.iter_mut().for_each(|node| node.agent_cpu_seconds = 0.1 + 0.005 * f64::from(seconds));
                }
                Cell::Traced { .. } => {
                    let values = |scale: f64| (1..=101).map(|step| scale * f64::from(step)).collect();
                    let (switch_micros, skew_micros, after_instant_micros) = (values(2.0), values(0.5), values(1.0));
                    record.distributions = Some(Distributions { switch_micros, skew_micros, after_instant_micros });
                }
                Cell::Alone { .. } | Cell::Together { .. } => {}
            }
            record
        };
        (0..rounds).flat_map(|round| cell::all().concat().into_iter().map(move |cell| one(round, cell))).collect()
    }

    fn seconds(cell: Cell) -> f64 {
        match cell {
            Cell::Together { sharing: Sharing::Kernel, .. } => 8.0,
            Cell::Together { .. } => 4.04,
            Cell::Rest { seconds } => f64::from(seconds),
            Cell::Alone { .. } | Cell::Traced { .. } | Cell::Start { .. } => 2.0,
        }
    }

    #[test]
    fn ratios_are_within_a_round() {
        let (header, records) = (header(), records(5));
        let results = Results::of(&header, &records);
        assert_eq!((results.rounds, results.ratios.len()), (5, 12));
        let ratio = results.ratio(100, Sharing::GangAtMs(10)).unwrap();
        assert!((ratio.of_runs.median - 1.01).abs() < 1e-9 && (ratio.of_runs.high - ratio.of_runs.low) < 1e-9, "{ratio:?}");
        assert!(ratio.of_makespans.median < ratio.of_runs.median, "a launch of 50 ms is once above and twice below");
        let kernel = results.ratio(1000, Sharing::Kernel).unwrap();
        assert!((kernel.of_runs.median - 2.0).abs() < 1e-9);
        assert!((results.alone[0].first_over_second.median - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_without_one_of_its_cells_gives_no_ratio() {
        let (header, mut records) = (header(), records(2));
        records.retain(|record| record.round == 0 || record.cell != Cell::Alone { grain_us: 100, job: Job::B });
        let results = Results::of(&header, &records);
        assert_eq!(results.ratio(100, Sharing::Kernel).unwrap().of_runs.count, 1);
        assert_eq!(results.ratio(1000, Sharing::Kernel).unwrap().of_runs.count, 2);
    }

    #[test]
    fn agents_at_rest_are_judged_by_the_difference_of_two_rests() {
        let (header, records) = (header(), records(5));
        let results = Results::of(&header, &records);
        let percent = results.rest_percent.unwrap();
        assert!((percent.minimum - 0.5).abs() < 0.01 && (percent.maximum - 0.5).abs() < 0.01, "{percent:?}");
        assert!((results.rest_megabytes.unwrap().median - 12.0).abs() < 1e-9);
    }

    #[test]
    fn strobes_are_counted_and_distributions_pooled() {
        let (header, records) = (header(), records(3));
        let results = Results::of(&header, &records);
        let quantum = &results.quanta[2];
        assert_eq!((quantum.quantum_ms, quantum.switch_p50.count, quantum.counts.strobes), (10, 6, 6 * 200));
        assert_eq!(quantum.traced.switch_micros.len(), 3 * 101);
        assert_eq!(at_shares(&quantum.traced.switch_micros, [0.0, 0.5, 1.0]), Some([2.0, 102.0, 202.0]));
        assert_eq!(at_shares(&[], [0.5]), None);
        assert_eq!(results.first_instruction_ms.unwrap().count, 9);
    }

    #[test]
    fn noise_is_not_hidden() {
        let (header, mut records) = (header(), records(1));
        records[3].noise = Noise { other_percent: 1.5, stolen_percent: 1.0, ..Noise::default() };
        records[4].report.scheduler = Some("other".to_owned());
        let disturbances = Results::of(&header, &records).disturbances;
        assert_eq!((disturbances.cells, disturbances.disturbed, disturbances.degraded), (records.len(), 1, true));
        assert_eq!(disturbances.most.other_percent, 1.5);
    }

    #[test]
    fn without_records_there_are_no_results() {
        let header = header();
        let results = Results::of(&header, &[]);
        assert!(results.ratios.is_empty() && results.switch_p50.is_none() && results.quanta.is_empty());
    }
}
