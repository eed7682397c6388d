//! What is measured on a cluster, and the order in which a round runs it. The program in `e2e/src/measure` takes these cells as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bench::statistics::Random;

/// Quanta of the gangs, in milliseconds.
pub(super) const QUANTA_MS: [u32; 2] = [50, 10];
/// Grain of the gangs whose makespan has a goal, in microseconds.
pub(super) const COARSE_US: u32 = 5000;
/// Grain of those that are compared with plain Jobs, and the quantum then.
pub(super) const FINE_US: u32 = 100;
pub(super) const FINE_QUANTUM_MS: u32 = QUANTA_MS[0];
/// Starts of the large program in one round.
const STARTS: u32 = 8;
/// Lives of which the writes are counted.
const LIVES: u32 = 3;

/// One configuration; a round runs each once, but for those that are measured once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Cell {
    /// How many loops a microsecond of computation has.
    Calibrate,
    /// A gang of a large static program, from its submission to its first instruction.
    Start { number: u32 },
    /// One of the two jobs has the nodes for itself, as a gang.
    Alone { grain_us: u32, job: Job },
    /// Both as gangs.
    Together { grain_us: u32, quantum_ms: u32 },
    /// One of the two as plain Jobs.
    PlainAlone { grain_us: u32, job: Job },
    /// Both as plain Jobs.
    PlainTogether { grain_us: u32 },
    /// What is written to the API server in the life of one gang.
    Life { number: u32 },
    /// What operator and agents need while there is no gang.
    Rest { seconds: u32 },
    /// The same while so many gangs take turns.
    Load { gangs: u32, seconds: u32 },
    /// The same while so many jobs wait for slots.
    Pending { jobs: u32, seconds: u32 },
}

/// Which of the two jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Job {
    A,
    B,
}

/// What a measurement is made of.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    /// Those of every round.
    each: Vec<Cell>,
    /// Those that only the first round has, after the others: figures without a goal, each of which takes minutes.
    once: Vec<Cell>,
}

// === impl Cells ===

impl Cells {
    /// Of a whole measurement.
    pub(super) fn all() -> Self {
        let lives = (0..LIVES).map(|number| Cell::Life { number });
        let watched = [Cell::Rest { seconds: 30 }, Cell::Load { gangs: 20, seconds: 30 }, Cell::Pending { jobs: 100, seconds: 30 }];
        Self { each: each(STARTS), once: lives.chain(watched).collect() }
    }

    /// Those that show in a short time whether the measurement itself works.
    pub(super) fn quick() -> Self {
        let mut each = each(1);
        // One of each kind, so that tests of the cluster wait for some minutes at most.
        each.retain(|cell| !matches!(cell, Cell::Alone { grain_us: FINE_US, .. } | Cell::Together { grain_us: FINE_US, .. }));
        each.retain(|cell| !matches!(cell, Cell::PlainAlone { job: Job::A, .. }));
        let watched = [Cell::Rest { seconds: 11 }, Cell::Load { gangs: 3, seconds: 11 }, Cell::Pending { jobs: 5, seconds: 5 }];
        Self { each, once: [Cell::Life { number: 0 }].into_iter().chain(watched).collect() }
    }

    /// The order of a round, the same for the same seed: what needs the first quantum, what needs none, what needs the second; the next round
    /// the other way round, since agents begin anew with another quantum. Shuffled within.
    pub(super) fn order(&self, seed: u64, round: u32) -> Vec<Cell> {
        let mut random = Random::new(seed ^ (u64::from(round) << 32));
        let mut quanta = QUANTA_MS;
        if round % 2 == 1 {
            quanta.reverse();
        }
        let phases = [Some(quanta[0]), None, Some(quanta[1])];
        let mut cells = Vec::new();
        for phase in phases {
            let mut of_phase: Vec<Cell> = self.each.iter().copied().filter(|cell| cell.quantum_ms() == phase).collect();
            random.shuffle(&mut of_phase);
            cells.extend(of_phase);
        }
        if round == 0 {
            cells.extend(&self.once);
        }
        cells
    }
}

fn each(starts: u32) -> Vec<Cell> {
    let jobs = [Job::A, Job::B];
    let alone = [COARSE_US, FINE_US].into_iter().flat_map(|grain_us| jobs.map(|job| Cell::Alone { grain_us, job }));
    let plain_alone = jobs.map(|job| Cell::PlainAlone { grain_us: FINE_US, job });
    let coarse = QUANTA_MS.map(|quantum_ms| Cell::Together { grain_us: COARSE_US, quantum_ms });
    let fine = [Cell::Together { grain_us: FINE_US, quantum_ms: FINE_QUANTUM_MS }, Cell::PlainTogether { grain_us: FINE_US }];
    let starts = (0..starts).map(|number| Cell::Start { number });
    alone.chain(plain_alone).chain(coarse).chain(fine).chain(starts).collect()
}

// === impl Cell ===

impl Cell {
    /// The quantum that it needs.
    const fn quantum_ms(self) -> Option<u32> {
        match self {
            Self::Together { quantum_ms, .. } => Some(quantum_ms),
            _ => None,
        }
    }

    /// About how long it takes, in seconds, when a job alone computes for `work_seconds`: only for saying how much time is left.
    pub(super) fn expected_seconds(self, work_seconds: f64) -> f64 {
        /// A job's pods come and go.
        const PODS: f64 = 6.0;
        /// Agents begin anew with another quantum, and their figures are waited for.
        const AGENTS: f64 = 15.0;
        PODS + match self {
            Self::Calibrate => 3.0 * PODS,
            Self::Start { .. } => 0.0,
            Self::Alone { .. } | Self::PlainAlone { .. } => work_seconds,
            Self::Together { .. } => AGENTS + 2.0 * work_seconds,
            Self::PlainTogether { .. } => 4.0 * work_seconds,
            Self::Life { .. } => 3.0 * PODS,
            Self::Rest { seconds } => f64::from(seconds),
            Self::Load { gangs, seconds } => 2.0 * AGENTS + f64::from(seconds) + 4.0 * f64::from(gangs),
            Self::Pending { jobs, seconds } => AGENTS + 2.0 * f64::from(seconds) + 0.3 * f64::from(jobs),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calibrate => formatter.write_str("calibration"),
            Self::Start { number } => write!(formatter, "start of a large program, number {}", number + 1),
            Self::Alone { grain_us, job } => write!(formatter, "grain {grain_us} us, job {} alone", job.letter()),
            Self::Together { grain_us, quantum_ms } => write!(formatter, "grain {grain_us} us, both, gangs at {quantum_ms} ms"),
            Self::PlainAlone { grain_us, job } => write!(formatter, "grain {grain_us} us, job {} alone, plain Jobs", job.letter()),
            Self::PlainTogether { grain_us } => write!(formatter, "grain {grain_us} us, both, plain Jobs"),
            Self::Life { number } => write!(formatter, "writes in the life of a gang, number {}", number + 1),
            Self::Rest { seconds } => write!(formatter, "no gang for {seconds} s"),
            Self::Load { gangs, seconds } => write!(formatter, "{gangs} gangs in turns for {seconds} s"),
            Self::Pending { jobs, seconds } => write!(formatter, "{jobs} jobs wait for {seconds} s"),
        }
    }
}

// === impl Job ===

impl Job {
    fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_begin_anew_once_a_round() {
        let quanta: Vec<u32> = (0..4).flat_map(|round| Cells::all().order(1, round)).filter_map(Cell::quantum_ms).collect();
        let changes = quanta.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 4);
    }

    #[test]
    fn every_round_has_the_same_cells_but_for_those_that_are_measured_once() {
        let cells = Cells::all();
        let sorted = |round| {
            let mut names: Vec<String> = cells.order(1, round).iter().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(1), sorted(2));
        assert_eq!(sorted(0).len(), sorted(1).len() + 6);
        let mut distinct = sorted(0);
        distinct.dedup();
        assert_eq!(distinct, sorted(0));
        assert_eq!(cells.order(1, 3), cells.order(1, 3));
        assert_ne!(cells.order(1, 3), cells.order(2, 3));
    }

    #[test]
    fn a_quick_run_has_every_kind_of_cell_and_less_of_each() {
        let kind = |cell: &Cell| serde_json::to_value(cell).unwrap()["kind"].as_str().map(str::to_owned);
        let kinds = |cells: Cells| cells.order(1, 0).iter().filter_map(kind).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(kinds(Cells::quick()), kinds(Cells::all()));
        let seconds: f64 = Cells::quick().order(1, 0).iter().map(|cell| cell.expected_seconds(1.0)).sum();
        assert!(seconds < 4.5 * 60.0, "{seconds}");
    }

    #[test]
    fn five_rounds_take_less_than_half_an_hour() {
        let seconds: f64 = (0..5).flat_map(|round| Cells::all().order(1, round)).map(|cell| cell.expected_seconds(4.0)).sum();
        assert!(seconds < 30.0 * 60.0, "{seconds}");
    }

    #[test]
    fn cells_survive_their_file() {
        for cell in Cells::all().order(1, 0) {
            assert_eq!(serde_json::from_str::<Cell>(&serde_json::to_string(&cell).unwrap()).unwrap(), cell);
        }
        assert_eq!(
            serde_json::to_string(&Cell::PlainAlone { grain_us: 100, job: Job::B }).unwrap(),
            r#"{"kind":"plainAlone","grainUs":100,"job":"b"}"#
        );
    }
}
