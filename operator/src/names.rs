//! The names by which the operator, its pods and its agents know each other in a cluster.

pub use strobe_crds::names::{GATE, LABEL_INCARNATION, LABEL_INDEX, LABEL_JOB, LABEL_JOB_UID, LABEL_PARTITION_UID};

/// The agents' driver of inline volumes.
pub const CSI_DRIVER: &str = "csi.strobe.dev";

/// The taint of a partition's nodes; its value is the partition's name.
pub const TAINT: &str = "strobe.dev/partition";

/// What keeps a Partition that is deleted until its gangs have ended.
pub const FINALIZER: &str = "strobe.dev/gangs";

/// A pod's place in its gang, as an annotation: the downward API gives it to containers.
pub const ANNOTATION_INDEX: &str = LABEL_INDEX;

/// The CPUs of a node that ranks may use, beside what its partition says: an annotation of the node, as a list in the kernel's notation.
pub const ANNOTATION_CPUS: &str = "strobe.dev/cpus";

/// Whom the agents' tokens are for.
pub const AUDIENCE: &str = "strobe.dev/operator";

/// The agents' service account, in the operator's namespace.
pub const AGENTS_ACCOUNT: &str = "strobe-agent";

/// The agents' DaemonSet, in the operator's namespace.
pub const AGENTS_DAEMON_SET: &str = "strobe-agent";

/// The Secret that keeps the certificate authority.
pub const AUTHORITY_SECRET: &str = "strobe-certificate-authority";

/// The ConfigMap by which the agents know the operator, with the roots in `roots.pem`.
pub const ROOTS: &str = "strobe-roots";

/// On that ConfigMap: since when agents are told these roots.
pub const ANNOTATION_PUBLISHED: &str = "strobe.dev/published-at";

/// The operator's Deployment, in its own namespace, and the label by which its pods are known.
pub const OPERATOR: &str = "strobe-operator";

/// The class of jobs that state none: in their pods it keeps others' from being preempted for them.
pub const PRIORITY_CLASS: &str = "strobe-gang";

/// Of the operator's replica that leads; its Service selects it.
pub const LABEL_LEADS: &str = "strobe.dev/leads";
