//! How a reign begins: seals, the longest prefix, its installation.

use std::sync::Arc;

use super::{ManagerEffect, ManagerEvent, ManagerPhaseEvent, Reign, Stage, sequencer::Sequencer};
use crate::{
    machine::Outbox,
    message::{AnnouncerCommand, SealAnswer, ToMember},
    model::{EstablishedTerm, Instant, NodeIndex, NodeSet, RecordNumber, View},
    primitives::Memory,
};

impl Reign {
    /// Asks a node to seal the term.
    pub(super) fn ask_seal(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        out.push(ManagerEffect::Send { to: node, message: ToMember::Seal(self.record().clone()) });
    }

    pub(super) fn sealed(&self) -> NodeSet {
        self.answers.keys().copied().collect()
    }

    pub(super) fn seal_answered(&mut self, now: Instant, answer: SealAnswer, out: &mut Outbox<ManagerEffect>) {
        if answer.term != self.fence.term {
            return;
        }
        match self.stage {
            Stage::Sealing { .. } => {
                self.answers.insert(answer.member.node, answer);
                self.consider_command(now, out);
            }
            Stage::Installing { .. } => {
                // Too late for the first view: it asks again and is admitted then.
                if self.view.get(&answer.member.node) == Some(&answer.member.incarnation) {
                    self.install(answer.member.node, out);
                }
            }
            Stage::Established => self.join(now, &answer, out),
        }
    }

    /// Enough seals give the right to command; the rest of the members get a moment longer, so that the first view is
    /// the whole record when all are there.
    pub(super) fn consider_command(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        let sealed = self.sealed();
        if !self.record().may_command(sealed, self.appointment.dead) || !self.record().is_majority(sealed) {
            return;
        }
        if self.record().member_nodes().is_subset(sealed) {
            self.install_prefix(now, out);
        } else if let Stage::Sealing { patience: patience @ None } = &mut self.stage {
            *patience = Some(now + self.settings.suspicion / 4);
        }
    }

    pub(super) fn sealing_timer(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        match self.stage {
            Stage::Sealing { patience: Some(patience) } if patience <= now => self.install_prefix(now, out),
            Stage::Installing { patience } if patience <= now => self.establish_with_installed(now, out),
            Stage::Sealing { .. } | Stage::Installing { .. } | Stage::Established => {}
        }
    }

    /// Completes the longest prefix among the sealed and sends it to all of them.
    fn install_prefix(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        let memory = Arc::new(self.longest_prefix());
        self.sequencer = Sequencer::new(memory);
        self.view = self.answers.values().map(|answer| (answer.member.node, answer.member.incarnation)).collect();
        self.enter(ManagerPhaseEvent::EnoughSealed, Stage::Installing { patience: now + self.settings.suspicion / 2 });
        let nodes: Vec<NodeIndex> = self.view.keys().copied().collect();
        for node in nodes {
            self.install(node, out);
        }
    }

    /// The prefix that the new term goes on from. Where too few know what an earlier term has committed, memory begins empty
    /// under a new generation: that of this term, because the holders of a generation in between may all be lost, and its
    /// number would be given twice.
    fn longest_prefix(&self) -> Memory {
        let holdings = self.answers.values().filter_map(|answer| answer.holding.as_ref());
        match holdings.max_by_key(|holding| (holding.term, holding.last())) {
            Some(holding) if self.is_witnessed() => holding.completed(),
            Some(_) | None => Memory::empty(self.fence.term.0, RecordNumber(0)),
        }
    }

    /// True when at least half of the members of every earlier term that may have committed something are sealed by a life
    /// that would hold it. What is committed is held by a view of more than half: one of these belongs to it. A term that
    /// the authority does not know as established may have been: its report may be lost with its manager.
    fn is_witnessed(&self) -> bool {
        let record = self.record();
        let witnesses = |earlier: &EstablishedTerm| {
            earlier.members.iter().filter(|node| self.answers.get(node).is_some_and(|answer| answer.is_witness_of(earlier.term))).count()
        };
        record.established.iter().chain(&record.since).all(|earlier| 2 * witnesses(earlier) >= earlier.members.len())
    }

    pub(super) fn install(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        let memory = Arc::clone(self.sequencer.memory());
        out.push(ManagerEffect::Send { to: node, message: ToMember::Install { fence: self.fence, memory } });
    }

    pub(super) fn installed(&mut self, now: Instant, node: NodeIndex, number: RecordNumber, out: &mut Outbox<ManagerEffect>) {
        match self.stage {
            Stage::Sealing { .. } => {}
            Stage::Installing { .. } => {
                if self.view.contains_key(&node) {
                    self.installed.insert(node);
                    self.sequencer.begin_at(node, number);
                }
                if self.view_nodes().is_subset(self.installed) {
                    self.establish(now, out);
                }
            }
            Stage::Established => self.joiner_installed(now, node, number, out),
        }
    }

    /// Some sealed members did not take the prefix: without them, when enough are left.
    fn establish_with_installed(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        let enough = self.record().is_majority(self.installed) && self.record().may_command(self.installed, self.appointment.dead);
        if enough {
            let installed = self.installed;
            self.view.retain(|node, _| installed.contains(*node));
            self.establish(now, out);
        } else {
            self.stage = Stage::Installing { patience: now + self.settings.suspicion / 2 };
        }
    }

    fn establish(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        self.enter(ManagerPhaseEvent::PrefixTaken, Stage::Established);
        self.fence.view = View(1);
        out.push(ManagerEffect::Event(ManagerEvent::Established(self.fence)));
        out.push(ManagerEffect::Announcer(AnnouncerCommand::Start {
            fence: self.fence,
            manager: self.record().manager.node,
            record: self.record().members.clone(),
            view: self.members(),
            heartbeat: self.settings.heartbeat,
            suspicion: self.settings.suspicion,
            lead: self.settings.lead,
        }));
        self.announce_view(out);
        self.strobe_rows(out);
        self.advance(now, out);
    }
}
