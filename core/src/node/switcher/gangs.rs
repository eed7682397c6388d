//! The gangs of the node and what they are commanded.

use arrayvec::ArrayVec;

use crate::{
    limits::EFFECTIVE_HOLDS_MAX,
    message::{Hold, HoldChange},
    model::{GangSlot, GangSlots},
};

/// One bit a gang.
///
/// *Invariant:* `held`, `thawed` and `observed` are within `present`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Gangs {
    /// A rank cgroup is there.
    pub(super) present: GangSlots,
    /// Frozen whatever the row.
    pub(super) held: GangSlots,
    /// Commanded thawed.
    pub(super) thawed: GangSlots,
    /// Found thawed, or not yet known to be frozen, without being commanded thawed.
    observed: GangSlots,
    /// Holds and resumes that are marked and not yet reported: none between two steps.
    effective: ArrayVec<(GangSlot, HoldChange), EFFECTIVE_HOLDS_MAX>,
}

// === impl Gangs ===

impl Gangs {
    /// A gang appears. Whatever its cgroup says, it is commanded anew: an earlier life of the agent may have left it
    /// either way.
    pub(super) fn appear(&mut self, slot: GangSlot, released: bool) {
        self.disappear(slot);
        self.present.insert(slot);
        self.observed.insert(slot);
        if !released {
            self.held.insert(slot);
        }
    }

    pub(super) fn disappear(&mut self, slot: GangSlot) {
        for set in [&mut self.present, &mut self.held, &mut self.thawed, &mut self.observed] {
            set.remove(slot);
        }
    }

    pub(super) fn observe_thawed(&mut self, gangs: GangSlots) {
        self.observed = self.observed.union(gangs.intersection(self.present).difference(self.thawed));
    }

    /// Marks a hold or resume. A gang that is gone has nothing to hold.
    pub(super) fn apply(&mut self, hold: Hold) {
        if !self.present.contains(hold.slot) {
            return;
        }
        match hold.change {
            HoldChange::Hold => self.held.insert(hold.slot),
            HoldChange::Resume => self.held.remove(hold.slot),
        }
        self.effective.push((hold.slot, hold.change));
    }

    /// True when marked changes wait for a switch.
    pub(super) fn has_effective(&self) -> bool {
        !self.effective.is_empty()
    }

    /// Takes out the changes that the last switch made effective.
    pub(super) fn take_effective(&mut self) -> ArrayVec<(GangSlot, HoldChange), EFFECTIVE_HOLDS_MAX> {
        self.effective.take()
    }

    /// Commands that `target`, and nothing else, be thawed: what to freeze and what to thaw for it.
    pub(super) fn switch_to(&mut self, target: GangSlots) -> (GangSlots, GangSlots) {
        assert!(target.is_subset(self.present.difference(self.held)), "only gangs that are there and not held are thawed");
        let freeze = self.thawed.union(self.observed).difference(target);
        let thaw = target.difference(self.thawed);
        self.thawed = target;
        self.observed = GangSlots::EMPTY;
        (freeze, thaw)
    }
}
