//! What shall run where: the authority's wish, ordered by the manager, obeyed by the members.

use serde::{Deserialize, Serialize};

use super::{CpuSet, Desire, GangRun, GangSlots, MatrixVersion, NodeIndex, NodeSet, RankIndex, RowIndex, RowSet};

/// The matrix and the gangs of a partition at one version.
///
/// *Invariant:* gangs are sorted by gang, none twice; two gangs that share a CPU of a node share no row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the matrix; a higher one replaces a lower one.
    pub version: MatrixVersion,
    /// The gangs, sorted by gang.
    pub gangs: Vec<PlannedGang>,
}

/// One gang of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlannedGang {
    /// The life of the gang that is meant.
    pub run: GangRun,
    /// What shall become of it.
    pub desire: Desire,
    /// The rows in which it runs; more than one after row unification.
    pub rows: RowSet,
    /// Its nodes, sorted by node, each once. The first is the gang's root.
    pub placement: Vec<NodePlacement>,
}

/// The part of a gang on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodePlacement {
    /// The node.
    pub node: NodeIndex,
    /// The CPUs of the gang's slots there.
    pub cpus: CpuSet,
    /// The first rank there; the ranks of a node are consecutive.
    pub first_rank: RankIndex,
    /// Number of ranks there.
    pub ranks: u32,
}

impl Plan {
    /// The gang of that run, if the plan has it.
    #[must_use]
    pub fn gang(&self, run: GangRun) -> Option<&PlannedGang> {
        self.gangs
            .binary_search_by_key(&run.gang, |planned| planned.run.gang)
            .ok()
            .map(|index| &self.gangs[index])
            .filter(|planned| planned.run == run)
    }

    /// The gangs of a row on a node, where `slot` gives a run's place in the node's table (none: not there).
    pub fn row_on_node(&self, row: RowIndex, node: NodeIndex, slot: impl Fn(GangRun) -> Option<super::GangSlot>) -> GangSlots {
        self.gangs
            .iter()
            .filter(|planned| planned.rows.contains(row) && planned.nodes().contains(node))
            .filter_map(|planned| slot(planned.run))
            .collect()
    }
}

impl PlannedGang {
    /// The gang's nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.placement.iter().map(|placement| placement.node).collect()
    }

    /// The gang's part on a node.
    #[must_use]
    pub fn on_node(&self, node: NodeIndex) -> Option<&NodePlacement> {
        self.placement.iter().find(|placement| placement.node == node)
    }
}
