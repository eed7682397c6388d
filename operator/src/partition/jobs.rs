//! The jobs of a partition, and what is to be said of each.

use std::sync::{Arc, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Resource as _, ResourceExt as _};
use strobe_authority::{Explanation, JobReason, explain, explain_end};
use strobe_core::authority::{AuthorityInput, JobSpecification, JobStatus, StateReason};
use strobe_core::matrix::NoPlacement;
use strobe_core::message::GangReport;
use strobe_core::model::{EndCause, GangId, GangRun, GangState, Instant, NodeIncarnation, NodeIndex, RankOutcome};
use strobe_core::primitives::GangPhase;
use strobe_crds::parallel_job::{FailureReason, JobFailure, ParallelJob, Reason};
use strobe_crds::validate::ValidJob;
use strobe_proto::agent::{GangFigures, RankAborted};

use super::Partition;
use super::pods::{Seen, Trouble};
use super::used::Used;
use crate::controller::WatchedJob;
use crate::limits::{FAILURES, SAID_AGAIN};
use crate::partitions::Submission;
use crate::resources;
use crate::standing::Standing;

/// The signal by which the kernel ends a process for lack of memory.
const SIGKILL: u8 = 9;

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) object: Arc<ParallelJob>,
    pub(super) valid: ValidJob,
    /// Value of its priority class.
    priority: i32,
    /// True once its object was among those that are listed.
    listed: bool,
    /// Nodes whose supervisors are up, in the newest life that a manager reports.
    up: u32,
    /// What was found out beyond what the authority knows: a server's or a program's own words.
    problem: Option<(GangRun, String)>,
    failures: Vec<JobFailure>,
    started: Option<Time>,
    ended: Option<Time>,
    /// The newest life whose ranks were released.
    released: Option<GangRun>,
    /// What its newest life has made of its slots.
    used: Option<(GangRun, Used)>,
    /// What was last said of it, and when.
    said: Option<(Standing, Instant)>,
}

impl Job {
    /// A job that was submitted, or that an earlier authority knew.
    pub(super) fn known(Submission { job, valid, priority }: Submission) -> Self {
        Self {
            object: job,
            valid,
            priority,
            listed: false,
            up: 0,
            problem: None,
            failures: Vec::new(),
            started: None,
            ended: None,
            released: None,
            used: None,
            said: None,
        }
    }

    pub(super) fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// The object of its name among those that are listed.
    pub(super) fn found(&self, listed: &Cache<WatchedJob>) -> Option<Arc<WatchedJob>> {
        listed.get(&ObjectRef::new(&self.object.name_any()).within(&self.namespace()))
    }

    /// An agent tells what it has measured of a life.
    pub(super) fn measured(&mut self, run: GangRun, agent: NodeIncarnation, figures: &GangFigures) {
        match &mut self.used {
            Some((known, used)) if *known == run => used.take(agent, figures),
            Some((known, _)) if *known > run => {}
            _ => {
                let mut used = Used::default();
                used.take(agent, figures);
                self.used = Some((run, used));
            }
        }
    }

    /// True for a life whose ranks were released: all its pods' supervisors were there.
    pub(super) fn has_released(&self, run: GangRun) -> bool {
        self.released == Some(run)
    }

    /// CPU time of the newest life's ranks, of that of their slots while they were thawed.
    fn efficiency(&self) -> Option<f64> {
        let (_, used) = self.used.as_ref().filter(|(run, _)| self.released == Some(*run))?;
        used.efficiency(self.valid.ranks_per_node.get() * self.valid.cpus_per_rank.get())
    }
}

/// The gang of a job: what its UID begins with, which is random.
pub(super) fn gang_of(job: &ParallelJob) -> Option<GangId> {
    let digits: String = job.uid()?.chars().filter(|character| *character != '-').take(16).collect();
    u64::from_str_radix(&digits, 16).ok().map(GangId)
}

/// A job's place among others of its priority: older ones first, and of one second those that were seen first.
fn order(job: &ParallelJob, seen: usize) -> u64 {
    const SEEN_BITS: u32 = 20;
    let created = job.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let seen = u64::try_from(seen).unwrap_or(u64::MAX) & ((1 << SEEN_BITS) - 1);
    u64::try_from(created).unwrap_or(0) << SEEN_BITS | seen
}

/// A job as the authority takes it.
pub(super) fn specification(gang: GangId, seen: usize, submission: &Submission) -> JobSpecification {
    let Submission { job, valid, priority } = submission;
    JobSpecification {
        priority: *priority,
        memory_bytes: resources::memory(job),
        ..strobe_authority::specification(gang, order(job, seen), valid)
    }
}

impl Partition {
    /// A job that nothing speaks against is there, or has changed.
    pub(super) fn submitted(&mut self, submission: Submission) {
        let Some(gang) = gang_of(&submission.job) else { return };
        match self.jobs.get_mut(&gang) {
            Some(job) => {
                let Submission { job: object, valid, priority } = submission;
                let (before, after) = ((job.valid.suspend, job.valid.paused), (valid.suspend, valid.paused));
                (job.object, job.valid) = (object, valid);
                if std::mem::replace(&mut job.priority, priority) != priority {
                    self.step(AuthorityInput::SetPriority { gang, priority });
                }
                if before.0 != after.0 {
                    self.step(AuthorityInput::SetSuspended { gang, suspended: after.0 });
                }
                if before.1 != after.1 {
                    self.step(AuthorityInput::SetPaused { gang, paused: after.1 });
                }
            }
            None => {
                let specification = specification(gang, self.jobs.len(), &submission);
                self.jobs.insert(gang, Job::known(submission));
                self.step(AuthorityInput::Submit(specification));
            }
        }
    }

    /// Something speaks against a job by now: it does not wait any more. One that has slots keeps them.
    pub(super) fn refused(&mut self, object: &ParallelJob) {
        let waits = |state| matches!(state, GangState::Queued | GangState::Suspended);
        if let Some(gang) = gang_of(object)
            && self.authority.job(gang).is_some_and(|status| waits(status.state))
        {
            self.withdrawn(gang);
        }
    }

    /// A job is gone: its gang ends, and it is forgotten when nothing of it lives.
    fn withdrawn(&mut self, gang: GangId) {
        self.step(AuthorityInput::Cancel { gang });
        self.forget(gang);
    }

    /// Forgets a job, if it has ended.
    pub(super) fn forget(&mut self, gang: GangId) {
        self.step(AuthorityInput::Forget { gang });
        if self.authority.job(gang).is_none()
            && let Some(job) = self.jobs.remove(&gang)
        {
            self.board.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.object.uid().unwrap_or_default());
        }
    }

    /// What a manager reports of a gang.
    pub(super) fn follow(&mut self, report: &GangReport) {
        let kept = self.keeper.kept();
        let Some(job) = self.jobs.get_mut(&report.run.gang) else { return };
        // A manager counts those that come up under it. Of ranks that were released before, all had.
        let present = job.valid.nodes.get().saturating_sub(u32::try_from(report.nodes_absent.len()).unwrap_or(u32::MAX));
        job.up = if report.phase == GangPhase::Released { present } else { report.nodes_up.into() };
        // Of a short life the release may never have been reported by itself.
        let released = match report.phase {
            GangPhase::Launching => false,
            GangPhase::Released => true,
            GangPhase::Ending(cause) | GangPhase::Ended(cause) => cause.follows_release(),
        };
        if released && job.released != Some(report.run) {
            job.released = Some(report.run);
            job.started = Some(Time(Timestamp::now()));
        }
        match report.phase {
            GangPhase::Launching | GangPhase::Released => {}
            GangPhase::Ending(cause) | GangPhase::Ended(cause) => {
                let incarnation = report.run.incarnation.0;
                let known = job.failures.iter().any(|failure| failure.incarnation == incarnation);
                if !known && job.failures.len() < FAILURES {
                    job.failures.extend(failure(cause, incarnation, &|node| kept.name(node)));
                }
            }
        }
    }

    pub(super) fn aborted(&mut self, aborted: RankAborted) {
        if let Some(run) = aborted.run.map(GangRun::from) {
            self.note_problem(run, aborted.message);
        }
    }

    /// The first words on a life of a gang are kept.
    pub(super) fn note_problem(&mut self, run: GangRun, words: String) {
        let Some(job) = self.jobs.get_mut(&run.gang).filter(|_| !words.is_empty()) else { return };
        if job.problem.as_ref().is_none_or(|(known, _)| *known != run) {
            job.problem = Some((run, words));
        }
    }

    /// The authority says something new of a job.
    pub(super) fn changed(&mut self, status: &JobStatus) {
        let Some(job) = self.jobs.get_mut(&status.gang) else { return };
        tracing::info!(job = job.object.name_any(), namespace = job.namespace(), state = ?status.state, reason = ?status.reason, "a job");
        if status.state.is_terminal() {
            job.ended.get_or_insert_with(|| Time(Timestamp::now()));
        }
        if !matches!(status.state, GangState::Launching | GangState::Running | GangState::Paused | GangState::Terminating) {
            job.up = 0;
        }
    }

    // === what is to be said ===

    /// Says what is new, of each job at most once a second.
    pub(super) fn publish(&mut self) {
        let now = self.now();
        let occupied = self.occupied_rows();
        let gangs: Vec<GangId> = self.jobs.keys().copied().collect();
        let changes_manager = self.known.managed.lately(std::time::Instant::now());
        for gang in gangs {
            let Some(standing) = self.standing(gang, occupied) else { continue };
            if standing.reason == Some(Reason::PartitionNotReady) && changes_manager {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&gang) else { continue };
            let due = job.said.as_ref().is_none_or(|(said, at)| *said != standing && now >= *at + SAID_AGAIN);
            if !due {
                continue;
            }
            // Where nobody listens now, it is said with the next look.
            if self.context.changed.try_send(ObjectRef::<WatchedJob>::new(&job.object.name_any()).within(&job.namespace())).is_ok() {
                let uid = job.object.uid().unwrap_or_default();
                self.board.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, standing.clone());
                job.said = Some((standing, now));
            }
        }
    }

    /// True when something was said of each job that the authority knows: where nobody took it, it is not.
    pub(super) fn has_said_all(&self) -> bool {
        self.jobs.iter().all(|(gang, job)| job.said.is_some() || self.authority.job(*gang).is_none())
    }

    fn occupied_rows(&self) -> u32 {
        let rows = self.authority.plan().gangs.iter().fold(0, |rows, gang| rows | gang.rows.bits());
        rows.count_ones()
    }

    fn standing(&self, gang: GangId, occupied_rows: u32) -> Option<Standing> {
        let (status, job) = (self.authority.job(gang)?, self.jobs.get(&gang)?);
        let run = GangRun { gang, incarnation: status.incarnation };
        let kept = || if status.state.is_terminal() { self.seen_of(run) } else { Seen::default() };
        let seen = self.gangs.get(&run).map_or_else(kept, |gang| gang.seen.clone());
        let (reason, message) = self.reason(job, run, &status, &seen);
        let ran = !matches!(status.state, GangState::Queued | GangState::Suspended);
        Some(Standing {
            state: status.state,
            reason,
            message,
            incarnation: status.incarnation.0,
            restarts: status.restarts,
            preemptions: status.preemptions,
            synchronised: status.synchronised,
            rows: status.placement.iter().flat_map(|placement| placement.rows.iter()).map(|row| row.0).collect(),
            occupied_rows,
            up: job.up,
            pods: seen.pods,
            bound: u32::try_from(seen.bound.len()).unwrap_or(u32::MAX),
            position: position(&status.reason),
            quantum: self.object.spec.quantum.to_string(),
            efficiency: job.efficiency().filter(|_| ran).map(hundredths),
            started: job.started.clone(),
            ended: job.ended.clone(),
            failures: job.failures.clone(),
        })
    }

    /// Why a job is where it is: what its pods or a program's own words add comes after what the authority knows.
    fn reason(&self, job: &Job, run: GangRun, status: &JobStatus, seen: &Seen) -> (Option<Reason>, String) {
        let kept = self.keeper.kept();
        let name = |node| kept.name(node);
        let Explanation { reason, mut message } = explain(&status.reason, &name);
        let mut reason = reason.map(word);
        match &status.reason {
            StateReason::NoPlacement { shortage: NoPlacement::NodeSize { .. }, .. } => reason = Some(Reason::ExceedsPartition),
            StateReason::NodeUnreachable { nodes } => message.push_str(&self.advice(*nodes).unwrap_or_default()),
            StateReason::NoTerm { .. } => message = format!("{}; {message}", self.no_manager()),
            _ => {}
        }
        if matches!(status.state, GangState::Placed | GangState::Launching) && reason.is_none() {
            match &seen.trouble {
                Some(Trouble::Group(words) | Trouble::Unschedulable(words)) => {
                    (reason, message) = (Some(Reason::WaitingForPods), words.clone());
                }
                Some(Trouble::Image(words)) => (reason, message) = (Some(Reason::ImagePullFailed), words.clone()),
                Some(Trouble::Rejected(words)) => (reason, message) = (Some(Reason::PodRejected), words.clone()),
                None => {}
            }
        }
        let speaks = matches!(status.reason, StateReason::LaunchFailed { .. } | StateReason::Ended(_) | StateReason::NotPlaced { .. });
        if let Some((_, words)) = job.problem.as_ref().filter(|(of, _)| speaks && *of == run) {
            message = if message.is_empty() { words.clone() } else { format!("{message}: {words}") };
        }
        (reason, message)
    }

    /// Why there is no machine manager, as far as it can be told.
    fn no_manager(&self) -> String {
        let (name, nodes, reached) = (&self.valid.name, self.keeper.kept().nodes.len(), self.contacts.reached().len());
        match nodes {
            0 => format!("Partition {name:?} has no machine manager: no agent of its nodes has reported"),
            _ => format!("Partition {name:?} has no machine manager: {reached} of the agents of its {nodes} nodes are reached"),
        }
    }

    /// Jobs whose objects are gone or going, or were replaced by others of their names, are withdrawn. What was never listed is not gone: a list
    /// may not be whole yet.
    pub(super) fn withdraw_absent(&mut self) {
        let mut absent = Vec::new();
        for (gang, job) in &mut self.jobs {
            let found = job.found(&self.context.jobs).filter(|found| found.uid() == job.object.uid());
            let goes = found.as_ref().is_some_and(|found| found.meta().deletion_timestamp.is_some());
            job.listed |= found.is_some();
            if found.is_none() && job.listed || goes {
                absent.push(*gang);
            }
        }
        absent.into_iter().for_each(|gang| self.withdrawn(gang));
    }
}

/// To whole per cent: a figure that changes with every look would be written every second.
fn hundredths(part: f64) -> f64 {
    (part * 100.0).round() / 100.0
}

fn position(reason: &StateReason) -> Option<u32> {
    match reason {
        StateReason::NoTerm { position }
        | StateReason::NoPlacement { position, .. }
        | StateReason::NamespaceRanks { position, .. }
        | StateReason::Behind { position }
        | StateReason::NotPlaced { position: position @ 1.., .. } => u32::try_from(*position).ok(),
        _ => None,
    }
}

/// The word for a status, which has one for all ways in which a rank fails.
const fn word(reason: JobReason) -> Reason {
    match reason {
        JobReason::State(reason) => reason,
        JobReason::Failure(FailureReason::NodeLost) => Reason::NodeLost,
        JobReason::Failure(FailureReason::DeadlineExceeded) => Reason::DeadlineExceeded,
        JobReason::Failure(FailureReason::Cancelled) => Reason::Cancelled,
        JobReason::Failure(_) => Reason::RankFailure,
    }
}

/// How a life of a gang failed, if it did.
fn failure(cause: EndCause, incarnation: u32, name: &dyn Fn(NodeIndex) -> String) -> Option<JobFailure> {
    let Some(JobReason::Failure(reason)) = explain_end(cause, name).reason else { return None };
    let bare = JobFailure { reason, incarnation, rank: None, node: None, exit_status: None, signal: None };
    match cause {
        EndCause::Completed | EndCause::Terminated => None,
        EndCause::RankFailed { node, rank, outcome } => {
            let failure = JobFailure { rank: Some(rank.0), node: Some(name(node)), ..bare };
            Some(match outcome {
                RankOutcome::Exited(status) => JobFailure { exit_status: Some(status), ..failure },
                RankOutcome::Signalled(signal) => JobFailure { signal: Some(signal), ..failure },
                RankOutcome::OutOfMemory => JobFailure { signal: Some(SIGKILL), ..failure },
                RankOutcome::NotStarted(_) | RankOutcome::Aborted(_) | RankOutcome::Unknown => failure,
            })
        }
        EndCause::SupervisorLost { node } | EndCause::NodeLost { node } | EndCause::BarrierFailed { node, .. } => {
            Some(JobFailure { node: Some(name(node)), ..bare })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strobe_core::model::RankIndex;

    use super::*;

    #[test]
    fn a_gang_is_named_by_what_its_jobs_uid_begins_with() {
        let job = |uid: &str| {
            serde_json::from_value::<ParallelJob>(json!({
                "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor", "uid": uid },
                "spec": { "partition": "all", "template": { "spec": { "containers": [] } } },
            }))
            .unwrap()
        };
        assert_eq!(gang_of(&job("01234567-89ab-cdef-ffff-ffffffffffff")), Some(GangId(0x0123_4567_89ab_cdef)));
        assert_eq!(gang_of(&job("no uid")), None);
    }

    #[test]
    fn a_failure_says_which_rank_failed_where_and_how() {
        let name = |node: NodeIndex| format!("worker-{node}");
        let cause = EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(3), outcome: RankOutcome::Signalled(9) };
        let failure = failure(cause, 2, &name).unwrap();
        assert_eq!((failure.reason, failure.incarnation, failure.rank), (FailureReason::RankKilled, 2, Some(3)));
        assert_eq!((failure.node.as_deref(), failure.exit_status, failure.signal), (Some("worker-1"), None, Some(9)));
        let cause = EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(3), outcome: RankOutcome::OutOfMemory };
        assert_eq!(super::failure(cause, 2, &name), Some(JobFailure { reason: FailureReason::OutOfMemory, ..failure }));
        assert_eq!(super::failure(EndCause::Completed, 1, &name), None);
        assert_eq!(super::failure(EndCause::Terminated, 1, &name), None);
    }
}
