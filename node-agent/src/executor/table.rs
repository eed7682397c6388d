//! The freezers of this node's gangs by slot. An empty slot answers as a gang that is gone.

use rustix::io::Errno;
use strobe_core::model::{GangSlot, GangSlots};

use super::limits::GANGS_MAX;
use crate::freezer::{Commanded, Freezer, Observed};

#[derive(Debug)]
pub(super) struct FreezerTable {
    freezers: [Option<Freezer>; GANGS_MAX],
    occupied: GangSlots,
}

// === impl FreezerTable ===

impl FreezerTable {
    pub(super) const fn new() -> Self {
        Self { freezers: [const { None }; GANGS_MAX], occupied: GangSlots::EMPTY }
    }

    pub(super) const fn put(&mut self, slot: GangSlot, freezer: Freezer) -> Option<Freezer> {
        self.occupied = self.occupied.union(GangSlots::from_bits(1 << slot.0));
        self.freezers[slot.0 as usize].replace(freezer)
    }

    pub(super) const fn take(&mut self, slot: GangSlot) -> Option<Freezer> {
        self.occupied = self.occupied.difference(GangSlots::from_bits(1 << slot.0));
        self.freezers[slot.0 as usize].take()
    }

    pub(super) const fn occupied(&self) -> GangSlots {
        self.occupied
    }

    pub(super) fn freeze(&self, slot: GangSlot) -> Result<Commanded, Errno> {
        self.get(slot).map_or(Ok(Commanded::Gone), Freezer::freeze)
    }

    pub(super) fn thaw(&self, slot: GangSlot) -> Result<Commanded, Errno> {
        self.get(slot).map_or(Ok(Commanded::Gone), Freezer::thaw)
    }

    pub(super) fn observe(&self, slot: GangSlot) -> Result<Observed, Errno> {
        self.get(slot).map_or(Ok(Observed::Gone), Freezer::observe)
    }

    pub(super) fn is_commanded_thawed(&self, slot: GangSlot) -> Result<bool, Errno> {
        self.get(slot).map_or(Ok(false), Freezer::is_commanded_thawed)
    }

    /// True when the command itself can be read back, whatever the gang does.
    pub(super) fn keeps_command(&self, slot: GangSlot) -> bool {
        matches!(self.get(slot), Some(Freezer::Cgroup(_)))
    }

    fn get(&self, slot: GangSlot) -> Option<&Freezer> {
        self.freezers[usize::from(slot.0)].as_ref()
    }
}
