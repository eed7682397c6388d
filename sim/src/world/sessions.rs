//! The operator: its authority's steps, its sessions with the agents, its store.

use std::{collections::BTreeMap, time::Duration};

use strobe_core::{
    authority::{Authority, AuthorityEffect, AuthorityInput, LaunchFailure, Launches, PlacementFailure, Recollection},
    machine::Machine,
    manager::ManagerInput,
    model::{GangId, GangRun, Instant, NodeIncarnation, NodeIndex, NodePlacement, NodeSet, Plan, TermRecord},
    node::MemberInput,
};

use super::{Event, World};
use crate::{
    clock::Moment,
    invariants::Ledger,
    mutations::Mutation,
    node::{AgentInput, soon},
};

/// How long a message of a session takes.
const MESSAGE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(4));
/// How long the store takes.
const STORE: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(15));
/// How long a pod takes to start.
const POD: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));
/// How long pods may take to be started.
const PATIENCE: Duration = Duration::from_millis(120);
/// How often a session is tried.
const DIAL: Duration = Duration::from_millis(15);
/// How long after a deadline the authority has seen it.
const DEADLINE_SEEN: Duration = Duration::from_millis(1);
/// Launches of a million that fail.
const LAUNCHES_FAIL: u32 = 10_000;

impl World {
    // === the authority ===

    fn operator_now(&self) -> Instant {
        Instant::from_nanoseconds(self.now.0 + 1)
    }

    pub(crate) fn step_authority(&mut self, input: AuthorityInput) {
        if self.mutator.is(Mutation::CordonForgotten) && matches!(input, AuthorityInput::Cordon { .. }) {
            return;
        }
        self.trace.note(self.now, &input, || format!("operator {input:?}"));
        let mut out = std::mem::take(&mut self.outboxes.authority);
        let now = self.operator_now();
        self.operator.authority.step(now, input, &mut out);
        for effect in out.drain() {
            self.authority_effect(effect);
        }
        self.outboxes.authority = out;
        self.arm_operator();
    }

    fn arm_operator(&mut self) {
        let Some(deadline) = self.operator.authority.next_deadline() else { return };
        let at = soon(self.now, Moment(deadline.as_nanoseconds()));
        if self.operator.armed.is_none_or(|armed| armed > at) {
            self.operator.armed = Some(at);
            self.queue.push(at, Event::OperatorTimer { at });
        }
    }

    pub(super) fn operator_timer(&mut self, at: Moment) {
        if self.operator.armed != Some(at) {
            return;
        }
        self.operator.armed = None;
        if self.operator.alive {
            self.step_authority(AuthorityInput::Timer);
        }
    }

    fn authority_effect(&mut self, effect: AuthorityEffect) {
        self.trace.say(self.now, || format!("operator wants {effect:?}"));
        match effect {
            AuthorityEffect::State(status) => {
                let verdict = self.ledger.job_said(&status, &self.operator.placements);
                self.judge(verdict);
                let verdict = self.ledger.deadline_kept(self.now, &status);
                self.judge(verdict);
            }
            // Pods are the API server's: what was asked of it at the operator's end is done.
            AuthorityEffect::Launch { run, placement } => self.launch(run, placement),
            AuthorityEffect::Remove { run } => {
                self.ledger.removed(self.now, run);
                self.operator.launches.end(run);
                self.remove_pods(run);
            }
            _ if !self.operator.alive => {}
            AuthorityEffect::WriteRecord(record) => {
                let delay = self.random.time(STORE.0, STORE.1);
                self.after(delay, Event::Stored { record: Box::new(record), life: self.operator.life });
            }
            AuthorityEffect::Appoint { manager, appointment } => {
                self.look_at_plan(&appointment.plan);
                let input = ManagerInput::Appointed { appointment, settings: self.settings.clone() };
                self.send_to_agent(manager.node, AgentInput::Manager(input));
            }
            AuthorityEffect::Introduce { node, record } => self.send_to_agent(node, AgentInput::Member(MemberInput::Introduced(record))),
            AuthorityEffect::SendPlan { manager, plan } => {
                self.look_at_plan(&plan);
                self.send_to_agent(manager, AgentInput::Manager(ManagerInput::Plan(plan)));
            }
            AuthorityEffect::SendLost { manager, nodes } => {
                self.send_to_agent(manager, AgentInput::Manager(ManagerInput::Lost(nodes)));
            }
        }
    }

    fn look_at_plan(&mut self, plan: &Plan) {
        let verdict = self.ledger.planned(plan, &self.scenario.jobs, self.scenario.cpus);
        self.judge(verdict);
    }

    /// A job's deadline is over for a while: it is being ended, if there is anyone to end it.
    pub(super) fn look_at_deadline(&mut self, gang: GangId) {
        let status = self.operator.authority.job(gang).filter(|_| self.operator.alive);
        if let Some(status) = status {
            let verdict = self.ledger.deadline_kept(self.now, &status);
            self.judge(verdict);
        }
    }

    fn launch(&mut self, run: GangRun, placement: Vec<NodePlacement>) {
        match self.ledger.admitted(self.now, run) {
            Ok(Some(over)) => self.queue.push(over + DEADLINE_SEEN, Event::LookAtDeadline { gang: run.gang }),
            Ok(None) => {}
            Err(violation) => self.judge(Err(violation)),
        }
        let nodes: NodeSet = placement.iter().map(|part| part.node).collect();
        let verdict = Ledger::keeps_cordon(run, nodes, self.operator.facts.cordoned);
        self.judge(verdict);
        self.operator.pods.insert(run);
        let full = |node: &NodeIndex| self.operator.full.get(node).is_some_and(|until| *until > self.now);
        let never: NodeSet = nodes.iter().filter(full).collect();
        if !never.is_empty() {
            self.after(PATIENCE, Event::GiveUp { run, nodes: never });
        }
        for node in self.operator.launches.begin(run, placement.clone()) {
            self.tell_of(node, run);
        }
        for part in placement.iter().filter(|part| !never.contains(part.node)) {
            if !self.healed && self.random.chance(LAUNCHES_FAIL) {
                let failed = AuthorityInput::LaunchFailed { run, node: part.node, failure: LaunchFailure::NotStarted(2) };
                self.tell_operator_outside(failed);
                continue;
            }
            let delay = self.random.time(POD.0, POD.1);
            self.after(delay, Event::PodStarts { node: usize::from(part.node.0), run });
        }
        self.operator.placements.insert(run, placement);
        self.operator.admitted.insert(run, self.now);
    }

    /// Some of a run's pods were never started. They are deleted, and nothing of it was ever there.
    pub(super) fn give_up(&mut self, run: GangRun, nodes: NodeSet) {
        if self.operator.pods.contains(&run) {
            self.tell_operator_outside(AuthorityInput::NotPlaced { run, failure: PlacementFailure::TimedOut, blamed: nodes, empty: nodes });
        }
    }

    pub(super) fn stored(&mut self, record: TermRecord, life: u64) {
        if self.operator.life != life || !self.operator.alive {
            // The operator died meanwhile: the write had left it, or not.
            if self.random.chance(500_000) {
                return;
            }
            self.operator.store = Some(record);
            return;
        }
        let term = record.term;
        self.counters.terms += u64::from(self.operator.store.as_ref().is_none_or(|stored| stored.term < term));
        self.diagram.note(self.now, None, || format!("term {term} recorded, node {} manages", record.manager.node.0));
        self.operator.store = Some(record);
        self.step_authority(AuthorityInput::RecordWritten { term });
    }

    // === what users and the cluster say ===

    /// Something that the API server tells whatever operator there is, in order.
    pub(crate) fn tell_operator_outside(&mut self, input: AuthorityInput) {
        let delay = self.random.time(MESSAGE.0, MESSAGE.1);
        let arrival = &mut self.operator.told;
        *arrival = (self.now + delay).max(*arrival + Duration::from_nanos(1));
        let at = *arrival;
        self.queue.push(at, Event::Watched { input: Box::new(input) });
    }

    pub(super) fn watched(&mut self, input: AuthorityInput) {
        self.operator.facts.note(&input);
        if self.operator.alive {
            self.step_authority(input);
        }
    }

    // === sessions ===

    /// A message to the operator over a node's session: it comes after the node's earlier ones.
    pub(crate) fn send_to_operator(&mut self, node: usize, input: AuthorityInput) {
        let delay = self.random.time(MESSAGE.0, MESSAGE.1);
        let arrival = &mut self.operator.arrivals.entry(self.nodes[node].index).or_default()[0];
        *arrival = (self.now + delay).max(*arrival + Duration::from_nanos(1));
        let at = *arrival;
        self.queue.push(at, Event::ToOperator { life: self.operator.life, input: Box::new(input) });
    }

    fn send_to_agent(&mut self, node: NodeIndex, input: AgentInput) {
        let home = usize::from(node.0);
        let Some(life) = self.life_of(home).filter(|life| self.operator.reached.get(&node) == Some(life)) else { return };
        if self.nodes[home].session.is_none() || !self.network.operator_reaches(node) {
            return;
        }
        let delay = self.random.time(MESSAGE.0, MESSAGE.1);
        let arrival = &mut self.operator.arrivals.entry(node).or_default()[1];
        *arrival = (self.now + delay).max(*arrival + Duration::from_nanos(1));
        let at = *arrival;
        self.queue.push(at, Event::ToAgent { node: home, life, input: Box::new(input) });
    }

    /// What an agent says, over its session; one that is reached is told of the runs that wait for it.
    pub(super) fn hear_of_agent(&mut self, input: AuthorityInput) {
        let reached = if let AuthorityInput::AgentReachable { agent, .. } = &input { Some(*agent) } else { None };
        self.step_authority(input);
        let Some(agent) = reached else { return };
        let supervisors = self.nodes[usize::from(agent.node.0)].supervisors.values();
        let adopted = supervisors.filter(|supervisor| supervisor.agent == Some(agent.incarnation)).map(|supervisor| supervisor.run);
        let adopted: Vec<GangRun> = adopted.collect();
        let authority = &self.operator.authority;
        for run in self.operator.launches.due(agent, &adopted, |run| authority.part(run, agent.node)) {
            self.tell_of(agent.node, run);
        }
    }

    /// Tells a node's agent of a run, if it is reached.
    fn tell_of(&mut self, node: NodeIndex, run: GangRun) {
        let Some(incarnation) = self.operator.reached.get(&node).copied() else { return };
        if self.operator.authority.part(run, node).is_none() {
            return;
        }
        if self.operator.launches.tell(NodeIncarnation { node, incarnation }, run).is_some() {
            self.send_to_agent(node, AgentInput::Launch(run));
        }
    }

    /// The manager's newest report, while it has a session.
    pub(crate) fn send_report(&mut self, node: usize) {
        let home = &self.nodes[node];
        let report = home.agent.as_ref().and_then(|agent| agent.report.clone());
        if let (Some(report), Some(_), true) = (report, home.session, self.network.operator_reaches(home.index)) {
            self.send_to_operator(node, AuthorityInput::Report(report));
        }
    }

    pub(crate) fn session_wanted(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].session_dialling, true) {
            self.after(DIAL, Event::SessionDial { node });
        }
    }

    pub(super) fn session_dial(&mut self, node: usize) {
        self.nodes[node].session_dialling = false;
        let home = &self.nodes[node];
        let running = home.agent.as_ref().filter(|agent| !agent.is_stopped()).map(|agent| agent.life);
        let Some(life) = running.filter(|_| self.operator.alive && home.session.is_none() && self.network.operator_reaches(home.index))
        else {
            if home.session.is_none() {
                self.session_wanted(node);
            }
            return;
        };
        self.operator.sessions += 1;
        self.nodes[node].session = Some(self.operator.sessions);
        let index = self.nodes[node].index;
        self.operator.reached.insert(index, life);
        self.operator.facts.lives(index);
        let agent = NodeIncarnation { node: index, incarnation: life };
        self.send_to_operator(node, AuthorityInput::AgentReachable { agent, sealed: self.nodes[node].seal_file });
        self.send_report(node);
    }

    /// A session breaks when it is still the one that was meant.
    pub(super) fn session_lost(&mut self, node: usize, session: u64) {
        let home = &mut self.nodes[node];
        if home.session != Some(session) {
            return;
        }
        home.session = None;
        let index = home.index;
        if let Some(incarnation) = self.operator.reached.remove(&index) {
            let agent = NodeIncarnation { node: index, incarnation };
            self.send_to_operator(node, AuthorityInput::AgentUnreachable { agent });
        }
        self.session_wanted(node);
    }

    /// The session breaks after a time drawn between these.
    pub(crate) fn lose_session(&mut self, node: usize, (first, last): (Duration, Duration)) {
        if let Some(session) = self.nodes[node].session {
            let delay = self.random.time(first, last);
            self.after(delay, Event::SessionLost { node, session });
        }
    }

    /// The operator dies; what it was about to say is lost.
    pub(crate) fn operator_dies(&mut self) {
        self.operator.alive = false;
        self.operator.life += 1;
        for node in 0..self.nodes.len() {
            self.nodes[node].session = None;
        }
        self.operator.reached.clear();
    }

    /// Another operator takes over, and knows nothing but what the API server holds: the record of terms, what the authority must not
    /// forget, which it kept before it did anything about it, and what users and the cluster have said.
    pub(crate) fn operator_takes_over(&mut self) {
        if self.operator.alive {
            return;
        }
        self.operator.alive = true;
        let recollections = self.operator.authority.recollections().map(|recollection| self.aged(recollection));
        let recollections: BTreeMap<_, _> = recollections.filter(|_| !self.mutator.is(Mutation::RunsForgotten)).collect();
        self.operator.authority = Authority::new();
        self.operator.launches = Launches::default();
        for (recollection, _) in recollections.values() {
            if let Some(recalled) = &recollection.run {
                self.operator.launches.begin(run_of(recollection), recalled.placement.clone());
            }
        }
        self.step_authority(AuthorityInput::Configure(self.configuration()));
        self.step_authority(AuthorityInput::Recovered(self.operator.store.clone()));
        for input in self.operator.facts.told_anew(recollections) {
            self.step_authority(input);
        }
        (0..).zip(&self.scenario.jobs.clone()).for_each(|(job, _)| self.look_at_deadline(GangId(job)));
        for node in 0..self.nodes.len() {
            self.session_wanted(node);
        }
    }

    /// With the time that its run has held its slots.
    fn aged(&self, recollection: Recollection) -> (GangId, (Recollection, Duration)) {
        let run = run_of(&recollection);
        let held = self.operator.admitted.get(&run).map_or(Duration::ZERO, |admitted| self.now.since(*admitted));
        (run.gang, (recollection, held))
    }
}

/// The life of its gang that a recollection tells of.
const fn run_of(recollection: &Recollection) -> GangRun {
    GangRun { gang: recollection.gang, incarnation: recollection.incarnation }
}
