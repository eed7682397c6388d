//! The labels and annotations by which the operator, its agents and the user's command know the objects of a cluster.

/// The gate of pods that wait for the rest of their gang.
pub const GATE: &str = "strobe.dev/gang";

/// The name of the job that a pod is of.
pub const LABEL_JOB: &str = "strobe.dev/job";

/// The UID of the job that a pod is of.
pub const LABEL_JOB_UID: &str = "strobe.dev/job-uid";

/// The life of the gang that a pod is of.
pub const LABEL_INCARNATION: &str = "strobe.dev/incarnation";

/// The UID of the partition that a pod runs in.
pub const LABEL_PARTITION_UID: &str = "strobe.dev/partition-uid";

/// A pod's place in its gang, as tools know it of indexed Jobs.
pub const LABEL_INDEX: &str = "batch.kubernetes.io/job-completion-index";
