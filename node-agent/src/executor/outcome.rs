//! What a switching step reports: plain numbers of fixed size, to be copied into a ring.

use std::time::Duration;

use rustix::io::Errno;
use strobe_core::model::{GangSlot, GangSlots, Instant};

/// What one switching step did, in instants of this node's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchOutcome {
    /// The step began.
    pub started_at: Instant,
    /// All freezes were commanded.
    pub freeze_written_at: Instant,
    /// All were seen frozen, or the straggler bound was over.
    pub frozen_at: Instant,
    /// All thaws were commanded: the step ended.
    pub thawed_at: Instant,
    /// How often the frozen state was looked at.
    pub looks: u32,
    /// Gangs whose freeze the kernel took.
    pub commanded_frozen: GangSlots,
    /// Gangs whose thaw the kernel took.
    pub commanded_thawed: GangSlots,
    /// Gangs that this step waited for in vain.
    pub stragglers: GangSlots,
    /// All gangs that straggle when the step ends, from this or earlier orders.
    pub straggling: GangSlots,
    /// Gangs that were thawed while they still straggled.
    pub never_froze: GangSlots,
    /// Late freezings of earlier stragglers that were found when the step began.
    pub late: LateFreezes,
    /// Gangs of the order that no longer exist on this node.
    pub gone: GangSlots,
    /// Gangs for which the kernel refused the command.
    pub failed: GangSlots,
    /// Gangs that are not thawed because a freeze failed. The executor owes them the thaw: the next order without a
    /// failure does it, unless it freezes them.
    pub withheld: GangSlots,
    /// The first answer of the kernel that was an error.
    pub first_error: Option<Errno>,
}

/// Stragglers that are found to have stopped straggling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateFreezes {
    /// Frozen by now.
    pub frozen: GangSlots,
    /// Gone by now.
    pub gone: GangSlots,
    /// Of those frozen: the longest time from the command to this look. The freezing itself was some time before.
    pub slowest: Duration,
}

/// Counts since the executor was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Switching steps.
    pub switches: u64,
    /// Gangs that were commanded frozen.
    pub freezes: u64,
    /// Gangs that were commanded thawed.
    pub thaws: u64,
    /// Gangs that were not frozen within the straggler bound.
    pub stragglers: u64,
    /// Stragglers that were later seen frozen.
    pub late_freezes: u64,
    /// Stragglers that were thawed before they had been seen frozen.
    pub never_froze: u64,
    /// Commands that the kernel refused.
    pub failures: u64,
}

// === impl SwitchOutcome ===

impl SwitchOutcome {
    pub(super) const fn starting(started_at: Instant, late: LateFreezes) -> Self {
        Self {
            started_at,
            freeze_written_at: started_at,
            frozen_at: started_at,
            thawed_at: started_at,
            looks: 0,
            commanded_frozen: GangSlots::EMPTY,
            commanded_thawed: GangSlots::EMPTY,
            stragglers: GangSlots::EMPTY,
            straggling: GangSlots::EMPTY,
            never_froze: GangSlots::EMPTY,
            late,
            gone: GangSlots::EMPTY,
            failed: GangSlots::EMPTY,
            withheld: GangSlots::EMPTY,
            first_error: None,
        }
    }

    /// What the switch cost: from the first command to the last.
    #[must_use]
    pub const fn cost(&self) -> Duration {
        self.thawed_at.since(self.started_at)
    }

    pub(super) fn fail(&mut self, slot: GangSlot, errno: Errno) {
        self.failed.insert(slot);
        self.first_error.get_or_insert(errno);
    }
}

// === impl LateFreezes ===

impl LateFreezes {
    /// None.
    pub const NONE: Self = Self { frozen: GangSlots::EMPTY, gone: GangSlots::EMPTY, slowest: Duration::ZERO };
}

// === impl SwitchCounters ===

impl SwitchCounters {
    /// Nothing counted.
    pub const NONE: Self = Self { switches: 0, freezes: 0, thaws: 0, stragglers: 0, late_freezes: 0, never_froze: 0, failures: 0 };

    /// Adds a step, except its late freezings, which are counted where they are found.
    pub(super) const fn count(&mut self, outcome: &SwitchOutcome) {
        self.switches += 1;
        self.freezes += outcome.commanded_frozen.len() as u64;
        self.thaws += outcome.commanded_thawed.len() as u64;
        self.stragglers += outcome.stragglers.len() as u64;
        self.never_froze += outcome.never_froze.len() as u64;
        self.failures += outcome.failed.len() as u64;
    }
}
