//! The life of a gang, as a table.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{NodeIndex, RankIndex};

/// What the authority wants of a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Desire {
    /// It shall run in its rows.
    Run,
    /// It shall keep memory and row and not run.
    Pause,
    /// It shall end: SIGTERM, then after `grace` SIGKILL.
    Terminate {
        /// Time between the two signals; none when zero.
        grace: Duration,
    },
}

/// How one rank ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RankOutcome {
    /// It exited with a status; zero is success.
    Exited(u8),
    /// A signal ended it.
    Signalled(u8),
    /// Its program could not be started; the operating system's error number.
    NotStarted(u16),
    /// It called `MPI_Abort` with this exit code, which may be 0.
    Aborted(i32),
    /// The kernel ended it for lack of memory.
    OutOfMemory,
    /// It failed in a way that is told by a newer version and not known to this one.
    Unknown,
}

/// Why the barrier in which ranks exchange their addresses can never be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BarrierFailure {
    /// The keys of all ranks together are larger than a payload may be.
    KeysTooLarge,
    /// Global memory has no room for the keys.
    MemoryFull,
    /// A node's key-value space has no room for the keys of all ranks.
    SpaceFull,
    /// The keys that came to a node are not what supervisors write.
    KeysDamaged,
    /// A rank had left before it entered.
    RankLeft,
}

/// Why a gang's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndCause {
    /// Every rank exited with status 0.
    Completed,
    /// A rank failed.
    RankFailed {
        /// The node.
        node: NodeIndex,
        /// The first failed rank that was heard of.
        rank: RankIndex,
        /// How it ended.
        outcome: RankOutcome,
    },
    /// A supervisor ended before its ranks, or was not found again by a restarted agent.
    SupervisorLost {
        /// The node.
        node: NodeIndex,
    },
    /// A node of the gang was lost.
    NodeLost {
        /// The node.
        node: NodeIndex,
    },
    /// The authority ended it: cancelled, suspended, past its deadline.
    Terminated,
    /// Its ranks cannot find each other: a wire-up barrier failed.
    BarrierFailed {
        /// The node that knows.
        node: NodeIndex,
        /// Why.
        reason: BarrierFailure,
    },
}

impl EndCause {
    /// True when ranks had begun, so that all supervisors of the gang were there. Of the other causes some come before that, some after.
    pub fn follows_release(&self) -> bool {
        match self {
            Self::Completed | Self::BarrierFailed { .. } => true,
            Self::RankFailed { outcome, .. } => !matches!(outcome, RankOutcome::NotStarted(_) | RankOutcome::Unknown),
            Self::SupervisorLost { .. } | Self::NodeLost { .. } | Self::Terminated => false,
        }
    }
}

/// Where a job stands in its life (section 7 of the design). *Switched-out* shows as `Running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GangState {
    /// Waits for slots.
    Queued,
    /// Has its place in the matrix.
    Admitted,
    /// Its pods (in local mode its supervisors) are being started.
    Placed,
    /// Its supervisors report in; no rank runs.
    Launching,
    /// Its ranks run in their rows.
    Running,
    /// Keeps memory and rows and does not run.
    Paused,
    /// Is being ended.
    Terminating,
    /// Was ended by suspension; holds nothing.
    Suspended,
    /// Was evicted as a whole and waits again; not a restart.
    Preempted,
    /// Failed and waits to be run again.
    Restarting,
    /// Every rank exited with status 0.
    Complete,
    /// Ended otherwise, for good.
    Failed,
}

/// What can happen in a job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GangEvent {
    /// Slots were found.
    Admit,
    /// Pods or supervisors are being started.
    Place,
    /// The first supervisor reported in.
    Launch,
    /// The ranks were released and may run.
    Release,
    /// It is held by a pause; ranks that are released while it is held do not run.
    Pause,
    /// The hold is over.
    Resume,
    /// Its ranks are being ended: the authority wants it, or one of them or a node of it failed.
    Terminate,
    /// Its run ended well.
    Completed,
    /// Its run ended badly and may be tried again.
    FailedRetry,
    /// Its run ended badly for good.
    FailedFinal,
    /// Its run was ended to be suspended.
    Suspended,
    /// Its run was ended for others' sake.
    Preempted,
    /// It waits for slots again.
    Requeue,
}

/// An event that cannot happen in a state: a defect of the caller, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event {event:?} does not belong to state {state:?}")]
pub struct WrongEvent {
    /// The state.
    pub state: GangState,
    /// The event.
    pub event: GangEvent,
}

impl GangState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Admitted,
        Self::Placed,
        Self::Launching,
        Self::Running,
        Self::Paused,
        Self::Terminating,
        Self::Suspended,
        Self::Preempted,
        Self::Restarting,
        Self::Complete,
        Self::Failed,
    ];

    /// True when no event leaves the state.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// [`WrongEvent`] when the event does not belong to this state.
    pub const fn after(self, event: GangEvent) -> Result<Self, WrongEvent> {
        match next(self, event) {
            Some(state) => Ok(state),
            None => Err(WrongEvent { state: self, event }),
        }
    }
}

impl GangEvent {
    /// Every event.
    pub const ALL: [Self; 13] = [
        Self::Admit,
        Self::Place,
        Self::Launch,
        Self::Release,
        Self::Pause,
        Self::Resume,
        Self::Terminate,
        Self::Completed,
        Self::FailedRetry,
        Self::FailedFinal,
        Self::Suspended,
        Self::Preempted,
        Self::Requeue,
    ];
}

/// The transition table: one line a state that an event leaves.
const fn next(state: GangState, event: GangEvent) -> Option<GangState> {
    use GangEvent as E;
    use GangState as S;
    match (state, event) {
        (S::Queued, E::Admit) => Some(S::Admitted),
        (S::Admitted, E::Place) => Some(S::Placed),
        (S::Placed, E::Launch) => Some(S::Launching),
        (S::Launching, E::Release) | (S::Paused, E::Resume) => Some(S::Running),
        (S::Launching | S::Running, E::Pause) => Some(S::Paused),
        (S::Admitted | S::Placed | S::Launching | S::Running | S::Paused, E::Terminate) => Some(S::Terminating),
        (S::Running | S::Paused | S::Terminating, E::Completed) => Some(S::Complete),
        (S::Terminating, E::FailedRetry) => Some(S::Restarting),
        (S::Queued | S::Terminating | S::Restarting | S::Suspended | S::Preempted, E::FailedFinal) => Some(S::Failed),
        (S::Queued | S::Terminating | S::Restarting | S::Preempted, E::Suspended) => Some(S::Suspended),
        (S::Terminating, E::Preempted) => Some(S::Preempted),
        (S::Terminating | S::Suspended | S::Preempted | S::Restarting, E::Requeue) => Some(S::Queued),
        (
            S::Queued
            | S::Admitted
            | S::Placed
            | S::Launching
            | S::Running
            | S::Paused
            | S::Terminating
            | S::Suspended
            | S::Preempted
            | S::Restarting
            | S::Complete
            | S::Failed,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_has_ended_had_begun_and_one_that_was_not_started_had_not() {
        let failed = |outcome| EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(1), outcome };
        for cause in
            [EndCause::Completed, failed(RankOutcome::Exited(3)), failed(RankOutcome::Signalled(9)), failed(RankOutcome::Aborted(0))]
        {
            assert!(cause.follows_release(), "{cause:?}");
        }
        let (absent, lost) = (failed(RankOutcome::NotStarted(2)), EndCause::NodeLost { node: NodeIndex(1) });
        for cause in [absent, failed(RankOutcome::Unknown), lost, EndCause::SupervisorLost { node: NodeIndex(1) }, EndCause::Terminated] {
            assert!(!cause.follows_release(), "{cause:?}");
        }
    }
}
