//! The search for a place.

use super::{Matrix, MatrixGang, NoPlacement, PlacementRequest, cells::Cells, grid::Column};
use crate::{
    limits::{GANGS_PER_NODE_MAX, GANGS_PER_PLAN_MAX, RANKS_PER_GANG_MAX},
    model::{CpuIndex, NodeIndex, NodePlacement, RankIndex, RowIndex},
};

/// The nodes that pass one test after the other.
struct Candidates<'matrix>(Vec<(NodeIndex, &'matrix Column)>);

impl Matrix {
    /// The best place for a gang, by the packing policy.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, request: &PlacementRequest) -> Result<MatrixGang, NoPlacement> {
        self.check_shape(request)?;
        let candidates = self.candidates(request)?;
        let cells = self.homes();
        let row = self.best_row(request, &candidates, &cells)?;
        let nodes = self.best_nodes(request, &candidates, &cells, row);
        Ok(MatrixGang { home: row, rows: [row].into_iter().collect(), memory_bytes: request.memory_bytes, nodes })
    }

    fn check_shape(&self, request: &PlacementRequest) -> Result<(), NoPlacement> {
        let ranks = request.ranks();
        if ranks == 0 || ranks > u64::from(RANKS_PER_GANG_MAX) || request.cpus_per_rank == 0 {
            return Err(NoPlacement::Shape { ranks, cpus_per_rank: request.cpus_per_rank });
        }
        let gangs = self.gangs().count();
        if gangs >= GANGS_PER_PLAN_MAX {
            return Err(NoPlacement::GangsInPlan { gangs });
        }
        Ok(())
    }

    /// The nodes that could take the gang, whatever the row.
    fn candidates(&self, request: &PlacementRequest) -> Result<Candidates<'_>, NoPlacement> {
        let (wanted, slots, bytes) = (request.nodes, request.slots_per_node(), request.memory_bytes);
        let nodes = self.columns().iter().map(|(node, column)| (*node, column));
        let mut candidates = Candidates(nodes.filter(|(node, _)| !request.excluded.contains(*node)).collect());
        candidates.at_least(wanted, |usable| NoPlacement::Nodes { usable, wanted })?;
        candidates.0.retain(|(_, column)| column.cpus.len() as u64 >= slots);
        candidates.at_least(wanted, |large_enough| NoPlacement::NodeSize { large_enough, wanted, slots })?;
        candidates.0.retain(|(node, _)| self.held_on(*node).0 < GANGS_PER_NODE_MAX);
        candidates.at_least(wanted, |free| NoPlacement::GangsOnNode { free, wanted })?;
        candidates.0.retain(|(node, column)| column.memory_bytes - self.held_on(*node).1 >= bytes);
        candidates.at_least(wanted, |free| NoPlacement::Memory { free, wanted, bytes })?;
        Ok(candidates)
    }

    /// The row with the fewest free slots, over all its nodes, in which enough candidates have room; the lowest of several.
    fn best_row(&self, request: &PlacementRequest, candidates: &Candidates<'_>, cells: &Cells) -> Result<RowIndex, NoPlacement> {
        let (wanted, slots) = (request.nodes, request.slots_per_node());
        let with_room =
            |row: RowIndex| candidates.0.iter().filter(|(node, column)| free_slots(cells, row, *node, column) as u64 >= slots).count();
        let free_in =
            |row: &RowIndex| -> usize { self.columns().iter().map(|(node, column)| free_slots(cells, *row, *node, column)).sum() };
        let fits = self.all_rows().filter(|row| with_room(*row) >= usize::from(wanted));
        let free = || self.all_rows().map(with_room).max().unwrap_or(0);
        fits.min_by_key(|row| (free_in(row), *row)).ok_or_else(|| NoPlacement::Slots { free: count(free()), wanted, slots })
    }

    /// The nodes and CPUs in that row.
    fn best_nodes(&self, request: &PlacementRequest, candidates: &Candidates<'_>, cells: &Cells, row: RowIndex) -> Vec<NodePlacement> {
        let slots = request.slots_per_node();
        let taken_in_all_rows = |node: NodeIndex| -> usize { self.all_rows().map(|row| cells.taken_on(row, node)).sum() };
        let mut with_room: Vec<_> = candidates
            .0
            .iter()
            .map(|(node, column)| (free_slots(cells, row, *node, column), taken_in_all_rows(*node), *node))
            .filter(|(free, _, _)| *free as u64 >= slots)
            .collect();
        with_room.sort_unstable();
        let mut nodes: Vec<_> = with_room.into_iter().take(usize::from(request.nodes)).map(|(_, _, node)| node).collect();
        nodes.sort_unstable();
        (0_u32..).zip(nodes).map(|(position, node)| self.part(request, cells, row, position, node)).collect()
    }

    /// The part of the gang on one node: the free CPUs that the other rows use least.
    fn part(&self, request: &PlacementRequest, cells: &Cells, row: RowIndex, position: u32, node: NodeIndex) -> NodePlacement {
        let rows_of = |cpu: CpuIndex| self.all_rows().filter(|row| cells.is_taken(*row, node, cpu)).count();
        let free = self.columns()[&node].cpus.iter().filter(|cpu| !cells.is_taken(row, node, *cpu));
        let mut cpus: Vec<_> = free.map(|cpu| (rows_of(cpu), cpu)).collect();
        cpus.sort_unstable();
        let slots = usize::try_from(request.slots_per_node()).expect("as many slots were found free");
        NodePlacement {
            node,
            cpus: cpus.into_iter().take(slots).map(|(_, cpu)| cpu).collect(),
            first_rank: RankIndex(position * request.ranks_per_node),
            ranks: request.ranks_per_node,
        }
    }
}

impl Candidates<'_> {
    fn at_least(&self, wanted: u16, shortage: impl FnOnce(u16) -> NoPlacement) -> Result<(), NoPlacement> {
        if self.0.len() < usize::from(wanted) { Err(shortage(count(self.0.len()))) } else { Ok(()) }
    }
}

fn free_slots(cells: &Cells, row: RowIndex, node: NodeIndex, column: &Column) -> usize {
    column.cpus.len() - cells.taken_on(row, node)
}

fn count(nodes: usize) -> u16 {
    u16::try_from(nodes).expect("a partition has fewer nodes than a node index counts")
}
