//! `ParallelJob`: a gang of ranks that is launched, switched and ended as one thing.

#![expect(clippy::duplicated_attributes, reason = "each printer column has its own type and priority")]

mod condition;
mod status;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use condition::{ConditionType, FailureReason, Reason};
pub use status::{GangState, JobFailure, ParallelJobStatus};

use crate::limits::{MAX_CPUS_PER_RANK, MAX_LABEL_LENGTH, MAX_NAME_LENGTH, MAX_NODES, MAX_RANKS_PER_NODE, MAX_RESTARTS};
use crate::schema;

// kube's derive writes the root type `ParallelJob`; its schema is in `schema.rs`, because its rules need the metadata.
/// What a job runs, on how many nodes, and what happens when it fails.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "strobe.dev",
    version = "v1alpha1",
    kind = "ParallelJob",
    plural = "paralleljobs",
    shortname = "pj",
    namespaced,
    schema = "manual",
    status = "ParallelJobStatus",
    derive = "PartialEq",
    category = "strobe",
    selectable = ".spec.partition",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "Where the gang is in its life."),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Nodes whose supervisors are up, of all nodes of the gang."
    ),
    printcolumn(
        name = "Row",
        type_ = "string",
        json_path = ".status.row",
        description = "First row that the gang holds, of all occupied rows."
    ),
    printcolumn(
        name = "Share",
        type_ = "string",
        json_path = ".status.share",
        description = "Share of the time in which the gang's rows are active."
    ),
    printcolumn(
        name = "Restarts",
        type_ = "integer",
        json_path = ".status.restarts",
        description = "Restarts that count against the limit."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Priority",
        type_ = "integer",
        json_path = ".status.priority",
        priority = 1,
        description = "Value of the job's priority class."
    ),
    printcolumn(
        name = "Quantum",
        type_ = "string",
        json_path = ".status.quantum",
        priority = 1,
        description = "Quantum of the partition."
    ),
    printcolumn(
        name = "CPU-Eff",
        type_ = "string",
        json_path = ".status.cpuEfficiency",
        priority = 1,
        description = "CPU time used, of the CPU time of the gang's slots."
    ),
    printcolumn(
        name = "Start",
        type_ = "date",
        json_path = ".status.startTime",
        priority = 1,
        description = "When the ranks were released."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.message",
        priority = 1,
        description = "Why the job is in its state."
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::attach_parallel_job_rules)]
pub struct ParallelJobSpec {
    /// Name of the Partition that runs the job. Required; immutable.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    pub partition: String,

    /// Nodes of the gang, one pod on each. From 1 to 4096; default 1. Changes only while the job is suspended with no pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_NODES))]
    pub nodes: u32,

    /// Ranks on each node. From 1 to 1024, and at most 65536 on all nodes together; default 1. Immutable.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_RANKS_PER_NODE))]
    pub ranks_per_node: u32,

    /// CPUs of each rank; the rank is pinned to them. From 1 to 1024, and ranksPerNode × cpusPerRank is at most 1024;
    /// default 1. Immutable.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_CPUS_PER_RANK))]
    pub cpus_per_rank: u32,

    /// The pods of the gang, as in a Job: one a node, each with ranksPerNode ranks of the rank container's command.
    /// Required. Changes only while the job is suspended with no pods. In local mode the rank container's command,
    /// args, env and workingDir are what runs; the rest is not used. See kubectl explain pod.spec for the fields.
    #[schemars(transform = schema::prepare_template)]
    pub template: PodTemplateSpec,

    /// Name of the container whose command the ranks run. It must state its command. Default: the first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    pub rank_container: Option<String>,

    /// How ranks are started and find each other. Default: protocol pmi1. Immutable.
    #[serde(default)]
    pub launch: Launch,

    /// Name of the PriorityClass that orders waiting jobs; their pods have it too. Default: the template's, otherwise
    /// strobe-gang where there is one, otherwise the cluster's default class, otherwise priority 0. Not used in local mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    pub priority_class_name: Option<String>,

    /// Whether the job gives up its resources: its pods end, it leaves the matrix and starts anew when this
    /// is false again. Default false.
    #[serde(default)]
    pub suspend: bool,

    /// Whether the ranks are held: they keep their memory and their row but do not run. Default false.
    #[serde(default)]
    pub paused: bool,

    /// When and how often the gang starts again after a failure. Default: never.
    #[serde(default)]
    pub restart: Restart,

    /// How long the job may run, in seconds of wall time from its first start, time in suspension excluded; then
    /// it fails with reason DeadlineExceeded. From 1; default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub active_deadline_seconds: Option<u32>,

    /// How long the finished job is kept before it is deleted, in seconds. From 0; default: for ever.
    /// Not used in local mode.
    #[serde(rename = "ttlSecondsAfterFinished", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<u32>,

    /// Name of the controller that manages the job, such as kueue.x-k8s.io/multikueue. Default: Strobe's operator.
    /// With another name Strobe leaves the job alone. Immutable. Not used in local mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub managed_by: Option<String>,
}

/// How ranks are started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launch {
    /// pmi1: MPI libraries find their peers by PMI-1, and the variables of env are set too (the default).
    /// env: only RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, JOB_COMPLETION_INDEX.
    /// none: nothing is added to the environment.
    #[serde(default)]
    pub protocol: LaunchProtocol,
}

/// The protocol by which ranks find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = schema::flatten_enum)]
pub enum LaunchProtocol {
    /// PMI-1, served by the supervisor, and the environment variables.
    #[default]
    Pmi1,
    /// Environment variables only.
    Env,
    /// Nothing.
    None,
}

/// When and how often a gang starts again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restart {
    /// How many times the whole gang may be started again. From 0 to 1000; default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RESTARTS))]
    pub limit: u32,

    /// Which failures are followed by a restart. Default: both RankFailure and NodeLost. In YAML for kubectl write
    /// the name of this field in quotes, "on": without them kubectl reads it as the truth value.
    #[serde(default = "every_cause")]
    #[schemars(transform = schema::limit_restart_causes)]
    pub on: Vec<RestartCause>,
}

/// A failure that may be followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum RestartCause {
    /// A rank exited with a status other than 0, or was killed.
    RankFailure,
    /// A node of the gang was lost.
    NodeLost,
}

// === impl Restart ===

impl Default for Restart {
    fn default() -> Self {
        Self { limit: 0, on: every_cause() }
    }
}

// === impl ParallelJobSpec ===

impl ParallelJobSpec {
    /// The container whose command the ranks run, and its place in the list: the one named, or the first; `None` if
    /// there is no such container.
    #[must_use]
    pub fn find_rank_container(&self) -> Option<(usize, &Container)> {
        let mut containers = self.template.spec.as_ref()?.containers.iter().enumerate();
        match &self.rank_container {
            Some(name) => containers.find(|(_, container)| &container.name == name),
            None => containers.next(),
        }
    }
}

fn one() -> u32 {
    1
}

fn every_cause() -> Vec<RestartCause> {
    vec![RestartCause::RankFailure, RestartCause::NodeLost]
}
