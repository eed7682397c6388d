//! Holds and resumes that wait for their instant.

use arrayvec::ArrayVec;

use crate::{
    limits::PENDING_HOLDS_MAX,
    message::Hold,
    model::{GangSlot, Instant},
};

/// Commands a gang may have waiting. With a third the oldest is due at once.
const PENDING_PER_GANG_MAX: usize = 2;

/// In the order in which they were numbered.
///
/// *Invariant:* at most [`PENDING_PER_GANG_MAX`] of one gang, with instants that do not fall.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct PendingHolds {
    holds: ArrayVec<Hold, PENDING_HOLDS_MAX>,
}

// === impl PendingHolds ===

impl PendingHolds {
    /// Adds the newest command of a gang. It takes effect after the gang's earlier ones, whatever the instants say: the
    /// order of the numbers is the order of effects.
    ///
    /// Returns the gang's oldest command when it has too many waiting: it is due at once.
    pub(super) fn push(&mut self, mut hold: Hold) -> Option<Hold> {
        let waiting = self.holds.iter().filter(|earlier| earlier.slot == hold.slot).count();
        let oldest = if waiting == PENDING_PER_GANG_MAX { self.take(|earlier| earlier.slot == hold.slot) } else { None };
        if let Some(earlier) = self.holds.iter().rfind(|earlier| earlier.slot == hold.slot && earlier.term == hold.term) {
            hold.at = hold.at.max(earlier.at);
        }
        self.holds.push(hold);
        oldest
    }

    /// Removes and returns the first command that is `due`.
    pub(super) fn take(&mut self, due: impl Fn(&Hold) -> bool) -> Option<Hold> {
        let index = self.holds.iter().position(due)?;
        Some(self.holds.remove(index))
    }

    /// Forgets the commands of a gang.
    pub(super) fn forget(&mut self, slot: GangSlot) {
        self.holds.retain(|hold| hold.slot != slot);
    }

    /// The earliest instant, of the manager's clock.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.holds.iter().map(|hold| hold.at).min()
    }
}
