//! Active deadlines: when a job fails for one, and when not.

use std::time::Duration;

use strobe_core::{
    authority::{JobStatus, StateReason},
    model::{GangId, GangRun, GangState},
};

use super::{Ledger, Violation};
use crate::clock::Moment;

/// While nothing goes wrong, ranks are gone so long after the deadline and the grace.
const RANKS_END: Duration = Duration::from_millis(100);

/// How long a job has held slots. The operator's clock has no drift: this is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tenure {
    deadline: Option<Duration>,
    /// By the runs that are over.
    held: Duration,
    /// Since when the present run holds them.
    since: Option<Moment>,
}

impl Tenure {
    fn total(&self, now: Moment) -> Duration {
        self.held + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    fn is_over(&self, now: Moment) -> bool {
        self.deadline.is_some_and(|deadline| self.total(now) >= deadline)
    }

    /// When it will be over, if the present run goes on.
    fn over_at(&self) -> Option<Moment> {
        Some(self.since? + self.deadline?.saturating_sub(self.held))
    }
}

impl Ledger {
    /// A user submits a job.
    pub(crate) fn submitted(&mut self, gang: GangId, deadline: Option<Duration>) {
        self.tenures.entry(gang).or_default().deadline = deadline;
    }

    /// A run is admitted. Says when its deadline is over.
    pub(crate) fn admitted(&mut self, now: Moment, run: GangRun) -> Result<Option<Moment>, Violation> {
        let tenure = self.tenures.entry(run.gang).or_default();
        if tenure.is_over(now) {
            return Err(Violation::new("deadlines", format!("{run} is admitted, and its job has held slots for {:?}", tenure.held)));
        }
        tenure.since.get_or_insert(now);
        Ok(tenure.over_at())
    }

    /// A run holds its slots no more.
    pub(crate) fn removed(&mut self, now: Moment, run: GangRun) {
        let tenure = self.tenures.entry(run.gang).or_default();
        tenure.held = tenure.total(now);
        tenure.since = None;
    }

    /// The authority says something of a job, or is asked.
    pub(crate) fn deadline_kept(&self, now: Moment, status: &JobStatus) -> Result<(), Violation> {
        let Some(tenure) = self.tenures.get(&status.gang) else { return Ok(()) };
        let failed_for_it = status.reason == StateReason::DeadlineExceeded;
        let right = match status.state {
            _ if !tenure.is_over(now) => !failed_for_it,
            // How it ended was judged when it was said, by the authority that said it.
            GangState::Failed => failed_for_it || matches!(status.reason, StateReason::Cancelled | StateReason::EndedBefore),
            GangState::Complete | GangState::Terminating => true,
            _ => false,
        };
        if right {
            return Ok(());
        }
        let (held, deadline) = (tenure.total(now), tenure.deadline);
        Err(Violation::new(
            "deadlines",
            format!("job {} has held slots for {held:?} of {deadline:?}, and is {:?}: {:?}", status.gang, status.state, status.reason),
        ))
    }

    /// A rank ended, of a job with that grace, while nothing went wrong.
    pub(crate) fn ended_in_time(&self, now: Moment, run: GangRun, grace: Duration) -> Result<(), Violation> {
        match self.tenures.get(&run.gang).and_then(Tenure::over_at) {
            Some(over) if now > over + grace + RANKS_END => {
                Err(Violation::new("deadlines", format!("a rank of {run} ends {:?} after the job's deadline", now.since(over))))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use strobe_core::model::GangIncarnation;

    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(0), incarnation: GangIncarnation(1) };

    fn at(milliseconds: u64) -> Moment {
        Moment(milliseconds * 1_000_000)
    }

    fn status(state: GangState, reason: StateReason) -> JobStatus {
        JobStatus {
            gang: RUN.gang,
            incarnation: RUN.incarnation,
            state,
            reason,
            restarts: 0,
            preemptions: 0,
            synchronised: true,
            placement: None,
        }
    }

    /// Held slots for 60 of 100 ms, and again from 200 ms on.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(1);
        ledger.submitted(RUN.gang, Some(Duration::from_millis(100)));
        assert_eq!(ledger.admitted(at(10), RUN), Ok(Some(at(110))));
        ledger.removed(at(70), RUN);
        assert_eq!(ledger.admitted(at(200), RUN), Ok(Some(at(240))));
        ledger
    }

    #[test]
    fn a_job_fails_for_its_deadline_when_it_is_over_and_not_before() {
        let ledger = ledger();
        let exceeded = status(GangState::Failed, StateReason::DeadlineExceeded);
        assert!(ledger.deadline_kept(at(239), &exceeded).is_err() && ledger.deadline_kept(at(240), &exceeded).is_ok());
        let runs = status(GangState::Running, StateReason::None);
        assert!(ledger.deadline_kept(at(239), &runs).is_ok() && ledger.deadline_kept(at(240), &runs).is_err());
        assert!(ledger.deadline_kept(at(240), &status(GangState::Failed, StateReason::Suspended)).is_err());
        assert!(ledger.deadline_kept(at(240), &status(GangState::Complete, StateReason::None)).is_ok());
    }

    #[test]
    fn a_job_whose_deadline_is_over_is_not_run_again() {
        let mut ledger = ledger();
        ledger.removed(at(240), RUN);
        assert!(ledger.admitted(at(300), RUN).is_err());
    }

    #[test]
    fn ranks_are_gone_soon_after_deadline_and_grace() {
        let grace = Duration::from_millis(30);
        assert!(ledger().ended_in_time(at(370), RUN, grace).is_ok() && ledger().ended_in_time(at(371), RUN, grace).is_err());
    }
}
