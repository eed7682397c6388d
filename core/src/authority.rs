//! The authority: who commands, what is admitted, where it runs, what becomes of it.
//!
//! One step takes one input, and then settles everything that may have become possible: nodes that are lost by now, runs
//! that are known dead, admission, the plan, the next term, what the manager and the agents are told, what is said of the
//! jobs. So no input needs to know what it makes possible elsewhere, and an effect is emitted when what it says differs
//! from what was said last.
//!
//! *Invariant:* a record is written before it is sent; one is in flight at most. *Invariant:* a gang has one life at a
//! time: the next begins when the one before is known dead. *Invariant:* admission is by priority, then by the order of
//! submission (see `admission`).

mod admission;
mod avoidance;
mod face;
mod job;
mod launches;
mod limits;
mod node_state;
mod nodes;
mod term_phase;
mod terms;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use face::{
    AuthorityEffect, AuthorityInput, BackOff, JobPlacement, JobSpecification, JobStatus, LaunchFailure, PartitionConfiguration,
    PlacementFailure, RecalledRun, Recollection, RestartPolicy, StateReason,
};
pub use launches::Launches;
pub use limits::{BACK_OFF_DEFAULT, JOBS_MAX, SINCE_MAX, START_UP_DEFAULT};
pub use node_state::{NodeEvent, NodeState, WrongNodeEvent};
pub use term_phase::{TermEvent, TermPhase, WrongTermEvent};

use crate::{
    machine::{Machine, Outbox},
    matrix::Matrix,
    message::PartitionReport,
    model::{
        GangId, GangIncarnation, GangRun, GangState, Instant, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, Plan, PlannedGang, Term,
        TermRecord,
    },
};
use job::{Fate, Job};
use limits::PLANS_PER_TERM_BITS;
use nodes::Nodes;
use terms::{Circumstances, Terms};

/// The authority of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The instant of the last step.
    now: Instant,
    configuration: Option<PartitionConfiguration>,
    /// When the partition was configured first.
    configured: Instant,
    matrix: Option<Matrix>,
    nodes: Nodes,
    /// Nodes that take no further gang.
    cordoned: NodeSet,
    terms: Terms,
    jobs: BTreeMap<GangId, Job>,
    plan: Arc<Plan>,
    /// Something changed that may let a queued job in.
    admission_due: bool,
    /// Something changed that the plan says.
    plan_due: bool,
    /// The configuration's nodes and rows are not in the matrix yet.
    shape_due: bool,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine for Authority {
    type Input = AuthorityInput;
    type Effect = AuthorityEffect;

    fn step(&mut self, now: Instant, input: AuthorityInput, out: &mut Outbox<AuthorityEffect>) {
        self.now = self.now.max(now);
        self.take(self.now, input, out);
        self.settle(self.now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let circumstances = self.circumstances(self.now)?;
        let expiring = self.nodes.iter().filter(|(_, known)| known.state == NodeState::Dead);
        let lost = expiring.map(|(_, known)| known.silent_since + circumstances.settings.node_lost);
        let jobs = self.jobs.values().flat_map(|job| job.deadline().into_iter().chain(job.avoidance.until()));
        let all = self.terms.deadlines(&circumstances, &self.nodes).into_iter().chain(lost).chain(jobs);
        // One in the past has been looked at, and waits for something else than time.
        all.filter(|deadline| *deadline > self.now).min()
    }
}

impl Authority {
    /// An authority that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: Instant::ORIGIN,
            configuration: None,
            configured: Instant::ORIGIN,
            matrix: None,
            nodes: Nodes::default(),
            cordoned: NodeSet::EMPTY,
            terms: Terms::new(),
            jobs: BTreeMap::new(),
            plan: Arc::new(Plan::default()),
            admission_due: false,
            plan_due: false,
            shape_due: false,
        }
    }

    /// The newest plan.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The matrix, once the partition is configured.
    #[must_use]
    pub const fn matrix(&self) -> Option<&Matrix> {
        self.matrix.as_ref()
    }

    /// The record of the term that was appointed last.
    #[must_use]
    pub const fn term_record(&self) -> Option<&TermRecord> {
        self.terms.reigning()
    }

    /// How far the newest term has come.
    #[must_use]
    pub const fn term_phase(&self) -> TermPhase {
        self.terms.phase
    }

    /// What is known of a node, none when it is not in the configuration.
    #[must_use]
    pub fn node_state(&self, node: NodeIndex) -> Option<NodeState> {
        self.nodes.get(node).map(|known| known.state)
    }

    /// What is to be known of a job now.
    #[must_use]
    pub fn job(&self, gang: GangId) -> Option<JobStatus> {
        self.jobs.get(&gang).map(|job| self.status_of(job))
    }

    /// The state of a gang whose part on a node may live, or may still begin. None: its life is over, or nothing of it lives there by
    /// proof, and nothing may begin there.
    #[must_use]
    pub fn part(&self, run: GangRun, node: NodeIndex) -> Option<GangState> {
        self.jobs.get(&run.gang).filter(|job| job.may_live(run, node)).map(|job| job.state)
    }

    /// What is to be known of every job that is not forgotten, sorted by gang.
    pub fn jobs(&self) -> impl Iterator<Item = JobStatus> + '_ {
        self.jobs.values().map(|job| self.status_of(job))
    }

    /// What must not be forgotten: of every job whose gang has lived, sorted by gang.
    pub fn recollections(&self) -> impl Iterator<Item = Recollection> + '_ {
        self.jobs.values().filter_map(|job| {
            let home = job.run.as_ref().and_then(|run| self.matrix.as_ref()?.gang(run.run)).map(|gang| gang.home);
            job.recollection(home)
        })
    }

    // === inputs ===

    fn take(&mut self, now: Instant, input: AuthorityInput, out: &mut Outbox<AuthorityEffect>) {
        match input {
            AuthorityInput::Configure(configuration) => self.configure(now, configuration),
            AuthorityInput::Recovered(found) => self.recover(now, found),
            AuthorityInput::Submit(specification) => self.submit(specification, out),
            AuthorityInput::Resume { specification, recollection, held } => self.resume(now, specification, recollection, held),
            AuthorityInput::SetPriority { gang, priority } => self.with_job(gang, |job| job.specification.priority = priority),
            AuthorityInput::SetPaused { gang, paused } => self.with_job(gang, |job| job.specification.paused = paused),
            AuthorityInput::SetSuspended { gang, suspended } => self.with_job(gang, |job| job.set_suspended(suspended)),
            AuthorityInput::Cancel { gang } => self.with_job(gang, |job| job.doom(Fate::Cancelled)),
            AuthorityInput::Forget { gang } => self.jobs.retain(|known, job| *known != gang || !job.state.is_terminal()),
            AuthorityInput::AgentReachable { agent, sealed } => self.reach(now, agent, sealed),
            AuthorityInput::AgentUnreachable { agent } => self.miss(now, agent),
            AuthorityInput::AgentLeaving { agent } => self.nodes.note_leaving(agent),
            AuthorityInput::NodeProvenDead { node } => self.prove_dead(now, node),
            AuthorityInput::NodeReturned { node } => self.take_back(node),
            AuthorityInput::Cordon { nodes } => (self.cordoned, self.admission_due) = (nodes, true),
            AuthorityInput::Evicted { run, node } => self.with_job(run.gang, |job| job.evict(run, node)),
            AuthorityInput::NotPlaced { run, failure, blamed, empty } => {
                let back_off = self.configuration.as_ref().map_or(BACK_OFF_DEFAULT, |configuration| configuration.back_off);
                self.with_job(run.gang, |job| job.fail_placement(run, failure, empty, |avoidance| avoidance.blame(now, blamed, back_off)));
            }
            AuthorityInput::RecordWritten { term } => {
                self.terms.written(now, term, &mut self.nodes);
                self.admission_due = true;
            }
            AuthorityInput::Report(report) => self.hear(now, &report, out),
            AuthorityInput::LaunchFailed { run, node, failure } => self.with_job(run.gang, |job| job.fail_launch(run, node, failure)),
            AuthorityInput::Timer => {}
        }
    }

    fn configure(&mut self, now: Instant, configuration: PartitionConfiguration) {
        match &self.configuration {
            Some(known) => assert_eq!(known.partition, configuration.partition, "an authority keeps its partition"),
            None => self.configured = now,
        }
        self.configuration = Some(configuration);
        (self.shape_due, self.admission_due) = (true, true);
    }

    /// Whoever wrote the record has sent plans: the next one is newer than all of them. An authority sends none before it has begun a
    /// term, so that counting from the recorded term on leaves each more than four thousand million plans.
    fn recover(&mut self, now: Instant, found: Option<TermRecord>) {
        if let Some(record) = &found {
            let version = MatrixVersion(record.term.0 << PLANS_PER_TERM_BITS);
            if self.plan.version < version {
                self.plan = Arc::new(Plan { version, gangs: self.plan.gangs.clone() });
            }
        }
        self.terms.recover(now, found);
    }

    fn resume(&mut self, now: Instant, specification: JobSpecification, recollection: Recollection, held: Duration) {
        let gang = specification.gang;
        if self.jobs.contains_key(&gang) || self.jobs.len() >= JOBS_MAX {
            return;
        }
        let memory_bytes = specification.memory_bytes;
        let mut job = Job::recalled(specification, &recollection);
        if let Some(recalled) = recollection.run {
            let run = GangRun { gang, incarnation: recollection.incarnation };
            let restored =
                self.matrix.as_ref().and_then(|matrix| matrix.restoring(run, memory_bytes, recalled.home, &recalled.placement).ok());
            match (restored, &mut self.matrix) {
                (Some(change), Some(matrix)) => {
                    matrix.commit(change);
                    job.go_on(now, held, run, recalled);
                }
                _ => job.not_resumed(),
            }
        }
        self.jobs.insert(gang, job);
        (self.admission_due, self.plan_due) = (true, true);
    }

    fn submit(&mut self, specification: JobSpecification, out: &mut Outbox<AuthorityEffect>) {
        let gang = specification.gang;
        if self.jobs.contains_key(&gang) {
            return;
        }
        if self.jobs.len() >= JOBS_MAX {
            out.push(AuthorityEffect::State(refused(gang)));
            return;
        }
        self.jobs.insert(gang, Job::new(specification));
        self.admission_due = true;
    }

    /// Changes a job, if there is one; what it holds or wants may have changed with it.
    fn with_job(&mut self, gang: GangId, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.get_mut(&gang) {
            change(job);
            (self.admission_due, self.plan_due) = (true, true);
        }
    }

    fn reach(&mut self, now: Instant, agent: NodeIncarnation, sealed: Option<Term>) {
        let newest = self.terms.newest();
        let Some(known) = self.nodes.get_mut(agent.node).filter(|known| known.may_be_reached_as(agent.incarnation)) else { return };
        if known.agent != Some(agent.incarnation) {
            (known.agent, known.known_from) = (Some(agent.incarnation), newest);
        } else if known.state == NodeState::Unreachable {
            self.terms.meet_again(now);
        }
        (known.sealed, known.introduced) = (sealed, None);
        known.happens(NodeEvent::Reached);
        // Also of what an earlier authority knew to be dead: this one may have heard of neither the death nor the return. Why it was dead is not
        // recalled: a launch that failed counts as a node that was lost.
        self.end_runs_without(agent.node);
        if self.terms.is_manager(agent.node) {
            self.terms.forget_commands();
        }
        self.admission_due = true;
    }

    fn miss(&mut self, now: Instant, agent: NodeIncarnation) {
        let Some(known) = self.nodes.get_mut(agent.node).filter(|known| known.agent == Some(agent.incarnation)) else { return };
        if known.happens(NodeEvent::Silenced) {
            known.silent_since = now;
            self.admission_due = true;
        }
    }

    fn prove_dead(&mut self, now: Instant, node: NodeIndex) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        let was_silent = known.state == NodeState::Unreachable;
        if !known.happens(NodeEvent::Proven) {
            return;
        }
        if !was_silent {
            known.silent_since = now;
        }
        self.jobs.values_mut().for_each(|job| job.lose_part(node));
        self.admission_due = true;
    }

    fn take_back(&mut self, node: NodeIndex) {
        if self.nodes.get_mut(node).is_some_and(|known| known.happens(NodeEvent::Returned)) {
            self.end_runs_without(node);
        }
    }

    fn hear(&mut self, now: Instant, report: &PartitionReport, out: &mut Outbox<AuthorityEffect>) {
        if !self.terms.hear(now, report, out) {
            return;
        }
        for gang in &report.gangs {
            if let Some(job) = self.jobs.get_mut(&gang.run.gang) {
                job.follow(gang);
            }
        }
    }

    /// A node's part of some runs is dead, and the node is lost or came back without it.
    fn end_runs_without(&mut self, node: NodeIndex) {
        self.jobs.values_mut().for_each(|job| job.end_without(node));
        self.plan_due = true;
    }

    // === what follows ===

    fn settle(&mut self, now: Instant, out: &mut Outbox<AuthorityEffect>) {
        self.expire(now);
        self.conclude(now, out);
        self.shape();
        self.admit(now, out);
        self.renew_plan();
        if let Some(circumstances) = circumstances(self.configuration.as_ref(), self.configured, now) {
            self.terms.govern(&circumstances, &self.nodes, out);
            self.terms.command(&self.plan, &mut self.nodes, out);
        }
        self.publish(out);
    }

    /// What time alone brings about: lost nodes, deadlines.
    fn expire(&mut self, now: Instant) {
        let Some(configuration) = &self.configuration else { return };
        let node_lost = configuration.settings.node_lost;
        let mut lost = Vec::new();
        for (node, known) in self.nodes.iter_mut() {
            if known.state == NodeState::Dead && now >= known.silent_since + node_lost && known.happens(NodeEvent::Expired) {
                lost.push(node);
            }
        }
        lost.into_iter().for_each(|node| self.end_runs_without(node));
        for job in self.jobs.values_mut().filter(|job| job.deadline().is_some_and(|deadline| now >= deadline)) {
            job.doom(Fate::DeadlineExceeded);
            self.plan_due = true;
        }
        for job in self.jobs.values_mut() {
            self.admission_due |= job.avoidance.expire(now);
        }
    }

    /// Takes the runs that are known dead out of the matrix.
    fn conclude(&mut self, now: Instant, out: &mut Outbox<AuthorityEffect>) {
        let Some(matrix) = &mut self.matrix else { return };
        for job in self.jobs.values_mut().filter(|job| job.is_run_known_dead()) {
            let run = job.conclude(now).expect("a run that is known dead is there").run;
            matrix.commit(matrix.removing(run).expect("a run holds its slots until it is known dead"));
            out.push(AuthorityEffect::Remove { run });
            (self.admission_due, self.plan_due) = (true, true);
        }
    }

    /// Brings the configuration's nodes and rows into the matrix: those that are new at once, since gangs have nothing there and agents may
    /// be reached from now on; what would change a place that a gang may have, once no gang holds a slot.
    fn shape(&mut self) {
        let Some(configuration) = self.configuration.as_ref().filter(|_| self.shape_due) else { return };
        let nodes = configuration.nodes.iter().map(|capacity| capacity.node);
        match self.matrix.as_mut().filter(|matrix| !matrix.is_empty()) {
            None => {
                self.matrix = Some(Matrix::new(configuration.settings.rows, configuration.nodes.iter().cloned()));
                self.nodes.configure(nodes);
                (self.shape_due, self.admission_due) = (false, true);
            }
            Some(matrix) if self.nodes.lacks_one_of(nodes.clone()) => {
                matrix.widen(configuration.nodes.iter().cloned());
                self.nodes.widen(nodes);
                self.admission_due = true;
            }
            Some(_) => {}
        }
    }

    fn renew_plan(&mut self) {
        let Some(matrix) = self.matrix.as_ref().filter(|_| std::mem::take(&mut self.plan_due)) else { return };
        let planned = |job: &Job| {
            let run = job.run.as_ref()?;
            let rows = matrix.gang(run.run).expect("a run holds its slots until it is known dead").rows;
            Some(PlannedGang { run: run.run, desire: job.desire(), rows, placement: run.placement.clone() })
        };
        let gangs: Vec<_> = self.jobs.values().filter_map(planned).collect();
        if gangs != self.plan.gangs {
            self.plan = Arc::new(Plan { version: MatrixVersion(self.plan.version.0 + 1), gangs });
        }
    }

    /// Says what has changed of the jobs. An ended job's last word is said once.
    fn publish(&mut self, out: &mut Outbox<AuthorityEffect>) {
        let reachable = self.nodes.reachable();
        for job in self.jobs.values_mut() {
            if job.told.as_ref().is_some_and(|told| told.state.is_terminal()) {
                continue;
            }
            let place = job.run.as_ref().zip(self.matrix.as_ref()).and_then(|(run, matrix)| matrix.gang(run.run));
            let status = job.status(reachable, place);
            if job.told.as_ref() != Some(&status) {
                job.told = Some(status.clone());
                out.push(AuthorityEffect::State(status));
            }
        }
    }

    fn status_of(&self, job: &Job) -> JobStatus {
        let place = job.run.as_ref().zip(self.matrix.as_ref()).and_then(|(run, matrix)| matrix.gang(run.run));
        job.status(self.nodes.reachable(), place)
    }

    fn circumstances(&self, now: Instant) -> Option<Circumstances<'_>> {
        circumstances(self.configuration.as_ref(), self.configured, now)
    }
}

fn circumstances(configuration: Option<&PartitionConfiguration>, configured: Instant, now: Instant) -> Option<Circumstances<'_>> {
    let configuration = configuration?;
    let start_by = configured + configuration.start_up;
    Some(Circumstances { now, partition: configuration.partition, settings: &configuration.settings, start_by })
}

/// What is said of a job that is not taken.
const fn refused(gang: GangId) -> JobStatus {
    JobStatus {
        gang,
        incarnation: GangIncarnation(0),
        state: GangState::Failed,
        reason: StateReason::TooManyJobs,
        restarts: 0,
        preemptions: 0,
        synchronised: true,
        placement: None,
    }
}
