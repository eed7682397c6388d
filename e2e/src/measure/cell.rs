//! What can be asked for. `xtask` writes these as JSON, one line a cell.

use serde::Deserialize;

/// Rows of the partition, but where a cell needs more.
pub(super) const ROWS: u8 = 4;

/// One cell, and how much its programs compute.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// What is measured.
    pub cell: Cell,
    /// How much is computed.
    pub work: Work,
}

/// How much each job computes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// Seconds of computation.
    pub seconds: f64,
    /// The same in every cell, so that all do the same work.
    pub loops_per_us: f64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Cell {
    /// How many loops a microsecond of computation has.
    Calibrate,
    /// A gang of a large static program, from its submission to its first instruction.
    Start {
        /// Which of the starts of a round.
        number: u32,
    },
    /// One of the two jobs has the nodes for itself, as a gang.
    Alone {
        /// Computation between two reductions.
        grain_us: u32,
        /// Which.
        job: Job,
    },
    /// Both as gangs.
    Together {
        /// Computation between two reductions.
        grain_us: u32,
        /// Time between two switches.
        quantum_ms: u32,
    },
    /// One of the two without Strobe.
    PlainAlone {
        /// Computation between two reductions.
        grain_us: u32,
        /// Which.
        job: Job,
    },
    /// Both without Strobe, at the same time.
    PlainTogether {
        /// Computation between two reductions.
        grain_us: u32,
    },
    /// What is written to the API server in the life of one gang.
    Life {
        /// Which of the lives of a round.
        number: u32,
    },
    /// What operator and agents need while there is no gang.
    Rest {
        /// How long they are watched.
        seconds: u32,
    },
    /// What they need while so many gangs take turns.
    Load {
        /// Gangs of two nodes, whose ranks sleep.
        gangs: u32,
        /// How long they are watched.
        seconds: u32,
    },
    /// What they need while so many jobs wait for slots.
    Pending {
        /// Jobs of two nodes.
        jobs: u32,
        /// How long they are watched.
        seconds: u32,
    },
}

/// Which of two jobs that do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// The first.
    A,
    /// The second.
    B,
}

// === impl Job ===

impl Job {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::A => "grain-a",
            Self::B => "grain-b",
        }
    }
}

// === impl Cell ===

impl Cell {
    /// The quantum that the partition must have; nothing where gangs are not switched.
    pub(super) const fn quantum_ms(self) -> Option<u32> {
        match self {
            Self::Together { quantum_ms, .. } => Some(quantum_ms),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_xtask_is_understood() {
        let text = r#"{"cell":{"kind":"plainAlone","grainUs":100,"job":"b"},"work":{"seconds":2.0,"loopsPerUs":740.5}}"#;
        let order: Order = serde_json::from_str(text).unwrap();
        assert_eq!(order.cell, Cell::PlainAlone { grain_us: 100, job: Job::B });
        assert!((order.work.loops_per_us - 740.5).abs() < 1e-9);
        assert_eq!(serde_json::from_str::<Cell>(r#"{"kind":"calibrate"}"#).unwrap(), Cell::Calibrate);
    }

    #[test]
    fn only_gangs_that_share_a_cpu_need_a_quantum() {
        assert_eq!(Cell::Together { grain_us: 5000, quantum_ms: 10 }.quantum_ms(), Some(10));
        assert_eq!(Cell::Alone { grain_us: 5000, job: Job::A }.quantum_ms(), None);
    }
}
