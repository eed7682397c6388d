//! What is simulated: a partition, its network, its jobs, and what goes wrong when. All of it follows from a seed, and all
//! of it can be written down and replayed.

mod draw;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strobe_core::{
    model::{Policy, Settings},
    primitives::Comparison,
};

pub use draw::{Breadth, Options};

use crate::{limits::NODES_MAX, mutations::Mutation};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What the delays, losses and rates of the run are drawn from.
    pub seed: u64,
    /// Nodes of the partition.
    pub nodes: u16,
    /// When the last of the nodes enrol, each by its time; the others are there from the beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_milliseconds: Vec<u64>,
    /// CPUs of each node.
    pub cpus: u16,
    /// Times and rows.
    pub times: Times,
    /// How the network behaves until everything is healed.
    pub network: NetworkProfile,
    /// The jobs; a job's number is its gang.
    pub jobs: Vec<JobPlan>,
    /// What happens, sorted by time.
    pub events: Vec<Planned>,
    /// When the last fault is over and everything is healed.
    pub heal_at_milliseconds: u64,
    /// A bug that is put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation: Option<Mutation>,
}

/// Times, rows and policy of the partition; times in milliseconds. What a file does not name is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Times {
    /// What the strobe does.
    pub policy: Policy,
    /// Time between two row switches.
    pub quantum: u32,
    /// Rows of the matrix.
    pub rows: u8,
    /// How far ahead instants are announced at least.
    pub lead: u32,
    /// Period of heartbeats.
    pub heartbeat: u32,
    /// Length of the lease.
    pub suspicion: u32,
    /// Time without a renewal after which gangs are thawed.
    pub watchdog: u32,
    /// Time after which a node that is proven dead is lost.
    pub node_lost: u32,
    /// Error bound of a clock's offset above which an agent acts on receipt, in microseconds.
    pub clock_tolerance_microseconds: u32,
}

/// How the network behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkProfile {
    /// Datagrams of a million that are lost.
    pub lost: u32,
    /// Datagrams of a million that come twice.
    pub doubled: u32,
    /// Messages of a million that take up to the longest time.
    pub slow: u32,
    /// The usual time of a message, at most, in microseconds.
    pub usual_microseconds: u32,
    /// The longest time of a message, in milliseconds.
    pub longest_milliseconds: u32,
    /// True when a link of a term is accepted by a node that knows nothing of the term and has sealed no higher one.
    /// Today's fabric asks that both ends know the term; safety must not rest on it.
    pub accepts_unknown_terms: bool,
    /// Frames of a million that find their queue full and are lost while their link lives.
    #[serde(default)]
    pub overflowing: u32,
}

/// One job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobPlan {
    /// When it is submitted.
    pub submit_at_milliseconds: u64,
    /// Its nodes.
    pub nodes: u16,
    /// Its ranks on each.
    pub ranks_per_node: u32,
    /// CPUs of each rank.
    #[serde(default = "one")]
    pub cpus_per_rank: u16,
    /// What each rank has to compute.
    pub work_milliseconds: u32,
    /// The first run's rank 0 fails after half of its work.
    pub fails_once: bool,
    /// How often it is run again.
    pub restarts: u32,
    /// Time between SIGTERM and SIGKILL.
    pub grace_milliseconds: u32,
    /// Its ranks take no notice of SIGTERM.
    pub stubborn: bool,
    /// Higher goes first.
    pub priority: i32,
    /// How long it may hold slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_deadline_milliseconds: Option<u32>,
}

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Planned {
    /// When.
    pub at_milliseconds: u64,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Happening {
    /// The user pauses a job, or lets it go on.
    Pause {
        /// The job.
        job: u64,
        /// Which of the two.
        paused: bool,
    },
    /// The user suspends a job, or queues it again.
    Suspend {
        /// The job.
        job: u64,
        /// Which of the two.
        suspended: bool,
    },
    /// The user cancels a job.
    Cancel {
        /// The job.
        job: u64,
    },
    /// A node's own caller asks for an operation.
    Operate {
        /// The node.
        node: u16,
        /// Its set, as bits.
        set: u8,
        /// True for a COMPARE-AND-WRITE, false for an XFER.
        compare: bool,
        /// The number of an XFER's block, which says also whose block it is.
        #[serde(default)]
        region: u32,
        /// True for an XFER whose block is staged beside the order.
        #[serde(default)]
        staged: bool,
    },
    /// A node's own caller asks for a COMPARE-AND-WRITE.
    CompareAndWrite {
        /// The node.
        node: u16,
        /// The set, as bits.
        set: u8,
        /// The compared variable: the number of an ordered cell.
        cell: u8,
        /// The comparison.
        comparison: Comparison,
        /// The local value.
        value: u8,
        /// The number of the written cell, and its new value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        writes: Option<(u8, u8)>,
    },
    /// A node's own caller asks for an XFER into a block that belongs to a node.
    Put {
        /// The node.
        node: u16,
        /// The set, as bits.
        set: u8,
        /// Whose block.
        owner: u16,
        /// Its number.
        number: u8,
        /// True when the block is staged beside the order.
        staged: bool,
    },
    /// The network falls apart.
    Partition {
        /// The nodes of the second side, as bits.
        second_side: u8,
        /// True when the operator is on the second side.
        operator_there: bool,
        /// True when only the agents' network is apart: the operator reaches both sides.
        #[serde(default)]
        operator_reaches_all: bool,
        /// For how long.
        milliseconds: u32,
    },
    /// Nothing passes between two nodes; both reach the others and the operator.
    Separate {
        /// One of them.
        node: u16,
        /// The other.
        other: u16,
        /// For how long.
        milliseconds: u32,
    },
    /// The links between two nodes are cut, and come up again.
    CutLinks {
        /// One of them.
        node: u16,
        /// The other.
        other: u16,
    },
    /// The operator's session with an agent breaks.
    CutSession {
        /// The agent's node.
        node: u16,
    },
    /// An agent is killed and started again.
    CrashAgent {
        /// Its node.
        node: u16,
        /// How long it is gone.
        milliseconds: u32,
    },
    /// An agent says that it leaves, has time to hand over what it manages, and is started again.
    LeaveAgent {
        /// Its node.
        node: u16,
        /// How long it is gone.
        milliseconds: u32,
    },
    /// A whole node dies: agent, supervisors and ranks. It boots again, without its seal file.
    KillNode {
        /// The node.
        node: u16,
        /// When the operator has the proof, unless the node is back before.
        proof_milliseconds: u32,
        /// When it is back.
        milliseconds: u32,
    },
    /// An agent is stopped, and continued.
    PauseAgent {
        /// Its node.
        node: u16,
        /// How long it is stopped.
        milliseconds: u32,
    },
    /// A supervisor is killed: its ranks die with it.
    KillSupervisor {
        /// The node.
        node: u16,
    },
    /// The operator is killed; another takes over.
    CrashOperator {
        /// How long there is none.
        milliseconds: u32,
    },
    /// A node takes no further gang for a while.
    Cordon {
        /// The node.
        node: u16,
        /// For how long.
        milliseconds: u32,
    },
    /// A pod on a node is evicted: its ranks are killed, and the operator hears of it, one after the other.
    Evict {
        /// The node.
        node: u16,
    },
    /// No pod is started on a node for a while; the operator gives up the gangs that wait for one.
    Fill {
        /// The node.
        node: u16,
        /// For how long.
        milliseconds: u32,
    },
    /// A node's clock runs at another rate.
    Drift {
        /// The node.
        node: u16,
        /// Parts per million too fast.
        per_million: i16,
    },
    /// A node's clock jumps forward.
    Jump {
        /// The node.
        node: u16,
        /// How far.
        milliseconds: u32,
    },
    /// A node sleeps: nothing runs, and its clock stands still.
    Sleep {
        /// The node.
        node: u16,
        /// How long.
        milliseconds: u32,
    },
}

/// Why a scenario is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// There is no node, or there are too many.
    #[error("nodes must be from 1 to {NODES_MAX}")]
    Nodes,
    /// Nobody is there at the beginning, or a node enrols before one with a smaller number.
    #[error("fewer nodes than all may be late, and their times must be sorted")]
    Late,
    /// The times do not agree with each other.
    #[error("the times do not agree")]
    Times(#[source] strobe_core::model::SettingsError),
    /// Something happens to a node or a job that is not there.
    #[error("the event at {at_milliseconds} ms names a node or a job that is not there")]
    Event {
        /// The event's time.
        at_milliseconds: u64,
    },
}

const fn one() -> u16 {
    1
}

// === impl Scenario ===

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn of_seed(seed: u64, options: Options) -> Self {
        draw::scenario(seed, options)
    }

    /// The scenario, if it can be run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validated(self) -> Result<Self, ScenarioError> {
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return Err(ScenarioError::Nodes);
        }
        if self.late_milliseconds.len() >= usize::from(self.nodes) || !self.late_milliseconds.is_sorted() {
            return Err(ScenarioError::Late);
        }
        self.times.settings().validated().map_err(ScenarioError::Times)?;
        match self.events.iter().find(|planned| !self.names_what_is_there(planned.what)) {
            Some(planned) => Err(ScenarioError::Event { at_milliseconds: planned.at_milliseconds }),
            None => Ok(self),
        }
    }

    /// Nodes that are there from the beginning.
    pub(crate) fn early(&self) -> u16 {
        self.nodes - u16::try_from(self.late_milliseconds.len()).expect("fewer than the nodes")
    }

    fn names_what_is_there(&self, what: Happening) -> bool {
        match what {
            Happening::Pause { job, .. } | Happening::Suspend { job, .. } | Happening::Cancel { job } => job < self.jobs.len() as u64,
            _ => {
                let [node, other] = what.nodes();
                (node.is_none() || node != other) && [node, other].into_iter().flatten().all(|named| named < self.nodes)
            }
        }
    }
}

impl Happening {
    /// The nodes that it names by their numbers.
    pub(crate) fn nodes(self) -> [Option<u16>; 2] {
        match self {
            Self::Pause { .. } | Self::Suspend { .. } | Self::Cancel { .. } | Self::Partition { .. } | Self::CrashOperator { .. } => {
                [None, None]
            }
            Self::CutLinks { node, other } | Self::Separate { node, other, .. } => [Some(node), Some(other)],
            Self::Operate { node, .. }
            | Self::CompareAndWrite { node, .. }
            | Self::Put { node, .. }
            | Self::CutSession { node }
            | Self::CrashAgent { node, .. }
            | Self::LeaveAgent { node, .. }
            | Self::KillNode { node, .. }
            | Self::PauseAgent { node, .. }
            | Self::KillSupervisor { node }
            | Self::Cordon { node, .. }
            | Self::Evict { node }
            | Self::Fill { node, .. }
            | Self::Drift { node, .. }
            | Self::Jump { node, .. }
            | Self::Sleep { node, .. } => [Some(node), None],
        }
    }
}

impl Times {
    /// The settings of the partition.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
        Settings {
            quantum: milliseconds(self.quantum),
            rows: self.rows,
            policy: self.policy,
            lead: milliseconds(self.lead),
            heartbeat: milliseconds(self.heartbeat),
            suspicion: milliseconds(self.suspicion),
            watchdog: milliseconds(self.watchdog),
            clock_tolerance: Duration::from_micros(u64::from(self.clock_tolerance_microseconds)),
            node_lost: milliseconds(self.node_lost),
        }
    }
}

impl Default for Times {
    /// Short, so that a run is short.
    fn default() -> Self {
        Self {
            policy: Policy::Gang,
            quantum: 20,
            rows: 1,
            lead: 5,
            heartbeat: 50,
            suspicion: 200,
            watchdog: 350,
            node_lost: 800,
            clock_tolerance_microseconds: 1_000,
        }
    }
}
