//! What people see: the state of a run as a picture, drawn below the ranks' lines, and the summary.

mod live;
mod picture;
mod summary;

pub(super) use live::Live;
pub(super) use summary::summary;

/// The state of a run, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Snapshot {
    /// The partition: its name, policy, quantum.
    pub title: String,
    /// The nodes.
    pub nodes: Vec<NodeColumn>,
    /// Rows of the matrix.
    pub rows: usize,
    /// The jobs.
    pub jobs: Vec<JobLine>,
    /// Skew, p50 and p99, in microseconds; none before the first strobe.
    pub skew_micros: Option<(f64, f64)>,
    /// Switch cost, p50, in microseconds.
    pub switch_micros: Option<f64>,
    /// The term and its manager's node.
    pub term: Option<(u64, u16)>,
}

/// One node of the matrix.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct NodeColumn {
    /// Its CPUs.
    pub cpus: Vec<u16>,
    /// False when its agent is not reached.
    pub reached: bool,
    /// The row that it runs.
    pub active: Option<usize>,
    /// What each row has on each of its CPUs: the place of a job in the list.
    pub slots: Vec<Vec<Option<usize>>>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct JobLine {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// How far it is, in percent.
    pub progress: Option<u8>,
    /// How long it runs, in seconds.
    pub seconds: f64,
    /// What else is to be said.
    pub note: String,
}
