//! Stepping the machines of an agent, and their timers.

use std::time::Duration;

use strobe_core::{
    machine::Machine,
    manager::{AnnouncerInput, ManagerEffect, ManagerEvent, ManagerInput},
    message::ToMember,
    model::{AgentIncarnation, NodeIndex},
    node::MemberInput,
};

use super::{Event, World};
use crate::node::{AgentInput, MachineKind, soon};

/// Usual longest time of a message between the two halves of an agent.
const RING_USUAL: Duration = Duration::from_micros(30);
/// Longest time: the other half waits for a CPU.
const RING_LONGEST: Duration = Duration::from_millis(8);
/// Messages of a million that find the other half waiting.
const RING_SLOW: u32 = 5_000;

/// Which half of an agent a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    StrobeThread,
    Runtime,
}

impl World {
    /// Arms the timers of an agent. One that is armed for an earlier moment than needed fires in vain.
    pub(crate) fn arm(&mut self, node: usize) {
        for machine in MachineKind::ALL {
            let home = &mut self.nodes[node];
            let Some(agent) = home.agent.as_mut() else { return };
            let Some(deadline) = agent.deadline(machine) else { continue };
            let wanted = home.clock.when(deadline);
            if agent.armed[machine as usize].is_some_and(|armed| armed <= soon(self.now, wanted)) {
                continue;
            }
            let late = Duration::from_nanos(self.random.below(20_000));
            let at = soon(self.now, wanted) + late;
            agent.armed[machine as usize] = Some(at);
            let life = agent.life;
            self.queue.push(at, Event::Timer { node, life, machine, at });
        }
    }

    /// Sends from one half of an agent to the other; the order is kept.
    pub(crate) fn ring(&mut self, node: usize, to: Half, input: AgentInput) {
        let longest = if self.random.chance(RING_SLOW) { RING_LONGEST } else { RING_USUAL };
        let delay = self.random.time(Duration::from_micros(1), longest);
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        let arrival = &mut agent.rings[to as usize];
        *arrival = (self.now + delay).max(*arrival + Duration::from_nanos(1));
        let event = Event::Input { node, life: agent.life, input: Box::new(input) };
        self.queue.push(*arrival, event);
    }

    /// An input that reaches an agent of this life after a while.
    pub(crate) fn later(&mut self, node: usize, delay: Duration, input: AgentInput) {
        if let Some(life) = self.life_of(node) {
            self.after(delay, Event::Input { node, life, input: Box::new(input) });
        }
    }

    pub(crate) fn life_of(&self, node: usize) -> Option<AgentIncarnation> {
        self.nodes[node].agent.as_ref().map(|agent| agent.life)
    }

    pub(super) fn step_manager(&mut self, node: usize, mut input: ManagerInput) {
        let last = self.nodes.last().map_or(NodeIndex(0), |node| node.index);
        let forged = self.mutator.manager(&mut input, last);
        self.step_manager_as_told(node, input);
        if let Some(forged) = forged {
            self.step_manager_as_told(node, forged);
        }
    }

    fn step_manager_as_told(&mut self, node: usize, input: ManagerInput) {
        let mut out = std::mem::take(&mut self.outboxes.manager);
        let home = &mut self.nodes[node];
        let now = home.clock.at(self.now);
        if let Some(agent) = home.agent.as_mut() {
            agent.manager.step(now, input, &mut out);
        }
        for effect in out.drain() {
            match effect {
                ManagerEffect::Send { to, message } => self.send_to_member(node, to, message),
                ManagerEffect::Announcer(mut command) => {
                    self.mutator.announcer(&mut command);
                    self.ring(node, Half::StrobeThread, AgentInput::Announcer(AnnouncerInput::Command(command)));
                }
                ManagerEffect::Report(report) => {
                    if let Some(agent) = self.nodes[node].agent.as_mut() {
                        agent.report = Some(report);
                    }
                    self.send_report(node);
                }
                ManagerEffect::Event(ManagerEvent::ViewRaised { fence, view }) => {
                    self.ledger.view_raised(fence, &view);
                    self.trace.say(self.now, || format!("node {node} manager: view {fence:?} of {view:?}"));
                }
                ManagerEffect::Event(event) => self.trace.say(self.now, || format!("node {node} manager: {event:?}")),
            }
        }
        self.outboxes.manager = out;
    }

    fn send_to_member(&mut self, node: usize, to: NodeIndex, message: ToMember) {
        let input = AgentInput::Member(MemberInput::FromManager { from: self.nodes[node].index, message });
        self.send_frame(node, to, input);
    }
}
