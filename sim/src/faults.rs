//! What goes wrong, and what users do: everything that comes from outside the machines.

use std::time::Duration;

use strobe_core::{
    authority::{AuthorityInput, JobSpecification, RestartPolicy},
    machine::Outbox,
    manager::AnnouncerInput,
    model::{AgentIncarnation, GangId, GangRun, NodeIncarnation, NodeIndex, NodeSet},
    node::{AdoptedLife, MemberInput, SwitcherInput},
    primitives::{Block, Cell, Compare, Comparison, Content, Payload, RegionName, Request, Write, Xfer},
};

use crate::{
    history::CELLS,
    mutations::Mutation,
    network::Sides,
    node::{Agent, AgentInput},
    scenario::Happening,
    world::{Event, World},
};

/// How long a connection survives the process at its other end.
const RESET: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(3));
/// How long a session over a silent path lives.
const SILENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));
/// How long supervisors take to see that their agent's socket closed.
const SOCKET_CLOSED: Duration = Duration::from_micros(300);
/// How long an agent that leaves waits for what it manages to be handed over.
const HAND_OVER: Duration = Duration::from_millis(100);
/// How long the ranks of an evicted pod live.
const EVICTION: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(40));

impl World {
    pub(crate) fn happen_outside(&mut self, event: &Event) {
        match *event {
            Event::Enrols { node } => self.enrols(node),
            Event::AgentStarts { node } => self.agent_starts(node),
            Event::AgentLeaves { node, life, gone_for } => {
                if self.lives(node, life) {
                    self.crash_agent(node, gone_for);
                }
            }
            Event::Submit { job } => self.submit(job),
            Event::Happens(index) => self.happens(index),
            Event::Continue { node, life, stops, asleep } => self.agent_continues(node, life, stops, asleep),
            Event::Boots { node } => self.boots(node),
            Event::Proof { node, deaths } => self.proof(node, deaths),
            Event::Uncordon { node } => self.cordon(node, false),
            Event::OperatorBack => self.operator_takes_over(),
            Event::Join { partitions } => {
                if self.network.partitions == partitions {
                    self.network.join();
                }
            }
            Event::Unite { node, other } => self.network.unite(node, other),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
            _ => unreachable!("the caller passes on what comes from outside"),
        }
    }

    fn happens(&mut self, index: usize) {
        let what = self.scenario.events[index].what;
        if what.nodes().into_iter().flatten().any(|node| node >= self.enrolled) {
            return;
        }
        self.trace.note(self.now, &index, || format!("{what:?}"));
        let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
        match what {
            Happening::Pause { job, paused } => self.tell_operator_outside(AuthorityInput::SetPaused { gang: GangId(job), paused }),
            Happening::Suspend { job, suspended } => {
                self.tell_operator_outside(AuthorityInput::SetSuspended { gang: GangId(job), suspended });
            }
            Happening::Cancel { job } => self.tell_operator_outside(AuthorityInput::Cancel { gang: GangId(job) }),
            Happening::Operate { .. } | Happening::CompareAndWrite { .. } | Happening::Put { .. } => self.called(index, what),
            fault => {
                self.counters.faults += 1;
                match fault {
                    Happening::Partition { second_side: second, operator_there, operator_reaches_all, milliseconds: count } => {
                        self.part(Sides { second, operator_there, operator_reaches_all }, milliseconds(count));
                    }
                    Happening::Separate { node, other, milliseconds: count } => {
                        self.separate(NodeIndex(node), NodeIndex(other), milliseconds(count));
                    }
                    Happening::CutLinks { node, other } => self.cut_links(|key| key.has(NodeIndex(node)) && key.has(NodeIndex(other))),
                    Happening::CutSession { node } => self.lose_session(usize::from(node), RESET),
                    Happening::CrashAgent { node, milliseconds: count } => self.crash_agent(usize::from(node), milliseconds(count)),
                    Happening::LeaveAgent { node, milliseconds: count } => self.leave_agent(usize::from(node), milliseconds(count)),
                    Happening::KillNode { node, proof_milliseconds, milliseconds: count } => {
                        self.kill_node(usize::from(node), milliseconds(proof_milliseconds), milliseconds(count));
                    }
                    Happening::PauseAgent { node, milliseconds: count } => self.stop_agent(usize::from(node), milliseconds(count), false),
                    Happening::Sleep { node, milliseconds: count } => self.stop_agent(usize::from(node), milliseconds(count), true),
                    Happening::KillSupervisor { node } => self.kill_supervisor(usize::from(node)),
                    Happening::Cordon { node, milliseconds: count } => {
                        self.cordon(NodeIndex(node), true);
                        self.after(milliseconds(count), Event::Uncordon { node: NodeIndex(node) });
                    }
                    Happening::Evict { node } => self.evict(usize::from(node)),
                    Happening::Fill { node, milliseconds: count } => {
                        self.operator.full.insert(NodeIndex(node), self.now + milliseconds(count));
                    }
                    Happening::CrashOperator { milliseconds: count } => self.crash_operator(milliseconds(count)),
                    Happening::Drift { node, per_million } => {
                        let now = self.now;
                        self.nodes[usize::from(node)].clock.set_rate(now, i64::from(per_million) * 1_000);
                        self.arm_anew(usize::from(node));
                    }
                    Happening::Jump { node, milliseconds: count } => {
                        let now = self.now;
                        self.nodes[usize::from(node)].clock.jump(now, milliseconds(count));
                        self.arm_anew(usize::from(node));
                    }
                    Happening::Pause { .. }
                    | Happening::Suspend { .. }
                    | Happening::Cancel { .. }
                    | Happening::Operate { .. }
                    | Happening::CompareAndWrite { .. }
                    | Happening::Put { .. } => {}
                }
            }
        }
    }

    // === users ===

    fn submit(&mut self, job: u64) {
        let plan = self.scenario.jobs[usize::try_from(job).expect("few jobs")];
        let active_deadline = plan.active_deadline_milliseconds.map(|count| Duration::from_millis(u64::from(count)));
        self.ledger.submitted(GangId(job), active_deadline);
        let specification = JobSpecification {
            gang: GangId(job),
            namespace: String::new(),
            priority: plan.priority,
            submitted: job,
            nodes: plan.nodes,
            ranks_per_node: plan.ranks_per_node,
            cpus_per_rank: plan.cpus_per_rank,
            memory_bytes: 1,
            restart: RestartPolicy { limit: plan.restarts, on_rank_failure: true, on_node_lost: true },
            suspended: false,
            paused: false,
            active_deadline: active_deadline.filter(|_| !self.mutator.is(Mutation::DeadlineForgotten)),
            grace: Duration::from_millis(u64::from(plan.grace_milliseconds)),
        };
        self.tell_operator_outside(AuthorityInput::Submit(specification));
    }

    /// A caller on a node asks for an operation.
    fn called(&mut self, index: usize, what: Happening) {
        match what {
            Happening::Operate { node, set, compare: true, .. } => self.compare(index, node, set),
            Happening::Operate { node, set, compare: false, region, staged } => self.put_of_gang(index, node, set, (region, staged)),
            Happening::CompareAndWrite { node, set, cell, comparison, value, writes } => {
                let write = writes.map(|(cell, value)| Write { cell: u32::from(cell), value: u64::from(value) });
                let (set, cell) = (NodeSet::from_bits(u64::from(set)), Cell::Ordered(u32::from(cell)));
                self.operate(node, Request::CompareAndWrite(Compare { set, cell, comparison, value: u64::from(value), write }));
            }
            Happening::Put { node, set, owner, number, staged } => {
                self.put(index, node, set, RegionName::of_node(NodeIndex(owner), u32::from(number)), staged);
            }
            _ => unreachable!("the caller passes on what callers ask for"),
        }
    }

    fn compare(&mut self, index: usize, node: u16, set: u8) {
        let value = index as u64 + 1;
        let cell = u32::try_from(value % u64::from(CELLS)).expect("few cells");
        let write = Some(Write { cell, value });
        let set = NodeSet::from_bits(u64::from(set));
        let compare = Compare { set, cell: Cell::Ordered(cell), comparison: Comparison::Less, value, write };
        self.operate(node, Request::CompareAndWrite(compare));
    }

    fn put_of_gang(&mut self, index: usize, node: u16, set: u8, (number, staged): (u32, bool)) {
        let owner = self.operator.pods.iter().nth(number as usize % self.operator.pods.len().max(1)).copied();
        if let Some(run) = owner {
            self.put(index, node, set, RegionName::of_gang(run, number), staged);
        }
    }

    /// No two blocks that are put have the same content, so that the event of a put names it.
    fn put(&mut self, index: usize, node: u16, set: u8, region: RegionName, staged: bool) {
        let digest = index as u64 + 1;
        let content =
            if staged { Content::Staged(Block { digest, length: 1 << 20 }) } else { Content::Inline(Payload::new(digest.to_le_bytes())) };
        self.operate(node, Request::Xfer(Xfer { region, set: NodeSet::from_bits(u64::from(set)), content }));
    }

    fn operate(&mut self, node: u16, request: Request) {
        let node = usize::from(node);
        if self.nodes[node].agent.as_ref().is_some_and(|agent| !agent.is_stopped()) {
            self.give(node, AgentInput::Member(MemberInput::Submit(request)));
        }
    }

    // === the network ===

    fn part(&mut self, sides: Sides, lasts: Duration) {
        self.network.part(sides);
        let partitions = self.network.partitions;
        self.after(lasts, Event::Join { partitions });
        let network = self.network.clone();
        self.cut_links(|key| !network.reaches(key.lower, key.upper));
        for node in 0..self.nodes.len() {
            if !self.network.operator_reaches(self.nodes[node].index) {
                self.lose_session(node, SILENCE);
            }
        }
    }

    fn separate(&mut self, node: NodeIndex, other: NodeIndex, lasts: Duration) {
        self.network.separate(node, other);
        self.cut_links(|key| key.has(node) && key.has(other));
        self.after(lasts, Event::Unite { node, other });
    }

    // === agents ===

    fn agent_starts(&mut self, node: usize) {
        let home = &mut self.nodes[node];
        if home.agent.is_some() || !home.booted {
            return;
        }
        home.life = AgentIncarnation(home.life.0 + 1);
        let life = home.life;
        self.diagram.note(self.now, Some(home.index), || format!("life {} begins", life.0));
        let forgets = self.mutator.is(Mutation::SealForgotten) && life.0 > 1;
        if forgets {
            home.seal_file = None;
        }
        let mut out = Outbox::default();
        let mut agent = Agent::new(home.index, life, home.seal_file, &self.settings, &mut out);
        if forgets {
            agent.floor = Some(strobe_core::model::Term(0));
        }
        home.agent = Some(agent);
        self.member_effects(node, out.drain());
        let inventory = self.inventory(node, life);
        for adopted in inventory.iter().filter(|adopted| adopted.life >= AdoptedLife::Up) {
            if let Some(agent) = self.nodes[node].agent.as_mut() {
                agent.gangs.entry(adopted.run).or_default().told_up = true;
            }
        }
        self.give(node, AgentInput::Member(MemberInput::Inventory(inventory)));
        self.session_wanted(node);
    }

    fn crash_agent(&mut self, node: usize, gone_for: Duration) {
        if self.agent_dies(node, RESET) {
            self.after(gone_for, Event::AgentStarts { node });
        }
    }

    /// It tells the operator, where that hears it, and goes a while after.
    fn leave_agent(&mut self, node: usize, gone_for: Duration) {
        let Some(life) = self.life_of(node) else { return };
        let home = &self.nodes[node];
        if home.session.is_some() {
            let agent = NodeIncarnation { node: home.index, incarnation: life };
            self.send_to_operator(node, AuthorityInput::AgentLeaving { agent });
        }
        self.after(HAND_OVER, Event::AgentLeaves { node, life, gone_for });
    }

    /// The agent is no more; false when there was none.
    fn agent_dies(&mut self, node: usize, noticed: (Duration, Duration)) -> bool {
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.take() else { return false };
        let now = self.now;
        home.clock.go_on(now);
        let held_by_supervisors = |run: &GangRun| home.supervisors.get(run).is_some_and(|supervisor| supervisor.held);
        home.held.retain(held_by_supervisors);
        let index = home.index;
        self.diagram.note(now, Some(index), || format!("life {} dies", agent.life.0));
        self.cut_links(|key| key.has(index));
        self.lose_session(node, noticed);
        self.after(SOCKET_CLOSED, Event::AgentMissed { node, life: agent.life, stops: None });
        true
    }

    fn stop_agent(&mut self, node: usize, lasts: Duration, asleep: bool) {
        let now = self.now;
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.as_mut().filter(|agent| !agent.is_stopped()) else { return };
        agent.stops += 1;
        let (life, stops) = (agent.life, agent.stops);
        if asleep {
            home.clock.stop(now);
        } else {
            self.after(self.settings.watchdog, Event::AgentMissed { node, life, stops: Some(stops) });
        }
        self.after(lasts, Event::Continue { node, life, stops, asleep: asleep.then_some(lasts) });
        if lasts > SILENCE.1 {
            self.lose_session(node, SILENCE);
        }
    }

    /// What came meanwhile comes now, in its order; the timers before it or after it.
    fn agent_continues(&mut self, node: usize, life: AgentIncarnation, stops: u64, asleep: Option<Duration>) {
        let now = self.now;
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.as_mut().filter(|agent| agent.life == life && agent.stops == stops) else { return };
        agent.stops += 1;
        let mut backlog = std::mem::take(&mut agent.backlog);
        if asleep.is_some() {
            home.clock.go_on(now);
        }
        if self.random.chance(500_000) {
            backlog.sort_by_key(|event| matches!(event, Event::Timer { .. }));
        }
        if let Some(asleep) = asleep {
            self.give(node, AgentInput::Announcer(AnnouncerInput::ClockDisturbed { asleep }));
            self.give(node, AgentInput::Switcher(SwitcherInput::ClockDisturbed { asleep }));
        }
        for (place, event) in (1..).zip(backlog) {
            self.after(Duration::from_micros(2 * place), event);
        }
        self.find_thawed(node);
        self.arm_anew(node);
    }

    /// The clock has changed: every timer is set again.
    fn arm_anew(&mut self, node: usize) {
        if let Some(agent) = self.nodes[node].agent.as_mut() {
            agent.armed = [None; 4];
            self.arm(node);
        }
    }

    // === nodes ===

    /// The API server holds what the node has: every operator hears of it from then on.
    fn enrols(&mut self, node: usize) {
        self.enrolled = self.nodes[node].index.0 + 1;
        self.trace.say(self.now, || format!("node {node} enrols"));
        if self.operator.alive && !self.mutator.is(Mutation::NewNodeForgotten) {
            self.step_authority(AuthorityInput::Configure(self.configuration()));
        }
        let after = self.random.time(Duration::ZERO, Duration::from_millis(20));
        self.after(after, Event::AgentStarts { node });
    }

    fn kill_node(&mut self, node: usize, proof: Duration, lasts: Duration) {
        if !self.nodes[node].booted {
            return;
        }
        self.agent_dies(node, SILENCE);
        let home = &mut self.nodes[node];
        (home.booted, home.seal_file) = (false, None);
        home.deaths += 1;
        let deaths = home.deaths;
        home.lost.extend(std::mem::take(&mut home.supervisors).into_keys());
        home.completed.clear();
        home.frozen.clear();
        home.held.clear();
        self.after(proof, Event::Proof { node, deaths });
        self.after(lasts, Event::Boots { node });
    }

    fn proof(&mut self, node: usize, deaths: u64) {
        let home = &self.nodes[node];
        if home.deaths == deaths && !home.booted {
            let node = home.index;
            self.tell_operator_outside(AuthorityInput::NodeProvenDead { node });
        }
    }

    fn boots(&mut self, node: usize) {
        self.nodes[node].booted = true;
        if self.random.chance(300_000) {
            let index = self.nodes[node].index;
            self.tell_operator_outside(AuthorityInput::NodeReturned { node: index });
        }
        let after = self.random.time(Duration::from_millis(1), Duration::from_millis(30));
        self.after(after, Event::AgentStarts { node });
    }

    fn kill_supervisor(&mut self, node: usize) {
        let living = self.nodes[node].supervisors.values().find(|supervisor| supervisor.has_living_rank()).map(|supervisor| supervisor.run);
        if let Some(run) = living {
            self.supervisor_dies(node, run);
        }
    }

    // === administrators ===

    fn cordon(&mut self, node: NodeIndex, cordoned: bool) {
        let nodes = &mut self.operator.cordoned;
        if cordoned {
            nodes.insert(node);
        } else {
            nodes.remove(node);
        }
        let nodes = *nodes;
        self.tell_operator_outside(AuthorityInput::Cordon { nodes });
    }

    /// Either may come first: that the operator hears of it, or that the ranks are dead.
    fn evict(&mut self, node: usize) {
        let home = &self.nodes[node];
        let Some(run) = home.supervisors.values().next().map(|supervisor| supervisor.run) else { return };
        let index = home.index;
        let after = self.random.time(EVICTION.0, EVICTION.1);
        self.after(after, Event::PodKilled { node, run });
        self.tell_operator_outside(AuthorityInput::Evicted { run, node: index });
    }

    // === the operator ===

    fn crash_operator(&mut self, lasts: Duration) {
        if self.operator.alive {
            self.operator_dies();
            self.after(lasts, Event::OperatorBack);
        }
    }
}
