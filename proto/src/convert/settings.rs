//! The settings of a partition.

use std::time::Duration;

use strobe_core::model::{Policy, Settings};

use super::{ConvertError, narrow, unknown};
use crate::agent;

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&Settings> for agent::Settings {
    fn from(settings: &Settings) -> Self {
        let policy = match settings.policy {
            Policy::Gang => agent::Policy::Gang,
            Policy::Kernel => agent::Policy::Kernel,
        };
        Self {
            quantum_nanoseconds: nanoseconds(settings.quantum),
            rows: settings.rows.into(),
            policy: policy.into(),
            lead_nanoseconds: nanoseconds(settings.lead),
            heartbeat_nanoseconds: nanoseconds(settings.heartbeat),
            suspicion_nanoseconds: nanoseconds(settings.suspicion),
            watchdog_nanoseconds: nanoseconds(settings.watchdog),
            clock_tolerance_nanoseconds: nanoseconds(settings.clock_tolerance),
            node_lost_nanoseconds: nanoseconds(settings.node_lost),
        }
    }
}

impl TryFrom<agent::Settings> for Settings {
    type Error = ConvertError;

    fn try_from(message: agent::Settings) -> Result<Self, ConvertError> {
        let policy = match agent::Policy::try_from(message.policy).map_err(|_| unknown("policy", message.policy))? {
            agent::Policy::Gang => Policy::Gang,
            agent::Policy::Kernel => Policy::Kernel,
            agent::Policy::Unspecified => return Err(ConvertError::Missing { field: "policy" }),
        };
        let settings = Self {
            quantum: Duration::from_nanos(message.quantum_nanoseconds),
            rows: narrow("rows", message.rows)?,
            policy,
            lead: Duration::from_nanos(message.lead_nanoseconds),
            heartbeat: Duration::from_nanos(message.heartbeat_nanoseconds),
            suspicion: Duration::from_nanos(message.suspicion_nanoseconds),
            watchdog: Duration::from_nanos(message.watchdog_nanoseconds),
            clock_tolerance: Duration::from_nanos(message.clock_tolerance_nanoseconds),
            node_lost: Duration::from_nanos(message.node_lost_nanoseconds),
        };
        Ok(settings.validated()?)
    }
}
