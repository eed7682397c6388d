//! `Partition`: a set of nodes that Strobe schedules as one machine.

#![expect(clippy::duplicated_attributes, reason = "each printer column has its own type and priority")]

mod condition;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use condition::{PartitionConditionType, PartitionReason};

use crate::cpu_list;
use crate::duration::Duration;
use crate::limits::{MAX_ALLOWED_NAMESPACES, MAX_CPU_LIST_LENGTH, MAX_ROWS};
use crate::schema;

// kube's derive writes the root type `Partition`; its schema is in `schema.rs`, because its rules need the metadata.
/// What a partition is made of and how it is switched.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "strobe.dev",
    version = "v1alpha1",
    kind = "Partition",
    schema = "manual",
    status = "PartitionStatus",
    derive = "PartialEq",
    category = "strobe",
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.ready",
        description = "Nodes that are members of the view, of all nodes of the partition."
    ),
    printcolumn(name = "Rows", type_ = "integer", json_path = ".spec.rows", description = "Rows of the matrix."),
    printcolumn(name = "Quantum", type_ = "string", json_path = ".spec.quantum", description = "Time between two row switches."),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policy",
        description = "gang: rows are switched; kernel: everything runs."
    ),
    printcolumn(name = "Gangs", type_ = "integer", json_path = ".status.gangs", description = "Gangs that hold slots."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Manager",
        type_ = "string",
        json_path = ".status.manager",
        priority = 1,
        description = "Node of the machine manager."
    ),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.term", priority = 1, description = "Term of the machine manager.")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::attach_partition_rules)]
pub struct PartitionSpec {
    /// Labels that a node must carry to belong to the partition. Default: none, so every node that no other
    /// partition selects. A node belongs to at most one partition. At most 32 labels. Not used in local mode.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = schema::limit_selector)]
    pub node_selector: BTreeMap<String, String>,

    /// The CPUs of each node that ranks may use, as a list in the kernel's notation, such as 0-3,8. Leave out the CPUs
    /// that the system keeps for itself. Default: every CPU of the node. CPU numbers go up to 1023.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = cpu_list::PATTERN), length(max = MAX_CPU_LIST_LENGTH))]
    pub cpus: Option<String>,

    /// Rows of the matrix: how many gangs can take turns on one CPU. From 1 to 16; default 4.
    /// It does not shrink below the rows that gangs hold.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 1, max = MAX_ROWS))]
    pub rows: u8,

    /// Time between two row switches. From 1ms to 10s; default 50ms.
    #[serde(default = "default_quantum")]
    pub quantum: Duration,

    /// How the partition shares its CPUs: gang (rows are switched, the default) or kernel (every gang runs
    /// all the time under the kernel's own sharing; for comparison).
    #[serde(default)]
    pub policy: Policy,

    /// How the agents of the partition talk to each other: tcp (the default), verbs (RDMA) or loopback
    /// (all agents in one process; for tests only).
    #[serde(default)]
    pub transport: Transport,

    /// How long before its instant a row switch is announced. A slow link needs a longer lead. From 100us to 1s, and
    /// less than suspicion; default 5ms. It may exceed the quantum: each announcement carries several epochs.
    #[serde(default = "default_lead")]
    pub lead: Duration,

    /// Time between two heartbeats. From 10ms to 10s; default 500ms.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Duration,

    /// How long a member may be silent before it leaves the view, and how long the manager's lease lasts.
    /// From 20ms to 5m, and at least two heartbeats; default 3s.
    #[serde(default = "default_suspicion")]
    pub suspicion: Duration,

    /// How long an agent obeys without a renewed lease before it thaws its gangs and lets them run free.
    /// From 30ms to 1h, and longer than suspicion. Default: 5s or four quanta, whichever is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Duration>,

    /// Largest error bound of an agent's estimate of the manager's clock. An agent beyond it acts on receipt
    /// and counts as unsynchronised. From 10us to 1s, and at most one quantum; default 1ms.
    #[serde(default = "default_clock_tolerance")]
    pub clock_tolerance: Duration,

    /// How long all pods of a gang may take to be bound to their nodes before all are deleted and the gang
    /// waits again. From 1s to 1h; default 1m.
    #[serde(default = "default_placement_timeout")]
    pub placement_timeout: Duration,

    /// How long a node may be unreachable before it counts as lost, so that its gangs fail or restart.
    /// From 30ms to 24h, and longer than suspicion; default 1m.
    #[serde(default = "default_node_lost")]
    pub node_lost: Duration,

    /// Whether only gangs may run on the nodes of the partition, enforced by a taint. Default true.
    /// With false ordinary pods share the nodes and disturb the gangs. Not used in local mode.
    #[serde(default = "default_dedicated")]
    pub dedicated: bool,

    /// Names of the namespaces whose jobs may use the partition. Default: none listed. A namespace may use the
    /// partition if it is listed here or matches namespaceSelector; if both are absent, every namespace may.
    /// At most 256 names. Not used in local mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ALLOWED_NAMESPACES), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Vec<String>,

    /// Selector on the labels of namespaces whose jobs may use the partition, beside allowedNamespaces. Default: none.
    /// Not used in local mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Most ranks that the admitted jobs of one namespace may have together. From 1; default: no limit.
    /// Not used in local mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_ranks_per_namespace: Option<u32>,
}

/// How a partition shares its CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = schema::flatten_enum)]
pub enum Policy {
    /// Rows are switched at every quantum.
    #[default]
    Gang,
    /// Everything is thawed; the kernel shares the CPUs.
    Kernel,
}

/// How agents talk to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = schema::flatten_enum)]
pub enum Transport {
    /// TCP and datagrams, mutual TLS.
    #[default]
    Tcp,
    /// RDMA.
    Verbs,
    /// Within one process.
    Loopback,
}

/// What the authority knows of a partition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The metadata.generation that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Members of the view out of all nodes of the partition, such as 3/4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Nodes that belong to the partition.
    #[serde(default)]
    pub nodes: u32,
    /// Nodes that are members of the manager's view.
    #[serde(default)]
    pub members: u32,
    /// Gangs that hold slots.
    #[serde(default)]
    pub gangs: u32,
    /// Node of the machine manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The machine manager's term.
    #[serde(default)]
    pub term: u64,
    /// What each row holds, one entry a row, the first row first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ROWS))]
    pub rows: Vec<RowStatus>,
    /// Conditions, one a type: Ready, NodesAnswer, and Terminating of one that is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::limit_conditions)]
    pub conditions: Vec<Condition>,
}

/// What one row of the matrix holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowStatus {
    /// Gangs with slots in the row.
    pub gangs: u32,
    /// Slots of the row that gangs hold.
    pub used_slots: u32,
    /// All slots of the row.
    pub slots: u32,
}

/// The duration fields of a partition, each with its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeField {
    /// `quantum`
    Quantum,
    /// `lead`
    Lead,
    /// `heartbeat`
    Heartbeat,
    /// `suspicion`
    Suspicion,
    /// `watchdog`
    Watchdog,
    /// `clockTolerance`
    ClockTolerance,
    /// `placementTimeout`
    PlacementTimeout,
    /// `nodeLost`
    NodeLost,
}

// === impl TimeField ===

impl TimeField {
    /// The field's name in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quantum => "quantum",
            Self::Lead => "lead",
            Self::Heartbeat => "heartbeat",
            Self::Suspicion => "suspicion",
            Self::Watchdog => "watchdog",
            Self::ClockTolerance => "clockTolerance",
            Self::PlacementTimeout => "placementTimeout",
            Self::NodeLost => "nodeLost",
        }
    }

    /// Shortest and longest value allowed. The shortest ones are for tests; a value outside is refused by a rule.
    #[must_use]
    pub const fn range(self) -> (Duration, Duration) {
        let millis = Duration::from_millis;
        match self {
            Self::Quantum => (millis(1), millis(10_000)),
            Self::Lead => (Duration::from_micros(100), millis(1_000)),
            Self::Heartbeat => (millis(10), millis(10_000)),
            Self::Suspicion => (millis(20), millis(300_000)),
            Self::Watchdog => (millis(30), millis(3_600_000)),
            Self::ClockTolerance => (Duration::from_micros(10), millis(1_000)),
            Self::PlacementTimeout => (millis(1_000), millis(3_600_000)),
            Self::NodeLost => (millis(30), millis(86_400_000)),
        }
    }

    /// The value in a spec; `None` only for a watchdog that is left to its default.
    #[must_use]
    pub const fn value(self, spec: &PartitionSpec) -> Option<Duration> {
        match self {
            Self::Quantum => Some(spec.quantum),
            Self::Lead => Some(spec.lead),
            Self::Heartbeat => Some(spec.heartbeat),
            Self::Suspicion => Some(spec.suspicion),
            Self::Watchdog => spec.watchdog,
            Self::ClockTolerance => Some(spec.clock_tolerance),
            Self::PlacementTimeout => Some(spec.placement_timeout),
            Self::NodeLost => Some(spec.node_lost),
        }
    }
}

// === impl PartitionSpec ===

impl PartitionSpec {
    /// The watchdog that holds: the one stated, or 5 s or four quanta, whichever is longer.
    #[must_use]
    pub fn effective_watchdog(&self) -> Duration {
        let four_quanta = Duration::from(self.quantum.to_std().saturating_mul(4));
        self.watchdog.unwrap_or_else(|| four_quanta.max(Duration::from_millis(5_000)))
    }
}

impl Default for PartitionSpec {
    fn default() -> Self {
        Self {
            node_selector: BTreeMap::new(),
            cpus: None,
            rows: default_rows(),
            quantum: default_quantum(),
            policy: Policy::default(),
            transport: Transport::default(),
            lead: default_lead(),
            heartbeat: default_heartbeat(),
            suspicion: default_suspicion(),
            watchdog: None,
            clock_tolerance: default_clock_tolerance(),
            placement_timeout: default_placement_timeout(),
            node_lost: default_node_lost(),
            dedicated: default_dedicated(),
            allowed_namespaces: Vec::new(),
            namespace_selector: None,
            max_ranks_per_namespace: None,
        }
    }
}

fn default_rows() -> u8 {
    4
}

fn default_quantum() -> Duration {
    Duration::from_millis(50)
}

fn default_lead() -> Duration {
    Duration::from_millis(5)
}

fn default_heartbeat() -> Duration {
    Duration::from_millis(500)
}

fn default_suspicion() -> Duration {
    Duration::from_millis(3_000)
}

fn default_clock_tolerance() -> Duration {
    Duration::from_millis(1)
}

fn default_placement_timeout() -> Duration {
    Duration::from_millis(60_000)
}

fn default_node_lost() -> Duration {
    Duration::from_millis(60_000)
}

fn default_dedicated() -> bool {
    true
}
