//! What a measurement of one machine keeps of each cell.

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::report::{Distributions, Report};
use crate::bench::machine::Machine;
use crate::bench::processor_time::Noise;

/// The file of a measurement.
pub(super) type Store = crate::bench::store::Store<Header, Record>;

/// What all records of a measurement share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    /// Fingerprint of the measured programs.
    pub(super) programs: String,
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
    pub(super) report: Report,
    pub(super) noise: Noise,
    /// Of a traced cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) distributions: Option<Distributions>,
    /// Of a start: from the submission to the first instruction of the first rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_instruction_ms: Option<f64>,
}

// === impl Record ===

impl Record {
    /// Its most interesting figures.
    pub(super) fn line(&self) -> String {
        let strobes = &self.report.strobes;
        let span = self.report.span_seconds().map_or_else(|error| format!("{error:#}"), |span| format!("{span:.3} s"));
        let first = self.first_instruction_ms.map_or_else(String::new, |first| format!(", first instruction after {first:.1} ms"));
        let switches = match self.cell {
            Cell::Together { .. } | Cell::Traced { .. } => {
                format!(
                    ", switch p50 {:.0} p99 {:.0} us, skew p99 {:.0} us",
                    strobes.switch_micros.p50, strobes.switch_micros.p99, strobes.skew_micros.p99
                )
            }
            Cell::Alone { .. } | Cell::Start { .. } | Cell::Rest { .. } => String::new(),
        };
        format!("{span}{first}{switches}{}", self.noise.warning())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::report::tests::report;
    use super::*;

    pub(in super::super) fn header() -> Header {
        let machine = Machine { processor: "a processor".to_owned(), cores: 2, ..Machine::default() };
        Header { programs: "f00".to_owned(), seed: 1, work_seconds: 2.0, loops_per_us: 740.0, machine, quick: false }
    }

    /// A record of a run without noise.
    pub(in super::super) fn record(round: u32, cell: Cell, run_seconds: f64) -> Record {
        let report = report(&[(50.0, run_seconds)], 70.0);
        Record { round, cell, report, noise: Noise::default(), distributions: None, first_instruction_ms: None }
    }

    #[test]
    fn records_survive_their_file() {
        let text = serde_json::to_string(&record(1, Cell::Start { number: 1 }, 2.0)).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!((read.round, read.cell), (1, Cell::Start { number: 1 }));
    }
}
