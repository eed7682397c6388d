//! The settings of a partition, validated against each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{QUANTUM_MAX, QUANTUM_MIN, ROWS_MAX};

/// What a partition's strobe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// Row after row: a gang runs only in its rows.
    Gang,
    /// Every gang is thawed and the kernel shares the CPUs; for comparison.
    Kernel,
}

/// Times and policy of a partition. Every agent of a term has the same.
///
/// The defaults and their relations are those of the design's section 3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// Time between two row switches.
    pub quantum: Duration,
    /// Rows of the matrix.
    pub rows: u8,
    /// What the strobe does.
    pub policy: Policy,
    /// How far ahead an instant is announced at least.
    pub lead: Duration,
    /// Period of heartbeats.
    pub heartbeat: Duration,
    /// Silence after which a member is suspected; length of the lease.
    pub suspicion: Duration,
    /// Time without a renewal after which an agent thaws its gangs.
    pub watchdog: Duration,
    /// Error bound of the clock offset above which an agent acts on receipt.
    pub clock_tolerance: Duration,
    /// Time without contact after which a node may be declared lost.
    pub node_lost: Duration,
}

/// Why settings are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SettingsError {
    /// The quantum is outside its range.
    #[error("quantum must be from 1 ms to 10 s")]
    Quantum,
    /// The number of rows is outside its range.
    #[error("rows must be from 1 to 16")]
    Rows,
    /// A lead as long as the suspicion would announce instants past the lease.
    #[error("lead must be longer than 0 and shorter than suspicion")]
    Lead,
    /// Fewer than two heartbeats fit the suspicion.
    #[error("suspicion must be at least two heartbeats, and a heartbeat longer than 0")]
    Heartbeat,
    /// The watchdog would fire before the manager's lease is over.
    #[error("watchdog must be longer than suspicion")]
    Watchdog,
    /// An agent whose clock may be off by nothing would never be synchronised.
    #[error("clockTolerance must be longer than 0")]
    ClockTolerance,
    /// A node would be lost before it is suspected.
    #[error("nodeLost must be at least suspicion")]
    NodeLost,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quantum: Duration::from_millis(50),
            rows: 4,
            policy: Policy::Gang,
            lead: Duration::from_millis(5),
            heartbeat: Duration::from_millis(500),
            suspicion: Duration::from_secs(3),
            watchdog: Duration::from_secs(5),
            clock_tolerance: Duration::from_millis(1),
            node_lost: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// The settings, if they agree with each other.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub fn validated(self) -> Result<Self, SettingsError> {
        let rules = [
            ((QUANTUM_MIN..=QUANTUM_MAX).contains(&self.quantum), SettingsError::Quantum),
            ((1..=ROWS_MAX).contains(&usize::from(self.rows)), SettingsError::Rows),
            (!self.lead.is_zero() && self.lead < self.suspicion, SettingsError::Lead),
            (!self.heartbeat.is_zero() && 2 * self.heartbeat <= self.suspicion, SettingsError::Heartbeat),
            (self.watchdog > self.suspicion, SettingsError::Watchdog),
            (!self.clock_tolerance.is_zero(), SettingsError::ClockTolerance),
            (self.node_lost >= self.suspicion, SettingsError::NodeLost),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, error)) => Err(error),
            None => Ok(self),
        }
    }

    /// How long a straggler is waited for: min(quantum/10, 2 ms), section 5.
    #[must_use]
    pub fn straggler_bound(&self) -> Duration {
        (self.quantum / 10).min(Duration::from_millis(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_agree_and_each_relation_is_checked() {
        let good = Settings::default();
        assert_eq!(good.clone().validated(), Ok(good.clone()));
        let bad = [
            (Settings { quantum: Duration::from_micros(999), ..good.clone() }, SettingsError::Quantum),
            (Settings { rows: 17, ..good.clone() }, SettingsError::Rows),
            (Settings { lead: good.suspicion, ..good.clone() }, SettingsError::Lead),
            (Settings { heartbeat: Duration::from_secs(2), ..good.clone() }, SettingsError::Heartbeat),
            (Settings { watchdog: good.suspicion, ..good.clone() }, SettingsError::Watchdog),
            (Settings { clock_tolerance: Duration::ZERO, ..good.clone() }, SettingsError::ClockTolerance),
            (Settings { node_lost: Duration::from_secs(1), ..good.clone() }, SettingsError::NodeLost),
        ];
        for (settings, error) in bad {
            assert_eq!(settings.validated(), Err(error));
        }
    }

    #[test]
    fn a_straggler_is_waited_for_a_tenth_of_the_quantum_and_two_milliseconds_at_most() {
        let bound = |milliseconds| Settings { quantum: Duration::from_millis(milliseconds), ..Settings::default() }.straggler_bound();
        assert_eq!([bound(1), bound(10), bound(50)], [100, 1000, 2000].map(Duration::from_micros));
    }
}
