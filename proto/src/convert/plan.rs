//! Plans.

use std::time::Duration;

use strobe_core::model::{CpuIndex, CpuSet, Desire, MatrixVersion, NodePlacement, Plan, PlannedGang, RankIndex, RowSet};

use super::{ConvertError, each, narrow, node, required, settings::nanoseconds};
use crate::agent::{self, planned_gang};

impl From<&NodePlacement> for agent::NodePlacement {
    fn from(placement: &NodePlacement) -> Self {
        Self {
            node: placement.node.0.into(),
            cpus: placement.cpus.iter().map(|cpu| cpu.0.into()).collect(),
            first_rank: placement.first_rank.0,
            ranks: placement.ranks,
        }
    }
}

impl TryFrom<agent::NodePlacement> for NodePlacement {
    type Error = ConvertError;

    fn try_from(message: agent::NodePlacement) -> Result<Self, ConvertError> {
        let cpus: Result<CpuSet, ConvertError> = message.cpus.into_iter().map(|cpu| narrow("cpus", cpu).map(CpuIndex)).collect();
        Ok(Self { node: node("node", message.node)?, cpus: cpus?, first_rank: RankIndex(message.first_rank), ranks: message.ranks })
    }
}

impl From<Desire> for planned_gang::Desire {
    fn from(desire: Desire) -> Self {
        match desire {
            Desire::Run => Self::RunInRows(agent::RunDesire {}),
            Desire::Pause => Self::Pause(agent::PauseDesire {}),
            Desire::Terminate { grace } => Self::Terminate(agent::TerminateDesire { grace_nanoseconds: nanoseconds(grace) }),
        }
    }
}

impl From<planned_gang::Desire> for Desire {
    fn from(message: planned_gang::Desire) -> Self {
        match message {
            planned_gang::Desire::RunInRows(_) => Self::Run,
            planned_gang::Desire::Pause(_) => Self::Pause,
            planned_gang::Desire::Terminate(terminate) => Self::Terminate { grace: Duration::from_nanos(terminate.grace_nanoseconds) },
        }
    }
}

impl From<&PlannedGang> for agent::PlannedGang {
    fn from(planned: &PlannedGang) -> Self {
        Self {
            run: Some(planned.run.into()),
            desire: Some(planned.desire.into()),
            rows: planned.rows.bits().into(),
            placement: planned.placement.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<agent::PlannedGang> for PlannedGang {
    type Error = ConvertError;

    fn try_from(message: agent::PlannedGang) -> Result<Self, ConvertError> {
        Ok(Self {
            run: required("run", message.run)?.into(),
            desire: required("desire", message.desire)?.into(),
            rows: RowSet::from_bits(narrow("rows", message.rows)?),
            placement: each(message.placement)?,
        })
    }
}

impl From<&Plan> for agent::Plan {
    fn from(plan: &Plan) -> Self {
        Self { version: plan.version.0, gangs: plan.gangs.iter().map(Into::into).collect() }
    }
}

impl TryFrom<agent::Plan> for Plan {
    type Error = ConvertError;

    fn try_from(message: agent::Plan) -> Result<Self, ConvertError> {
        Ok(Self { version: MatrixVersion(message.version), gangs: each(message.gangs)? })
    }
}
