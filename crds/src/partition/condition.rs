//! Condition types and machine-readable reasons of a partition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Types of the conditions of a partition. Each has at most one entry in `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum PartitionConditionType {
    /// It has a machine manager: gangs are admitted and switched.
    Ready,
    /// No node seems to be off without proof that nothing runs there.
    NodesAnswer,
    /// It is deleted, and waits for something.
    Terminating,
}

/// Why a condition of a partition has its status. The text of a value is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum PartitionReason {
    /// A machine manager commands; the message says how many nodes follow it.
    Managed,
    /// No agent has enrolled.
    NoNodes,
    /// No machine manager commands; the message says how many agents are reached.
    NoManager,
    /// Every node answers, or is known to be off.
    NodesAnswer,
    /// The message names nodes that are silent for nodeLost, and what an administrator may do.
    NodesSilent,
    /// Gangs hold slots; the message names their jobs.
    GangsHoldSlots,
}

// === impl PartitionConditionType ===

impl fmt::Display for PartitionConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

// === impl PartitionReason ===

impl fmt::Display for PartitionReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}
