//! What the three primitives mean, one operation after the other. Of the memory that it is compared to it uses nothing.
//!
//! Blocks of gangs are left out, since plans free them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use strobe_core::{
    model::{NodeIndex, NodeSet},
    primitives::{Cell, Compare, Comparison, Memory, OperationId, RegionName, RegionOwner, Xfer},
};

/// Cells that the programs of a scenario use.
pub(crate) const CELLS: u32 = 4;

/// The variables of every node and who has put the blocks that it may read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Specification {
    cells: BTreeMap<(NodeIndex, u32), u64>,
    blocks: BTreeSet<(RegionName, NodeIndex, OperationId)>,
}

impl Specification {
    /// What is seen of a memory.
    pub(super) fn of(memory: &Memory, nodes: usize) -> Self {
        let all = || (0..u16::try_from(nodes).expect("few nodes")).map(NodeIndex);
        let cells = all().flat_map(|node| (0..CELLS).map(move |cell| (node, cell)));
        let cells = cells.map(|(node, cell)| ((node, cell), memory.ordered_cell(node, cell))).filter(|(_, value)| *value != 0).collect();
        let blocks = all().flat_map(|node| memory.regions(node).map(move |(name, region)| (name, node, region.operation)));
        Self { cells, blocks: blocks.filter(|(name, _, _)| is_of_node(*name)).collect() }
    }

    /// The nodes on which a compare does not hold; none when it compares what is not ordered.
    pub(super) fn fails_on(&self, compare: &Compare) -> Option<NodeSet> {
        let Cell::Ordered(cell) = compare.cell else { return None };
        let value = |node| self.cells.get(&(node, cell)).copied().unwrap_or(0);
        Some(compare.set.iter().filter(|node| !holds(value(*node), compare.comparison, compare.value)).collect())
    }

    /// The write of a compare that held.
    pub(super) fn write(&mut self, compare: &Compare, truth: bool) {
        let Some(write) = compare.write.filter(|_| truth) else { return };
        for node in compare.set.iter() {
            if write.value == 0 {
                self.cells.remove(&(node, write.cell));
            } else {
                self.cells.insert((node, write.cell), write.value);
            }
        }
    }

    /// A block under a name replaces the one before it, on whatever nodes that was.
    pub(super) fn put(&mut self, operation: OperationId, xfer: &Xfer) {
        if is_of_node(xfer.region) {
            self.blocks.retain(|(name, _, _)| *name != xfer.region);
            self.blocks.extend(xfer.set.iter().map(|node| (xfer.region, node, operation)));
        }
    }
}

fn holds(cell: u64, comparison: Comparison, value: u64) -> bool {
    let order = cell.cmp(&value);
    match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Greater => order == Ordering::Greater,
    }
}

const fn is_of_node(name: RegionName) -> bool {
    matches!(name.owner, RegionOwner::Node(_))
}
