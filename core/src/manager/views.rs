//! Who belongs: the view, suspicion, admission. Admitting needs no lease.

use super::{ManagerEffect, ManagerEvent, Reign, reign::Joiner};
use crate::{
    machine::Outbox,
    message::{AnnouncerCommand, SealAnswer, ToMember},
    model::{AgentIncarnation, Instant, NodeIncarnation, NodeIndex, NodeSet, RecordNumber, View},
};

impl Reign {
    pub(super) fn view_nodes(&self) -> NodeSet {
        self.view.keys().copied().collect()
    }

    pub(super) fn members(&self) -> Vec<NodeIncarnation> {
        self.view.iter().map(|(&node, &incarnation)| NodeIncarnation { node, incarnation }).collect()
    }

    /// Tells the view who belongs to it.
    pub(super) fn announce_view(&mut self, out: &mut Outbox<ManagerEffect>) {
        let members = self.members();
        out.push(ManagerEffect::Event(ManagerEvent::ViewRaised { fence: self.fence, view: members.clone() }));
        for member in &members {
            self.admit(member.node, out);
        }
    }

    fn admit(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        out.push(ManagerEffect::Send { to: node, message: ToMember::Admitted { fence: self.fence, members: self.members() } });
    }

    fn raise_view(&mut self, out: &mut Outbox<ManagerEffect>) {
        self.fence.view = View(self.fence.view.0 + 1);
        out.push(ManagerEffect::Announcer(AnnouncerCommand::View { fence: self.fence, view: self.members() }));
        self.announce_view(out);
    }

    /// A member is silent: the view goes on without it, unless that would leave half of the record or less.
    pub(super) fn suspect(&mut self, node: NodeIndex, incarnation: AgentIncarnation, out: &mut Outbox<ManagerEffect>) {
        let mut without = self.view_nodes();
        without.remove(node);
        if self.view.get(&node) != Some(&incarnation) || !self.record().is_majority(without) {
            return;
        }
        self.view.remove(&node);
        if !self.joining.contains_key(&node) {
            self.sequencer.forget(node);
        }
        for hints in self.hints.values_mut() {
            hints.doubt(node);
        }
        self.fail_compare_on(node);
        self.stagings.forget(node);
        self.stagings.fail_those_of(node, None);
        self.raise_view(out);
    }

    /// A new incarnation, a member that was left out, or a node from outside the record: it gets the applied prefix once, and
    /// as records what became stable since and what is in flight.
    pub(super) fn join(&mut self, now: Instant, answer: &SealAnswer, out: &mut Outbox<ManagerEffect>) {
        let NodeIncarnation { node, incarnation } = answer.member;
        if self.view.get(&node).is_some_and(|known| *known > incarnation) {
            return;
        }
        let earlier = self.joining.insert(node, Joiner { incarnation, heard: now });
        self.stagings.forget(node);
        if self.view.contains_key(&node) || earlier.is_none_or(|earlier| earlier.incarnation != incarnation) {
            // One in the view may have lost what its receipt is for. Until it has said what it holds now, nothing is stable
            // by it. For another the records are kept that it does not get with this memory.
            self.sequencer.begin_at(node, self.sequencer.memory().applied);
        }
        self.install(node, out);
    }

    /// A joiner says what it wants until it is admitted: one that is silent for `suspicion` is there no more.
    pub(super) fn drop_vanished(&mut self, now: Instant) {
        let vanished: Vec<NodeIndex> =
            self.joining.iter().filter(|(_, joiner)| joiner.heard + self.settings.suspicion <= now).map(|(node, _)| *node).collect();
        for node in vanished {
            self.joining.remove(&node);
            if !self.view.contains_key(&node) {
                self.sequencer.forget(node);
            }
        }
    }

    pub(super) fn joiner_installed(&mut self, now: Instant, node: NodeIndex, number: RecordNumber, out: &mut Outbox<ManagerEffect>) {
        let Some(&Joiner { incarnation, .. }) = self.joining.get(&node) else {
            // One in the view answers an installation that was sent twice. Another was sent the prefix before the view was
            // made without it: it is asked to join.
            if !self.view.contains_key(&node) {
                self.ask_seal(node, out);
            }
            return;
        };
        if !self.sequencer.can_continue(number) {
            // More records became stable meanwhile than were kept.
            self.joining.insert(node, Joiner { incarnation, heard: now });
            self.sequencer.begin_at(node, self.sequencer.memory().applied);
            self.install(node, out);
            return;
        }
        self.joining.remove(&node);
        self.stagings.fail_those_of(node, Some(incarnation));
        self.view.insert(node, incarnation);
        self.sequencer.begin_at(node, number);
        if let Some(pending) = &mut self.compare {
            pending.holds.remove(node);
        }
        self.raise_view(out);
        self.append_missing(node, out);
    }

    /// Sends a member what it does not hold yet, and what it is to stage.
    pub(super) fn append_missing(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        let Some(held) = self.sequencer.held_by(node) else { return };
        let (fence, applied) = (self.fence, self.sequencer.memory().applied);
        let mut send = |message| out.push(ManagerEffect::Send { to: node, message });
        for (number, record) in self.sequencer.missing_after(held) {
            send(ToMember::Append { fence, number, record: record.clone() });
            if number < applied {
                // It applies at once what is stable: what it holds beside its memory stays as little as with the others.
                send(ToMember::Stable { fence, number });
            }
        }
        send(ToMember::Stable { fence, number: applied });
        self.tell_stagings_of(node, out);
    }

    /// Repeats to a member of the view what it may have missed.
    pub(super) fn continue_member(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        self.admit(node, out);
        self.append_missing(node, out);
    }
}
