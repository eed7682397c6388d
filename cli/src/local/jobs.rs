//! What is known of each job: its state as the authority says it, and what its agents measure.

use std::collections::BTreeMap;

use strobe_authority::{Explanation, explain, explain_end};
use strobe_core::{
    authority::{JobPlacement, JobSpecification, JobStatus, StateReason},
    model::{EndCause, GangId, GangIncarnation, GangRun, GangState, Instant, NodeIndex, RankOutcome},
    primitives::GangPhase,
};
use strobe_crds::validate::ValidJob;

use super::limits::FAILURES;

/// Every job of a run, in the order of the files.
#[derive(Debug, Default)]
pub(super) struct Jobs(Vec<Job>);

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    /// Its gang.
    pub gang: GangId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: GangState,
    /// Why.
    pub reason: StateReason,
    /// How often it was run again.
    pub restarts: u32,
    /// The newest life of its gang.
    pub incarnation: GangIncarnation,
    /// False while it runs free on a node.
    pub synchronised: bool,
    /// Its place in the matrix.
    pub placement: Option<JobPlacement>,
    /// How far it says that it is, in percent.
    pub progress: Option<u8>,
    /// When it was submitted.
    pub submitted: Option<Instant>,
    /// When its ranks were released first.
    pub released: Option<Instant>,
    /// When it ended.
    pub ended: Option<Instant>,
    /// What the operating system said of a program that could not be started.
    pub launch_problem: Option<String>,
    /// What a rank of a life said when it called MPI_Abort, of the lives whose failures are remembered.
    last_words: BTreeMap<GangIncarnation, String>,
    /// Why earlier lives ended badly, the first ones.
    failures: BTreeMap<GangIncarnation, EndCause>,
    /// CPU seconds of its ranks, of each life on each node.
    cpu_seconds: BTreeMap<(GangIncarnation, NodeIndex), f64>,
}

impl Jobs {
    /// Jobs of these names, none submitted.
    pub(super) fn new<'a>(jobs: impl Iterator<Item = &'a ValidJob>) -> Self {
        let job = |(index, job): (usize, &ValidJob)| Job {
            gang: gang(index),
            name: job.name.clone(),
            state: GangState::Queued,
            reason: StateReason::None,
            restarts: 0,
            incarnation: GangIncarnation(0),
            synchronised: true,
            placement: None,
            progress: None,
            submitted: None,
            released: None,
            ended: None,
            launch_problem: None,
            last_words: BTreeMap::new(),
            failures: BTreeMap::new(),
            cpu_seconds: BTreeMap::new(),
        };
        Self(jobs.enumerate().map(job).collect())
    }

    /// The jobs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.0.iter()
    }

    /// One job by its gang.
    pub(super) fn get_mut(&mut self, gang: GangId) -> Option<&mut Job> {
        self.0.iter_mut().find(|job| job.gang == gang)
    }

    /// One job by its gang.
    pub(super) fn get(&self, gang: GangId) -> Option<&Job> {
        self.0.iter().find(|job| job.gang == gang)
    }

    /// True when no job will change any more: each has ended, or is suspended, which nobody can change here.
    pub(super) fn at_rest(&self) -> bool {
        self.0.iter().all(|job| job.state.is_terminal() || job.state == GangState::Suspended)
    }

    /// True when one failed.
    pub(super) fn any_failed(&self) -> bool {
        self.0.iter().any(|job| job.state == GangState::Failed)
    }

    /// What a manager reports of a gang: how its lives fail is remembered, a restart would hide it.
    pub(super) fn reported(&mut self, run: GangRun, phase: GangPhase) {
        let (GangPhase::Ending(cause) | GangPhase::Ended(cause)) = phase else { return };
        let Some(job) = self.get_mut(run.gang) else { return };
        let failed = !matches!(cause, EndCause::Completed | EndCause::Terminated);
        if failed && (job.failures.len() < FAILURES || job.failures.contains_key(&run.incarnation)) {
            job.failures.entry(run.incarnation).or_insert(cause);
        }
    }

    /// What a rank says as it calls MPI_Abort. Of several ranks of one life the first is remembered.
    pub(super) fn aborted(&mut self, run: GangRun, message: String) {
        let Some(job) = self.get_mut(run.gang).filter(|_| !message.is_empty()) else { return };
        if job.last_words.len() < FAILURES || job.last_words.contains_key(&run.incarnation) {
            job.last_words.entry(run.incarnation).or_insert(message);
        }
    }

    /// What an agent measures of a gang.
    pub(super) fn measured(&mut self, run: GangRun, node: NodeIndex, cpu_seconds: f64, released: Option<Instant>) {
        let Some(job) = self.get_mut(run.gang) else { return };
        let known = job.cpu_seconds.entry((run.incarnation, node)).or_default();
        *known = known.max(cpu_seconds);
        job.released = [job.released, released].into_iter().flatten().min();
    }
}

impl Job {
    /// Takes over what the authority says; true when the state has changed.
    pub(super) fn update(&mut self, status: JobStatus, now: Instant) -> bool {
        let changed = self.state != status.state || self.restarts != status.restarts;
        if self.incarnation != status.incarnation {
            self.progress = None;
        }
        (self.state, self.reason, self.restarts) = (status.state, status.reason, status.restarts);
        (self.incarnation, self.synchronised, self.placement) = (status.incarnation, status.synchronised, status.placement);
        if self.state.is_terminal() {
            self.ended.get_or_insert(now);
        }
        changed
    }

    /// CPU seconds of all its lives.
    pub(super) fn cpu_seconds(&self) -> f64 {
        // The sum of nothing would be -0.
        self.cpu_seconds.values().fold(0.0, |sum, seconds| sum + seconds)
    }

    /// Why its lives ended badly, the first ones.
    pub(super) fn failures(&self) -> impl Iterator<Item = (GangIncarnation, Explanation)> {
        self.failures.iter().map(|(incarnation, cause)| {
            let Explanation { reason, message } = explain_end(*cause, &name);
            (*incarnation, Explanation { reason, message: self.with_last_words(*incarnation, *cause, message) })
        })
    }

    /// Why it is where it is.
    pub(super) fn explanation(&self) -> Explanation {
        let Explanation { reason, message } = explain(&self.reason, &name);
        let message = match (&self.launch_problem, &self.reason) {
            (
                Some(problem),
                StateReason::LaunchFailed { .. } | StateReason::Ended(EndCause::RankFailed { outcome: RankOutcome::NotStarted(_), .. }),
            ) => {
                format!("{message}: {problem}")
            }
            (_, StateReason::Ended(cause)) => self.with_last_words(self.incarnation, *cause, message),
            _ => message,
        };
        Explanation { reason, message }
    }

    fn with_last_words(&self, incarnation: GangIncarnation, cause: EndCause, message: String) -> String {
        match (cause, self.last_words.get(&incarnation)) {
            (EndCause::RankFailed { outcome: RankOutcome::Aborted(_), .. }, Some(words)) => format!("{message}: {words}"),
            _ => message,
        }
    }
}

/// The gang of the job at that place.
pub(super) fn gang(index: usize) -> GangId {
    GangId(index as u64 + 1)
}

/// A job as the authority takes it. Local mode knows no priority classes, and nothing here would resume a job that is paused: it takes
/// no slots for nothing.
pub(super) fn specification(index: usize, job: &ValidJob) -> JobSpecification {
    let specification = strobe_authority::specification(gang(index), index as u64, job);
    JobSpecification { suspended: job.suspend || job.paused, paused: false, ..specification }
}

fn name(node: NodeIndex) -> String {
    node.to_string()
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{RankIndex, RankOutcome};
    use strobe_crds::parallel_job::FailureReason;

    use super::*;

    fn jobs() -> Jobs {
        let job = serde_json::json!({
            "apiVersion": strobe_crds::API_VERSION, "kind": "ParallelJob", "metadata": { "name": "sor" },
            "spec": { "partition": "p", "template": { "spec": { "containers": [{ "name": "r", "command": ["a"] }] } } },
        });
        let job = strobe_crds::validate::parallel_job(&serde_json::from_value(job).unwrap()).unwrap();
        Jobs::new([job].iter())
    }

    fn status(state: GangState, reason: StateReason) -> JobStatus {
        let incarnation = GangIncarnation(1);
        JobStatus { gang: GangId(1), incarnation, state, reason, restarts: 0, preemptions: 0, synchronised: true, placement: None }
    }

    #[test]
    fn a_job_ends_once_and_says_why() {
        let mut jobs = jobs();
        let at = Instant::from_nanoseconds;
        let failed = StateReason::Ended(EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(3), outcome: RankOutcome::Exited(7) });
        let job = jobs.get_mut(GangId(1)).unwrap();
        assert!(job.update(status(GangState::Running, StateReason::None), at(1)));
        assert!(!job.update(status(GangState::Running, StateReason::None), at(2)));
        assert!(job.update(status(GangState::Failed, failed.clone()), at(3)));
        assert!(!job.update(status(GangState::Failed, failed), at(4)));
        assert_eq!(job.ended, Some(at(3)));
        let explanation =
            Explanation { reason: Some(FailureReason::RankExited.into()), message: "rank 3 on node 1 exited with status 7".to_owned() };
        assert_eq!(job.explanation(), explanation);
        assert!(jobs.at_rest() && jobs.any_failed());
    }

    #[test]
    fn an_abort_is_told_with_its_code_and_its_words() {
        let mut jobs = jobs();
        let run = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
        let cause = EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(3), outcome: RankOutcome::Aborted(-7) };
        let told = |jobs: &Jobs| {
            let job = jobs.get(GangId(1)).unwrap();
            assert_eq!(job.failures().collect::<Vec<_>>(), [(run.incarnation, job.explanation())]);
            job.explanation()
        };
        jobs.reported(run, GangPhase::Ended(cause));
        jobs.get_mut(GangId(1)).unwrap().update(status(GangState::Failed, StateReason::Ended(cause)), Instant::from_nanoseconds(1));
        let message = "rank 3 on node 1 called MPI_Abort with exit code -7".to_owned();
        assert_eq!(told(&jobs), Explanation { reason: Some(FailureReason::Aborted.into()), message: message.clone() });
        for words in ["", "no convergence", "and another rank"] {
            jobs.aborted(run, words.to_owned());
        }
        assert_eq!(told(&jobs).message, format!("{message}: no convergence"));
    }

    #[test]
    fn a_job_that_is_paused_is_not_started_and_one_that_never_ran_used_nothing() {
        let job = serde_json::json!({
            "apiVersion": strobe_crds::API_VERSION, "kind": "ParallelJob", "metadata": { "name": "held" },
            "spec": { "partition": "p", "paused": true, "template": { "spec": { "containers": [{ "name": "r", "command": ["a"] }] } } },
        });
        let job = strobe_crds::validate::parallel_job(&serde_json::from_value(job).unwrap()).unwrap();
        let specification = specification(0, &job);
        assert!(specification.suspended && !specification.paused);
        assert!(Jobs::new([job].iter()).get(GangId(1)).unwrap().cpu_seconds().is_sign_positive());
    }

    #[test]
    fn cpu_time_is_summed_over_nodes_and_lives_and_the_first_release_counts() {
        let mut jobs = jobs();
        let run = |incarnation| GangRun { gang: GangId(1), incarnation: GangIncarnation(incarnation) };
        let at = Instant::from_nanoseconds;
        for (incarnation, node, seconds, released) in
            [(1, 0, 1.0, None), (1, 0, 2.0, Some(at(9))), (1, 1, 4.0, Some(at(8))), (2, 0, 8.0, Some(at(20)))]
        {
            jobs.measured(run(incarnation), NodeIndex(node), seconds, released);
        }
        let job = jobs.get_mut(GangId(1)).unwrap();
        assert!((job.cpu_seconds() - 14.0).abs() < 1e-9);
        assert_eq!(job.released, Some(at(8)));
    }
}
