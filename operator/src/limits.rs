//! The operator's own limits.

use std::time::Duration;

/// Jobs that are looked at at a time. More wait.
pub const JOBS_AT_A_TIME: u16 = 8;

/// How long a job waits after the API server failed to answer about it.
pub const AGAIN: Duration = Duration::from_secs(5);

/// Events of one partition that wait for its authority. Past it jobs are submitted again later, and agents wait.
pub const PARTITION_EVENTS: usize = 1024;

/// Jobs that wait to be looked at because their authority has said something new. Past it the authorities wait.
pub const CHANGED_JOBS: usize = 1024;

/// Period of what an authority looks at without an event: silence, gates, jobs that are gone, what is to be said.
pub const TICK: Duration = Duration::from_millis(100);

/// Shortest time between two words on the same job or partition, so that a status is written at most as often.
pub const SAID_AGAIN: Duration = Duration::from_secs(1);

/// How long what must not be forgotten waits after the API server did not keep it.
pub const STORE_AGAIN: Duration = Duration::from_secs(1);

/// How long a pod may stay at our gate after it was let go, before that is tried again.
pub const LET_GO_AGAIN: Duration = Duration::from_secs(5);

/// How long a partition may have no machine manager before its waiting jobs are told: a change of the manager takes less.
pub const MANAGER_CHANGE: Duration = Duration::from_secs(5);

/// Pause before an object is made again whose namesake went while it was looked at. It ends with the time in which the gang's objects have to be
/// made.
pub const MAKE_AGAIN: Duration = Duration::from_millis(50);

/// How long an agent's certificate is good. It asks for another from a third of that on.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest time that an agent's question may take. Past it the agent asks again.
pub const ENROLMENT_TIME: Duration = Duration::from_secs(10);

/// Bytes of an agent's question at most; a larger one is refused.
pub const ENROLMENT_BYTES: usize = 64 << 10;

/// Failures of a job that its status lists, the first ones.
pub const FAILURES: usize = 10;

/// How long a replica waits after the API server did not take its write of the Lease.
pub const ELECTION_AGAIN: Duration = Duration::from_secs(1);

/// How long a replica that is asked to end waits for what is being written. Past it it gives the Lease up all the same.
pub const END_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the operator waits after the API server did not give it, or keep for it, the certificate authority.
pub const CERTIFICATES_AGAIN: Duration = Duration::from_secs(2);

/// Shortest time between two writes of the same node.
pub const NODE_SAID_AGAIN: Duration = Duration::from_secs(5);

/// Length of a slice of time in which a node's figures are collected: what is told is of the last one to two of them.
pub const MEASURED_OVER: Duration = Duration::from_secs(30);

/// Longest skew or switch that is told apart. A longer one counts as this long.
pub const LONGEST_MEASURED: Duration = Duration::from_secs(10);

/// Epochs of which not all members have told when they acted. Past it the oldest counts with those that did.
pub const OPEN_EPOCHS: usize = 1024;

/// How long a job waits at least until its pods are tried again that were refused, or whose namespace has changed.
pub const TRIAL_AGAIN: Duration = Duration::from_secs(10);

/// How long a refused job waits at most until its pods are tried again.
pub const TRIAL_AGAIN_MOST: Duration = Duration::from_secs(600);

/// CPU of each node, in thousandths, that gangs leave to pods which come after them, such as another DaemonSet's.
pub const CPU_RESERVE: u64 = 100;

/// Nodes of a gang that the API server is asked about at a time when it is placed.
pub const NODES_ASKED_AT_A_TIME: usize = 8;
