//! What the records of a measurement say: ratios within each round, starts of all rounds, and what was watched once.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{COARSE_US, Cell, FINE_QUANTUM_MS, FINE_US, Job, QUANTA_MS};
use super::record::{Header, Measured, NodeFigures, Record, Requests, Usage, Watched};
use crate::bench::disturbances::Disturbances;
use crate::bench::statistics::{Summary, median, quantile, sorted};

/// Seed of all intervals: the same records give the same document.
const INTERVAL_SEED: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) header: &'a Header,
    pub(super) rounds: usize,
    pub(super) ratios: Vec<Ratio>,
    /// Plain Jobs together over gangs together, at the fine grain.
    pub(super) plain_over_gangs: Option<Summary>,
    pub(super) starts: Starts,
    pub(super) quanta: Vec<Quantum>,
    /// Writes in a gang's life, and in as much time at rest, each by what was asked for; medians over the lives.
    pub(super) writes: BTreeMap<String, [f64; 2]>,
    pub(super) lives: usize,
    /// What was watched, with its cell.
    pub(super) watched: Vec<(Cell, &'a Watched)>,
    pub(super) pending: Vec<Pending<'a>>,
    pub(super) disturbances: Disturbances,
}

/// How two jobs shared the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// As gangs, milliseconds of a quantum.
    GangAtMs(u32),
    /// As plain Jobs, by the kernel.
    Plain,
}

/// Time of both jobs together over the sum of their times alone in the same round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    pub(super) grain_us: u32,
    pub(super) sharing: Sharing,
    pub(super) ratio: Summary,
    /// Both alone, in seconds.
    pub(super) alone: Summary,
    /// Together, in seconds.
    pub(super) together: Summary,
    /// The part of the time together in which both ran.
    pub(super) overlap: Summary,
}

/// All starts of all rounds; milliseconds.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// From the submission.
    pub(super) container: Vec<f64>,
    pub(super) first_instruction: Vec<f64>,
    pub(super) running: Vec<f64>,
    /// From the last container's start to the first and to the last rank's first instruction.
    pub(super) ours: Vec<f64>,
    pub(super) ours_last_rank: Vec<f64>,
    /// The largest of each round.
    pub(super) ours_most: Option<Summary>,
}

/// The strobes at one quantum, of the pair's nodes and all rounds; microseconds.
#[derive(Debug)]
pub(super) struct Quantum {
    pub(super) quantum_ms: u32,
    pub(super) switch_p50: Option<Summary>,
    pub(super) switch_p99: Option<Summary>,
    pub(super) skew_p50: Option<Summary>,
    pub(super) skew_p99: Option<Summary>,
    pub(super) clock_bound: f64,
    /// Sums over the agents' lives: strobes, late, missed, stragglers, unsynchronised.
    pub(super) counts: [u64; 5],
}

/// Jobs that waited.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    pub(super) jobs: u32,
    pub(super) full: &'a Watched,
    pub(super) queueing: &'a Watched,
    pub(super) waiting: &'a Watched,
}

/// Who used what.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    /// Percent of a CPU; nothing where it is not known.
    pub(super) percent: Option<f64>,
    pub(super) megabytes: f64,
}

/// The records, looked at round by round.
struct Rounds<'a> {
    records: &'a [Record],
    numbers: BTreeSet<u32>,
}

// === impl Results ===

impl<'a> Results<'a> {
    /// Of these records; what they lack is left out.
    pub(super) fn of(header: &'a Header, records: &'a [Record]) -> Self {
        let rounds = Rounds { records, numbers: records.iter().map(|record| record.round).collect() };
        let fine = |round| {
            Some(rounds.span(round, Cell::PlainTogether { grain_us: FINE_US })? / rounds.span(round, together(FINE_US, FINE_QUANTUM_MS))?)
        };
        let lives: Vec<(&Requests, &Requests)> = records.iter().filter_map(life).collect();
        Self {
            header,
            rounds: rounds.numbers.len(),
            ratios: ratios(&rounds),
            plain_over_gangs: rounds.summary(fine),
            starts: Starts::of(&rounds),
            quanta: QUANTA_MS.iter().filter_map(|quantum_ms| Quantum::of(&rounds, *quantum_ms)).collect(),
            writes: writes(&lives),
            lives: lives.len(),
            watched: records.iter().filter_map(watched).collect(),
            pending: records.iter().filter_map(Pending::of).collect(),
            disturbances: Disturbances::of(records.iter().map(|record| &record.noise), is_degraded(records)),
        }
    }

    /// The ratio of one way of sharing.
    pub(super) fn ratio(&self, grain_us: u32, sharing: Sharing) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.grain_us == grain_us && ratio.sharing == sharing)
    }
}

fn together(grain_us: u32, quantum_ms: u32) -> Cell {
    Cell::Together { grain_us, quantum_ms }
}

fn ratios(rounds: &Rounds<'_>) -> Vec<Ratio> {
    let coarse = QUANTA_MS.map(|quantum_ms| (COARSE_US, Sharing::GangAtMs(quantum_ms)));
    let fine = [(FINE_US, Sharing::GangAtMs(FINE_QUANTUM_MS)), (FINE_US, Sharing::Plain)];
    coarse.into_iter().chain(fine).filter_map(|(grain_us, sharing)| Ratio::of(rounds, grain_us, sharing)).collect()
}

fn life(record: &Record) -> Option<(&Requests, &Requests)> {
    if let Measured::Life { life, rest, .. } = &record.measured { Some((life, rest)) } else { None }
}

fn watched(record: &Record) -> Option<(Cell, &Watched)> {
    if let Measured::Watched(watched) = &record.measured { Some((record.cell, watched)) } else { None }
}

/// Medians over the lives; what a life does not name it did not ask for.
fn writes(lives: &[(&Requests, &Requests)]) -> BTreeMap<String, [f64; 2]> {
    let names: BTreeSet<&String> = lives.iter().flat_map(|(life, rest)| life.keys().chain(rest.keys())).collect();
    let of = |name: &str, pick: fn(&(&Requests, &Requests)) -> Requests| {
        median(&lives.iter().map(|one| pick(one).get(name).copied().unwrap_or_default()).collect::<Vec<_>>()).unwrap_or_default()
    };
    names.into_iter().map(|name| (name.clone(), [of(name, |one| one.0.clone()), of(name, |one| one.1.clone())])).collect()
}

/// The value that this share of the values do not exceed.
pub(super) fn at(values: &[f64], share: f64) -> Option<f64> {
    quantile(&sorted(values), share)
}

/// The figures of a sample.
pub(super) fn summary(values: &[f64]) -> Option<Summary> {
    Summary::of(values, INTERVAL_SEED)
}

// === impl Watched ===

impl Watched {
    /// The operator that leads.
    pub(super) fn leader(&self) -> Used {
        self.most(|pod| pod.leads)
    }

    /// The busiest and the largest of the other operators.
    pub(super) fn other_operators(&self) -> Used {
        self.most(|pod| !pod.leads && pod.pod.starts_with("strobe-operator"))
    }

    /// The busiest and the largest agent.
    pub(super) fn agents(&self) -> Used {
        self.most(|pod| pod.pod.starts_with("strobe-agent"))
    }

    fn most(&self, of: impl Fn(&Usage) -> bool) -> Used {
        const MEGABYTE: f64 = 1e6;
        let pods = || self.usage.iter().filter(|pod| of(pod));
        let megabytes = pods().map(|pod| pod.bytes / MEGABYTE).fold(0.0, f64::max);
        Used { percent: pods().filter_map(|pod| pod.percent).reduce(f64::max), megabytes }
    }
}

// === impl Rounds ===

impl Rounds<'_> {
    fn measured(&self, round: u32, cell: Cell) -> Option<&Measured> {
        self.records.iter().find(|record| record.round == round && record.cell == cell).map(|record| &record.measured)
    }

    fn span(&self, round: u32, cell: Cell) -> Option<f64> {
        self.measured(round, cell)?.span_seconds()
    }

    fn each<Value>(&self, value: impl Fn(u32) -> Option<Value>) -> Vec<Value> {
        self.numbers.iter().filter_map(|round| value(*round)).collect()
    }

    fn summary(&self, value: impl Fn(u32) -> Option<f64>) -> Option<Summary> {
        summary(&self.each(value))
    }
}

// === impl Sharing ===

impl Sharing {
    fn alone(self, grain_us: u32, job: Job) -> Cell {
        match self {
            Self::GangAtMs(_) => Cell::Alone { grain_us, job },
            Self::Plain => Cell::PlainAlone { grain_us, job },
        }
    }

    fn together(self, grain_us: u32) -> Cell {
        match self {
            Self::GangAtMs(quantum_ms) => together(grain_us, quantum_ms),
            Self::Plain => Cell::PlainTogether { grain_us },
        }
    }
}

// === impl Ratio ===

impl Ratio {
    fn of(rounds: &Rounds<'_>, grain_us: u32, sharing: Sharing) -> Option<Self> {
        let alone = |round| {
            let of = |job| rounds.span(round, sharing.alone(grain_us, job));
            Some(of(Job::A)? + of(Job::B)?)
        };
        let both = sharing.together(grain_us);
        Some(Self {
            grain_us,
            sharing,
            ratio: rounds.summary(|round| Some(rounds.span(round, both)? / alone(round)?))?,
            alone: rounds.summary(alone)?,
            together: rounds.summary(|round| rounds.span(round, both))?,
            overlap: rounds.summary(|round| rounds.measured(round, both)?.overlap())?,
        })
    }
}

// === impl Starts ===

impl Starts {
    fn of(rounds: &Rounds<'_>) -> Self {
        let mut starts = Self::default();
        let mut most: BTreeMap<u32, f64> = BTreeMap::new();
        for record in rounds.records {
            let Measured::Start { containers_ms, instructions_ms, running_ms } = record.measured else { continue };
            let Some([ours, ours_last_rank]) = record.measured.ours_ms() else { continue };
            starts.container.push(containers_ms[1]);
            starts.first_instruction.push(instructions_ms[0]);
            starts.running.push(running_ms);
            starts.ours.push(ours);
            starts.ours_last_rank.push(ours_last_rank);
            let known = most.entry(record.round).or_insert(ours);
            *known = known.max(ours);
        }
        starts.ours_most = summary(&most.into_values().collect::<Vec<_>>());
        starts
    }
}

// === impl Quantum ===

impl Quantum {
    fn of(rounds: &Rounds<'_>, quantum_ms: u32) -> Option<Self> {
        let records =
            rounds.records.iter().filter(|record| matches!(record.cell, Cell::Together { quantum_ms: of, .. } if of == quantum_ms));
        let mut of_lives: BTreeMap<(u32, &str), &NodeFigures> = BTreeMap::new();
        for record in records {
            // The later cell of a round counts the earlier one's strobes too: its agents live on.
            for node in record.figures() {
                let known = of_lives.entry((record.round, &node.node)).or_insert(node);
                if node.strobes > known.strobes {
                    *known = node;
                }
            }
        }
        let figures: Vec<&NodeFigures> = of_lives.into_values().collect();
        let of = |pick: fn(&NodeFigures) -> Option<f64>| summary(&figures.iter().filter_map(|node| pick(node)).collect::<Vec<_>>());
        let count = |pick: fn(&NodeFigures) -> u64| figures.iter().map(|node| pick(node)).sum();
        (!figures.is_empty()).then(|| Self {
            quantum_ms,
            switch_p50: of(|node| Some(node.switch_micros?.p50)),
            switch_p99: of(|node| Some(node.switch_micros?.p99)),
            skew_p50: of(|node| Some(node.skew_micros?.p50)),
            skew_p99: of(|node| Some(node.skew_micros?.p99)),
            clock_bound: figures.iter().filter_map(|node| node.clock_bound_micros).fold(0.0, f64::max),
            counts: [
                count(|node| node.strobes),
                count(|node| node.late),
                count(|node| node.missed),
                count(|node| node.stragglers),
                count(|node| node.unsynchronised),
            ],
        })
    }
}

// === impl Pending ===

impl<'a> Pending<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        match (&record.cell, &record.measured) {
            (Cell::Pending { jobs, .. }, Measured::Pending { full, queueing, waiting }) => {
                Some(Self { jobs: *jobs, full, queueing, waiting })
            }
            _ => None,
        }
    }
}

/// Some agent switched without real-time priority or without cgroups.
fn is_degraded(records: &[Record]) -> bool {
    let fit = |node: &NodeFigures| node.scheduler.as_deref() == Some("Fifo") && node.freezer.as_deref() == Some("Cgroup");
    records.iter().flat_map(Record::figures).any(|node| !fit(node))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::cell::Cells;
    use super::super::record::Usage;
    use super::super::record::tests::{header, run};
    use super::*;
    use crate::bench::processor_time::Noise;
    use crate::bench::statistics::Figures;

    fn node(name: &str, strobes: u64) -> NodeFigures {
        let figures = Some(Figures { p50: 80.0, p99: 200.0, max: 300.0 });
        NodeFigures {
            node: name.to_owned(),
            scheduler: Some("Fifo".to_owned()),
            freezer: Some("Cgroup".to_owned()),
            switch_micros: figures,
            skew_micros: figures,
            clock_bound_micros: Some(250.0),
            strobes,
            late: 1,
            missed: 0,
            stragglers: 2,
            unsynchronised: 3,
        }
    }

    fn watch(seconds: f64) -> Watched {
        let pod = |pod: &str, leads, percent, bytes| Usage { pod: pod.to_owned(), leads, percent, bytes };
        Watched {
            seconds,
            requests: Requests::from([("GET pods".to_owned(), 30.0)]),
            usage: vec![
                pod("strobe-operator-a", true, Some(1.5), 20e6),
                pod("strobe-operator-b", false, Some(0.5), 10e6),
                pod("strobe-agent-a", false, Some(0.7), 6e6),
                pod("strobe-agent-b", false, None, 8e6),
            ],
        }
    }

    fn measured(cell: Cell) -> Measured {
        let one = |seconds: f64| Measured::Runs { runs: vec![run(10.0, 10.0 + seconds)], nodes: Vec::new() };
        let both = |seconds: f64, nodes| Measured::Runs { runs: vec![run(10.0, 9.5 + seconds), run(10.5, 10.0 + seconds)], nodes };
        match cell {
            Cell::Calibrate => Measured::Calibration { loops_per_us: 740.0 },
            Cell::Start { number } => Measured::Start {
                containers_ms: [900.0, 1000.0],
                instructions_ms: [1040.0 + f64::from(number), 1050.0],
                running_ms: 1100.0,
            },
            Cell::Alone { .. } | Cell::PlainAlone { .. } => one(4.0),
            Cell::Together { quantum_ms, .. } => both(8.16, vec![node("one", u64::from(1000 / quantum_ms)), node("two", 10)]),
            Cell::PlainTogether { .. } => both(16.0, Vec::new()),
            Cell::Life { number } => Measured::Life {
                seconds: 12.0,
                life: Requests::from([("POST pods".to_owned(), 2.0), ("PUT leases".to_owned(), 10.0 + f64::from(number))]),
                rest: Requests::from([("PUT leases".to_owned(), 10.0)]),
            },
            Cell::Rest { seconds } | Cell::Load { seconds, .. } => Measured::Watched(watch(seconds.into())),
            Cell::Pending { .. } => Measured::Pending { full: watch(30.0), queueing: watch(5.0), waiting: watch(30.0) },
        }
    }

    /// Rounds in which everything alone takes 4 s, gangs 2 % more than both, and plain Jobs twice as long.
    pub(in super::super) fn records(rounds: u32) -> Vec<Record> {
        let record = |round: u32, cell: Cell| Record::new(round, cell, measured(cell), Noise::default()).unwrap();
        (0..rounds).flat_map(|round| Cells::all().order(1, round).into_iter().map(move |cell| record(round, cell))).collect()
    }

    #[test]
    fn ratios_are_within_a_round() {
        let (header, records) = (header(), records(5));
        let results = Results::of(&header, &records);
        assert_eq!((results.rounds, results.ratios.len()), (5, 4));
        let ratio = results.ratio(COARSE_US, Sharing::GangAtMs(10)).unwrap();
        assert!((ratio.ratio.median - 1.02).abs() < 1e-9 && (ratio.overlap.median - 7.16 / 8.16).abs() < 1e-9, "{ratio:?}");
        let plain = results.ratio(FINE_US, Sharing::Plain).unwrap();
        assert!((plain.ratio.median - 2.0).abs() < 1e-9);
        assert!((results.plain_over_gangs.unwrap().median - 16.0 / 8.16).abs() < 1e-9);
    }

    #[test]
    fn a_round_without_one_of_its_cells_gives_no_ratio() {
        let (header, mut records) = (header(), records(2));
        records.retain(|record| record.round == 0 || record.cell != Cell::PlainAlone { grain_us: FINE_US, job: Job::B });
        let results = Results::of(&header, &records);
        assert_eq!(results.ratio(FINE_US, Sharing::Plain).unwrap().ratio.count, 1);
        assert_eq!(results.ratio(COARSE_US, Sharing::GangAtMs(50)).unwrap().ratio.count, 2);
    }

    #[test]
    fn starts_are_pooled_and_the_slowest_of_each_round_is_known() {
        let (header, records) = (header(), records(5));
        let starts = Results::of(&header, &records).starts;
        assert_eq!((starts.ours.len(), at(&starts.ours, 0.0), at(&starts.ours, 1.0)), (40, Some(40.0), Some(47.0)));
        assert_eq!((starts.ours_most.unwrap().median, starts.ours_last_rank[0], starts.running[0]), (47.0, 50.0, 1100.0));
    }

    #[test]
    fn strobes_are_counted_once_for_each_life_of_an_agent() {
        let (header, records) = (header(), records(2));
        let results = Results::of(&header, &records);
        // At 50 ms a round has two cells whose agents live on: 20 strobes of the one node and 10 of the other.
        assert_eq!((results.quanta[0].quantum_ms, results.quanta[0].counts), (50, [60, 4, 0, 8, 12]));
        assert_eq!(results.quanta[0].switch_p99.unwrap().count, 4);
        assert!(!results.disturbances.degraded);
    }

    #[test]
    fn writes_at_rest_stand_beside_those_of_a_life() {
        let (header, records) = (header(), records(1));
        let results = Results::of(&header, &records);
        assert_eq!(results.lives, 3);
        assert_eq!((results.writes["POST pods"], results.writes["PUT leases"]), ([2.0, 0.0], [11.0, 10.0]));
    }

    #[test]
    fn operators_and_agents_are_told_apart() {
        let watched = watch(30.0);
        assert_eq!(watched.leader(), Used { percent: Some(1.5), megabytes: 20.0 });
        assert_eq!(watched.other_operators(), Used { percent: Some(0.5), megabytes: 10.0 });
        assert_eq!(watched.agents(), Used { percent: Some(0.7), megabytes: 8.0 });
    }

    #[test]
    fn without_records_there_are_no_results() {
        let header = header();
        let results = Results::of(&header, &[]);
        assert!(results.ratios.is_empty() && results.quanta.is_empty() && results.writes.is_empty() && results.pending.is_empty());
    }

    #[test]
    fn an_agent_without_real_time_is_not_hidden() {
        let (header, mut records) = (header(), records(1));
        for record in &mut records {
            if let Measured::Runs { nodes, .. } = &mut record.measured {
                nodes.iter_mut().for_each(|node| node.scheduler = Some("Other".to_owned()));
            }
        }
        assert!(Results::of(&header, &records).disturbances.degraded);
    }
}
