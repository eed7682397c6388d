//! One step of the explored world: an input to an agent, and all that follows from it on the same node.

use std::collections::VecDeque;

use strobe_core::{
    machine::{Machine, Outbox},
    manager::{ManagerEffect, ManagerInput},
    message::{AnnouncerCommand, AnnouncerReport, SwitcherCommand, SwitcherReport, ToMember},
    model::{Epoch, Fence, Instant, Term},
    node::{MemberEffect, MemberInput},
};

use crate::{
    bugs::Bug,
    digested::Digested,
    state::{Frame, Message, State, index_of},
};

/// The one instant at which everything happens, so that states differ by what has happened and not by when. It is not the origin, which is
/// where a lease ends that was never given.
pub(crate) const NOW: Instant = Instant::from_nanoseconds(1);
/// The end of a lease: never. What is safe must be so without a lease's end.
const NEVER: Instant = Instant::from_nanoseconds(u64::MAX);

/// An input of one of the two machines.
pub(crate) enum Input {
    Member(MemberInput),
    Manager(ManagerInput),
}

/// The step of one agent. What its machines and its strobe thread say to each other, and what it writes to its seal file, is done within
/// the step: the simulation plays these apart. Frames leave at its end. What a step sends before it cuts the links, which is the seals of
/// its own appointment alone, goes over the new ones: in the agent it is said again when these come up.
pub(crate) struct Step<'a> {
    state: &'a mut State,
    node: usize,
    bug: Option<Bug>,
    inputs: VecDeque<Input>,
    sent: Vec<(usize, Message)>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(state: &'a mut State, node: usize, bug: Option<Bug>) -> Self {
        Self { state, node, bug, inputs: VecDeque::new(), sent: Vec::new() }
    }

    pub(crate) fn take(mut self, inputs: impl IntoIterator<Item = Input>) {
        self.inputs.extend(inputs);
        while let Some(input) = self.inputs.pop_front() {
            match input {
                Input::Member(input) => self.step_member(input),
                Input::Manager(input) => self.step_manager(input),
            }
        }
        self.send_frames();
    }

    fn step_member(&mut self, input: MemberInput) {
        let node = &mut self.state.nodes[self.node];
        let before = node.member.memory().map(|memory| (memory.generation, memory.applied));
        let mut out = Outbox::default();
        node.member.change(|member| member.step(NOW, input, &mut out));
        for effect in out.drain() {
            self.member_effect(effect);
        }
        let memory = self.state.nodes[self.node].member.memory();
        if let Some(memory) = memory.filter(|memory| before != Some((memory.generation, memory.applied))) {
            self.state.observed.change(|observed| observed.memory_seen(memory));
        }
    }

    fn member_effect(&mut self, effect: MemberEffect) {
        match effect {
            MemberEffect::Send { to, message } => self.send(usize::from(to.0), Message::ToManager(message)),
            MemberEffect::Switcher(SwitcherCommand::Seal { term }) => {
                self.inputs.push_back(Input::Member(MemberInput::Switcher(SwitcherReport::Sealed { term })));
            }
            MemberEffect::CloseLinks(term) => self.close_links(term),
            MemberEffect::PersistSeal(term) => {
                self.state.nodes[self.node].promised = Some(term);
                self.inputs.push_back(Input::Member(MemberInput::SealPersisted(term)));
            }
            MemberEffect::Submitted(operation) => self.state.observed.change(|observed| observed.called(operation)),
            MemberEffect::Outcome { operation, outcome } => {
                let member = &self.state.nodes[self.node].member;
                let (term, memory) = (member.sealed(), member.memory().cloned());
                self.state.observed.change(|observed| observed.outcome_heard(operation, outcome, term, memory.as_deref()));
            }
            MemberEffect::Put { operation, .. } => {
                let (node, life) = (self.node, self.state.nodes[self.node].life);
                self.state.observed.change(|observed| observed.put(node, life, operation));
            }
            MemberEffect::Switcher(_) | MemberEffect::Event(_) => {}
            other => panic!("there are neither gangs nor staged blocks here, and {other:?} is asked for"),
        }
    }

    fn step_manager(&mut self, mut input: ManagerInput) {
        let forged = self.bug.map_or_else(Vec::new, |bug| bug.alter(&mut input));
        for input in std::iter::once(input).chain(forged) {
            let mut out = Outbox::default();
            self.state.nodes[self.node].manager.change(|manager| manager.step(NOW, input, &mut out));
            for effect in out.drain() {
                match effect {
                    ManagerEffect::Send { to, message } => self.send(usize::from(to.0), Message::ToMember(message)),
                    ManagerEffect::Announcer(AnnouncerCommand::Start { fence, .. }) => self.give_lease(fence),
                    ManagerEffect::Announcer(_) | ManagerEffect::Report(_) | ManagerEffect::Event(_) => {}
                }
            }
        }
    }

    fn give_lease(&mut self, fence: Fence) {
        let report = AnnouncerReport::Lease { fence, until: NEVER, epoch: Epoch(0), next_epoch_at: NOW };
        self.inputs.push_back(Input::Manager(ManagerInput::Announcer(report)));
    }

    /// What an agent says to itself is no frame.
    fn send(&mut self, to: usize, message: Message) {
        if let Message::ToMember(ToMember::Install { fence, memory }) = &message {
            let crashed = self.state.has_crashed();
            self.state.observed.change(|observed| observed.installed(fence.term, memory, crashed));
        }
        if to == self.node {
            self.inputs.push_back(received(self.node, message));
        } else {
            self.sent.push((to, message));
        }
    }

    fn close_links(&mut self, term: Term) {
        self.state.cut(self.node, |link| link < term);
        self.state.nodes[self.node].links = Some(term);
    }

    /// Over a link that the receiver refuses nothing arrives.
    fn send_frames(self) {
        let Some(link) = self.state.nodes[self.node].links else { return };
        for (to, message) in self.sent {
            if self.state.nodes[to].promised <= Some(link) {
                self.state.frames[self.node][to].push(Digested::new(Frame { link, message }));
            }
        }
    }
}

/// A message as an input of its receiver.
pub(crate) fn received(from: usize, message: Message) -> Input {
    let from = index_of(from);
    match message {
        Message::ToMember(message) => Input::Member(MemberInput::FromManager { from, message }),
        Message::ToManager(message) => Input::Manager(ManagerInput::FromMember { from, message }),
    }
}
