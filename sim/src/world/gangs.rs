//! Pods, supervisors and ranks, and what an agent's shell does for them.

use std::{collections::BTreeMap, time::Duration};

use strobe_core::{
    model::{AgentIncarnation, GangRun, GangSlot, GangSlots, NodeIndex, Policy, RankIndex, RankOutcome},
    node::{AdoptedGang, AdoptedLife, MemberInput, SwitcherInput},
    primitives::Payload,
};

use super::{Event, Order, World, machines::Half};
use crate::{
    node::AgentInput,
    supervisor::{Rank, Supervisor},
};

/// How long a message of a supervisor takes.
const SOCKET: (Duration, Duration) = (Duration::from_micros(10), Duration::from_micros(400));
/// How long it takes to fork and accept the stubs.
const FORK: (Duration, Duration) = (Duration::from_micros(300), Duration::from_millis(8));
/// How long it takes until killed processes are gone and their cgroup is removed.
const REAP: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));
/// How long a pod waits for its node and its agent, until it looks again.
const POD_RETRY: Duration = Duration::from_millis(40);
/// SIGKILL.
const KILLED: RankOutcome = RankOutcome::Signalled(9);
/// SIGTERM.
const TERMINATED: RankOutcome = RankOutcome::Signalled(15);

impl World {
    fn tell_member(&mut self, node: usize, (first, last): (Duration, Duration), input: MemberInput) {
        let delay = self.random.time(first, last);
        self.later(node, delay, AgentInput::Member(input));
    }

    // === pods ===

    pub(super) fn pod_starts(&mut self, node: usize, run: GangRun) {
        if !self.operator.pods.contains(&run) || self.nodes[node].supervisors.contains_key(&run) || self.nodes[node].lost.contains(&run) {
            return;
        }
        // Its volume is mounted once the agent knows whose it is.
        let is_let = self.nodes[node].agent.as_ref().is_some_and(|agent| agent.launched.contains(&run));
        if !self.nodes[node].booted || !is_let {
            self.after(POD_RETRY, Event::PodStarts { node, run });
            return;
        }
        let ranks = self.ranks_of(node, run);
        self.nodes[node].supervisors.insert(run, Supervisor::new(run, ranks));
        let delay = self.random.time(SOCKET.0, SOCKET.1);
        self.after(delay, Event::SupervisorConnects { node, run });
    }

    fn ranks_of(&self, node: usize, run: GangRun) -> BTreeMap<RankIndex, Rank> {
        let plan = &self.scenario.jobs[usize::try_from(run.gang.0).expect("gangs are numbered as jobs")];
        let placement = self.operator.placements.get(&run).into_iter().flatten().find(|part| part.node == self.nodes[node].index);
        let part = placement.expect("a pod is started where its run was placed");
        let rank = |index: u32| {
            let fails = plan.fails_once && run.incarnation.0 == 1 && index == 0;
            let whole = Duration::from_millis(u64::from(plan.work_milliseconds));
            let verdict = RankOutcome::Exited(if fails { 3 } else { 0 });
            (RankIndex(index), Rank { work: if fails { whole / 2 } else { whole }, verdict, ended: None })
        };
        (part.first_rank.0..part.first_rank.0 + part.ranks).map(rank).collect()
    }

    /// What is left of a run's pods is deleted.
    pub(crate) fn remove_pods(&mut self, run: GangRun) {
        self.operator.pods.remove(&run);
        for node in 0..self.nodes.len() {
            self.nodes[node].lost.remove(&run);
            self.nodes[node].completed.remove(&run);
            if let Some(supervisor) = self.nodes[node].supervisors.remove(&run)
                && supervisor.has_living_rank()
            {
                self.fail("known dead", format!("run {run} is taken for dead, and a rank of it lives on node {node}"));
            }
        }
    }

    // === the agent's shell ===

    pub(super) fn configure(&mut self, node: usize, run: GangRun, slot: GangSlot) {
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        agent.gangs.entry(run).or_default().slot = Some(slot);
        self.ring(node, Half::StrobeThread, AgentInput::Install(slot, run));
        if self.nodes[node].lost.contains(&run) {
            self.tell_member(node, SOCKET, MemberInput::SupervisorLost(run));
        }
        self.supervisor_may_begin(node, run);
    }

    pub(super) fn supervisor_connects(&mut self, node: usize, run: GangRun) {
        let Some(life) = self.life_of(node) else { return };
        if let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run) {
            supervisor.agent = Some(life);
            self.supervisor_may_begin(node, run);
        }
    }

    fn supervisor_may_begin(&mut self, node: usize, run: GangRun) {
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.as_mut() else { return };
        let Some(gang) = agent.gangs.get_mut(&run).filter(|gang| gang.slot.is_some() && !gang.killed) else { return };
        let Some(supervisor) = home.supervisors.get_mut(&run).filter(|supervisor| supervisor.agent == Some(agent.life)) else { return };
        if supervisor.up {
            if !std::mem::replace(&mut gang.told_up, true) {
                self.tell_member(node, SOCKET, MemberInput::SupervisorUp { run, entry: entry(node, run) });
            }
        } else if !std::mem::replace(&mut gang.accepting, true) {
            if !std::mem::replace(&mut supervisor.begun, true) {
                supervisor.thawed = !home.frozen.contains(&run);
                self.look_at_lives(run);
            }
            let delay = self.random.time(FORK.0, FORK.1);
            self.after(delay, Event::StubsUp { node, run });
        }
    }

    /// Every stub has been taken in, unless the agent that did so is gone: then they wait for the next one.
    pub(super) fn stubs_up(&mut self, node: usize, run: GangRun) {
        let home = &mut self.nodes[node];
        let accepts = home.agent.as_ref().is_some_and(|agent| agent.gangs.get(&run).is_some_and(|gang| gang.accepting));
        let Some(supervisor) = home.supervisors.get_mut(&run).filter(|supervisor| accepts && supervisor.has_living_rank()) else { return };
        supervisor.up = true;
        self.ledger.up(run, home.index);
        self.supervisor_may_begin(node, run);
    }

    /// Ranks begin with the entries of all nodes of their gang, in the order of its placement.
    pub(super) fn release_ranks(&mut self, node: usize, run: GangRun, peers: &[Payload]) {
        let placement = self.operator.placements.get(&run).into_iter().flatten();
        let expected: Vec<Payload> = placement.map(|part| entry(usize::from(part.node.0), run)).collect();
        if peers != expected {
            self.fail("peers are known", format!("run {run} is released on node {node} with {peers:?}"));
        }
        self.tell_supervisor(node, run, Order::Release);
    }

    pub(super) fn kill_ranks(&mut self, node: usize, run: GangRun) {
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.gangs.entry(run).or_default().killed = true;
        }
        self.tell_supervisor(node, run, Order::Kill);
    }

    pub(super) fn forget(&mut self, node: usize, run: GangRun) {
        self.nodes[node].completed.remove(&run);
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.gangs.remove(&run);
        }
    }

    /// What a new life of an agent finds, with the supervisors that connect to it.
    pub(crate) fn inventory(&mut self, node: usize, life: AgentIncarnation) -> Vec<AdoptedGang> {
        let home = &mut self.nodes[node];
        let mut adopted: Vec<AdoptedGang> = home.completed.values().cloned().collect();
        for supervisor in home.supervisors.values_mut() {
            supervisor.agent = Some(life);
            if supervisor.begun {
                adopted.push(supervisor.inventory(entry(node, supervisor.run)));
            }
        }
        adopted
    }

    // === supervisors ===

    pub(super) fn order(&mut self, node: usize, run: GangRun, order: Order) {
        self.trace.note(self.now, &(node, run, order), || format!("node {node} supervisor of {run}: {order:?}"));
        let now = self.now;
        let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run) else {
            if order == Order::Kill {
                self.gang_gone(node, run);
            }
            return;
        };
        match order {
            Order::Release if supervisor.up && !supervisor.released => {
                let done = supervisor.change(now, |supervisor| supervisor.released = true);
                let change = supervisor.changes;
                self.rank_done_at(node, run, done, change);
                let verdict = self.ledger.released(run, &self.operator.placements);
                self.judge(verdict);
                self.look_at_holds(node);
            }
            Order::Release => {}
            Order::Hold => {
                supervisor.held = true;
                self.tell_member(node, SOCKET, MemberInput::HoldAcknowledged(run));
            }
            Order::Resume => supervisor.held = false,
            Order::Terminate { grace } => self.terminate(node, run, grace),
            Order::Kill => {
                self.kill_all(node, run);
                if self.nodes[node].supervisors.contains_key(&run) {
                    self.gang_gone(node, run);
                }
            }
        }
    }

    fn terminate(&mut self, node: usize, run: GangRun, grace: Duration) {
        let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run) else { return };
        supervisor.terminating = true;
        if supervisor.has_living_rank() {
            self.after(grace, Event::GraceOver { node, run });
            self.sigterm_later(node, run);
        } else {
            self.gang_gone(node, run);
        }
    }

    /// A rank that is frozen gets its SIGTERM when it is thawed.
    fn sigterm_later(&mut self, node: usize, run: GangRun) {
        let stubborn = self.scenario.jobs[usize::try_from(run.gang.0).expect("gangs are numbered as jobs")].stubborn;
        if !stubborn {
            let delay = self.random.time(SOCKET.0, SOCKET.1);
            self.after(delay, Event::SigtermActs { node, run });
        }
    }

    pub(super) fn sigterm_acts(&mut self, node: usize, run: GangRun) {
        if self.nodes[node].supervisors.get(&run).is_some_and(|supervisor| supervisor.terminating && supervisor.thawed) {
            self.end_ranks(node, run, TERMINATED);
        }
    }

    /// SIGKILL to whatever lives, when the grace is over.
    pub(super) fn kill_all(&mut self, node: usize, run: GangRun) {
        self.end_ranks(node, run, KILLED);
    }

    fn end_ranks(&mut self, node: usize, run: GangRun, outcome: RankOutcome) {
        let now = self.now;
        let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run) else { return };
        let mut ended = Vec::new();
        if supervisor.begun {
            supervisor.change(now, |supervisor| ended = supervisor.end_all(outcome));
        }
        self.ranks_ended(node, run, ended);
    }

    pub(super) fn rank_done(&mut self, node: usize, run: GangRun, change: u64) {
        let now = self.now;
        let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run).filter(|supervisor| supervisor.changes == change) else { return };
        let mut ended = Vec::new();
        let done = supervisor.change(now, |supervisor| ended = supervisor.end_done());
        let change = supervisor.changes;
        self.rank_done_at(node, run, done, change);
        self.ranks_ended(node, run, ended);
    }

    fn ranks_ended(&mut self, node: usize, run: GangRun, ended: Vec<(RankIndex, RankOutcome)>) {
        if ended.is_empty() {
            return;
        }
        self.trace.note(self.now, &(node, run, &ended), || format!("node {node} ranks of {run} end: {ended:?}"));
        let undisturbed = self.counters.faults == 0 && self.scenario.network.slow == 0;
        if undisturbed {
            let grace = self.scenario.jobs[usize::try_from(run.gang.0).expect("gangs are numbered as jobs")].grace_milliseconds;
            let verdict = self.ledger.ended_in_time(self.now, run, Duration::from_millis(u64::from(grace)));
            self.judge(verdict);
        }
        for (rank, outcome) in ended {
            let verdict = self.ledger.rank_ended(self.now, (run, rank), outcome, undisturbed);
            self.judge(verdict);
            self.tell_member(node, SOCKET, MemberInput::RankEnded { run, rank, outcome });
        }
        let over = self.nodes[node].supervisors.get(&run).is_some_and(|supervisor| supervisor.terminating && !supervisor.has_living_rank());
        if over && self.nodes[node].agent.is_some() {
            self.gang_gone(node, run);
        }
    }

    /// No process is left: the cgroup is removed, and the member hears of it.
    fn gang_gone(&mut self, node: usize, run: GangRun) {
        let home = &mut self.nodes[node];
        if let Some(agent) = home.agent.as_mut() {
            agent.gangs.entry(run).or_default().killed = true;
            if let Some(supervisor) = home.supervisors.remove(&run)
                && supervisor.has_completed()
            {
                let adopted = supervisor.inventory(entry(node, run));
                home.completed.insert(run, AdoptedGang { life: AdoptedLife::Completed, ..adopted });
            }
            home.frozen.remove(&run);
            home.held.remove(&run);
            home.lost.insert(run);
            self.tell_member(node, REAP, MemberInput::GangGone(run));
        }
    }

    fn rank_done_at(&mut self, node: usize, run: GangRun, done: Option<crate::clock::Moment>, change: u64) {
        if let Some(at) = done {
            self.queue.push(at, Event::RankDone { node, run, change });
        }
    }

    pub(super) fn write_freeze(&mut self, node: usize, run: GangRun, thaw: bool) {
        let now = self.now;
        if let Some((done, change)) = self.nodes[node].write_freeze(now, run, thaw) {
            self.rank_done_at(node, run, Some(done), change);
        }
        if thaw && self.nodes[node].supervisors.get(&run).is_some_and(|supervisor| supervisor.terminating) {
            self.sigterm_later(node, run);
        }
    }

    /// The agent's socket closed, or it has been silent for `watchdog`: supervisors thaw what is not held.
    pub(super) fn supervisors_miss_agent(&mut self, node: usize, life: AgentIncarnation, stops: Option<u64>) {
        let still = match (&self.nodes[node].agent, stops) {
            (Some(agent), Some(stops)) => agent.life == life && agent.stops == stops,
            (Some(agent), None) => agent.life != life,
            (None, _) => true,
        };
        if !still {
            return;
        }
        let missing = |supervisor: &&mut Supervisor| supervisor.agent == Some(life) && supervisor.begun && !supervisor.held;
        let runs: Vec<GangRun> = self.nodes[node].supervisors.values_mut().filter(missing).map(|supervisor| supervisor.run).collect();
        for run in runs {
            self.write_freeze(node, run, true);
            // A resume is numbered before the supervisor hears of it: the hold is over, though the agent did not come to end it.
            self.nodes[node].held.remove(&run);
            if let Some(supervisor) = self.nodes[node].supervisors.get_mut(&run) {
                supervisor.thawed_alone = stops.is_some();
            }
        }
        self.look_at_holds(node);
    }

    /// The agent goes on and finds what its supervisors thawed.
    pub(crate) fn find_thawed(&mut self, node: usize) {
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.as_ref() else { return };
        let alone: Vec<GangRun> = home
            .supervisors
            .values_mut()
            .filter_map(|supervisor| std::mem::take(&mut supervisor.thawed_alone).then_some(supervisor.run))
            .collect();
        let slots: GangSlots = agent.slots.iter().filter(|(_, run)| alone.contains(run)).map(|(slot, _)| *slot).collect();
        if !slots.is_empty() {
            self.later(node, Duration::from_micros(50), AgentInput::Switcher(SwitcherInput::ObservedThawed(slots)));
        }
    }

    /// A supervisor dies, and its ranks with it.
    pub(crate) fn supervisor_dies(&mut self, node: usize, run: GangRun) {
        self.end_ranks(node, run, KILLED);
        let home = &mut self.nodes[node];
        if home.supervisors.remove(&run).is_some() {
            home.lost.insert(run);
            self.tell_member(node, SOCKET, MemberInput::SupervisorLost(run));
            self.kill_ranks(node, run);
        }
    }

    // === what must hold ===

    /// A gang whose hold is in effect does not run. Looked at when a step is over: the switcher reports a resume after the
    /// switch that carries it out.
    pub(super) fn look_at_holds(&mut self, node: usize) {
        let home = &self.nodes[node];
        let running = |run: &&GangRun| home.supervisors.get(run).is_some_and(Supervisor::runs);
        if let Some(&run) = home.held.iter().find(running) {
            self.fail("held gangs stay frozen", format!("run {run} is held on node {node}, and its ranks run"));
        }
    }

    /// Where the kernel shares the CPUs, what is released runs unless it is held. A gang of which the strobe thread has not
    /// heard yet is as the agent's life before left it.
    pub(super) fn look_at_kernel(&mut self, node: usize) {
        let home = &self.nodes[node];
        let Some(agent) = home.agent.as_ref().filter(|_| self.settings.policy == Policy::Kernel) else { return };
        let frozen = |supervisor: &&Supervisor| supervisor.released && !supervisor.thawed && supervisor.has_living_rank();
        let may_be = |run: &GangRun| home.held.contains(run) || agent.unreleased.contains(run);
        let known = |run: &GangRun| agent.slots.values().any(|other| other == run);
        let runs = home.supervisors.values().filter(frozen).map(|supervisor| supervisor.run);
        if let Some(run) = runs.filter(known).find(|run| !may_be(run)) {
            self.fail("the kernel shares", format!("run {run} is frozen on node {node}, and not held"));
        }
    }

    /// Never two lives of a gang with a living rank anywhere.
    fn look_at_lives(&mut self, run: GangRun) {
        let living = |supervisor: &&Supervisor| supervisor.run.gang == run.gang && supervisor.run != run && supervisor.has_living_rank();
        let other =
            self.nodes.iter().find_map(|node| node.supervisors.values().find(living).map(|supervisor| (node.index, supervisor.run)));
        if let Some((node, other)) = other {
            self.fail("one life of a gang", format!("run {run} begins while a rank of {other} lives on node {node}"));
        }
    }
}

/// A node's entry of the peer table.
fn entry(node: usize, run: GangRun) -> Payload {
    let index = NodeIndex(u16::try_from(node).expect("few nodes"));
    Payload::new(format!("{index}/{run}").into_bytes())
}
