//! A change that is tried on a copy, looked at, and then committed or dropped.

use super::{Matrix, MatrixGang, NoPlacement, PlacementRequest};
use crate::{
    limits::{GANGS_PER_NODE_MAX, GANGS_PER_PLAN_MAX},
    model::{GangRun, NodePlacement, RowIndex, RowSet},
};

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

/// A gang's own place is not there any more, or is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the place that run {run} had is not there, or is taken")]
pub struct NotRestored {
    /// The run.
    pub run: GangRun,
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

    /// What putting a gang back into its own place would change. The matrix itself stays as it is.
    ///
    /// # Errors
    /// The place is not there, or is taken.
    pub fn restoring(
        &self,
        run: GangRun,
        memory_bytes: u64,
        home: RowIndex,
        placement: &[NodePlacement],
    ) -> Result<MatrixChange, NotRestored> {
        let is_there = |part: &NodePlacement| {
            self.columns().get(&part.node).is_some_and(|column| {
                let (gangs, bytes) = self.held_on(part.node);
                part.cpus.iter().all(|cpu| column.cpus.iter().any(|own| own == cpu))
                    && gangs < GANGS_PER_NODE_MAX
                    && column.memory_bytes.saturating_sub(bytes) >= memory_bytes
            })
        };
        let sorted = placement.is_sorted_by(|one, next| one.node < next.node) && !placement.is_empty();
        let fits = sorted && home.0 < self.rows() && placement.iter().all(is_there) && self.gangs().count() < GANGS_PER_PLAN_MAX;
        let alone = self.gangs().all(|(other, _)| other.gang != run.gang);
        if !fits || !alone || !self.homes().are_free(home, placement) {
            return Err(NotRestored { run });
        }
        let mut next = self.clone();
        next.insert(run, MatrixGang { home, rows: [home].into_iter().collect(), memory_bytes, nodes: placement.to_vec() });
        Ok(self.change_to(next, Some(run), None))
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
