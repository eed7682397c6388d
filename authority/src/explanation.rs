//! What the core's reasons mean, in the words of the custom resources and for people.

use std::fmt;

use serde::Serialize;
use strobe_core::{
    authority::{LaunchFailure, PlacementFailure, StateReason},
    model::{BarrierFailure, EndCause, NodeIndex, RankIndex, RankOutcome},
};
use strobe_crds::parallel_job::{FailureReason, Reason};

/// What people call a node.
pub type NodeName<'a> = dyn Fn(NodeIndex) -> String + 'a;

/// A reason for machines: what made a gang fail, or else why a job is in its state. The words are those of the custom resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum JobReason {
    /// Of a job that has failed, or of a failed life of its gang.
    Failure(FailureReason),
    /// Of any other.
    State(Reason),
}

/// A reason for machines, and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One word, as in the status of a custom resource; none when there is nothing to say.
    pub reason: Option<JobReason>,
    /// What it means here; empty when there is nothing to say.
    pub message: String,
}

impl From<FailureReason> for JobReason {
    fn from(reason: FailureReason) -> Self {
        Self::Failure(reason)
    }
}

impl From<Reason> for JobReason {
    fn from(reason: Reason) -> Self {
        Self::State(reason)
    }
}

impl fmt::Display for JobReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(reason) => reason.fmt(formatter),
            Self::State(reason) => reason.fmt(formatter),
        }
    }
}

/// Why a job is where it is.
#[must_use]
pub fn explain(reason: &StateReason, name: &NodeName<'_>) -> Explanation {
    let waits = |position: &usize| format!("place {position} in the queue");
    let (reason, message) = match reason {
        StateReason::None => return Explanation { reason: None, message: String::new() },
        StateReason::NoTerm { position } => (Reason::PartitionNotReady.into(), waits(position)),
        StateReason::NoPlacement { position, shortage } => (Reason::WaitingForSlots.into(), format!("{}: {shortage}", waits(position))),
        StateReason::NamespaceRanks { position, held, wanted, limit } => {
            let message =
                format!("{}: its namespace has {held} of the {limit} ranks that it may have, and this job needs {wanted}", waits(position));
            (Reason::TooManyRanks.into(), message)
        }
        StateReason::Behind { position } => (Reason::WaitingForSlots.into(), waits(position)),
        StateReason::Suspended => (Reason::SuspendRequested.into(), "its manifest says so".to_owned()),
        StateReason::Paused => (Reason::Paused.into(), "it is held".to_owned()),
        StateReason::Cancelled => (FailureReason::Cancelled.into(), "it was interrupted".to_owned()),
        StateReason::DeadlineExceeded => (FailureReason::DeadlineExceeded.into(), "it ran longer than activeDeadlineSeconds".to_owned()),
        StateReason::Ended(cause) => return explain_end(*cause, name),
        StateReason::LaunchFailed { node, failure } => (FailureReason::LaunchFailed.into(), explain_launch(&name(*node), *failure)),
        StateReason::Evicted { node } => (
            Reason::Preempted.into(),
            format!("its pod on node {} was preempted, evicted or deleted: the whole gang waits again", name(*node)),
        ),
        StateReason::NotPlaced { position, failure } => {
            let (reason, why) = explain_placement(*failure);
            let place = if *position > 0 { format!("{}: ", waits(position)) } else { String::new() };
            (reason.into(), format!("{place}{why}"))
        }
        StateReason::NodeUnreachable { nodes } => {
            let nodes: Vec<String> = nodes.iter().map(name).collect();
            (Reason::NodeUnreachable.into(), format!("no answer from node {}", nodes.join(", ")))
        }
        StateReason::NotResumed => {
            (FailureReason::SupervisorLost.into(), "its place in the matrix was lost while it ran, and it may still run".to_owned())
        }
        StateReason::EndedBefore => return Explanation { reason: None, message: String::new() },
        StateReason::TooManyJobs => (Reason::TooManyJobs.into(), "there are more jobs than one partition takes".to_owned()),
    };
    Explanation { reason: Some(reason), message }
}

/// Why a life of a gang ended.
#[must_use]
pub fn explain_end(cause: EndCause, name: &NodeName<'_>) -> Explanation {
    let (reason, message) = match cause {
        EndCause::Completed => return Explanation { reason: Some(Reason::RanksSucceeded.into()), message: String::new() },
        EndCause::RankFailed { node, rank, outcome } => explain_rank(&name(node), rank, outcome),
        EndCause::SupervisorLost { node } => {
            (FailureReason::SupervisorLost, format!("the supervisor on node {} ended before its ranks", name(node)))
        }
        EndCause::NodeLost { node } => (FailureReason::NodeLost, format!("node {} was lost", name(node))),
        EndCause::Terminated => (FailureReason::Cancelled, "it was ended".to_owned()),
        EndCause::BarrierFailed { node, reason } => {
            let (node, why) = (name(node), explain_barrier(reason));
            (FailureReason::BarrierFailed, format!("the ranks cannot find each other, as node {node} says: {why}"))
        }
    };
    Explanation { reason: Some(reason.into()), message }
}

fn explain_rank(node: &str, rank: RankIndex, outcome: RankOutcome) -> (FailureReason, String) {
    match outcome {
        RankOutcome::Exited(status) => (FailureReason::RankExited, format!("rank {rank} on node {node} exited with status {status}")),
        RankOutcome::Signalled(signal) => (FailureReason::RankKilled, format!("rank {rank} on node {node} was killed by signal {signal}")),
        RankOutcome::NotStarted(number) => {
            (FailureReason::ProgramNotStarted, format!("rank {rank} on node {node}: {}", system_error(number)))
        }
        RankOutcome::OutOfMemory => {
            (FailureReason::OutOfMemory, format!("the kernel ended rank {rank} on node {node}: its container has no more memory"))
        }
        RankOutcome::Unknown => {
            let message = format!("rank {rank} on node {node} failed in a way that only a newer version of Strobe can tell");
            (FailureReason::RankKilled, message)
        }
        RankOutcome::Aborted(code) => {
            (FailureReason::Aborted, format!("rank {rank} on node {node} called MPI_Abort with exit code {code}"))
        }
    }
}

const fn explain_barrier(reason: BarrierFailure) -> &'static str {
    match reason {
        BarrierFailure::KeysTooLarge => "their keys are too large to be sent to all nodes at once",
        BarrierFailure::MemoryFull => "global memory has no room for their keys",
        BarrierFailure::SpaceFull => "a key-value space has no room for the keys of all ranks",
        BarrierFailure::KeysDamaged => "the keys that came to it are damaged",
        BarrierFailure::RankLeft => "a rank left while others waited for it in a barrier",
    }
}

fn explain_launch(node: &str, failure: LaunchFailure) -> String {
    match failure {
        LaunchFailure::NotStarted(number) => format!("node {node}: {}", system_error(number)),
    }
}

const fn explain_placement(failure: PlacementFailure) -> (Reason, &'static str) {
    match failure {
        PlacementFailure::TimedOut => (Reason::PlacementTimeout, "not all of its pods were bound in time"),
        PlacementFailure::Image => (Reason::ImagePullFailed, "an image cannot be pulled"),
        PlacementFailure::Refused => (Reason::PodForbidden, "its pods are not made"),
        PlacementFailure::Rejected => (Reason::PodRejected, "a node does not take one of its pods"),
    }
}

fn system_error(number: u16) -> String {
    std::io::Error::from_raw_os_error(number.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(node: NodeIndex) -> String {
        format!("worker-{node}")
    }

    #[test]
    fn a_namespace_with_too_many_ranks_is_told_its_counts() {
        let reason = StateReason::NamespaceRanks { position: 2, held: 6, wanted: 4, limit: 8 };
        let message = "place 2 in the queue: its namespace has 6 of the 8 ranks that it may have, and this job needs 4".to_owned();
        assert_eq!(explain(&reason, &name), Explanation { reason: Some(Reason::TooManyRanks.into()), message });
    }

    #[test]
    fn a_barrier_that_failed_is_told_with_its_reason() {
        let cause = EndCause::BarrierFailed { node: NodeIndex(2), reason: BarrierFailure::MemoryFull };
        let message = "the ranks cannot find each other, as node worker-2 says: global memory has no room for their keys".to_owned();
        assert_eq!(explain_end(cause, &name), Explanation { reason: Some(FailureReason::BarrierFailed.into()), message });
    }
}
