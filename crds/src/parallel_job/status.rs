//! The status of a job: bounded, whatever the number of its ranks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{FailureReason, Reason};
use crate::limits::{MAX_FAILURES, MAX_MESSAGE_LENGTH, MAX_ROWS};
use crate::schema;

/// What the authority knows of a job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParallelJobStatus {
    /// The metadata.generation that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the gang is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<GangState>,
    /// Why the job is in its state, machine-readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why the job is in its state, in words and numbers; at most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_MESSAGE_LENGTH))]
    pub message: Option<String>,
    /// Nodes whose supervisors are up, of all nodes of the gang, such as 2/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Pods of the gang that exist.
    #[serde(default)]
    pub pods: u32,
    /// First row that the gang holds, of all occupied rows, such as 0/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// All rows that the gang holds, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ROWS))]
    pub rows: Vec<u8>,
    /// Share of the time in which the gang's rows are active, such as 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Place in the partition's queue while the job waits, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Value of the job's priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Quantum of the partition, such as 50ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum: Option<String>,
    /// CPU time that the ranks of this incarnation have used, of that of the gang's slots while the ranks were thawed, in their turns or
    /// running free, such as 97%. Time in which they were switched out or paused does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_efficiency: Option<String>,
    /// The life of the gang that this status is about, from 0; grows at each restart.
    #[serde(default)]
    pub incarnation: u32,
    /// Restarts that count against the limit.
    #[serde(default)]
    pub restarts: u32,
    /// Times that the whole gang ended because a pod of it was preempted, evicted or deleted; they are no restarts.
    #[serde(default)]
    pub preemptions: u32,
    /// When the ranks of this incarnation were released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job completed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How many ranks of this incarnation failed.
    #[serde(default)]
    pub failed_ranks: u32,
    /// The first failures, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_FAILURES))]
    pub failures: Vec<JobFailure>,
    /// Conditions, one a type: Admitted, Placed, Ready, Synchronised, Suspended, Complete, Failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::limit_conditions)]
    pub conditions: Vec<Condition>,
}

/// Where a gang is in its life (a switched-out gang shows as Running).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum GangState {
    /// Waits for slots.
    Queued,
    /// Has its slots in the matrix.
    Admitted,
    /// All its pods are bound to their nodes.
    Placed,
    /// Its supervisors report in.
    Launching,
    /// Its ranks are released.
    Running,
    /// Its state is being saved.
    Checkpointing,
    /// Its ranks are being ended.
    Terminating,
    /// All ranks exited with status 0.
    Complete,
    /// It failed and will not start again.
    Failed,
    /// Held at the user's wish; keeps memory and row.
    Paused,
    /// Without pods and slots at the user's wish.
    Suspended,
    /// Lost a pod to preemption or eviction; will be queued again.
    Preempted,
    /// Ended after a failure; will start again.
    Restarting,
}

// === impl GangState ===

impl GangState {
    /// True when nothing will become of it any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// One failure of a gang.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobFailure {
    /// What happened.
    pub reason: FailureReason,
    /// Incarnation of the gang in which it happened.
    #[serde(default)]
    pub incarnation: u32,
    /// The rank that failed, from 0; absent if it was not a rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Name of the node on which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Exit status of the rank, 0 to 255; absent if a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u8>,
    /// Signal that ended the rank, such as 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
}
