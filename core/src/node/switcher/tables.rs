//! The row tables of the newest matrix versions.

use arrayvec::ArrayVec;

use crate::{
    limits::TABLES_KEPT,
    message::RowTable,
    model::{GangSlot, GangSlots, MatrixVersion, RowIndex},
};

/// One table a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Tables {
    tables: ArrayVec<RowTable, TABLES_KEPT>,
}

// === impl Tables ===

impl Tables {
    /// Takes a table in, instead of an earlier one of the same version or of the lowest version when there is no room.
    pub(super) fn insert(&mut self, table: RowTable) {
        self.tables.retain(|known| known.version != table.version);
        if self.tables.is_full() {
            let lowest = self.tables.iter().map(|known| known.version).min();
            self.tables.retain(|known| Some(known.version) != lowest);
        }
        self.tables.push(table);
    }

    /// The gangs of a row, if the version's table is here.
    pub(super) fn row(&self, version: MatrixVersion, row: RowIndex) -> Option<GangSlots> {
        let table = self.tables.iter().find(|table| table.version == version)?;
        table.rows.get(usize::from(row.0)).copied()
    }

    /// Forgets the gang of a slot. A table that names the slot's next gang comes after that gang has the slot.
    pub(super) fn forget(&mut self, slot: GangSlot) {
        for row in self.tables.iter_mut().flat_map(|table| &mut table.rows) {
            row.remove(slot);
        }
    }
}
