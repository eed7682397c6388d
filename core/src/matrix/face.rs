//! What a matrix is asked and what it answers.

use crate::model::{CpuSet, GangRun, NodeIndex, NodeSet};

/// The columns of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeCapacity {
    /// The node.
    pub node: NodeIndex,
    /// Its CPUs that gangs may have.
    pub cpus: CpuSet,
    /// Its memory that gangs may have, over all rows together, in bytes.
    pub memory_bytes: u64,
}

/// A place that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlacementRequest {
    /// The life of the gang that shall run there.
    pub run: GangRun,
    /// Nodes, each once.
    pub nodes: u16,
    /// Ranks on each node.
    pub ranks_per_node: u32,
    /// CPUs of each rank.
    pub cpus_per_rank: u16,
    /// Memory on each node, in bytes.
    pub memory_bytes: u64,
    /// Nodes that are not to be used.
    pub excluded: NodeSet,
}

/// Why there is no place, with counts. When several things are short, the first in the order of the variants is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoPlacement {
    /// The gang has no rank, a rank has no CPU, or there are more ranks than [`crate::limits::RANKS_PER_GANG_MAX`].
    #[error("a gang of {ranks} ranks with {cpus_per_rank} CPUs a rank cannot be")]
    Shape {
        /// Ranks of the gang.
        ranks: u64,
        /// CPUs of each rank.
        cpus_per_rank: u16,
    },
    /// The matrix holds [`crate::limits::GANGS_PER_PLAN_MAX`] gangs.
    #[error("the matrix holds {gangs} gangs, as many as it can")]
    GangsInPlan {
        /// Gangs that it holds.
        gangs: usize,
    },
    /// Too few nodes may be used at all.
    #[error("{usable} of {wanted} nodes may be used")]
    Nodes {
        /// Nodes that may be used.
        usable: u16,
        /// Nodes that the gang needs.
        wanted: u16,
    },
    /// Too few nodes have so many CPUs, even when nothing runs.
    #[error("{large_enough} of {wanted} nodes have {slots} CPUs")]
    NodeSize {
        /// Nodes with so many CPUs.
        large_enough: u16,
        /// Nodes that the gang needs.
        wanted: u16,
        /// CPUs that it needs on each.
        slots: u64,
    },
    /// Too few nodes have a free place in their table of [`crate::limits::GANGS_PER_NODE_MAX`] gangs.
    #[error("{free} of {wanted} nodes can take one more gang")]
    GangsOnNode {
        /// Nodes that can.
        free: u16,
        /// Nodes that the gang needs.
        wanted: u16,
    },
    /// Too few nodes have the memory, counted over all rows together.
    #[error("{free} of {wanted} nodes have {bytes} bytes of memory left")]
    Memory {
        /// Nodes that have it.
        free: u16,
        /// Nodes that the gang needs.
        wanted: u16,
        /// Bytes that it needs on each.
        bytes: u64,
    },
    /// No row has enough nodes with enough free slots.
    #[error("{free} of {wanted} nodes have {slots} free slots in one row")]
    Slots {
        /// Nodes that have them, in the row that has most such nodes.
        free: u16,
        /// Nodes that the gang needs.
        wanted: u16,
        /// Slots that it needs on each.
        slots: u64,
    },
}

impl PlacementRequest {
    /// Slots that the gang needs on each of its nodes.
    #[must_use]
    pub fn slots_per_node(&self) -> u64 {
        u64::from(self.ranks_per_node) * u64::from(self.cpus_per_rank)
    }

    /// Ranks of the whole gang.
    #[must_use]
    pub fn ranks(&self) -> u64 {
        u64::from(self.ranks_per_node) * u64::from(self.nodes)
    }
}
