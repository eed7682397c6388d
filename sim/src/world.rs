//! The world: every machine, everything between them, and the order in which it happens.

mod ending;
mod event;
mod gangs;
mod links;
mod machines;
mod member;
mod queue;
mod sessions;
mod staging;
mod strobe;

use std::time::Duration;

use strobe_core::{
    authority::{AuthorityEffect, AuthorityInput, BackOff, PartitionConfiguration},
    machine::Outbox,
    manager::{AnnouncerEffect, ManagerEffect},
    matrix::NodeCapacity,
    model::{CpuIndex, Instant, NodeIndex, Settings},
    node::{MemberEffect, SwitcherEffect},
};

pub(crate) use event::{Event, Order};
use queue::Queue;
pub(crate) use staging::Blocks;

use crate::{
    clock::{LocalClock, Moment},
    diagram::Diagram,
    invariants::{Ledger, Violation},
    limits::EVENTS_MAX,
    mutations::{Mutation, Mutator},
    network::Network,
    node::{AgentInput, MachineKind, Node, PARTITION},
    operator::Operator,
    random::Random,
    scenario::Scenario,
    trace::Trace,
};

/// How long the first term waits for all nodes.
const START_UP: Duration = Duration::from_millis(200);

/// How long a gang keeps away from a node that has started none of its pods.
const BACK_OFF: BackOff = BackOff { first: Duration::from_millis(40), longest: Duration::from_millis(400) };

/// What a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Events, of which most step a machine.
    pub events: u64,
    /// Faults: of the plan, and messages lost or doubled.
    pub faults: u64,
    /// Virtual time at the end, in nanoseconds.
    pub nanoseconds: u64,
    /// Terms that were recorded.
    pub terms: u64,
    /// Records that members applied.
    pub records: u64,
    /// Epochs that switchers executed.
    pub epochs: u64,
    /// Blocks beside the order that became readable on a node.
    pub blocks: u64,
    /// Such blocks that a life of a node was told of which never held them.
    pub absent: u64,
    /// Operations that callers asked for, in runs that came to rest.
    pub operations: u64,
    /// Histories of which every order was tried, beside that of the records.
    pub histories_tried: u64,
}

impl Counters {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.faults += other.faults;
        self.nanoseconds += other.nanoseconds;
        self.terms += other.terms;
        self.records += other.records;
        self.epochs += other.epochs;
        self.blocks += other.blocks;
        self.absent += other.absent;
        self.operations += other.operations;
        self.histories_tried += other.histories_tried;
    }
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) scenario: Scenario,
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) queue: Queue,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    /// Those of them that the operator knows, from the first on.
    pub(crate) enrolled: u16,
    pub(crate) operator: Operator,
    pub(crate) ledger: Ledger,
    pub(crate) mutator: Mutator,
    pub(crate) trace: Trace,
    pub(crate) diagram: Diagram,
    pub(crate) counters: Counters,
    pub(crate) violation: Option<Violation>,
    pub(crate) healed: bool,
    /// Set once everything has come to rest.
    pub(crate) finished: bool,
    outboxes: Outboxes,
}

/// One of each kind, so that steps do not allocate anew.
#[derive(Default)]
struct Outboxes {
    member: Outbox<MemberEffect>,
    manager: Outbox<ManagerEffect>,
    switcher: Outbox<SwitcherEffect>,
    announcer: Outbox<AnnouncerEffect>,
    authority: Outbox<AuthorityEffect>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, in_words: bool) -> Self {
        let mut random = Random::new(scenario.seed);
        let nodes = (0..scenario.nodes).map(|index| Node::new(NodeIndex(index), clock(&mut random))).collect();
        let settings = scenario.times.settings();
        let mut ledger = Ledger::new(usize::from(scenario.nodes));
        ledger.without_hashes = scenario.mutation == Some(Mutation::OutcomesForgotten);
        Self {
            now: Moment(0),
            settings,
            random,
            queue: Queue::default(),
            network: Network::new(scenario.network),
            nodes,
            enrolled: scenario.early(),
            operator: Operator::new(),
            ledger,
            mutator: Mutator::new(scenario.mutation),
            trace: Trace::new(in_words),
            diagram: Diagram::new(in_words, usize::from(scenario.nodes)),
            counters: Counters::default(),
            violation: None,
            healed: false,
            finished: false,
            outboxes: Outboxes::default(),
            scenario,
        }
    }

    /// Runs until everything has come to rest, or an invariant is broken.
    pub(crate) fn run(&mut self) {
        self.begin();
        while let Some((at, event)) = self.queue.pop() {
            self.now = at;
            self.counters.events += 1;
            self.happen(event);
            if self.violation.is_some() || self.finished {
                break;
            }
            if self.counters.events == EVENTS_MAX {
                self.fail("progress", "the run does not come to rest: too many events".to_owned());
                break;
            }
        }
        self.counters.nanoseconds = self.now.0;
    }

    /// The partition as its user describes it.
    pub(crate) fn configuration(&self) -> PartitionConfiguration {
        let capacity =
            |node| NodeCapacity { node: NodeIndex(node), cpus: (0..self.scenario.cpus).map(CpuIndex).collect(), memory_bytes: 1 << 30 };
        let capacities = (0..self.enrolled).map(capacity).collect();
        let defaults = PartitionConfiguration::new(PARTITION, self.settings.clone(), capacities);
        PartitionConfiguration { start_up: START_UP, back_off: BACK_OFF, ..defaults }
    }

    fn begin(&mut self) {
        self.step_authority(AuthorityInput::Configure(self.configuration()));
        self.step_authority(AuthorityInput::Recovered(None));
        for node in 0..usize::from(self.enrolled) {
            let after = self.random.time(Duration::ZERO, Duration::from_millis(20));
            self.after(after, Event::AgentStarts { node });
        }
        for (node, at) in (usize::from(self.enrolled)..).zip(&self.scenario.late_milliseconds) {
            self.queue.push(milliseconds(*at), Event::Enrols { node });
        }
        for (job, plan) in (0..).zip(&self.scenario.jobs) {
            self.queue.push(milliseconds(plan.submit_at_milliseconds), Event::Submit { job });
        }
        for (index, planned) in self.scenario.events.iter().enumerate() {
            self.queue.push(milliseconds(planned.at_milliseconds), Event::Happens(index));
        }
        self.queue.push(milliseconds(self.scenario.heal_at_milliseconds), Event::Heal);
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// Notes the first invariant that is broken.
    pub(crate) fn fail(&mut self, invariant: &'static str, detail: String) {
        let now = self.now;
        self.trace.say(now, || format!("BROKEN {invariant}: {detail}"));
        self.violation.get_or_insert(Violation { invariant, detail, at: now });
    }

    pub(crate) fn judge(&mut self, verdict: Result<(), Violation>) {
        if let Err(Violation { invariant, detail, .. }) = verdict {
            self.fail(invariant, detail);
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = event.stopped_with() {
            let waits = self.nodes[node].agent.as_mut().filter(|agent| agent.is_stopped());
            if let Some(agent) = waits {
                agent.backlog.push(event);
                return;
            }
        }
        match event {
            Event::Timer { node, life, machine, at } => self.timer(node, life, machine, at),
            Event::Input { node, life, input } => {
                if self.lives(node, life) {
                    self.give(node, *input);
                }
            }
            Event::Datagram { from, to, datagram } => self.datagram_arrives(from, to, *datagram),
            Event::Frame { key, link_life, sent, to, input } => self.frame_arrives((key, link_life), sent, to, *input),
            Event::Dial { key } => self.dial(key),
            Event::LinkUp { node, life, key, link_life } => self.link_up(node, life, key, link_life),
            Event::LateClose { node, life, term } => {
                if self.lives(node, life) {
                    self.close_links(node, term);
                }
            }
            Event::SealWritten { node, life, term } => self.seal_written(node, life, term),
            Event::BlockComes { node, life, operation, term } => self.block_comes(node, life, operation, term),
            Event::BlockStalls { node, life, operation } => self.block_stalls(node, life, operation),
            Event::LateSwitch { node, life, switch } => self.carry_out_late(node, life, *switch),
            Event::PodStarts { node, run } => self.pod_starts(node, run),
            Event::PodKilled { node, run } => self.supervisor_dies(node, run),
            Event::GiveUp { run, nodes } => self.give_up(run, nodes),
            Event::SupervisorConnects { node, run } => self.supervisor_connects(node, run),
            Event::StubsUp { node, run } => self.stubs_up(node, run),
            Event::ToSupervisor { node, run, order } => self.order(node, run, order),
            Event::RankDone { node, run, change } => self.rank_done(node, run, change),
            Event::SigtermActs { node, run } => self.sigterm_acts(node, run),
            Event::GraceOver { node, run } => self.kill_all(node, run),
            Event::AgentMissed { node, life, stops } => self.supervisors_miss_agent(node, life, stops),
            Event::SessionDial { node } => self.session_dial(node),
            Event::SessionLost { node, session } => self.session_lost(node, session),
            Event::ToOperator { life, input } => {
                if self.operator.alive && self.operator.life == life {
                    self.hear_of_agent(*input);
                }
            }
            Event::Watched { input } => self.watched(*input),
            Event::ToAgent { node, life, input } => {
                if self.lives(node, life) {
                    self.give(node, *input);
                }
            }
            Event::LookAtDeadline { gang } => self.look_at_deadline(gang),
            Event::OperatorTimer { at } => self.operator_timer(at),
            Event::Stored { record, life } => self.stored(*record, life),
            other @ (Event::Enrols { .. }
            | Event::AgentStarts { .. }
            | Event::AgentLeaves { .. }
            | Event::Uncordon { .. }
            | Event::Submit { .. }
            | Event::Happens(_)
            | Event::Continue { .. }
            | Event::Boots { .. }
            | Event::Proof { .. }
            | Event::OperatorBack
            | Event::Join { .. }
            | Event::Unite { .. }
            | Event::Heal
            | Event::Look) => self.happen_outside(&other),
        }
    }

    /// True when that life of the node's agent is there.
    pub(crate) fn lives(&self, node: usize, life: strobe_core::model::AgentIncarnation) -> bool {
        self.nodes[node].agent.as_ref().is_some_and(|agent| agent.life == life)
    }

    fn timer(&mut self, node: usize, life: strobe_core::model::AgentIncarnation, machine: MachineKind, at: Moment) {
        let now = self.nodes[node].clock.at(self.now);
        let Some(agent) = self.nodes[node].agent.as_mut().filter(|agent| agent.life == life) else { return };
        let armed = &mut agent.armed[machine as usize];
        if *armed != Some(at) {
            return;
        }
        *armed = None;
        if agent.deadline(machine).is_some_and(|deadline| deadline <= now) {
            self.give(node, machine.timer());
        } else {
            self.arm(node);
        }
    }

    /// Gives an agent an input, and carries out all that follows inside it.
    pub(crate) fn give(&mut self, node: usize, input: AgentInput) {
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        let mut next = Some(input);
        if !agent.pending.is_empty() {
            agent.pending.extend(next.take());
        }
        while let Some(input) = next.take().or_else(|| self.nodes[node].agent.as_mut()?.pending.pop_front()) {
            self.trace.note(self.now, &(node, &input), || format!("node {node} {input:?}"));
            match input {
                AgentInput::Member(input) => self.step_member(node, input),
                AgentInput::Manager(input) => self.step_manager(node, input),
                AgentInput::Switcher(input) => self.step_switcher(node, input),
                AgentInput::Announcer(input) => self.step_announcer(node, input),
                AgentInput::Launch(run) => {
                    if let Some(agent) = self.nodes[node].agent.as_mut() {
                        agent.launched.insert(run);
                    }
                }
                AgentInput::Install(slot, run) => {
                    if let Some(agent) = self.nodes[node].agent.as_mut() {
                        agent.slots.insert(slot, run);
                        agent.unreleased.insert(run);
                    }
                }
            }
        }
        self.arm(node);
    }
}

pub(crate) fn milliseconds(count: u64) -> Moment {
    Moment(count * 1_000_000)
}

/// A node's clock: any origin, up to 100 ppm off.
fn clock(random: &mut Random) -> LocalClock {
    let shown = Instant::from_nanoseconds(random.between(1, 1_000) * 1_000_000_000);
    let rate_ppb = i64::try_from(random.below(200_001)).expect("a small number") - 100_000;
    LocalClock::new(shown, rate_ppb)
}
