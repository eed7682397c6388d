//! Stepping the member, and what it wants.

use std::time::Duration;

use strobe_core::{
    machine::Machine,
    manager::ManagerInput,
    message::{SwitcherCommand, SwitcherReport, ToManager, ToMember},
    model::{GangRun, NodeIndex, Term},
    node::{MemberEffect, MemberInput, MemberPhase, SwitcherInput},
    primitives::{Content, OperationId, Outcome, Record},
};

use super::{Event, Order, World, machines::Half};
use crate::{
    diagram::{name_of, outcome_in_words, request_in_words},
    mutations::Mutation,
    node::AgentInput,
};

/// How long the seal file takes.
const SEAL: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(2));
/// How long an order to a supervisor takes.
const SUPERVISOR_SOCKET: Duration = Duration::from_micros(100);
/// How long the mutated agent takes to close links after its answer.
const LATE_CLOSE: Duration = Duration::from_millis(5);

impl World {
    pub(super) fn step_member(&mut self, node: usize, mut input: MemberInput) {
        self.mutator.member(&mut input);
        if let MemberInput::FromManager { message: ToMember::Append { fence, number, record }, .. } = &input {
            self.ledger.appended(node, *fence, *number, record);
        }
        let early = match (&input, self.mutator.is(Mutation::ReleaseBeforeAllUp)) {
            (MemberInput::SupervisorUp { run, .. }, true) => Some(*run),
            _ => None,
        };
        let early_outcome = self.early_outcome(node, &input);
        let mut request = match &input {
            MemberInput::Submit(request) => Some(request.clone()),
            _ => None,
        };
        let mut out = std::mem::take(&mut self.outboxes.member);
        let home = &mut self.nodes[node];
        let now = home.clock.at(self.now);
        let mut whole = false;
        if let Some(agent) = home.agent.as_mut() {
            whole = agent.member.phase() == MemberPhase::Installed;
            agent.member.step(now, input, &mut out);
        }
        let untold = whole && self.mutator.is(Mutation::PutForgotten);
        for effect in out.drain().filter(|effect| !(untold && matches!(effect, MemberEffect::Put { .. }))) {
            if let (MemberEffect::Submitted(operation), Some(request)) = (&effect, request.take()) {
                let index = self.nodes[node].index;
                self.diagram.note(self.now, Some(index), || format!("call {} {}", name_of(*operation), request_in_words(&request)));
                self.ledger.history.called(*operation, request);
            }
            self.member_effect(node, effect);
        }
        self.outboxes.member = out;
        if let Some(run) = early {
            self.tell_supervisor(node, run, Order::Release);
        }
        if let Some(operation) = early_outcome {
            self.outcome_heard(node, operation, Outcome::Committed { truth: true, first_failing: None });
        }
        self.look_at_memory(node, whole);
    }

    /// The operation of this node whose caller the mutated agent tells when it only holds the record.
    fn early_outcome(&self, node: usize, input: &MemberInput) -> Option<OperationId> {
        let MemberInput::FromManager { message: ToMember::Append { record, .. }, .. } = input else { return None };
        let Record::Xfer { operation, .. } = &**record else { return None };
        let own = operation.caller.node == self.nodes[node].index && Some(operation.caller.incarnation) == self.life_of(node);
        (own && self.mutator.is(Mutation::CommittedBeforeStable)).then_some(*operation)
    }

    fn outcome_heard(&mut self, node: usize, operation: OperationId, outcome: Outcome) {
        let index = self.nodes[node].index;
        self.diagram.note(self.now, Some(index), || format!("{} {}", name_of(operation), outcome_in_words(outcome)));
        let memory = self.nodes[node].agent.as_ref().and_then(|agent| agent.member.memory());
        let verdict = self.ledger.outcome_heard(operation, outcome, memory.map(std::sync::Arc::as_ref));
        self.judge(verdict);
    }

    pub(crate) fn member_effects(&mut self, node: usize, effects: impl IntoIterator<Item = MemberEffect>) {
        for effect in effects {
            self.member_effect(node, effect);
        }
    }

    fn member_effect(&mut self, node: usize, effect: MemberEffect) {
        match effect {
            MemberEffect::Send { to, message } => self.send_to_manager(node, to, message),
            MemberEffect::Switcher(SwitcherCommand::Seal { term }) if self.mutator.is(Mutation::StaleFenceObeyed) => {
                let report = MemberInput::Switcher(SwitcherReport::Sealed { term });
                self.ring(node, Half::Runtime, AgentInput::Member(report));
            }
            MemberEffect::Switcher(command) => self.ring(node, Half::StrobeThread, AgentInput::Switcher(SwitcherInput::Command(command))),
            MemberEffect::CloseLinks(term) => self.close_links_asked(node, term),
            MemberEffect::PersistSeal(term) => self.persist_seal(node, term),
            MemberEffect::Configure { run, slot } => self.configure(node, run, slot),
            MemberEffect::ReleaseRanks { run, peers } => self.release_ranks(node, run, &peers),
            MemberEffect::AnnounceHold(run) => self.tell_supervisor(node, run, Order::Hold),
            MemberEffect::AnnounceResume(run) => self.tell_supervisor(node, run, Order::Resume),
            MemberEffect::TerminateRanks { run, grace } => self.tell_supervisor(node, run, Order::Terminate { grace }),
            MemberEffect::KillRanks(run) => self.kill_ranks(node, run),
            MemberEffect::Forget { run, .. } => self.forget(node, run),
            MemberEffect::Outcome { operation, outcome } => self.outcome_heard(node, operation, outcome),
            MemberEffect::Put { region, operation, content } => self.block_put(node, region, operation, &content, false),
            MemberEffect::Absent { region, staging } => {
                self.block_put(node, region, staging.operation, &Content::Staged(staging.block), true);
            }
            MemberEffect::Stage(staging) => self.stage(node, &staging),
            MemberEffect::Discard(operation) => self.block_discarded(node, operation),
            MemberEffect::Submitted(_) => {}
            MemberEffect::Event(event) => self.trace.say(self.now, || format!("node {node} member: {event:?}")),
        }
    }

    fn send_to_manager(&mut self, node: usize, to: NodeIndex, mut message: ToManager) {
        let memory = self.nodes[node].agent.as_ref().and_then(|agent| agent.member.memory());
        if let (ToManager::Compared { truth, .. }, Some((_, compare))) = (&mut message, memory.and_then(|memory| memory.pending_compare()))
        {
            self.mutator.compared(node, compare, truth);
        }
        let verdict = self.ledger.member_speaks(node, &message);
        self.judge(verdict);
        let input = AgentInput::Manager(ManagerInput::FromMember { from: self.nodes[node].index, message });
        self.send_frame(node, to, input);
    }

    fn close_links_asked(&mut self, node: usize, term: Term) {
        if self.mutator.is(Mutation::AnsweredBeforeClosed) {
            if let Some(life) = self.life_of(node) {
                self.after(LATE_CLOSE, Event::LateClose { node, life, term });
            }
            self.open_links(node, term);
        } else {
            self.close_links(node, term);
        }
    }

    /// A crash while the file is written leaves the old content or the new one.
    fn persist_seal(&mut self, node: usize, term: Term) {
        let Some(life) = self.life_of(node) else { return };
        if self.random.chance(500_000) {
            self.nodes[node].seal_file = self.nodes[node].seal_file.max(Some(term));
        }
        let delay = self.random.time(SEAL.0, SEAL.1);
        self.after(delay, Event::SealWritten { node, life, term });
    }

    pub(super) fn seal_written(&mut self, node: usize, life: strobe_core::model::AgentIncarnation, term: Term) {
        if self.lives(node, life) {
            self.nodes[node].seal_file = self.nodes[node].seal_file.max(Some(term));
            self.give(node, AgentInput::Member(MemberInput::SealPersisted(term)));
        }
    }

    /// Looks at what readers see of the member's memory, when that has changed; `whole` when it came as a whole memory.
    fn look_at_memory(&mut self, node: usize, whole: bool) {
        let index = self.nodes[node].index;
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        let Some(memory) = agent.member.memory() else { return };
        let applied = Some((memory.generation, memory.applied));
        if agent.applied == applied {
            return;
        }
        let before = std::mem::replace(&mut agent.applied, applied);
        self.counters.records += memory.applied.0.saturating_sub(before.map_or(0, |(_, number)| number.0));
        let (life, memory) = (agent.life, std::sync::Arc::clone(memory));
        let blocks = agent.blocks.are_those_of(&memory, index);
        let verdict = self.ledger.applied(node, before, &memory).and_then(|()| {
            let since = before.filter(|(generation, _)| *generation == memory.generation && !whole).map(|(_, number)| number);
            self.ledger.puts_told(node, life, since, &memory)
        });
        let verdict = verdict.and(blocks);
        self.judge(verdict);
    }

    /// Tells a supervisor. Every order takes the same time, so that they arrive in order.
    pub(crate) fn tell_supervisor(&mut self, node: usize, run: GangRun, order: Order) {
        self.after(SUPERVISOR_SOCKET, Event::ToSupervisor { node, run, order });
    }
}
