//! Which row runs in which epoch, a rolling schedule ahead of now.

use std::time::Duration;

use crate::{
    limits::{SCHEDULE_COVER, SCHEDULE_EPOCHS_MAX},
    message::{Schedule, Strobe},
    model::{Epoch, Fence, Instant, MatrixVersion, RowIndex, RowSet},
};

/// A schedule is announced again after this part of the time that it covers at least, or after a quantum.
const ANNOUNCEMENTS_PER_COVER: u32 = 8;

/// What to strobe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rotation {
    pub(super) version: MatrixVersion,
    pub(super) rows: RowSet,
    pub(super) quantum: Duration,
}

/// The epochs from the one that runs on, or from the first one that a change left open.
///
/// *Invariant:* an epoch that begins within `lead` of now keeps the row and the instant that it was announced with.
/// *Invariant:* epoch numbers and their instants grow together, over every change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Timetable {
    rotation: Rotation,
    lead: Duration,
    /// The first epoch of the schedule.
    epoch: Epoch,
    /// Its instant.
    at: Instant,
    schedule: Schedule,
    /// Row of the epoch before the first.
    before: Option<RowIndex>,
    /// The last row that was given a turn.
    last: Option<RowIndex>,
}

// === impl Timetable ===

impl Timetable {
    /// The first timetable of a term: epoch 1 begins in `lead`.
    pub(super) fn begin(now: Instant, lead: Duration, rotation: Rotation) -> Self {
        let mut timetable = Self { rotation, lead, epoch: Epoch(1), at: now + lead, schedule: Schedule::new(), before: None, last: None };
        timetable.fill();
        timetable
    }

    /// Drops the epochs that are over and schedules as many new ones.
    pub(super) fn advance(&mut self, now: Instant) {
        let passed = epochs_between(self.at, now, self.rotation.quantum);
        if passed == 0 {
            return;
        }
        let dropped = usize::try_from(passed).unwrap_or(usize::MAX).min(self.schedule.len());
        self.before = self.schedule[dropped - 1];
        self.schedule.drain(..dropped);
        self.epoch = Epoch(self.epoch.0.saturating_add(passed));
        self.at = after_epochs(self.at, self.rotation.quantum, passed);
        self.fill();
    }

    /// What is strobed.
    pub(super) const fn rotation(&self) -> Rotation {
        self.rotation
    }

    /// Takes another rotation up from the first epoch on that begins `lead` after now or later.
    ///
    /// That epoch is brought forward to `lead` from now when the one before it runs nothing that the new rotation knows,
    /// or when the quantum is another.
    pub(super) fn change(&mut self, now: Instant, rotation: Rotation) {
        if rotation == self.rotation {
            return;
        }
        self.advance(now);
        let kept = self.epochs_kept(now);
        let running = match kept {
            0 => self.before,
            some => self.schedule[some - 1],
        };
        let idle = !running.is_some_and(|row| rotation.rows.contains(row));
        let brought_forward = (idle && !rotation.rows.is_empty()) || rotation.quantum != self.rotation.quantum;
        self.at = if brought_forward { now + self.lead } else { after_epochs(self.at, self.rotation.quantum, kept as u64) };
        self.epoch = Epoch(self.epoch.0.saturating_add(kept as u64));
        self.before = running;
        self.last = running.or(self.last);
        self.rotation = rotation;
        self.schedule.clear();
        self.fill();
    }

    /// The announcement of the whole schedule.
    pub(super) fn strobe(&self, fence: Fence, announcement: u64) -> Strobe {
        Strobe {
            fence,
            version: self.rotation.version,
            announcement,
            epoch: self.epoch,
            at: self.at,
            quantum: self.rotation.quantum,
            schedule: self.schedule.clone(),
        }
    }

    /// The last epoch that has begun, or is about to within the lead, and where the next one begins.
    pub(super) fn running(&self, now: Instant) -> (Epoch, Instant) {
        if self.at > now { (Epoch(self.epoch.0 - 1), self.at) } else { (self.epoch, self.at + self.rotation.quantum) }
    }

    /// When to announce again, after an announcement at `now`: where an epoch begins, so that a member that acts on
    /// receipt is not far off, and after one more than a multiple of the rows, so that it meets every row.
    pub(super) fn next_announcement(&self, now: Instant) -> Instant {
        if self.at > now {
            return self.at;
        }
        let rows = self.rotation.rows.len().max(1) as u64;
        let most = (self.cover().as_nanos() / u128::from(ANNOUNCEMENTS_PER_COVER) / self.rotation.quantum.as_nanos()).max(1);
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        after_epochs(self.at, self.rotation.quantum, most - (most - 1) % rows)
    }

    /// What the schedule covers at least, from any instant on.
    fn cover(&self) -> Duration {
        (self.lead + self.rotation.quantum).max(SCHEDULE_COVER)
    }

    /// Number of epochs of the schedule that begin less than `lead` after now: they stay as announced.
    fn epochs_kept(&self, now: Instant) -> usize {
        let open_from = now + self.lead;
        if self.at >= open_from {
            return 0;
        }
        let begun = epochs_between(self.at, open_from - Duration::from_nanos(1), self.rotation.quantum) + 1;
        usize::try_from(begun).unwrap_or(usize::MAX).min(self.schedule.len())
    }

    /// One epoch more than the cover, because the first may be nearly over.
    fn fill(&mut self) {
        let epochs = self.cover().as_nanos().div_ceil(self.rotation.quantum.as_nanos()) + 1;
        let epochs = usize::try_from(epochs).unwrap_or(usize::MAX).min(SCHEDULE_EPOCHS_MAX);
        while self.schedule.len() < epochs {
            let row = row_after(self.rotation.rows, self.last);
            self.last = row.or(self.last);
            self.schedule.push(row);
        }
    }
}

/// The next row in turn: the lowest above `last`, or the lowest of all.
fn row_after(rows: RowSet, last: Option<RowIndex>) -> Option<RowIndex> {
    rows.iter().find(|row| last.is_some_and(|last| *row > last)).or_else(|| rows.iter().next())
}

/// Whole quanta from `start` to `now`.
fn epochs_between(start: Instant, now: Instant, quantum: Duration) -> u64 {
    u64::try_from(now.since(start).as_nanos() / quantum.as_nanos()).unwrap_or(u64::MAX)
}

/// `start` plus `epochs` quanta.
fn after_epochs(start: Instant, quantum: Duration, epochs: u64) -> Instant {
    let nanoseconds = quantum.as_nanos().saturating_mul(u128::from(epochs));
    start + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
