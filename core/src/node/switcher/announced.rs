//! What was announced and is not over: a few strobes, each valid up to the first epoch of the next.

use arrayvec::ArrayVec;

use crate::{
    limits::{ANNOUNCEMENTS_KEPT, QUANTUM_MAX, QUANTUM_MIN, ROWS_MAX},
    message::Strobe,
    model::{Epoch, Instant, MatrixVersion, RowIndex},
};

/// Strobes of one term, first epochs growing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Announced {
    strobes: ArrayVec<Strobe, ANNOUNCEMENTS_KEPT>,
}

/// One announced epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnnouncedEpoch {
    pub(super) epoch: Epoch,
    /// Of the manager's clock.
    pub(super) at: Instant,
    pub(super) quantum: std::time::Duration,
    pub(super) version: MatrixVersion,
    pub(super) row: Option<RowIndex>,
}

/// True when no field of the strobe is outside its range.
pub(super) fn is_well_formed(strobe: &Strobe) -> bool {
    let rows_exist = strobe.schedule.iter().flatten().all(|row| usize::from(row.0) < ROWS_MAX);
    (QUANTUM_MIN..=QUANTUM_MAX).contains(&strobe.quantum) && !strobe.schedule.is_empty() && rows_exist
}

// === impl Announced ===

impl Announced {
    /// Takes in a newer strobe: it replaces every epoch from its first one on. Those that are over make room first.
    pub(super) fn accept(&mut self, strobe: Strobe) {
        self.strobes.retain(|earlier| earlier.epoch < strobe.epoch);
        if self.strobes.is_full() {
            self.strobes.remove(0);
        }
        self.strobes.push(strobe);
    }

    pub(super) fn clear(&mut self) {
        self.strobes.clear();
    }

    /// The first epoch of the newest strobe.
    pub(super) fn first_of_newest(&self) -> Option<AnnouncedEpoch> {
        self.strobes.last().map(|strobe| entry(strobe, strobe.epoch))
    }

    /// The first epoch that is announced from `floor` on.
    pub(super) fn first_from(&self, floor: Epoch) -> Option<AnnouncedEpoch> {
        (0..self.strobes.len()).find_map(|index| {
            let (first, end) = self.epochs(index, floor);
            (first < end).then(|| entry(&self.strobes[index], Epoch(first)))
        })
    }

    /// The newest epoch from `floor` on whose instant `is_due`.
    pub(super) fn newest_due(&self, floor: Epoch, is_due: impl Fn(Instant) -> bool) -> Option<AnnouncedEpoch> {
        (0..self.strobes.len()).rev().find_map(|index| {
            let strobe = &self.strobes[index];
            let (mut first, mut end) = self.epochs(index, floor);
            if first >= end || !is_due(entry(strobe, Epoch(first)).at) {
                return None;
            }
            // *Invariant:* `first` is due, `end` is not, or is not announced here.
            while end - first > 1 {
                let middle = first + (end - first) / 2;
                if is_due(entry(strobe, Epoch(middle)).at) { first = middle } else { end = middle }
            }
            Some(entry(strobe, Epoch(first)))
        })
    }

    /// How many epochs from `floor` on were announced before `epoch`.
    pub(super) fn superseded_by(&self, epoch: Epoch, floor: Epoch) -> u64 {
        let announced = self.first_from(floor).map_or(epoch, |first| first.epoch);
        epoch.0.saturating_sub(announced.0)
    }

    /// The epochs of a strobe from `floor` on that no later strobe has replaced: first and end.
    fn epochs(&self, index: usize, floor: Epoch) -> (u64, u64) {
        let strobe = &self.strobes[index];
        let announced = strobe.epoch.0.saturating_add(strobe.schedule.len() as u64);
        let replaced = self.strobes.get(index + 1).map_or(u64::MAX, |following| following.epoch.0);
        (strobe.epoch.0.max(floor.0), announced.min(replaced))
    }
}

/// An epoch of a well-formed strobe's schedule.
fn entry(strobe: &Strobe, epoch: Epoch) -> AnnouncedEpoch {
    let index = usize::try_from(epoch.0 - strobe.epoch.0).expect("an announced epoch lies within its schedule");
    let elapsed = strobe.quantum * u32::try_from(index).expect("a schedule has at most SCHEDULE_EPOCHS_MAX epochs");
    AnnouncedEpoch { epoch, at: strobe.at + elapsed, quantum: strobe.quantum, version: strobe.version, row: strobe.schedule[index] }
}
