//! A change that is tried on a copy, looked at, and then committed or dropped.

use super::{Matrix, NoPlacement, PlacementRequest};
use crate::model::{GangRun, RowSet};

/// What would become of a matrix. Nothing has happened until it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MatrixChange {
    /// The gang that would be placed.
    pub placed: Option<GangRun>,
    /// The gang that would go.
    pub removed: Option<GangRun>,
    /// Every gang that would run in other rows than before, the placed and the removed one included; sorted by run.
    pub rows: Vec<RowsChange>,
    next: Matrix,
}

/// The rows of one gang before and after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowsChange {
    /// The gang.
    pub run: GangRun,
    /// Its rows before; empty when it was not there.
    pub before: RowSet,
    /// Its rows after; empty when it is gone.
    pub after: RowSet,
}

impl Matrix {
    /// What placing a gang would change. The matrix itself stays as it is.
    ///
    /// # Errors
    /// Why there is no place for it.
    pub fn placing(&self, request: &PlacementRequest) -> Result<MatrixChange, NoPlacement> {
        let gang = self.find(request)?;
        let mut next = self.clone();
        next.insert(request.run, gang);
        Ok(self.change_to(next, Some(request.run), None))
    }

    /// What the end of a gang would change, none when the matrix does not hold it. The matrix itself stays as it is.
    #[must_use]
    pub fn removing(&self, run: GangRun) -> Option<MatrixChange> {
        self.gang(run)?;
        let mut next = self.clone();
        next.take_out(run);
        Some(self.change_to(next, None, Some(run)))
    }

    /// Makes a change happen.
    ///
    /// # Panics
    /// When the matrix has changed since the change was computed.
    pub fn commit(&mut self, change: MatrixChange) {
        assert_eq!(change.next.revision(), self.revision() + 1, "a change belongs to the matrix that it was computed from");
        *self = change.next;
    }

    fn change_to(&self, next: Self, placed: Option<GangRun>, removed: Option<GangRun>) -> MatrixChange {
        let rows_of = |matrix: &Self, run| matrix.gang(run).map_or(RowSet::EMPTY, |gang| gang.rows);
        let others = next.gangs().map(|(run, _)| run);
        let mut runs: Vec<_> = others.chain(removed).collect();
        runs.sort_unstable();
        let rows = runs
            .into_iter()
            .map(|run| RowsChange { run, before: rows_of(self, run), after: rows_of(&next, run) })
            .filter(|change| change.before != change.after)
            .collect();
        MatrixChange { placed, removed, rows, next }
    }
}
