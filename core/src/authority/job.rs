//! One job: what its user wants, where it stands, and the run of its gang that holds slots.

use std::time::Duration;

use super::{
    JobPlacement, JobSpecification, JobStatus, LaunchFailure, PlacementFailure, RecalledRun, Recollection, StateReason,
    avoidance::Avoidance,
};
use crate::{
    matrix::{MatrixGang, PlacementRequest},
    message::GangReport,
    model::{Desire, EndCause, GangEvent, GangIncarnation, GangRun, GangState, Instant, NodeIndex, NodePlacement, NodeSet, RowIndex},
    primitives::GangPhase,
};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Job {
    pub(super) specification: JobSpecification,
    pub(super) state: GangState,
    /// The newest life of its gang; zero before the first.
    incarnation: GangIncarnation,
    restarts: u32,
    preemptions: u32,
    /// The nodes that it keeps away from, and why the last of them.
    pub(super) avoidance: Avoidance,
    avoids_for: Option<PlacementFailure>,
    /// The life that holds slots.
    pub(super) run: Option<Run>,
    /// Set once the job shall not be run again, whatever becomes of its run.
    fate: Option<Fate>,
    /// How long its earlier runs held slots.
    active: Duration,
    /// Why it waits, while it is queued; why it ended, once it has.
    pub(super) reason: StateReason,
    /// What was last said of it.
    pub(super) told: Option<JobStatus>,
}

/// One life of a gang, from its admission until it is known dead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) run: GangRun,
    pub(super) placement: Vec<NodePlacement>,
    /// When this authority admitted it, or took it over.
    admitted: Instant,
    /// How long it had held its slots by then.
    held_before: Duration,
    /// Nodes where nothing of it lives, by proof.
    dead: NodeSet,
    /// Nodes outside the view, by the last report.
    absent: NodeSet,
    /// Why the authority ends it; the first reason stays.
    ending: Option<Ending>,
    /// How it ends or ended, by the last report.
    phase: Option<GangPhase>,
}

/// Why the authority ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ending {
    Suspension,
    Fate,
    NodeLost(NodeIndex),
    LaunchFailed(NodeIndex, LaunchFailure),
    Evicted(NodeIndex),
    NotPlaced(PlacementFailure),
}

/// Why a job shall not be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Cancelled,
    DeadlineExceeded,
}

impl Job {
    /// A job that waits, or is suspended from the first.
    pub(super) fn new(specification: JobSpecification) -> Self {
        let state = if specification.suspended { GangState::Suspended } else { GangState::Queued };
        Self {
            specification,
            state,
            incarnation: GangIncarnation(0),
            restarts: 0,
            preemptions: 0,
            avoidance: Avoidance::default(),
            avoids_for: None,
            run: None,
            fate: None,
            active: Duration::ZERO,
            reason: StateReason::None,
            told: None,
        }
    }

    /// A job that an earlier authority knew.
    pub(super) fn recalled(specification: JobSpecification, recollection: &Recollection) -> Self {
        let mut job = Self::new(specification);
        (job.incarnation, job.restarts, job.active) = (recollection.incarnation, recollection.restarts, recollection.active);
        job.preemptions = recollection.preemptions;
        job.avoidance = Avoidance::recalled(&recollection.unplaced);
        if let Some(ended) = recollection.ended {
            (job.state, job.reason) = (ended, StateReason::EndedBefore);
            // Its last word was said before.
            job.told = Some(job.status(NodeSet::EMPTY, None));
        }
        job
    }

    /// Its run has kept its slots under another authority: where it stands, reports will say.
    pub(super) fn go_on(&mut self, now: Instant, held_before: Duration, run: GangRun, recalled: RecalledRun) {
        let suspended = self.specification.suspended;
        self.state = GangState::Queued;
        self.happens(GangEvent::Admit);
        self.happens(GangEvent::Place);
        let RecalledRun { placement, dead, .. } = recalled;
        self.run = Some(Run { run, placement, admitted: now, held_before, dead, absent: NodeSet::EMPTY, ending: None, phase: None });
        if suspended {
            self.end(Ending::Suspension);
        }
    }

    /// Its run may live and has no slots here: nobody may start another.
    pub(super) fn not_resumed(&mut self) {
        self.state = GangState::Failed;
        self.reason = StateReason::NotResumed;
    }

    /// What must not be forgotten, once its gang has lived.
    pub(super) fn recollection(&self, home: Option<RowIndex>) -> Option<Recollection> {
        let run = self.run.as_ref().zip(home);
        (self.incarnation > GangIncarnation(0) || self.state.is_terminal()).then(|| Recollection {
            gang: self.specification.gang,
            incarnation: self.incarnation,
            restarts: self.restarts,
            preemptions: self.preemptions,
            unplaced: self.avoidance.failures(),
            active: self.active,
            run: run.map(|(run, home)| RecalledRun { home, placement: run.placement.clone(), dead: run.dead }),
            ended: self.state.is_terminal().then_some(self.state),
        })
    }

    /// The one door to the table: every caller looks at the state first.
    fn happens(&mut self, event: GangEvent) {
        self.state = self.state.after(event).unwrap_or_else(|wrong| panic!("gang {}: {wrong}", self.specification.gang));
    }

    // === admission ===

    /// What its next run asks of the matrix.
    pub(super) const fn request(&self, excluded: NodeSet) -> PlacementRequest {
        PlacementRequest {
            run: GangRun { gang: self.specification.gang, incarnation: GangIncarnation(self.incarnation.0 + 1) },
            nodes: self.specification.nodes,
            ranks_per_node: self.specification.ranks_per_node,
            cpus_per_rank: self.specification.cpus_per_rank,
            memory_bytes: self.specification.memory_bytes,
            excluded,
        }
    }

    /// It has a place: its next run begins.
    pub(super) fn admit(&mut self, now: Instant, run: GangRun, gang: &MatrixGang) {
        assert!(self.run.is_none(), "a gang's next life begins only when the one before is known dead");
        self.happens(GangEvent::Admit);
        self.happens(GangEvent::Place);
        self.incarnation = run.incarnation;
        self.reason = StateReason::None;
        self.run = Some(Run {
            run,
            placement: gang.nodes.clone(),
            admitted: now,
            held_before: Duration::ZERO,
            dead: NodeSet::EMPTY,
            absent: NodeSet::EMPTY,
            ending: None,
            phase: None,
        });
    }

    // === what the user wants ===

    /// It shall hold nothing, or queue again.
    pub(super) fn set_suspended(&mut self, suspended: bool) {
        self.specification.suspended = suspended;
        if suspended && self.run.is_some() {
            self.end(Ending::Suspension);
        } else if suspended && self.state == GangState::Queued {
            self.happens(GangEvent::Suspended);
        } else if !suspended && self.state == GangState::Suspended {
            self.happens(GangEvent::Requeue);
        }
    }

    /// It shall not be run again.
    pub(super) fn doom(&mut self, fate: Fate) {
        if self.state.is_terminal() || self.fate.is_some() {
            return;
        }
        self.fate = Some(fate);
        if self.run.is_some() {
            self.end(Ending::Fate);
        } else {
            self.reason = fate.reason();
            self.happens(GangEvent::FailedFinal);
        }
    }

    // === what happens to its run ===

    fn end(&mut self, ending: Ending) {
        let Some(run) = &mut self.run else { return };
        run.ending.get_or_insert(ending);
        self.terminate();
    }

    fn terminate(&mut self) {
        if self.state != GangState::Terminating {
            self.happens(GangEvent::Terminate);
        }
    }

    /// A node is proven dead: nothing of its part of the run lives.
    pub(super) fn lose_part(&mut self, node: NodeIndex) {
        if let Some(run) = self.run.as_mut().filter(|run| run.nodes().contains(node)) {
            run.dead.insert(node);
        }
    }

    /// A node is lost, or came back without the run's part: the rest of the run shall end.
    pub(super) fn end_without(&mut self, node: NodeIndex) {
        if self.run.as_ref().is_some_and(|run| run.dead.contains(node)) {
            self.end(Ending::NodeLost(node));
        }
    }

    /// True when this run of it holds slots and its part on a node is not proven dead.
    pub(super) fn may_live(&self, run: GangRun, node: NodeIndex) -> bool {
        self.run.as_ref().is_some_and(|own| own.run == run && !own.dead.contains(node))
    }

    /// Its pod or supervisor could not be started on a node.
    pub(super) fn fail_launch(&mut self, failed: GangRun, node: NodeIndex, failure: LaunchFailure) {
        if self.run.as_ref().is_some_and(|run| run.run == failed && run.nodes().contains(node)) {
            self.lose_part(node);
            self.end(Ending::LaunchFailed(node, failure));
        }
    }

    /// A pod of it is taken away: the whole gang ends, and waits again.
    pub(super) fn evict(&mut self, evicted: GangRun, node: NodeIndex) {
        if self.run.as_ref().is_some_and(|run| run.run == evicted && run.nodes().contains(node)) {
            self.end(Ending::Evicted(node));
        }
    }

    /// Its pods did not all come to their nodes: it waits again, and keeps away from those that are to blame.
    pub(super) fn fail_placement(
        &mut self,
        failed: GangRun,
        failure: PlacementFailure,
        empty: NodeSet,
        blame: impl FnOnce(&mut Avoidance),
    ) {
        let Some(run) = self.run.as_mut().filter(|run| run.run == failed) else { return };
        run.dead = run.dead.union(empty.intersection(run.nodes()));
        blame(&mut self.avoidance);
        self.avoids_for = Some(failure);
        self.end(Ending::NotPlaced(failure));
    }

    /// Why it waits, while it keeps away from nodes.
    pub(super) fn keeps_away(&self, position: usize) -> Option<StateReason> {
        let failure = self.avoids_for.filter(|_| self.avoidance.until().is_some())?;
        Some(StateReason::NotPlaced { position, failure })
    }

    /// The manager reports on its run.
    pub(super) fn follow(&mut self, report: &GangReport) {
        let Some(run) = self.run.as_mut().filter(|run| run.run == report.run) else { return };
        run.absent = report.nodes_absent.iter().copied().collect();
        run.phase = Some(report.phase);
        match report.phase {
            GangPhase::Launching => self.follow_launch(report.nodes_up),
            GangPhase::Released => self.follow_release(report.held),
            GangPhase::Ended(EndCause::Completed) => self.follow_release(false),
            GangPhase::Ending(_) | GangPhase::Ended(_) => self.terminate(),
        }
    }

    fn follow_launch(&mut self, nodes_up: u16) {
        if nodes_up > 0 && self.state == GangState::Placed {
            self.happens(GangEvent::Launch);
        }
    }

    /// The ranks were released: a report may be the first that is heard since the placement.
    fn follow_release(&mut self, held: bool) {
        self.follow_launch(1);
        // It could be placed.
        self.avoidance = Avoidance::default();
        match (self.state, held) {
            (GangState::Launching | GangState::Running, true) => self.happens(GangEvent::Pause),
            (GangState::Launching, false) => self.happens(GangEvent::Release),
            (GangState::Paused, false) => self.happens(GangEvent::Resume),
            _ => {}
        }
    }

    /// True when its run is over: nothing of it lives on any node.
    pub(super) fn is_run_known_dead(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_known_dead)
    }

    /// Its run is known dead: decides what becomes of the job. Gives the run back.
    pub(super) fn conclude(&mut self, now: Instant) -> Option<Run> {
        let run = self.run.take()?;
        self.active += run.held_before + now.since(run.admitted);
        match (run.phase, self.fate, run.ending) {
            (Some(GangPhase::Ended(EndCause::Completed)), _, _) => {
                self.reason = StateReason::Ended(EndCause::Completed);
                self.happens(GangEvent::Completed);
            }
            (_, Some(fate), _) => {
                self.terminate();
                self.reason = fate.reason();
                self.happens(GangEvent::FailedFinal);
            }
            (_, None, Some(Ending::Suspension)) if run.reported_failure().is_none() => {
                self.happens(GangEvent::Suspended);
                self.queue_unless_suspended();
            }
            (_, None, Some(Ending::NotPlaced(_))) if run.reported_failure().is_none() => self.queue_unless_suspended(),
            // That its ranks were killed with the pod is no failure of theirs.
            (_, None, Some(Ending::Evicted(_))) => {
                self.terminate();
                self.preemptions += 1;
                self.happens(GangEvent::Preempted);
                self.queue_unless_suspended();
            }
            _ => self.conclude_failure(run.failure()),
        }
        Some(run)
    }

    fn conclude_failure(&mut self, reason: StateReason) {
        self.terminate();
        if self.restarts < self.specification.restart.limit && self.specification.may_restart_after(&reason) {
            self.restarts += 1;
            self.happens(GangEvent::FailedRetry);
            self.queue_unless_suspended();
        } else {
            self.reason = reason;
            self.happens(GangEvent::FailedFinal);
        }
    }

    fn queue_unless_suspended(&mut self) {
        match (self.specification.suspended, self.state) {
            (true, GangState::Suspended) => {}
            (true, _) => self.happens(GangEvent::Suspended),
            (false, _) => self.happens(GangEvent::Requeue),
        }
    }

    // === what is said of it ===

    /// What the plan wants of its run.
    pub(super) fn desire(&self) -> Desire {
        match (self.run.as_ref().and_then(|run| run.ending), self.specification.paused) {
            (Some(Ending::Suspension | Ending::Fate | Ending::Evicted(_)), _) => Desire::Terminate { grace: self.specification.grace },
            (Some(Ending::NodeLost(_) | Ending::LaunchFailed(..) | Ending::NotPlaced(_)), _) => Desire::Terminate { grace: Duration::ZERO },
            (None, true) => Desire::Pause,
            (None, false) => Desire::Run,
        }
    }

    /// When its active deadline is over, while it runs and may still be ended for it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let run = self.run.as_ref().filter(|_| self.fate.is_none())?;
        Some(run.admitted + self.specification.active_deadline?.saturating_sub(self.active + run.held_before))
    }

    /// What is to be known of it, where `reachable` are the nodes whose agents are reached.
    pub(super) fn status(&self, reachable: NodeSet, place: Option<&MatrixGang>) -> JobStatus {
        JobStatus {
            gang: self.specification.gang,
            incarnation: self.incarnation,
            state: self.state,
            reason: self.current_reason(reachable),
            restarts: self.restarts,
            preemptions: self.preemptions,
            synchronised: self.run.as_ref().is_none_or(|run| run.absent.is_empty()),
            placement: place.map(|gang| JobPlacement { rows: gang.rows, nodes: gang.nodes.clone() }),
        }
    }

    fn current_reason(&self, reachable: NodeSet) -> StateReason {
        let Some(run) = &self.run else {
            return if self.state == GangState::Suspended { StateReason::Suspended } else { self.reason.clone() };
        };
        let unreachable = run.nodes().difference(reachable).difference(run.dead);
        match self.state {
            _ if !unreachable.is_empty() => StateReason::NodeUnreachable { nodes: unreachable },
            GangState::Terminating => self.fate.map_or_else(|| run.failure(), Fate::reason),
            GangState::Paused => StateReason::Paused,
            GangState::Placed | GangState::Launching if self.specification.paused => StateReason::Paused,
            _ => StateReason::None,
        }
    }
}

impl JobSpecification {
    /// Ranks of the whole gang.
    pub(super) const fn ranks(&self) -> u64 {
        self.nodes as u64 * self.ranks_per_node as u64
    }

    const fn may_restart_after(&self, reason: &StateReason) -> bool {
        match reason {
            StateReason::Ended(EndCause::NodeLost { .. }) => self.restart.on_node_lost,
            StateReason::Ended(EndCause::RankFailed { .. } | EndCause::BarrierFailed { .. } | EndCause::SupervisorLost { .. })
            | StateReason::LaunchFailed { .. } => self.restart.on_rank_failure,
            _ => false,
        }
    }
}

impl Run {
    pub(super) fn nodes(&self) -> NodeSet {
        self.placement.iter().map(|placement| placement.node).collect()
    }

    /// A run that completed has no rank left anywhere. One that ended otherwise is over where the view reaches; nodes
    /// outside it need proof. A run that the authority ends and whose nodes are all proven dead needs no manager to say so.
    fn is_known_dead(&self) -> bool {
        match self.phase {
            Some(GangPhase::Ended(EndCause::Completed)) => true,
            Some(GangPhase::Ended(_)) => self.absent.is_subset(self.dead),
            Some(GangPhase::Launching | GangPhase::Released | GangPhase::Ending(_)) | None => {
                self.ending.is_some() && self.nodes().is_subset(self.dead)
            }
        }
    }

    /// What happened to it, as the manager knows it, unless the authority did it.
    fn reported_failure(&self) -> Option<EndCause> {
        match self.phase {
            Some(GangPhase::Ending(cause) | GangPhase::Ended(cause)) if cause != EndCause::Terminated => Some(cause),
            _ => None,
        }
    }

    /// Why it ends or ended: what happened to it, before what the authority did about it.
    fn failure(&self) -> StateReason {
        let own = || match self.ending {
            Some(Ending::NodeLost(node)) => StateReason::Ended(EndCause::NodeLost { node }),
            Some(Ending::LaunchFailed(node, failure)) => StateReason::LaunchFailed { node, failure },
            Some(Ending::Evicted(node)) => StateReason::Evicted { node },
            Some(Ending::NotPlaced(failure)) => StateReason::NotPlaced { position: 0, failure },
            Some(Ending::Suspension) => StateReason::Suspended,
            Some(Ending::Fate) | None => StateReason::Ended(EndCause::Terminated),
        };
        let reported = self.reported_failure().filter(|_| !matches!(self.ending, Some(Ending::Evicted(_))));
        reported.map_or_else(own, StateReason::Ended)
    }
}

impl Fate {
    const fn reason(self) -> StateReason {
        match self {
            Self::Cancelled => StateReason::Cancelled,
            Self::DeadlineExceeded => StateReason::DeadlineExceeded,
        }
    }
}
