//! What people see: the state of a run as a picture, drawn below the ranks' lines, and the summary.

mod picture;
mod summary;

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
    /// What the agents count; none before the first strobe.
    pub strobes: Option<StrobeCounts>,
    /// None before the first strobe, and of one node alone.
    pub skew_micros: Option<SkewFigures>,
    /// Switch cost, p50, in microseconds.
    pub switch_micros: Option<f64>,
    /// The term and its manager's node.
    pub term: Option<(u64, u16)>,
}

/// Strobes over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StrobeCounts {
    /// Acted on.
    pub count: u64,
    /// Of these, late.
    pub late: u64,
    /// Superseded before they were acted on.
    pub missed: u64,
    /// Gangs that did not stop in time.
    pub stragglers: u64,
}

/// How far apart nodes act, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct SkewFigures {
    /// In half of the epochs at most this.
    pub p50: f64,
    /// In 99 of 100.
    pub p99: f64,
    /// Largest error that an agent admits of its estimate of the manager's clock.
    pub bound: f64,
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
    /// True when nothing more will come of it.
    pub over: bool,
    /// What else is to be said.
    pub note: String,
}
