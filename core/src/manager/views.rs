//! Who belongs: the view, suspicion, admission. Admitting needs no lease.

use super::{ManagerEffect, ManagerEvent, Reign};
use crate::{
    machine::Outbox,
    message::{AnnouncerCommand, SealAnswer, ToMember},
    model::{AgentIncarnation, NodeIncarnation, NodeIndex, NodeSet, RecordNumber, View},
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
        self.sequencer.forget(node);
        for hints in self.hints.values_mut() {
            hints.doubt(node);
        }
        self.fail_compare_on(node);
        self.raise_view(out);
    }

    /// A new incarnation, a member that was left out, or a node from outside the record: it gets the applied prefix and
    /// what is in flight.
    pub(super) fn join(&mut self, answer: &SealAnswer, out: &mut Outbox<ManagerEffect>) {
        let NodeIncarnation { node, incarnation } = answer.member;
        if self.view.get(&node).is_some_and(|known| *known > incarnation) {
            return;
        }
        self.joining.insert(node, incarnation);
        if self.view.contains_key(&node) {
            // It may have lost what its receipt is for. Until it has said what it holds now, nothing is stable by it.
            self.sequencer.begin_at(node, self.sequencer.memory().applied);
        }
        self.install(node, out);
    }

    pub(super) fn joiner_installed(&mut self, node: NodeIndex, number: RecordNumber, out: &mut Outbox<ManagerEffect>) {
        if number < self.sequencer.memory().applied {
            // Records became stable meanwhile that it did not get.
            self.install(node, out);
            return;
        }
        let Some(incarnation) = self.joining.remove(&node) else {
            // One in the view answers an installation that was sent twice. Another was sent the prefix before the view was
            // made without it: it is asked to join.
            if !self.view.contains_key(&node) {
                self.ask_seal(node, out);
            }
            return;
        };
        self.view.insert(node, incarnation);
        self.sequencer.begin_at(node, number);
        if let Some(pending) = &mut self.compare {
            pending.holds.remove(node);
        }
        self.raise_view(out);
        self.append_missing(node, out);
    }

    /// Sends a member what it does not hold yet.
    pub(super) fn append_missing(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        let Some(held) = self.sequencer.held_by(node) else { return };
        for (number, record) in self.sequencer.missing_after(held) {
            out.push(ManagerEffect::Send { to: node, message: ToMember::Append { fence: self.fence, number, record: record.clone() } });
        }
        out.push(ManagerEffect::Send {
            to: node,
            message: ToMember::Stable { fence: self.fence, number: self.sequencer.memory().applied },
        });
    }

    /// Repeats to a member of the view what it may have missed.
    pub(super) fn continue_member(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        self.admit(node, out);
        self.append_missing(node, out);
    }
}
