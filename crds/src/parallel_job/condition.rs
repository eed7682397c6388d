//! Condition types and machine-readable reasons of a job.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Types of the conditions of a job. Each has at most one entry in `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum ConditionType {
    /// The job has slots in the matrix.
    Admitted,
    /// All pods of the gang are bound to their nodes.
    Placed,
    /// All ranks are released.
    Ready,
    /// Every node of the gang follows the strobe; False while a node runs free.
    Synchronised,
    /// The job is suspended.
    Suspended,
    /// All ranks exited with status 0.
    Complete,
    /// The job failed and will not start again.
    Failed,
}

/// Why a condition has its status. The text of a value is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum Reason {
    /// The job has its slots.
    SlotsAssigned,
    /// No row has enough free slots; the message says how many are missing.
    WaitingForSlots,
    /// No Partition has the stated name.
    PartitionNotFound,
    /// The partition has no machine manager.
    PartitionNotReady,
    /// The gang needs more nodes or more CPUs on a node than the partition has.
    ExceedsPartition,
    /// The partition has as many jobs as it takes.
    TooManyJobs,
    /// No PriorityClass has the stated name.
    PriorityClassNotFound,
    /// The partition does not admit jobs of this namespace.
    NamespaceNotAllowed,
    /// The namespace would have more ranks than the partition allows it.
    TooManyRanks,
    /// The manifest breaks a rule that the schema cannot state; the message says which.
    InvalidSpec,
    /// The template asks for the host's network.
    HostNetworkRefused,
    /// The template asks for GPUs or claims and the partition has more than one row.
    AcceleratorsNotShared,
    /// The template asks for a runtime class whose ranks the agent cannot see.
    RuntimeClassRefused,
    /// A container beside the ranks' one never ends and is not a native sidecar.
    ContainerNeverEnds,
    /// A LimitRange or a webhook adds a CPU limit; the message names the LimitRange where it is one.
    #[serde(rename = "CPULimitInjected")]
    CpuLimitInjected,
    /// The API server refuses the pods; the message holds its text.
    PodForbidden,
    /// The API server does not say whether it takes the pods, such as for a webhook that does not answer; the message holds its text.
    TrialNotAnswered,
    /// All pods are bound.
    PodsBound,
    /// Not all pods are bound yet.
    WaitingForPods,
    /// Not all pods were bound in time; the message holds the scheduler's.
    PlacementTimeout,
    /// An image cannot be pulled.
    ImagePullFailed,
    /// Kubelet of a node refuses a pod that was bound there; the message holds its text.
    PodRejected,
    /// Supervisors are still reporting in.
    Launching,
    /// The ranks were released.
    Released,
    /// The ranks are held at the user's wish.
    Paused,
    /// Every node of the gang follows the strobe.
    Strobed,
    /// Some nodes of the gang run free; the message says how many.
    FreeRunning,
    /// A node of the gang does not answer; its ranks are not known dead.
    NodeUnreachable,
    /// The job is suspended at the user's wish.
    SuspendRequested,
    /// The job is not suspended.
    Resumed,
    /// A pod was preempted or evicted; the gang is queued again.
    Preempted,
    /// The gang starts again after a failure.
    Restarting,
    /// All ranks exited with status 0.
    RanksSucceeded,
    /// A rank failed; no restart was left or asked for.
    RankFailure,
    /// A node was lost; no restart was left or asked for.
    NodeLost,
    /// The job ran longer than activeDeadlineSeconds.
    DeadlineExceeded,
    /// The user ended the job.
    Cancelled,
}

/// What made a gang fail. The text of a value is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = schema::flatten_enum)]
pub enum FailureReason {
    /// A rank exited with a status other than 0.
    RankExited,
    /// A signal ended a rank.
    RankKilled,
    /// The kernel ended a rank for lack of memory.
    #[serde(rename = "OOMKilled")]
    OutOfMemory,
    /// A rank called MPI_Abort.
    Aborted,
    /// The ranks could not find each other: a barrier of their wire-up failed.
    BarrierFailed,
    /// The program of the ranks could not be started.
    ProgramNotStarted,
    /// A supervisor did not report in.
    LaunchFailed,
    /// A supervisor ended before its ranks.
    SupervisorLost,
    /// A node was lost.
    NodeLost,
    /// The job ran longer than activeDeadlineSeconds.
    DeadlineExceeded,
    /// The user ended the job.
    Cancelled,
}

// === impl ConditionType ===

impl fmt::Display for ConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

// === impl FailureReason ===

impl fmt::Display for FailureReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}
