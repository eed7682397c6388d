//! The switching step, as the strobe thread executes it: freeze some gangs of this node, see them frozen, thaw others.
//!
//! It decides nothing: which gangs to freeze and to thaw is the core's set difference (ARCHITECTURE section 5). It opens
//! nothing, allocates nothing and takes no lock of this process.
//!
//! *Invariant:* no gang is thawed before every gang of the same order is frozen or its straggler bound is over, and
//! none at all when a freeze could not be commanded: two gangs that share a CPU are never both commanded thawed.

pub mod limits;
mod outcome;
mod pause;
mod table;
mod thawed;

use std::time::Duration;

use strobe_core::model::{GangSlot, GangSlots, Instant};

pub use outcome::{LateFreezes, SwitchCounters, SwitchOutcome};
pub use thawed::ThawedTime;

use crate::freezer::{Commanded, Freezer, Observed};
use crate::sys::clock::{monotonic_now, sleep_until};
use limits::STRAGGLER_BOUND_MAX;
use pause::Pauses;
use table::FreezerTable;
use thawed::ThawedTimes;

/// What to switch on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchOrder {
    /// Gangs to freeze.
    pub freeze: GangSlots,
    /// Gangs to thaw afterwards; none of those to freeze.
    pub thaw: GangSlots,
    /// How long to wait for the gangs to be frozen, `min(quantum/10, 2 ms)`; more than [`STRAGGLER_BOUND_MAX`] is cut.
    pub straggler_bound: Duration,
}

/// Holds the prepared freezers of this node's gangs and switches them.
#[derive(Debug)]
pub struct Executor {
    freezers: FreezerTable,
    /// Commanded frozen, waited for, and not yet seen frozen.
    straggling: GangSlots,
    /// For each straggling gang: when it was commanded frozen.
    straggling_since: [Instant; limits::GANGS_MAX],
    /// Thaws that were ordered and withheld because a freeze failed.
    owed: GangSlots,
    thawed: ThawedTimes,
    pauses: Pauses,
    counters: SwitchCounters,
}

// === impl Executor ===

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// An executor without gangs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            freezers: FreezerTable::new(),
            straggling: GangSlots::EMPTY,
            straggling_since: [Instant::ORIGIN; limits::GANGS_MAX],
            owed: GangSlots::EMPTY,
            thawed: ThawedTimes::new(),
            pauses: Pauses::new(),
            counters: SwitchCounters::NONE,
        }
    }

    /// Puts a gang's freezer into a slot, and returns what was there: dropping it closes files and frees memory, which
    /// is for another thread to do.
    pub fn register(&mut self, slot: GangSlot, freezer: Freezer) -> Option<Freezer> {
        self.forget(slot);
        self.freezers.put(slot, freezer)
    }

    /// Empties a slot, and returns what was there, to be dropped by another thread.
    pub fn unregister(&mut self, slot: GangSlot) -> Option<Freezer> {
        self.forget(slot);
        self.freezers.take(slot)
    }

    /// The slots that hold a freezer.
    #[must_use]
    pub const fn registered(&self) -> GangSlots {
        self.freezers.occupied()
    }

    /// The gangs that were commanded frozen and waited for, and have not been seen frozen since.
    #[must_use]
    pub const fn straggling(&self) -> GangSlots {
        self.straggling
    }

    /// Gangs whose thaw is withheld because a freeze failed. The next order without a failure thaws them, also an empty one.
    #[must_use]
    pub const fn owed(&self) -> GangSlots {
        self.owed
    }

    /// How long the gangs of each slot were commanded thawed.
    #[must_use]
    pub const fn thawed_times(&self) -> &[ThawedTime; limits::GANGS_MAX] {
        self.thawed.all()
    }

    /// What has been counted since the executor was made.
    #[must_use]
    pub const fn counters(&self) -> SwitchCounters {
        self.counters
    }

    /// Executes an order now.
    ///
    /// # Expected flow
    /// The strobe thread sleeps to the announced instant, calls this, and sends the outcome off in a ring.
    ///
    /// # Guarantees
    /// Returns after at most the straggler bound and the time of the kernel's own calls (writing `cgroup.freeze` takes a
    /// kernel-wide lock). Between looks it sleeps, so that a rank on the same CPU can reach the freezer.
    ///
    /// # Caveats
    /// A gang that is still straggling from an earlier order is commanded again but not waited for again.
    ///
    /// # Panics
    /// When a gang is both to be frozen and to be thawed: the core computes disjoint sets.
    pub fn switch(&mut self, order: &SwitchOrder) -> SwitchOutcome {
        assert!(order.freeze.intersection(order.thaw).is_empty(), "an order freezes and thaws the same gang: {order:?}");
        let started_at = monotonic_now();
        let late = self.check_stragglers();
        let mut outcome = SwitchOutcome::starting(started_at, late);
        let taken = self.command_freezes(order.freeze, &mut outcome);
        outcome.freeze_written_at = monotonic_now();
        self.await_frozen(taken.difference(self.straggling), order.straggler_bound, &mut outcome);
        outcome.frozen_at = monotonic_now();
        let thaw = self.owed.difference(order.freeze).union(order.thaw);
        if outcome.failed.is_empty() {
            self.command_thaws(thaw, &mut outcome);
        } else {
            outcome.withheld = thaw;
        }
        self.owed = outcome.withheld;
        outcome.thawed_at = monotonic_now();
        self.thawed.freeze(outcome.commanded_frozen.union(outcome.gone), outcome.freeze_written_at);
        self.thawed.thaw(outcome.commanded_thawed, outcome.thawed_at);
        outcome.straggling = self.straggling;
        self.counters.count(&outcome);
        outcome
    }

    /// Looks once at each gang that straggles: one read a straggler, nothing when there is none. Called at every switch,
    /// and by the strobe thread whenever it is awake, so that a late freezing is seen near its instant.
    pub fn check_stragglers(&mut self) -> LateFreezes {
        let mut late = LateFreezes::NONE;
        for slot in self.straggling.iter() {
            match self.freezers.observe(slot) {
                Ok(Observed::Frozen) => {
                    late.frozen.insert(slot);
                    let since = self.straggling_since[usize::from(slot.0)];
                    late.slowest = late.slowest.max(monotonic_now().since(since));
                }
                Ok(Observed::Gone) => late.gone.insert(slot),
                Ok(Observed::Running) | Err(_) => {}
            }
        }
        self.straggling = self.straggling.difference(late.frozen).difference(late.gone);
        self.counters.late_freezes += late.frozen.len() as u64;
        late
    }

    /// The gangs of `slots` of which at least one rank may execute now. One whose state cannot be read counts as such.
    #[must_use]
    pub fn running(&self, slots: GangSlots) -> GangSlots {
        let mut running = GangSlots::EMPTY;
        for slot in slots.iter() {
            if matches!(self.freezers.observe(slot), Ok(Observed::Running) | Err(_)) {
                running.insert(slot);
            }
        }
        running
    }

    /// The gangs of `slots`, all commanded frozen by this executor, that somebody else has commanded thawed since (a
    /// supervisor, while the agent was silent), or that execute though signals stopped them. One read a gang. A straggler
    /// that signals stop still executes by nature: nothing can be told of it.
    #[must_use]
    pub fn observed_thawed(&self, slots: GangSlots) -> GangSlots {
        let mut thawed = GangSlots::EMPTY;
        for slot in slots.iter() {
            let readable = self.freezers.keeps_command(slot) || !self.straggling.contains(slot);
            if readable && matches!(self.freezers.is_commanded_thawed(slot), Ok(true)) {
                thawed.insert(slot);
            }
        }
        thawed
    }

    /// Commands all freezes before anything is waited for; returns those that the kernel took.
    fn command_freezes(&self, slots: GangSlots, outcome: &mut SwitchOutcome) -> GangSlots {
        let mut taken = GangSlots::EMPTY;
        for slot in slots.iter() {
            match self.freezers.freeze(slot) {
                Ok(Commanded::Taken) => taken.insert(slot),
                Ok(Commanded::Gone) => outcome.gone.insert(slot),
                Err(errno) => outcome.fail(slot, errno),
            }
        }
        outcome.commanded_frozen = taken;
        taken
    }

    /// Sleeps and looks at the gangs, again and again, until all are frozen or the bound is over; those that are not frozen
    /// then straggle, and teach nothing.
    fn await_frozen(&mut self, slots: GangSlots, bound: Duration, outcome: &mut SwitchOutcome) {
        let deadline = outcome.freeze_written_at + bound.min(STRAGGLER_BOUND_MAX);
        let mut pending = slots;
        for pause in self.pauses.sleeps() {
            if pending.is_empty() || (outcome.looks > 0 && monotonic_now() >= deadline) {
                break;
            }
            sleep_until((monotonic_now() + pause).min(deadline));
            pending = self.still_running(pending, outcome);
        }
        if pending.is_empty() {
            self.pauses.learn(outcome.looks);
        }
        for slot in pending.iter() {
            self.straggling_since[usize::from(slot.0)] = outcome.freeze_written_at;
        }
        self.straggling = self.straggling.union(pending);
        outcome.stragglers = pending;
    }

    /// One look at each of the gangs; one that cannot be read counts as running.
    fn still_running(&self, slots: GangSlots, outcome: &mut SwitchOutcome) -> GangSlots {
        let mut running = GangSlots::EMPTY;
        for slot in slots.iter() {
            match self.freezers.observe(slot) {
                Ok(Observed::Running) => running.insert(slot),
                Ok(Observed::Frozen) => {}
                Ok(Observed::Gone) => outcome.gone.insert(slot),
                Err(errno) => {
                    outcome.first_error.get_or_insert(errno);
                    running.insert(slot);
                }
            }
        }
        outcome.looks += 1;
        running
    }

    fn command_thaws(&mut self, slots: GangSlots, outcome: &mut SwitchOutcome) {
        for slot in slots.iter() {
            match self.freezers.thaw(slot) {
                Ok(Commanded::Taken) => outcome.commanded_thawed.insert(slot),
                Ok(Commanded::Gone) => outcome.gone.insert(slot),
                Err(errno) => outcome.fail(slot, errno),
            }
        }
        outcome.never_froze = self.straggling.intersection(outcome.commanded_thawed);
        self.straggling = self.straggling.difference(outcome.commanded_thawed);
    }

    fn forget(&mut self, slot: GangSlot) {
        let slot = GangSlots::from_bits(1 << slot.0);
        self.thawed.freeze(slot, monotonic_now());
        self.straggling = self.straggling.difference(slot);
        self.owed = self.owed.difference(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbers: &[u8]) -> GangSlots {
        numbers.iter().map(|&number| GangSlot(number)).collect()
    }

    #[test]
    fn an_order_for_empty_slots_switches_nothing_and_says_so() {
        let mut executor = Executor::new();
        let order = SwitchOrder { freeze: slots(&[0, 63]), thaw: slots(&[1]), straggler_bound: STRAGGLER_BOUND_MAX };
        let outcome = executor.switch(&order);
        assert_eq!(outcome.gone, slots(&[0, 1, 63]));
        assert!(outcome.stragglers.is_empty() && outcome.commanded_frozen.is_empty() && outcome.commanded_thawed.is_empty());
        assert!(outcome.started_at <= outcome.freeze_written_at && outcome.freeze_written_at <= outcome.frozen_at);
        assert!(outcome.frozen_at <= outcome.thawed_at);
        assert_eq!(executor.counters().switches, 1);
    }

    #[test]
    #[should_panic(expected = "freezes and thaws the same gang")]
    fn an_order_that_contradicts_itself_is_a_bug() {
        let order = SwitchOrder { freeze: slots(&[3]), thaw: slots(&[3]), straggler_bound: Duration::ZERO };
        Executor::new().switch(&order);
    }
}
