//! Plans.

use std::time::Duration;

use strobe_core::{
    limits::{CPUS_PER_NODE_MAX, GANGS_PER_PLAN_MAX, MEMBERS_MAX, RANKS_PER_GANG_MAX},
    model::{CpuIndex, CpuSet, Desire, MatrixVersion, NodePlacement, Plan, PlannedGang, RowSet},
};

use super::{ConvertError, at_most, below, each, narrow, node, rank, required, settings::nanoseconds};
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
        let first_rank = rank("first_rank", message.first_rank)?;
        let in_range = message.ranks > 0 && message.ranks <= RANKS_PER_GANG_MAX - first_rank.0;
        if !in_range {
            return Err(ConvertError::OutOfRange { field: "ranks", value: message.ranks.into() });
        }
        at_most("cpus", CPUS_PER_NODE_MAX, message.cpus.len())?;
        let cpus: Result<CpuSet, ConvertError> = message.cpus.into_iter().map(cpu).collect();
        Ok(Self { node: node("node", message.node)?, cpus: cpus?, first_rank, ranks: message.ranks })
    }
}

fn cpu(index: u32) -> Result<CpuIndex, ConvertError> {
    below("cpus", CPUS_PER_NODE_MAX as u64, index.into())?;
    narrow("cpus", index).map(CpuIndex)
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
            placement: each("placement", MEMBERS_MAX, message.placement)?,
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
        Ok(Self { version: MatrixVersion(message.version), gangs: each("gangs", GANGS_PER_PLAN_MAX, message.gangs)? })
    }
}
