//! Gangs without a rank cgroup: their ranks are stopped by signals, and their CPU time is read of each process.

use std::time::Duration;

use rustix::process::Pid;
use strobe_core::model::{GangRun, RankIndex};

use super::{
    Agent,
    gang::{Gang, SupervisorProcess},
    killing::{RankProcess, while_there},
    process_time::{tree_time, waited_time},
};
use crate::{
    freezer::{Freezer, SignalFreezer},
    strobe_thread::StrobeCommand,
    supervisor_protocol::{Hello, RankPhase, RankReport},
};

impl Agent {
    /// Registers the freezer of a gang without cgroups, once its stubs (or living ranks) are known.
    pub(super) fn insert_signal_freezer(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get(&run).filter(|gang| gang.cgroup.is_none()) else { return };
        let Some(slot) = gang.slot else { return };
        match while_there(&gang.stubs, SignalFreezer::open) {
            Ok(freezer) => self.command(StrobeCommand::InsertGang { slot, freezer: Box::new(Freezer::Signal(freezer)) }),
            Err(error) => tracing::error!(%run, error = &error as &dyn std::error::Error, "the gang cannot be stopped"),
        }
    }

    /// A rank of a gang that is taken over has been told of, living or ended. With the last one the gang can be stopped again:
    /// its supervisor does not say once more that it is up.
    pub(super) fn told_of(&mut self, run: GangRun, rank: RankIndex) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        if gang.untold.remove(&rank) && gang.untold.is_empty() {
            // What they had used before is an earlier life's count.
            if gang.cgroup.is_none() {
                gang.begin_to_count(&self.strobe);
            }
            self.insert_signal_freezer(run);
        }
    }
}

// === impl Gang ===

impl Gang {
    /// What its supervisor will tell of when it is adopted: of every rank that has not ended, once they were released. (Before, it
    /// says that it is up.)
    pub(super) fn expect_ranks(&mut self, hello: &Hello) {
        let lives = |report: &&RankReport| hello.released && !matches!(report.phase, RankPhase::Ended(_));
        self.untold = hello.ranks.iter().filter(lives).map(|report| RankIndex(report.rank.0)).collect();
    }

    /// CPU time of a gang without cgroups, as far as it is known; see [`used_by`].
    pub(super) fn time_of_processes(&self) -> Duration {
        used_by(self.supervisor.as_ref(), &self.stubs)
    }
}

/// CPU time of ranks and what they have started: of those that are there, and of those that their supervisor has waited for.
/// What runs on as an orphan counts once it has ended and was waited for. Zero for ended ranks whose supervisor is gone.
pub(super) fn used_by(supervisor: Option<&SupervisorProcess>, ranks: &[RankProcess]) -> Duration {
    while_there(ranks, |ranks: &[Pid]| {
        // Those first that were waited for: a rank that ends meanwhile is not counted twice, and the look is repeated.
        let ended = supervisor.and_then(|supervisor| supervisor.look(waited_time)).unwrap_or_default();
        ended + ranks.iter().map(|rank| tree_time(*rank)).sum::<Duration>()
    })
}
