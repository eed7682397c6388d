//! Names and numbers of things, one type each.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number! {
    /// The UID of the `Partition` object: terms of different partitions are never compared.
    PartitionUid(u128)
}
number! {
    /// Fencing number of a machine manager's reign. The authority alone raises it.
    Term(u64)
}
number! {
    /// Number of the member set that a manager numbers and strobes for. The manager alone raises it, within its term.
    View(u64)
}
number! {
    /// Number of a quantum in a term.
    Epoch(u64)
}
number! {
    /// A node of a partition; stays the same over agent restarts and terms.
    NodeIndex(u16)
}
number! {
    /// One life of an agent process: greater in every later life on the same node.
    AgentIncarnation(u64)
}
number! {
    /// One ParallelJob's gang; never used again in the life of a partition.
    GangId(u64)
}
number! {
    /// One life of a gang; grows at restart, restore and duplication.
    GangIncarnation(u32)
}
number! {
    /// Version of the matrix that the rows of a strobe index.
    MatrixVersion(u64)
}
number! {
    /// A row (time slot) of the matrix.
    RowIndex(u8)
}
number! {
    /// A CPU of a node, as the kernel numbers it.
    CpuIndex(u16)
}
number! {
    /// A rank of a gang, 0 to size − 1.
    RankIndex(u32)
}
number! {
    /// Place of a record in the partition's one order. Number 0 stands before the first record.
    RecordNumber(u64)
}
number! {
    /// Place of a gang in its node's table of gangs, below [`crate::limits::GANGS_PER_NODE_MAX`].
    GangSlot(u8)
}

impl Term {
    /// The term after this one. The last one is its own successor: a seal file with the highest number ends no agent.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl RecordNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What carries the right to command: (partition, term, view).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Fence {
    /// The partition; fences of two partitions have no order.
    pub partition: PartitionUid,
    /// The term.
    pub term: Term,
    /// The view within the term.
    pub view: View,
}

impl PartialOrd for Fence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.partition == other.partition).then(|| (self.term, self.view).cmp(&(other.term, other.view)))
    }
}

/// One life of the agent of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeIncarnation {
    /// The node.
    pub node: NodeIndex,
    /// The life of its agent.
    pub incarnation: AgentIncarnation,
}

/// One life of one gang: what runs, is frozen, fails and ends as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GangRun {
    /// The gang.
    pub gang: GangId,
    /// Its life.
    pub incarnation: GangIncarnation,
}

impl fmt::Display for GangRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.gang, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_of_two_partitions_have_no_order() {
        let here = Fence { partition: PartitionUid(1), term: Term(2), view: View(1) };
        let later = Fence { view: View(2), ..here };
        let elsewhere = Fence { partition: PartitionUid(2), ..later };
        assert!(here < later);
        assert_eq!(here.partial_cmp(&elsewhere), None);
    }

    #[test]
    fn a_run_is_called_by_its_gang_and_its_life() {
        assert_eq!(GangRun { gang: GangId(3), incarnation: GangIncarnation(2) }.to_string(), "3-2");
    }
}
