//! The rules of a `Partition`.

use super::{CelRule, Scope, Violation, named_rules};
use crate::cpu_list::CpuList;
use crate::duration::Duration;
use crate::limits::{MAX_CPU_NUMBER, MAX_LABEL_LENGTH};
use crate::partition::{Partition, PartitionSpec, TimeField};

named_rules! {
    /// A rule that a Partition must keep.
    PartitionRule {
        /// The name can be the value of a label.
        NameFits = "name-fits",
        /// `quantum` lies in its range.
        QuantumRange = "quantum-range",
        /// `lead` lies in its range.
        LeadRange = "lead-range",
        /// `heartbeat` lies in its range.
        HeartbeatRange = "heartbeat-range",
        /// `suspicion` lies in its range.
        SuspicionRange = "suspicion-range",
        /// `watchdog` lies in its range.
        WatchdogRange = "watchdog-range",
        /// `clockTolerance` lies in its range.
        ClockToleranceRange = "clock-tolerance-range",
        /// `placementTimeout` lies in its range.
        PlacementTimeoutRange = "placement-timeout-range",
        /// `nodeLost` lies in its range.
        NodeLostRange = "node-lost-range",
        /// One lost heartbeat is not yet suspicious.
        SuspicionCoversHeartbeats = "suspicion-covers-heartbeats",
        /// Agents run free only after the manager's lease has ended everywhere.
        WatchdogAboveSuspicion = "watchdog-above-suspicion",
        /// What is announced falls due while the lease under which it was announced can still be held.
        LeadBelowSuspicion = "lead-below-suspicion",
        /// A synchronised agent is never off by more than a quantum.
        ClockToleranceWithinQuantum = "clock-tolerance-within-quantum",
        /// A node leaves the view before it counts as lost.
        NodeLostAboveSuspicion = "node-lost-above-suspicion",
        /// `cpus` has no backward range and no CPU beyond the limit.
        CpusReadable = "cpus-readable",
    }
}

/// Every rule that a partition breaks, in the order of [`PartitionRule::ALL`].
#[must_use]
pub fn violations(partition: &Partition) -> Vec<Violation> {
    PartitionRule::ALL.iter().filter_map(|rule| rule.check(partition).err()).collect()
}

// === impl PartitionRule ===

impl PartitionRule {
    /// The rule for the API server.
    #[must_use]
    pub fn cel(self) -> CelRule {
        let (field, expression) = match self {
            Self::NameFits => ("metadata.name", name_cel()),
            Self::QuantumRange => (TimeField::Quantum.name(), range_cel(TimeField::Quantum)),
            Self::LeadRange => (TimeField::Lead.name(), range_cel(TimeField::Lead)),
            Self::HeartbeatRange => (TimeField::Heartbeat.name(), range_cel(TimeField::Heartbeat)),
            Self::SuspicionRange => (TimeField::Suspicion.name(), range_cel(TimeField::Suspicion)),
            Self::WatchdogRange => (TimeField::Watchdog.name(), range_cel(TimeField::Watchdog)),
            Self::ClockToleranceRange => (TimeField::ClockTolerance.name(), range_cel(TimeField::ClockTolerance)),
            Self::PlacementTimeoutRange => (TimeField::PlacementTimeout.name(), range_cel(TimeField::PlacementTimeout)),
            Self::NodeLostRange => (TimeField::NodeLost.name(), range_cel(TimeField::NodeLost)),
            Self::SuspicionCoversHeartbeats => {
                ("suspicion", "duration(self.suspicion) >= duration(self.heartbeat) + duration(self.heartbeat)".to_owned())
            }
            Self::WatchdogAboveSuspicion => ("watchdog", watchdog_cel()),
            Self::LeadBelowSuspicion => ("lead", "duration(self.lead) < duration(self.suspicion)".to_owned()),
            Self::ClockToleranceWithinQuantum => ("clockTolerance", "duration(self.clockTolerance) <= duration(self.quantum)".to_owned()),
            Self::NodeLostAboveSuspicion => ("nodeLost", "duration(self.nodeLost) > duration(self.suspicion)".to_owned()),
            Self::CpusReadable => ("cpus", cpus_cel()),
        };
        let of_spec = self != Self::NameFits;
        CelRule {
            scope: if of_spec { Scope::Spec } else { Scope::Object },
            expression,
            message: format!("{field} must {}", self.right()),
            field_path: of_spec.then(|| format!(".{field}")),
        }
    }

    /// Checks the rule.
    ///
    /// # Errors
    /// The violation, with the field's path and what would be right.
    pub fn check(self, partition: &Partition) -> Result<(), Violation> {
        let spec = &partition.spec;
        match self {
            Self::NameFits => self.check_name(partition.metadata.name.as_deref().unwrap_or_default()),
            Self::QuantumRange => self.check_range(TimeField::Quantum, spec),
            Self::LeadRange => self.check_range(TimeField::Lead, spec),
            Self::HeartbeatRange => self.check_range(TimeField::Heartbeat, spec),
            Self::SuspicionRange => self.check_range(TimeField::Suspicion, spec),
            Self::WatchdogRange => self.check_range(TimeField::Watchdog, spec),
            Self::ClockToleranceRange => self.check_range(TimeField::ClockTolerance, spec),
            Self::PlacementTimeoutRange => self.check_range(TimeField::PlacementTimeout, spec),
            Self::NodeLostRange => self.check_range(TimeField::NodeLost, spec),
            Self::SuspicionCoversHeartbeats => {
                self.demand(spec.suspicion.to_std() >= spec.heartbeat.to_std().saturating_mul(2), "suspicion", || {
                    format!("is {} with a heartbeat of {}", spec.suspicion, spec.heartbeat)
                })
            }
            Self::WatchdogAboveSuspicion => self.demand(spec.effective_watchdog() > spec.suspicion, "watchdog", || describe_watchdog(spec)),
            Self::LeadBelowSuspicion => {
                self.demand(spec.lead < spec.suspicion, "lead", || format!("is {} with a suspicion of {}", spec.lead, spec.suspicion))
            }
            Self::ClockToleranceWithinQuantum => self.demand(spec.clock_tolerance <= spec.quantum, "clockTolerance", || {
                format!("is {} with a quantum of {}", spec.clock_tolerance, spec.quantum)
            }),
            Self::NodeLostAboveSuspicion => self.demand(spec.node_lost > spec.suspicion, "nodeLost", || {
                format!("is {} with a suspicion of {}", spec.node_lost, spec.suspicion)
            }),
            Self::CpusReadable => match spec.cpus.as_deref().map(str::parse::<CpuList>) {
                None | Some(Ok(_)) => Ok(()),
                Some(Err(error)) => self.demand(false, "cpus", || error.to_string()),
            },
        }
    }

    /// What would be right, ready to follow "must".
    #[must_use]
    pub fn right(self) -> String {
        match self {
            Self::NameFits => {
                format!("be at most {MAX_LABEL_LENGTH} lower-case letters, digits and dashes, and neither begin nor end with a dash")
            }
            Self::QuantumRange => range_right(TimeField::Quantum),
            Self::LeadRange => range_right(TimeField::Lead),
            Self::HeartbeatRange => range_right(TimeField::Heartbeat),
            Self::SuspicionRange => range_right(TimeField::Suspicion),
            Self::WatchdogRange => range_right(TimeField::Watchdog),
            Self::ClockToleranceRange => range_right(TimeField::ClockTolerance),
            Self::PlacementTimeoutRange => range_right(TimeField::PlacementTimeout),
            Self::NodeLostRange => range_right(TimeField::NodeLost),
            Self::SuspicionCoversHeartbeats => "be at least two heartbeats".to_owned(),
            Self::WatchdogAboveSuspicion => "be longer than suspicion (default: 5s or four quanta, whichever is longer)".to_owned(),
            Self::LeadBelowSuspicion => "be shorter than suspicion".to_owned(),
            Self::ClockToleranceWithinQuantum => "be at most one quantum".to_owned(),
            Self::NodeLostAboveSuspicion => "be longer than suspicion".to_owned(),
            Self::CpusReadable => format!("be a list of CPU numbers and rising ranges, such as 0-3,8, with numbers up to {MAX_CPU_NUMBER}"),
        }
    }

    fn check_name(self, name: &str) -> Result<(), Violation> {
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let fits = (1..=MAX_LABEL_LENGTH as usize).contains(&name.len()) && letters && !name.starts_with('-') && !name.ends_with('-');
        if fits {
            return Ok(());
        }
        let path = "metadata.name".to_owned();
        Err(Violation { rule: self.name(), path, what: format!("is {name:?}"), right: self.right() })
    }

    fn check_range(self, field: TimeField, spec: &PartitionSpec) -> Result<(), Violation> {
        let Some(value) = field.value(spec) else { return Ok(()) };
        let (shortest, longest) = field.range();
        self.demand((shortest..=longest).contains(&value), field.name(), || format!("is {value}"))
    }

    fn demand(self, kept: bool, field: &str, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if kept {
            return Ok(());
        }
        Err(Violation { rule: self.name(), path: format!("spec.{field}"), what: what(), right: self.right() })
    }
}

fn name_cel() -> String {
    format!("self.metadata.name.size() <= {MAX_LABEL_LENGTH} && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
}

fn range_right(field: TimeField) -> String {
    let (shortest, longest) = field.range();
    format!("be between {shortest} and {longest}")
}

fn range_cel(field: TimeField) -> String {
    let (name, (shortest, longest)) = (field.name(), field.range());
    format!(
        "!has(self.{name}) || (duration(self.{name}) >= duration('{shortest}') \
         && duration(self.{name}) <= duration('{longest}'))"
    )
}

fn watchdog_cel() -> String {
    let four_quanta = ["duration(self.quantum)"; 4].join(" + ");
    format!(
        "has(self.watchdog) ? duration(self.watchdog) > duration(self.suspicion) \
         : (duration(self.suspicion) < duration('5s') || duration(self.suspicion) < {four_quanta})"
    )
}

fn cpus_cel() -> String {
    format!(
        "!has(self.cpus) || self.cpus.split(',').all(part, \
         int(part.split('-')[0]) <= int(part.split('-')[part.split('-').size() - 1]) \
         && int(part.split('-')[part.split('-').size() - 1]) <= {MAX_CPU_NUMBER})"
    )
}

fn describe_watchdog(spec: &PartitionSpec) -> String {
    let watchdog: Duration = spec.effective_watchdog();
    let stated = if spec.watchdog.is_some() { "is" } else { "is left out, so it is" };
    format!("{stated} {watchdog} with a suspicion of {}", spec.suspicion)
}
