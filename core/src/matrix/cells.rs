//! Which CPUs are taken in which row.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{CpuIndex, NodeIndex, NodePlacement, RowIndex};

/// The CPUs that gangs have, by row and node.
#[derive(Default)]
pub(super) struct Cells(BTreeMap<(RowIndex, NodeIndex), BTreeSet<CpuIndex>>);

impl Cells {
    /// Gives the CPUs of `nodes` in `row` away.
    ///
    /// # Panics
    /// When one of them was given away before: two gangs on one CPU in one row.
    pub(super) fn take(&mut self, row: RowIndex, nodes: &[NodePlacement]) {
        for placement in nodes {
            let taken = self.0.entry((row, placement.node)).or_default();
            for cpu in placement.cpus.iter() {
                assert!(taken.insert(cpu), "CPU {cpu} of node {} is given twice in row {row}", placement.node);
            }
        }
    }

    /// True when none of the CPUs of `nodes` is taken in `row`.
    pub(super) fn are_free(&self, row: RowIndex, nodes: &[NodePlacement]) -> bool {
        nodes.iter().all(|placement| placement.cpus.iter().all(|cpu| !self.is_taken(row, placement.node, cpu)))
    }

    /// True when a gang has the CPU in the row.
    pub(super) fn is_taken(&self, row: RowIndex, node: NodeIndex, cpu: CpuIndex) -> bool {
        self.0.get(&(row, node)).is_some_and(|taken| taken.contains(&cpu))
    }

    /// Number of the node's CPUs that are taken in the row.
    pub(super) fn taken_on(&self, row: RowIndex, node: NodeIndex) -> usize {
        self.0.get(&(row, node)).map_or(0, BTreeSet::len)
    }
}
