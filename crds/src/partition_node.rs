//! `PartitionNode`: a node of a partition as its authority sees it, with what its agent measures. Written by the operator alone.

#![expect(clippy::duplicated_attributes, reason = "each printer column has its own type and priority")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::limits::{MAX_ADDRESS_LENGTH, MAX_LABEL_LENGTH, MAX_PERCENT_LENGTH, MAX_ROWS, MAX_WRITTEN_CPU_LIST_LENGTH};
use crate::schema;

// kube's derive writes the root type `PartitionNode`; its schema is in `schema.rs`, like those of the other kinds.
/// To which partition a node belongs. The operator writes it when the node's agent enrols.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "strobe.dev",
    version = "v1alpha1",
    kind = "PartitionNode",
    schema = "manual",
    status = "PartitionNodeStatus",
    derive = "PartialEq",
    category = "strobe",
    selectable = ".spec.partition",
    printcolumn(name = "Partition", type_ = "string", json_path = ".spec.partition", description = "Partition that the node belongs to."),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "What the authority knows of the node."),
    printcolumn(name = "CPUs", type_ = "integer", json_path = ".status.cpuCount", description = "CPUs that ranks may use."),
    printcolumn(name = "Member", type_ = "boolean", json_path = ".status.member", description = "Whether it is in the manager's view."),
    printcolumn(name = "Manager", type_ = "boolean", json_path = ".status.manager", description = "Whether it is the machine manager."),
    printcolumn(
        name = "CPU-Eff",
        type_ = "string",
        json_path = ".status.figures.cpuEfficiency",
        description = "CPU time of ranks, of the time of the CPUs for ranks."
    ),
    printcolumn(
        name = "Skew-p99",
        type_ = "string",
        json_path = ".status.figures.skew.p99",
        description = "How long after the first node it switches, in 99 of 100 switches at most."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Switch-p99",
        type_ = "string",
        json_path = ".status.figures.switchCost.p99",
        priority = 1,
        description = "How long a switch takes, in 99 of 100 at most."
    ),
    printcolumn(
        name = "Clock-Error",
        type_ = "string",
        json_path = ".status.figures.clockErrorBound",
        priority = 1,
        description = "Error bound of the estimate of the manager's clock."
    ),
    printcolumn(
        name = "Stragglers",
        type_ = "integer",
        json_path = ".status.figures.stragglers",
        priority = 1,
        description = "Gangs that did not freeze in time, since the agent's life began."
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.address",
        priority = 1,
        description = "Where its agent serves the authority."
    ),
    printcolumn(name = "Measured", type_ = "date", json_path = ".status.measured", priority = 1, description = "When this was written.")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionNodeSpec {
    /// Name of the Partition that the node belongs to.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    pub partition: String,
}

/// What the authority of the partition knows of a node, and what the node's agent measures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionNodeStatus {
    /// Number of the node in its partition; never another node's.
    #[serde(default)]
    pub number: u16,
    /// What the authority knows of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// Whether the node is a member of the manager's view: only members are strobed.
    #[serde(default)]
    pub member: bool,
    /// Whether the node's agent is the machine manager.
    #[serde(default)]
    pub manager: bool,
    /// The life of the agent that is reached now; grows at each start. Absent while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// CPUs that ranks may use, as a list in the kernel's notation, such as 0-3,8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_WRITTEN_CPU_LIST_LENGTH))]
    pub cpus: Option<String>,
    /// How many CPUs these are: the slots of each row.
    #[serde(default)]
    pub cpu_count: u32,
    /// Where the agent serves the authority, as address:port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ADDRESS_LENGTH))]
    pub address: Option<String>,
    /// What each row holds on this node, one entry a row, the first row first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ROWS))]
    pub rows: Vec<NodeRow>,
    /// What the agent measures. Absent until it has told something, and while it is not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<NodeFigures>,
    /// When this was written. It is written when something else of it has changed, at most every 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Time>,
}

/// What the authority knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum NodeState {
    /// No agent of it was ever reached by this authority.
    Absent,
    /// Its agent is reached.
    Reachable,
    /// Its agent was reached and is not now; its gangs may run.
    Unreachable,
    /// No rank lives on it; it may come back soon.
    Dead,
    /// No rank lives on it, and it was silent for nodeLost.
    Lost,
}

/// What one row of the matrix holds on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Gangs with slots in the row on this node.
    #[serde(default)]
    pub gangs: u32,
    /// Slots of the row that gangs hold on this node.
    #[serde(default)]
    pub used_slots: u32,
}

/// What an agent measures. Distributions and parts are over the last half to whole minute, counts since the agent's life began.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFigures {
    /// Whether the agent obeys the strobe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strobe: Option<StrobeState>,
    /// How the agent stops ranks: Cgroup (the kernel's freezer) or Signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezer: Option<Freezer>,
    /// How the thread that switches is scheduled: Fifo (in real time) or Other, which is later when the node is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// CPU time of ranks, of the time of the CPUs for ranks, such as 97%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PERCENT_LENGTH))]
    pub cpu_efficiency: Option<String>,
    /// CPU time of the agent, of the time of one CPU, such as 1.2%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PERCENT_LENGTH))]
    pub agent_cpu: Option<String>,
    /// How long after the first node of the partition this one begins a switch, by the manager's clock as each node estimates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<Distribution>,
    /// How long a switch takes, from its beginning to the last thaw, of those that change something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_cost: Option<Distribution>,
    /// Largest error of the node's estimate of the manager's clock, such as 271us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_bound: Option<Duration>,
    /// Epochs on which the agent acted.
    #[serde(default)]
    pub strobes: u64,
    /// Epochs on which it acted after their instant.
    #[serde(default)]
    pub late: u64,
    /// Epochs that were superseded before it acted.
    #[serde(default)]
    pub missed: u64,
    /// Gangs that did not freeze in time.
    #[serde(default)]
    pub stragglers: u64,
    /// Epochs on which it acted when their announcement came, for want of a good estimate of the manager's clock.
    #[serde(default)]
    pub unsynchronised: u64,
    /// How often the watchdog let gangs run free because the manager was silent.
    #[serde(default)]
    pub watchdog_expiries: u64,
}

/// Whether an agent obeys the strobe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum StrobeState {
    /// It has promised itself to no manager yet.
    Unsealed,
    /// It is strobed.
    Strobed,
    /// The manager is silent: its gangs run all the time.
    FreeRunning,
}

/// How ranks are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum Freezer {
    /// By the kernel's freezer.
    Cgroup,
    /// By stop signals.
    Signal,
}

/// How the thread that switches is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum Scheduler {
    /// Before all ordinary threads.
    Fifo,
    /// As an ordinary thread.
    Other,
}

/// A distribution of times, each to two digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// In half of the cases at most this.
    pub p50: Duration,
    /// In 99 of 100 cases at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}
