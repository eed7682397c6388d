//! The matrix as a value.

use std::collections::BTreeMap;

use super::{NodeCapacity, cells::Cells};
use crate::{
    limits::{CPUS_PER_NODE_MAX, GANGS_PER_NODE_MAX, GANGS_PER_PLAN_MAX, MEMBERS_MAX, ROWS_MAX},
    model::{CpuSet, GangRun, NodeIndex, NodePlacement, RowIndex, RowSet},
};

/// The rows and columns of a partition and the gangs that stand in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matrix {
    rows: u8,
    nodes: BTreeMap<NodeIndex, Column>,
    gangs: BTreeMap<GangRun, MatrixGang>,
    revision: u64,
}

/// One gang in the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MatrixGang {
    /// The row that it was given; the others of `rows` are borrowed while their slots are free.
    pub home: RowIndex,
    /// The rows in which it runs, its home included.
    pub rows: RowSet,
    /// Its memory on each of its nodes, in bytes.
    pub memory_bytes: u64,
    /// Its nodes, sorted by node; they and their CPUs never change.
    pub nodes: Vec<NodePlacement>,
}

/// The columns of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Column {
    pub(super) cpus: CpuSet,
    pub(super) memory_bytes: u64,
}

impl Matrix {
    /// An empty matrix.
    ///
    /// # Panics
    /// When `rows` is not from 1 to [`ROWS_MAX`] or a node is not below [`MEMBERS_MAX`]: settings and nodes are
    /// validated before.
    #[must_use]
    pub fn new(rows: u8, nodes: impl IntoIterator<Item = NodeCapacity>) -> Self {
        assert!((1..=ROWS_MAX).contains(&usize::from(rows)), "{rows} rows are not a matrix");
        let mut matrix = Self { rows, nodes: BTreeMap::new(), gangs: BTreeMap::new(), revision: 0 };
        matrix.widen(nodes);
        matrix
    }

    /// Adds the columns of nodes that have none. Those that there are stay as they are, and so does every gang.
    ///
    /// # Panics
    /// When a node is not below [`MEMBERS_MAX`].
    pub fn widen(&mut self, nodes: impl IntoIterator<Item = NodeCapacity>) {
        for capacity in nodes {
            assert!(usize::from(capacity.node.0) < MEMBERS_MAX, "a node is outside a set of nodes");
            self.nodes.entry(capacity.node).or_insert_with(|| Column::new(&capacity));
        }
        self.revision += 1;
    }

    /// The same rows and columns without a gang: what would fit if nothing ran.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { gangs: BTreeMap::new(), ..self.clone() }
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> u8 {
        self.rows
    }

    /// The gangs, sorted by run.
    pub fn gangs(&self) -> impl Iterator<Item = (GangRun, &MatrixGang)> {
        self.gangs.iter().map(|(run, gang)| (*run, gang))
    }

    /// One gang.
    #[must_use]
    pub fn gang(&self, run: GangRun) -> Option<&MatrixGang> {
        self.gangs.get(&run)
    }

    /// True when no gang stands in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gangs.is_empty()
    }

    /// The rows that are the home of a gang.
    #[must_use]
    pub fn occupied_rows(&self) -> RowSet {
        self.gangs.values().map(|gang| gang.home).collect()
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) const fn columns(&self) -> &BTreeMap<NodeIndex, Column> {
        &self.nodes
    }

    pub(super) const fn gangs_mut(&mut self) -> &mut BTreeMap<GangRun, MatrixGang> {
        &mut self.gangs
    }

    /// The slots that gangs have in their home rows; borrowed ones are given back to whoever needs them.
    pub(super) fn homes(&self) -> Cells {
        let mut cells = Cells::default();
        for gang in self.gangs.values() {
            cells.take(gang.home, &gang.nodes);
        }
        cells
    }

    pub(super) fn all_rows(&self) -> impl Iterator<Item = RowIndex> + use<> {
        (0..self.rows).map(RowIndex)
    }

    /// Number of gangs and bytes of their memory on a node, over all rows together.
    pub(super) fn held_on(&self, node: NodeIndex) -> (usize, u64) {
        let there = self.gangs.values().filter(|gang| gang.nodes.iter().any(|placement| placement.node == node));
        there.fold((0, 0), |(gangs, bytes), gang| (gangs + 1, bytes + gang.memory_bytes))
    }

    pub(super) fn insert(&mut self, run: GangRun, gang: MatrixGang) {
        assert!(!self.gangs.keys().any(|other| other.gang == run.gang), "two lives of gang {} never stand in one matrix", run.gang);
        self.gangs.insert(run, gang);
        self.finish_change();
    }

    pub(super) fn take_out(&mut self, run: GangRun) {
        self.gangs.remove(&run);
        self.compact();
        self.finish_change();
    }

    fn finish_change(&mut self) {
        self.unify();
        self.revision += 1;
        self.assert_sound();
    }

    /// Checks every invariant of the matrix.
    ///
    /// # Panics
    /// When one does not hold: a defect of this module.
    pub fn assert_sound(&self) {
        let mut cells = Cells::default();
        for gang in self.gangs.values() {
            assert!(gang.rows.contains(gang.home) && gang.rows.iter().all(|row| row.0 < self.rows), "a gang stands in rows of the matrix");
            assert!(gang.nodes.is_sorted_by(|one, next| one.node < next.node), "a gang is at most once on a node");
            gang.rows.iter().for_each(|row| cells.take(row, &gang.nodes));
        }
        for (node, column) in &self.nodes {
            let (gangs, bytes) = self.held_on(*node);
            assert!(gangs <= GANGS_PER_NODE_MAX && bytes <= column.memory_bytes, "node {node} holds more than it can");
        }
        assert!(self.gangs.len() <= GANGS_PER_PLAN_MAX, "a plan holds every gang of the matrix");
    }
}

impl Column {
    fn new(capacity: &NodeCapacity) -> Self {
        Self { cpus: capacity.cpus.iter().take(CPUS_PER_NODE_MAX).collect(), memory_bytes: capacity.memory_bytes }
    }
}
