//! What a measurement of a cluster keeps: of each cell what the measuring program said.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use crate::bench::machine::Machine;
use crate::bench::processor_time::Noise;
use crate::bench::statistics::Figures;

/// The file of a measurement.
pub(super) type Store = crate::bench::store::Store<Header, Record>;

/// Requests to the API server, by what they asked for, such as `PATCH pods/status`.
pub(super) type Requests = BTreeMap<String, f64>;

/// What all records of a measurement share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    /// Fingerprint of the images, or that they were what the nodes had.
    pub(super) images: String,
    pub(super) seed: u64,
    pub(super) work_seconds: f64,
    pub(super) loops_per_us: f64,
    pub(super) machine: Machine,
    /// No measurement.
    pub(super) quick: bool,
}

/// What one cell gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// From 0.
    pub(super) round: u32,
    pub(super) cell: Cell,
    pub(super) measured: Measured,
    pub(super) noise: Noise,
}

/// What the measuring program says of a cell; each kind of cell has fields of its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Measured {
    Calibration {
        loops_per_us: f64,
    },
    /// Milliseconds since the submission, each pair in order of time.
    Start {
        containers_ms: [f64; 2],
        instructions_ms: [f64; 2],
        /// When a watch told that the job runs.
        running_ms: f64,
    },
    Runs {
        runs: Vec<Run>,
        /// Of the nodes, where gangs took turns.
        #[serde(default)]
        nodes: Vec<NodeFigures>,
    },
    /// Writes alone, and those of as much time without a gang.
    Life {
        seconds: f64,
        life: Requests,
        rest: Requests,
    },
    Pending {
        /// All rows are taken.
        full: Watched,
        /// From the first job until all wait.
        queueing: Watched,
        waiting: Watched,
    },
    Watched(Watched),
}

/// What `grain` says of itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Run {
    /// Start of its last rank, seconds since 1970.
    pub(super) started_unix_s: f64,
    pub(super) ended_unix_s: f64,
    pub(super) median_us: f64,
    pub(super) p99_us: f64,
}

/// What an agent measured of its switches, over the last half to whole minute; counts are since its life began.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeFigures {
    pub(super) node: String,
    pub(super) scheduler: Option<String>,
    pub(super) freezer: Option<String>,
    pub(super) switch_micros: Option<Figures>,
    pub(super) skew_micros: Option<Figures>,
    pub(super) clock_bound_micros: Option<f64>,
    pub(super) strobes: u64,
    pub(super) late: u64,
    pub(super) missed: u64,
    pub(super) stragglers: u64,
    pub(super) unsynchronised: u64,
}

/// The cluster over some time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Watched {
    pub(super) seconds: f64,
    pub(super) requests: Requests,
    pub(super) usage: Vec<Usage>,
}

/// What one pod of Strobe used.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) pod: String,
    /// It is the operator that leads.
    pub(super) leads: bool,
    /// Of a CPU; nothing where kubelet looked only once.
    pub(super) percent: Option<f64>,
    /// At the end.
    pub(super) bytes: f64,
}

// === impl Measured ===

impl Measured {
    /// From the start of the first job to the end of the last, in seconds. A job starts when its last rank does: launching is in none of
    /// the times, neither alone nor together.
    pub(super) fn span_seconds(&self) -> Option<f64> {
        let Self::Runs { runs, .. } = self else { return None };
        let first = runs.iter().map(|run| run.started_unix_s).reduce(f64::min)?;
        let last = runs.iter().map(|run| run.ended_unix_s).reduce(f64::max)?;
        Some(last - first)
    }

    /// The part of that in which all jobs ran.
    pub(super) fn overlap(&self) -> Option<f64> {
        let Self::Runs { runs, .. } = self else { return None };
        let last_start = runs.iter().map(|run| run.started_unix_s).reduce(f64::max)?;
        let first_end = runs.iter().map(|run| run.ended_unix_s).reduce(f64::min)?;
        Some(((first_end - last_start) / self.span_seconds()?).max(0.0))
    }

    /// From the last container's start to the first rank's first instruction, and to the last rank's, in milliseconds: the part of a start that
    /// is not Kubernetes'.
    pub(super) fn ours_ms(&self) -> Option<[f64; 2]> {
        let Self::Start { containers_ms, instructions_ms, .. } = self else { return None };
        Some(instructions_ms.map(|instruction| instruction - containers_ms[1]))
    }

    fn figures(&self) -> &[NodeFigures] {
        if let Self::Runs { nodes, .. } = self { nodes } else { &[] }
    }
}

// === impl Record ===

impl Record {
    /// A record, if it says what is expected of its cell.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn new(round: u32, cell: Cell, measured: Measured, noise: Noise) -> Result<Self> {
        let fits = match (&cell, &measured) {
            (Cell::Calibrate, Measured::Calibration { .. })
            | (Cell::Start { .. }, Measured::Start { .. })
            | (Cell::Life { .. }, Measured::Life { .. })
            | (Cell::Pending { .. }, Measured::Pending { .. })
            | (Cell::Rest { .. } | Cell::Load { .. }, Measured::Watched(_)) => true,
            (Cell::Alone { .. } | Cell::PlainAlone { .. }, Measured::Runs { runs, .. }) => runs.len() == 1,
            (Cell::Together { .. } | Cell::PlainTogether { .. }, Measured::Runs { runs, .. }) => runs.len() == 2,
            _ => false,
        };
        ensure!(fits, "the measuring program said of {cell} what belongs to another cell: {measured:?}");
        Ok(Self { round, cell, measured, noise })
    }

    /// What its nodes measured of their switches.
    pub(super) fn figures(&self) -> &[NodeFigures] {
        self.measured.figures()
    }

    /// Its most interesting figures.
    pub(super) fn line(&self) -> String {
        let text = match &self.measured {
            Measured::Calibration { loops_per_us } => format!("{loops_per_us:.1} loops a microsecond"),
            Measured::Start { instructions_ms, running_ms, .. } => {
                let [ours, _] = self.measured.ours_ms().unwrap_or_default();
                format!(
                    "first instruction after {:.0} ms, of which ours {ours:.1} ms; Running after {running_ms:.0} ms",
                    instructions_ms[0]
                )
            }
            Measured::Runs { .. } => {
                let [span, overlap] = [self.measured.span_seconds(), self.measured.overlap()].map(Option::unwrap_or_default);
                format!("{span:.3} s, {:.0} % of them at the same time", 100.0 * overlap)
            }
            Measured::Life { life, rest, .. } => format!("{:.0} writes, {:.0} in as much time at rest", sum(life), sum(rest)),
            Measured::Pending { waiting, .. } | Measured::Watched(waiting) => {
                format!("{:.1} requests a second, {}", sum(&waiting.requests) / waiting.seconds, largest(&waiting.usage))
            }
        };
        format!("{text}{}", self.noise.warning())
    }
}

/// How many there were.
pub(super) fn sum(requests: &Requests) -> f64 {
    requests.values().sum()
}

fn largest(usage: &[Usage]) -> String {
    let bytes = usage.iter().map(|pod| pod.bytes).fold(0.0, f64::max);
    format!("largest pod {:.1} MB", bytes / 1e6)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn header() -> Header {
        let machine = Machine { processor: "a processor".to_owned(), cores: 2, ..Machine::default() };
        Header { images: "f00".to_owned(), seed: 1, work_seconds: 4.0, loops_per_us: 740.0, machine, quick: false }
    }

    pub(in super::super) fn run(started: f64, ended: f64) -> Run {
        Run { started_unix_s: started, ended_unix_s: ended, median_us: 100.0, p99_us: 200.0 }
    }

    #[test]
    fn what_the_program_says_is_told_apart() {
        let read = |text: &str| serde_json::from_str::<Measured>(text).unwrap();
        assert!(matches!(read(r#"{"loopsPerUs":740.5}"#), Measured::Calibration { .. }));
        let start = read(r#"{"containersMs":[900.0,1000.0],"instructionsMs":[1040.0,1041.5],"runningMs":1100.0}"#);
        assert_eq!(start.ours_ms(), Some([40.0, 41.5]));
        let runs = read(r#"{"runs":[{"ranks":2.0,"started_unix_s":10.0,"ended_unix_s":14.0,"median_us":5.0,"p99_us":6.0}],"nodes":[]}"#);
        assert_eq!(runs.span_seconds(), Some(4.0));
        assert!(matches!(read(r#"{"seconds":9.0,"life":{"POST pods":2.0},"rest":{}}"#), Measured::Life { .. }));
        let watched = r#"{"seconds":30.0,"requests":{},"usage":[{"pod":"a","leads":true,"seconds":30.0,"percent":null,"bytes":6e6}]}"#;
        assert!(matches!(read(watched), Measured::Watched(_)));
        let pending = format!(r#"{{"full":{watched},"queueing":{watched},"waiting":{watched}}}"#);
        assert!(matches!(read(&pending), Measured::Pending { .. }));
    }

    #[test]
    fn a_span_begins_with_the_first_start_and_the_overlap_is_where_both_ran() {
        let both = Measured::Runs { runs: vec![run(10.0, 17.0), run(11.0, 18.0)], nodes: Vec::new() };
        assert_eq!((both.span_seconds(), both.overlap()), (Some(8.0), Some(0.75)));
        let apart = Measured::Runs { runs: vec![run(10.0, 11.0), run(12.0, 13.0)], nodes: Vec::new() };
        assert_eq!(apart.overlap(), Some(0.0));
    }

    #[test]
    fn an_answer_of_another_cell_is_refused() {
        let one = || Measured::Runs { runs: vec![run(10.0, 17.0)], nodes: Vec::new() };
        assert!(Record::new(0, Cell::Together { grain_us: 100, quantum_ms: 50 }, one(), Noise::default()).is_err());
        assert!(Record::new(0, Cell::Rest { seconds: 3 }, one(), Noise::default()).is_err());
        assert!(Record::new(0, Cell::Alone { grain_us: 100, job: super::super::cell::Job::A }, one(), Noise::default()).is_ok());
    }
}
