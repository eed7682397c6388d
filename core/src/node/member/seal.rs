//! Promises: sealing a term, joining it, installing its prefix, being admitted.

use std::sync::Arc;

use super::{Member, MemberEffect, MemberEvent, MemberPhaseEvent, Sight, Stage, refuse_stale};
use crate::{
    limits::RECORDS_IN_FLIGHT_MAX,
    machine::Outbox,
    message::{Holding, SealAnswer, SwitcherCommand, ToManager},
    model::{Fence, NodeIncarnation, NodeIndex, Term, TermRecord},
    primitives::{Memory, Outcome},
};

impl Member {
    pub(super) fn seal_asked(&mut self, from: NodeIndex, record: &TermRecord, out: &mut Outbox<MemberEffect>) {
        if record.partition != self.configuration.partition || record.manager.node != from {
            return;
        }
        match self.sealed.filter(|sealed| record.term <= *sealed) {
            Some(sealed) if record.term < sealed => refuse_stale(from, record.term, sealed, out),
            Some(_) if self.stage != Stage::Unsealed => self.answer_seal_again(from, out),
            Some(_) | None => self.begin_seal(record.term, from, out),
        }
    }

    /// The authority names the current term: a member that does not follow it seals it and asks to be admitted.
    pub(super) fn introduced(&mut self, record: &TermRecord, out: &mut Outbox<MemberEffect>) {
        let news = self.sealed.is_none_or(|sealed| record.term > sealed || (record.term == sealed && self.stage == Stage::Unsealed));
        if news && record.partition == self.configuration.partition {
            self.begin_seal(record.term, record.manager.node, out);
        }
    }

    fn begin_seal(&mut self, term: Term, manager: NodeIndex, out: &mut Outbox<MemberEffect>) {
        self.sealed = Some(term);
        // Without a seal file only a term that was recorded after this boot is sealed: no earlier life has promised it.
        self.knows_from.get_or_insert(term);
        self.enter(MemberPhaseEvent::Asked, Stage::Sealing { term, manager });
        out.push(MemberEffect::Switcher(SwitcherCommand::Seal { term }));
    }

    /// The strobe thread refuses the older terms: now the links are cut and the promise is written, then it is answered.
    pub(super) fn switcher_sealed(&mut self, term: Term, out: &mut Outbox<MemberEffect>) {
        if matches!(self.stage, Stage::Sealing { term: sealing, .. } if sealing == term) {
            out.push(MemberEffect::CloseLinks(term));
            out.push(MemberEffect::PersistSeal(term));
        }
    }

    pub(super) fn seal_persisted(&mut self, persisted: Term, out: &mut Outbox<MemberEffect>) {
        let Stage::Sealing { term, manager } = self.stage else { return };
        if term == persisted {
            self.enter(MemberPhaseEvent::Promised, Stage::Sealed { term, manager });
            out.push(MemberEffect::Event(MemberEvent::Sealed(term)));
            self.answer_seal(out);
        }
    }

    /// The manager asks again although this member answered, or was admitted: it does not count it in. It stops obeying and
    /// asks to be admitted.
    fn answer_seal_again(&mut self, from: NodeIndex, out: &mut Outbox<MemberEffect>) {
        match self.stage {
            Stage::Sealed { term, manager }
            | Stage::Installed { fence: Fence { term, .. }, manager }
            | Stage::Admitted { fence: Fence { term, .. }, manager }
                if manager == from =>
            {
                self.enter(MemberPhaseEvent::LeftOut, Stage::Sealed { term, manager });
                self.answer_seal(out);
            }
            Stage::Unsealed | Stage::Sealing { .. } | Stage::Sealed { .. } | Stage::Installed { .. } | Stage::Admitted { .. } => {}
        }
    }

    /// Answers the seal. A manager that already commands takes the same answer as the wish to join.
    pub(super) fn answer_seal(&self, out: &mut Outbox<MemberEffect>) {
        let Stage::Sealed { term, manager } = self.stage else { return };
        let member = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        let holding = self.installed_term.zip(self.memory.as_ref()).map(|(term, memory)| Holding {
            term,
            memory: Arc::clone(memory),
            records: self.held.iter().cloned().collect(),
        });
        let knows_from = self.knows_from.unwrap_or(term);
        out.push(MemberEffect::Send { to: manager, message: ToManager::Sealed(SealAnswer { term, member, knows_from, holding }) });
    }

    /// The agent was stopped for longer than the lease: it asks to be admitted again, under the same seal.
    pub(super) fn left_out(&mut self, term: Term, out: &mut Outbox<MemberEffect>) {
        match self.stage {
            Stage::Installed { fence, manager } | Stage::Admitted { fence, manager } if fence.term == term => {
                self.enter(MemberPhaseEvent::LeftOut, Stage::Sealed { term, manager });
                self.answer_seal(out);
            }
            Stage::Unsealed | Stage::Sealing { .. } | Stage::Sealed { .. } | Stage::Installed { .. } | Stage::Admitted { .. } => {}
        }
    }

    pub(super) fn install(&mut self, from: NodeIndex, fence: Fence, memory: Arc<Memory>, out: &mut Outbox<MemberEffect>) {
        if !self.follows(from, fence) {
            out.push(MemberEffect::Event(MemberEvent::StaleRefused(fence.term)));
            return;
        }
        // Installed again within a term: the manager missed the answer, or left this member out for a while. The records
        // since are kept, because the manager may count this member among those that hold them.
        if self.installed_term == Some(fence.term) && self.memory.as_ref().is_some_and(|held| held.applied >= memory.applied) {
            if self.admitted().is_none() {
                self.enter(MemberPhaseEvent::Installed, Stage::Installed { fence, manager: from });
            }
            self.confirm_installed(from, fence, out);
            return;
        }
        self.drop_held_up_to(fence.term, &memory);
        let before = self.memory.replace(memory);
        if self.sight == Sight::Memory {
            self.sight = Sight::Earlier(before);
        }
        self.store_deferred();
        self.installed_term = Some(fence.term);
        self.enter(MemberPhaseEvent::Installed, Stage::Installed { fence, manager: from });
        self.confirm_installed(from, fence, out);
    }

    /// The term is established: what was installed is seen, and done, from now on. False when it was before.
    pub(super) fn reveal(&mut self, out: &mut Outbox<MemberEffect>) -> bool {
        let Sight::Earlier(earlier) = std::mem::replace(&mut self.sight, Sight::Memory) else { return false };
        let generation = |memory: &Option<Arc<Memory>>| memory.as_ref().map(|memory| memory.generation);
        if earlier.is_some() && generation(&earlier) != generation(&self.memory) {
            self.finish_operations(Outcome::Unknown, out);
        }
        self.put_anew(earlier.as_deref(), out);
        self.discard_replaced(out);
        self.discard_of_earlier_terms(out);
        true
    }

    /// Records of the same term that lie beyond the memory stay: the manager may have their receipt.
    fn drop_held_up_to(&mut self, term: Term, memory: &Memory) {
        let applied = self.memory.as_ref().map_or(0, |held| held.applied.0);
        let newer = usize::try_from(memory.applied.0.saturating_sub(applied)).unwrap_or(usize::MAX);
        let dropped = if self.installed_term == Some(term) { newer.min(self.held.len()) } else { self.held.len() };
        self.held.drain(..dropped);
        self.held.reserve(RECORDS_IN_FLIGHT_MAX);
    }

    fn confirm_installed(&self, to: NodeIndex, fence: Fence, out: &mut Outbox<MemberEffect>) {
        out.push(MemberEffect::Send { to, message: ToManager::Installed { fence, number: self.held_number() } });
    }

    /// A manager that has gone on without this member does not send the prefix again: the answer to one that came late has
    /// to reach it.
    pub(super) fn confirm_installed_again(&self, out: &mut Outbox<MemberEffect>) {
        if let Stage::Installed { fence, manager } = self.stage {
            self.confirm_installed(manager, fence, out);
        }
    }

    pub(super) fn admit(&mut self, from: NodeIndex, fence: Fence, members: &[NodeIncarnation], out: &mut Outbox<MemberEffect>) {
        let own = NodeIncarnation { node: self.configuration.node, incarnation: self.configuration.incarnation };
        let ready = match self.stage {
            Stage::Installed { fence: installed, manager } => manager == from && installed.term == fence.term,
            Stage::Admitted { fence: admitted, manager } => manager == from && admitted <= fence,
            Stage::Unsealed | Stage::Sealing { .. } | Stage::Sealed { .. } => false,
        };
        if !ready {
            return;
        }
        if !members.contains(&own) {
            // The view has an earlier life of this agent: the manager has to be told of this one.
            self.enter(MemberPhaseEvent::LeftOut, Stage::Sealed { term: fence.term, manager: from });
            self.answer_seal(out);
            return;
        }
        self.reveal(out);
        let again = self.admitted() == Some(fence);
        self.enter(MemberPhaseEvent::Admitted, Stage::Admitted { fence, manager: from });
        if again {
            return;
        }
        out.push(MemberEffect::Switcher(SwitcherCommand::Admit { fence, manager: from }));
        out.push(MemberEffect::Event(MemberEvent::Admitted(fence)));
        self.settle_operations(out);
        self.reconcile(out);
        self.send_everything_again(out);
    }
}
