//! What a manager reports.

use strobe_core::{
    limits::{GANGS_PER_PLAN_MAX, MEMBERS_MAX},
    message::{GangReport, PartitionReport},
    model::{BarrierFailure, EndCause, Fence, MatrixVersion, NodeIndex, RankOutcome, Term, View},
    primitives::GangPhase,
};

use super::{ConvertError, at_most, below, each, narrow, node, partition_bytes, partition_uid, rank, required, unknown};
use crate::agent::{self, end_cause::Cause, rank_failed::Outcome};

impl From<EndCause> for agent::EndCause {
    fn from(cause: EndCause) -> Self {
        let cause = match cause {
            EndCause::Completed => Cause::Completed(agent::Completed {}),
            EndCause::RankFailed { node, rank, outcome } => Cause::RankFailed(agent::RankFailed {
                node: node.0.into(),
                rank: rank.0,
                outcome: match outcome {
                    RankOutcome::Exited(status) => Some(Outcome::Exited(status.into())),
                    RankOutcome::Signalled(signal) => Some(Outcome::Signalled(signal.into())),
                    RankOutcome::NotStarted(error) => Some(Outcome::NotStarted(error.into())),
                    RankOutcome::Aborted(code) => Some(Outcome::Aborted(code)),
                    RankOutcome::OutOfMemory => Some(Outcome::OutOfMemory(agent::OutOfMemory {})),
                    RankOutcome::Unknown => None,
                },
            }),
            EndCause::SupervisorLost { node } => Cause::SupervisorLost(node.0.into()),
            EndCause::NodeLost { node } => Cause::NodeLost(node.0.into()),
            EndCause::Terminated => Cause::Terminated(agent::Terminated {}),
            EndCause::BarrierFailed { node, reason } => {
                Cause::BarrierFailed(agent::BarrierFailed { node: node.0.into(), reason: agent::BarrierFailure::from(reason).into() })
            }
        };
        Self { cause: Some(cause) }
    }
}

impl TryFrom<agent::EndCause> for EndCause {
    type Error = ConvertError;

    fn try_from(message: agent::EndCause) -> Result<Self, ConvertError> {
        Ok(match required("cause", message.cause)? {
            Cause::Completed(_) => Self::Completed,
            Cause::RankFailed(failed) => Self::RankFailed {
                node: node("node", failed.node)?,
                rank: rank("rank", failed.rank)?,
                outcome: match failed.outcome {
                    Some(Outcome::Exited(status)) => RankOutcome::Exited(narrow("exited", status)?),
                    Some(Outcome::Signalled(signal)) => RankOutcome::Signalled(narrow("signalled", signal)?),
                    Some(Outcome::NotStarted(error)) => RankOutcome::NotStarted(narrow("not_started", error)?),
                    Some(Outcome::Aborted(code)) => RankOutcome::Aborted(code),
                    Some(Outcome::OutOfMemory(_)) => RankOutcome::OutOfMemory,
                    // What a later version has added is left out in reading: that the rank failed must be heard all the same.
                    None => RankOutcome::Unknown,
                },
            },
            Cause::SupervisorLost(index) => Self::SupervisorLost { node: node("supervisor_lost", index)? },
            Cause::NodeLost(index) => Self::NodeLost { node: node("node_lost", index)? },
            Cause::Terminated(_) => Self::Terminated,
            Cause::BarrierFailed(failed) => {
                let reason = agent::BarrierFailure::try_from(failed.reason).map_err(|_| unknown("reason", failed.reason))?;
                Self::BarrierFailed { node: node("node", failed.node)?, reason: reason.try_into()? }
            }
        })
    }
}

impl From<BarrierFailure> for agent::BarrierFailure {
    fn from(reason: BarrierFailure) -> Self {
        match reason {
            BarrierFailure::KeysTooLarge => Self::KeysTooLarge,
            BarrierFailure::MemoryFull => Self::MemoryFull,
            BarrierFailure::SpaceFull => Self::SpaceFull,
            BarrierFailure::KeysDamaged => Self::KeysDamaged,
            BarrierFailure::RankLeft => Self::RankLeft,
        }
    }
}

impl TryFrom<agent::BarrierFailure> for BarrierFailure {
    type Error = ConvertError;

    fn try_from(reason: agent::BarrierFailure) -> Result<Self, ConvertError> {
        match reason {
            agent::BarrierFailure::KeysTooLarge => Ok(Self::KeysTooLarge),
            agent::BarrierFailure::MemoryFull => Ok(Self::MemoryFull),
            agent::BarrierFailure::SpaceFull => Ok(Self::SpaceFull),
            agent::BarrierFailure::KeysDamaged => Ok(Self::KeysDamaged),
            agent::BarrierFailure::RankLeft => Ok(Self::RankLeft),
            agent::BarrierFailure::Unspecified => Err(ConvertError::Missing { field: "reason" }),
        }
    }
}

impl From<&GangReport> for agent::GangReport {
    fn from(report: &GangReport) -> Self {
        let (phase, cause) = match report.phase {
            GangPhase::Launching => (agent::GangPhase::Launching, None),
            GangPhase::Released => (agent::GangPhase::Released, None),
            GangPhase::Ending(cause) => (agent::GangPhase::Ending, Some(cause)),
            GangPhase::Ended(cause) => (agent::GangPhase::Ended, Some(cause)),
        };
        Self {
            run: Some(report.run.into()),
            phase: phase.into(),
            cause: cause.map(Into::into),
            held: report.held,
            nodes_up: report.nodes_up.into(),
            nodes_absent: report.nodes_absent.iter().map(|node| node.0.into()).collect(),
        }
    }
}

impl TryFrom<agent::GangReport> for GangReport {
    type Error = ConvertError;

    fn try_from(message: agent::GangReport) -> Result<Self, ConvertError> {
        let phase = agent::GangPhase::try_from(message.phase).map_err(|_| unknown("phase", message.phase))?;
        let cause = || required("cause", message.cause).and_then(EndCause::try_from);
        let phase = match phase {
            agent::GangPhase::Launching => GangPhase::Launching,
            agent::GangPhase::Released => GangPhase::Released,
            agent::GangPhase::Ending => GangPhase::Ending(cause()?),
            agent::GangPhase::Ended => GangPhase::Ended(cause()?),
            agent::GangPhase::Unspecified => return Err(ConvertError::Missing { field: "phase" }),
        };
        below("nodes_up", MEMBERS_MAX as u64 + 1, message.nodes_up.into())?;
        at_most("nodes_absent", MEMBERS_MAX, message.nodes_absent.len())?;
        let nodes_absent: Result<Vec<NodeIndex>, ConvertError> =
            message.nodes_absent.into_iter().map(|index| node("nodes_absent", index)).collect();
        Ok(Self {
            run: required("run", message.run)?.into(),
            phase,
            held: message.held,
            nodes_up: narrow("nodes_up", message.nodes_up)?,
            nodes_absent: nodes_absent?,
        })
    }
}

impl From<&PartitionReport> for agent::PartitionReport {
    fn from(report: &PartitionReport) -> Self {
        Self {
            partition: partition_bytes(report.fence.partition),
            term: report.fence.term.0,
            view: report.fence.view.0,
            sequence: report.sequence,
            established: report.established,
            leads: report.leads,
            refused_by: report.refused_by.map(|term| term.0),
            members: report.view.iter().map(|member| (*member).into()).collect(),
            generation: report.generation,
            plan: report.plan.0,
            gangs: report.gangs.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<agent::PartitionReport> for PartitionReport {
    type Error = ConvertError;

    fn try_from(message: agent::PartitionReport) -> Result<Self, ConvertError> {
        Ok(Self {
            fence: Fence { partition: partition_uid(&message.partition)?, term: Term(message.term), view: View(message.view) },
            sequence: message.sequence,
            established: message.established,
            leads: message.leads,
            refused_by: message.refused_by.map(Term),
            view: each("members", MEMBERS_MAX, message.members)?,
            generation: message.generation,
            plan: MatrixVersion(message.plan),
            gangs: each("gangs", GANGS_PER_PLAN_MAX, message.gangs)?,
        })
    }
}
