//! Row unification and compaction.

use super::{Matrix, cells::Cells};
use crate::model::{RowIndex, RowSet};

impl Matrix {
    /// Lets every gang also run in the occupied rows where its slots stay free. Computed anew from the home rows, so that
    /// the result depends on nothing else; in each row the gang that runs in fewest rows so far goes first.
    pub(super) fn unify(&mut self) {
        let mut cells = self.homes();
        for gang in self.gangs_mut().values_mut() {
            gang.rows = [gang.home].into_iter().collect();
        }
        for row in self.occupied_rows().iter() {
            self.unify_row(row, &mut cells);
        }
    }

    fn unify_row(&mut self, row: RowIndex, cells: &mut Cells) {
        let mut order: Vec<_> =
            self.gangs().filter(|(_, gang)| gang.home != row).map(|(run, gang)| (gang.rows.len(), gang.home, run)).collect();
        order.sort_unstable();
        for (_, _, run) in order {
            let gang = self.gangs_mut().get_mut(&run).expect("the order was made of these gangs");
            if cells.are_free(row, &gang.nodes) {
                cells.take(row, &gang.nodes);
                gang.rows.insert(row);
            }
        }
    }

    /// Moves gangs to the lowest row where their slots are free, those of low rows first. Occupied rows are then the first
    /// ones without a gap: gangs of one row never stand in each other's way in a free one.
    pub(super) fn compact(&mut self) {
        let mut order: Vec<_> = self.gangs().map(|(run, gang)| (gang.home, run)).collect();
        order.sort_unstable();
        let mut cells = Cells::default();
        for (home, run) in order {
            let gang = self.gangs_mut().get_mut(&run).expect("the order was made of these gangs");
            let free = |row: &RowIndex| cells.are_free(*row, &gang.nodes);
            gang.home = (0..=home.0).map(RowIndex).find(free).expect("gangs of one row share no slot, and none came from a lower row");
            gang.rows = RowSet::EMPTY;
            cells.take(gang.home, &gang.nodes);
        }
    }
}
