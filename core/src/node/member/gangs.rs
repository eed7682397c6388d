//! One gang on one node: what global memory wants of it against what is there.
//!
//! Everything here is level-triggered: a gang's wanted state is read from memory and compared with what was last done,
//! so that a repeated record, a new term or a restarted agent all lead to the same place.

use std::collections::BTreeSet;

use super::{Member, MemberEffect, MemberEvent};
use crate::{
    machine::Outbox,
    message::{GangSignal, Hold, HoldChange, RowTable, Signal, SwitcherCommand, ToManager},
    model::{BarrierFailure, EndCause, GangRun, GangSlot, MatrixVersion, NodeIndex, PlannedGang, RankIndex, RankOutcome, RowIndex},
    primitives::{Cell, GangMemory, GangPhase, Memory, Payload},
};

/// What is known of a gang's life on this node. Later states include the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Life {
    /// It has a slot; its supervisor is not up.
    Configured,
    /// Every rank waits before its program.
    Up,
    /// The ranks may run.
    Released,
    /// The ranks are being ended.
    Ending,
    /// No process is left.
    Gone,
}

/// How far a pause has come. The supervisor knows of a hold before it takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Pause {
    /// Not paused.
    None,
    /// The supervisor has been told.
    Announced,
    /// The switcher has been told.
    Held,
}

/// A gang on this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LocalGang {
    pub(super) slot: GangSlot,
    pub(super) life: Life,
    pub(super) pause: Pause,
    pub(super) entry: Payload,
    /// Ranks of it on this node; none until a plan or an inventory has named it.
    pub(super) ranks: Option<u32>,
    pub(super) exited: BTreeSet<RankIndex>,
    pub(super) failed: Option<EndCause>,
    /// What the manager was told last in this admission.
    pub(super) signalled: Option<GangSignal>,
}

impl LocalGang {
    pub(super) fn new(slot: GangSlot) -> Self {
        Self {
            slot,
            life: Life::Configured,
            pause: Pause::None,
            entry: Payload::new([]),
            ranks: None,
            exited: BTreeSet::new(),
            failed: None,
            signalled: None,
        }
    }

    fn all_exited(&self) -> bool {
        self.ranks.is_some_and(|ranks| self.exited.len() == ranks as usize)
    }

    /// What the manager has to know while memory has the gang in `phase`.
    fn signal_in(&self, phase: GangPhase, node: NodeIndex) -> Option<GangSignal> {
        // It was ended here, and a memory that began empty since does not know of it.
        let ended = || (self.life >= Life::Ending).then_some(GangSignal::Failed(EndCause::SupervisorLost { node }));
        match phase {
            GangPhase::Launching => match (self.failed, self.life) {
                (Some(cause), _) => Some(GangSignal::Failed(cause)),
                (None, Life::Released) => Some(GangSignal::Released(self.entry.clone())),
                // A new generation of memory does not know that it was released; its ranks may have completed since.
                (None, _) if self.all_exited() => Some(GangSignal::Released(self.entry.clone())),
                (None, Life::Up) => Some(GangSignal::Up(self.entry.clone())),
                (None, Life::Configured) => None,
                (None, Life::Ending | Life::Gone) => ended(),
            },
            GangPhase::Released => {
                self.failed.map(GangSignal::Failed).or_else(|| self.all_exited().then_some(GangSignal::Exited)).or_else(ended)
            }
            GangPhase::Ending(_) => (self.life == Life::Gone).then_some(GangSignal::Gone),
            GangPhase::Ended(_) => None,
        }
    }
}

impl Member {
    /// Makes the node's gangs what memory wants, and tells the manager what it has to know.
    pub(super) fn reconcile(&mut self, out: &mut Outbox<MemberEffect>) {
        let Some(memory) = self.memory().cloned() else { return };
        let node = self.configuration.node;
        // Memory that began empty has no plan yet: that says nothing about the gangs that were found running.
        if memory.plan.version > MatrixVersion::default() {
            self.end_unplanned(&memory.plan, out);
        }
        for planned in memory.plan.gangs.iter().filter(|planned| planned.nodes().contains(node)) {
            self.ensure_known(planned, &memory, out);
        }
        for gang in memory.gangs() {
            self.reconcile_gang(gang, out);
        }
        let table = self.row_table(&memory.plan);
        if self.table != Some(table) {
            self.table = Some(table);
            out.push(MemberEffect::Switcher(SwitcherCommand::Table(table)));
        }
    }

    /// Kills what no plan wants, and forgets it once it is gone.
    fn end_unplanned(&mut self, plan: &crate::model::Plan, out: &mut Outbox<MemberEffect>) {
        let unplanned: Vec<GangRun> = self.gangs.keys().copied().filter(|run| plan.gang(*run).is_none()).collect();
        for run in unplanned {
            let gang = &self.gangs[&run];
            match gang.life {
                Life::Gone => {
                    let slot = gang.slot;
                    self.gangs.remove(&run);
                    out.push(MemberEffect::Forget { run, slot: Some(slot) });
                }
                Life::Ending => {}
                Life::Configured | Life::Up | Life::Released => self.kill(run, out),
            }
        }
    }

    /// Nothing is begun for a gang whose run is being ended or has ended: it may count as dead on this node.
    fn ensure_known(&mut self, planned: &PlannedGang, memory: &Memory, out: &mut Outbox<MemberEffect>) {
        let ending = memory.gang(planned.run).is_some_and(|gang| matches!(gang.phase, GangPhase::Ending(_) | GangPhase::Ended(_)));
        let ranks = planned.on_node(self.configuration.node).map(|placement| placement.ranks);
        let known = self.gangs.contains_key(&planned.run);
        if !known {
            let Some(slot) = self.free_slot() else { return };
            self.gangs.insert(planned.run, LocalGang::new(slot));
            if ending {
                self.kill(planned.run, out);
            } else {
                out.push(MemberEffect::Configure { run: planned.run, slot });
                out.push(MemberEffect::Switcher(SwitcherCommand::Present { slot, released: false }));
            }
        }
        if let Some(gang) = self.gangs.get_mut(&planned.run) {
            gang.ranks = ranks;
        }
    }

    /// The lowest slot that no gang has.
    pub(super) fn free_slot(&self) -> Option<GangSlot> {
        let slots = 0..u8::try_from(crate::limits::GANGS_PER_NODE_MAX).expect("a slot is a bit of a word");
        slots.map(GangSlot).find(|slot| self.gangs.values().all(|gang| gang.slot != *slot))
    }

    fn row_table(&self, plan: &crate::model::Plan) -> RowTable {
        let mut table = RowTable { version: plan.version, ..RowTable::default() };
        for (index, row) in table.rows.iter_mut().enumerate() {
            let index = RowIndex(u8::try_from(index).expect("a row index is one byte"));
            *row = plan.row_on_node(index, self.configuration.node, |run| {
                self.gangs.get(&run).filter(|gang| gang.life != Life::Gone).map(|gang| gang.slot)
            });
        }
        table
    }

    fn reconcile_gang(&mut self, wanted: &GangMemory, out: &mut Outbox<MemberEffect>) {
        let run = wanted.run;
        let Some(gang) = self.gangs.get(&run) else { return };
        if gang.all_exited() {
            self.store(Cell::Exited(run.gang), u64::from(run.incarnation.0));
        }
        match wanted.phase {
            GangPhase::Launching => {}
            GangPhase::Released => self.run_released(wanted, out),
            GangPhase::Ending(cause) => self.end(wanted, cause, out),
            GangPhase::Ended(_) => self.make_sure_ended(run, out),
        }
        self.reconcile_pause(wanted, out);
        self.signal(run, out);
    }

    fn run_released(&mut self, wanted: &GangMemory, out: &mut Outbox<MemberEffect>) {
        let gang = self.gangs.get_mut(&wanted.run).expect("the caller has looked it up");
        match gang.life {
            // An earlier term released it elsewhere, and memory began empty without the word of a node: the ranks here could
            // not reach the ranks there.
            Life::Up if wanted.peers.iter().any(|entry| entry.bytes().is_empty()) => {
                self.fail(wanted.run, EndCause::SupervisorLost { node: self.configuration.node }, out);
            }
            Life::Up => {
                gang.life = Life::Released;
                let slot = gang.slot;
                out.push(MemberEffect::ReleaseRanks { run: wanted.run, peers: wanted.peers.clone() });
                if !wanted.held {
                    out.push(hold_effect(slot, HoldChange::Resume, wanted));
                }
            }
            // Released in memory, and the supervisor that was up is not here: an earlier life of the agent had it.
            Life::Configured => self.fail(wanted.run, EndCause::SupervisorLost { node: self.configuration.node }, out),
            Life::Released | Life::Ending | Life::Gone => {}
        }
    }

    fn end(&mut self, wanted: &GangMemory, cause: EndCause, out: &mut Outbox<MemberEffect>) {
        let gang = self.gangs.get_mut(&wanted.run).expect("the caller has looked it up");
        match gang.life {
            Life::Configured | Life::Up => self.kill(wanted.run, out),
            Life::Released if wanted.grace.is_zero() => self.kill(wanted.run, out),
            Life::Released => {
                gang.life = Life::Ending;
                out.push(MemberEffect::TerminateRanks { run: wanted.run, grace: wanted.grace });
            }
            Life::Ending | Life::Gone => return,
        }
        out.push(MemberEffect::Event(MemberEvent::GangFailed { run: wanted.run, cause }));
    }

    fn make_sure_ended(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        if self.gangs.get(&run).is_some_and(|gang| gang.life < Life::Ending) {
            self.kill(run, out);
        }
    }

    /// While memory, which may have begun empty, knows of no release, it does not know of a hold either: only a numbered
    /// resume thaws a held gang.
    fn reconcile_pause(&mut self, wanted: &GangMemory, out: &mut Outbox<MemberEffect>) {
        if wanted.phase == GangPhase::Launching {
            return;
        }
        let gang = self.gangs.get_mut(&wanted.run).expect("the caller has looked it up");
        match (wanted.held, gang.pause) {
            (true, Pause::None) if gang.life == Life::Released => {
                gang.pause = Pause::Announced;
                out.push(MemberEffect::AnnounceHold(wanted.run));
            }
            (false, Pause::Announced | Pause::Held) => {
                gang.pause = Pause::None;
                out.push(hold_effect(gang.slot, HoldChange::Resume, wanted));
                out.push(MemberEffect::AnnounceResume(wanted.run));
            }
            (true, Pause::None | Pause::Announced | Pause::Held) | (false, Pause::None) => {}
        }
    }

    pub(super) fn hold_acknowledged(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        let Some(memory) = self.memory().cloned() else { return };
        let (Some(wanted), Some(gang)) = (memory.gang(run), self.gangs.get_mut(&run)) else { return };
        if wanted.held && gang.pause == Pause::Announced {
            gang.pause = Pause::Held;
            out.push(hold_effect(gang.slot, HoldChange::Hold, wanted));
        }
    }

    pub(super) fn supervisor_up(&mut self, run: GangRun, entry: Payload, out: &mut Outbox<MemberEffect>) {
        let Some(gang) = self.gangs.get_mut(&run).filter(|gang| gang.life == Life::Configured) else { return };
        gang.life = Life::Up;
        gang.entry = entry;
        self.store(Cell::Up(run.gang), u64::from(run.incarnation.0));
        self.reconcile(out);
    }

    pub(super) fn rank_ended(&mut self, run: GangRun, rank: RankIndex, outcome: RankOutcome, out: &mut Outbox<MemberEffect>) {
        let node = self.configuration.node;
        let Some(gang) = self.gangs.get_mut(&run).filter(|gang| gang.life < Life::Gone) else { return };
        if outcome != RankOutcome::Exited(0) {
            self.fail(run, EndCause::RankFailed { node, rank, outcome }, out);
        } else if gang.exited.insert(rank) && gang.all_exited() {
            self.reconcile(out);
        }
    }

    pub(super) fn barrier_failed(&mut self, run: GangRun, reason: BarrierFailure, out: &mut Outbox<MemberEffect>) {
        self.fail(run, EndCause::BarrierFailed { node: self.configuration.node, reason }, out);
    }

    pub(super) fn supervisor_lost(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        let cause = EndCause::SupervisorLost { node: self.configuration.node };
        if self.gangs.get(&run).is_some_and(|gang| !gang.all_exited()) {
            self.fail(run, cause, out);
        }
    }

    /// The whole gang cannot go on: its local ranks end at once, whether or not a manager is there.
    fn fail(&mut self, run: GangRun, cause: EndCause, out: &mut Outbox<MemberEffect>) {
        let Some(gang) = self.gangs.get_mut(&run).filter(|gang| gang.life < Life::Ending) else { return };
        gang.failed = Some(cause);
        out.push(MemberEffect::Event(MemberEvent::GangFailed { run, cause }));
        self.kill(run, out);
        self.signal(run, out);
    }

    fn kill(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.life = Life::Ending;
            out.push(MemberEffect::KillRanks(run));
        }
    }

    pub(super) fn gang_gone(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        let Some(gang) = self.gangs.get(&run).filter(|gang| gang.life != Life::Gone) else { return };
        if !gang.all_exited() {
            self.fail(run, EndCause::SupervisorLost { node: self.configuration.node }, out);
        }
        let gang = self.gangs.get_mut(&run).expect("a failing gang stays in the table");
        gang.life = Life::Gone;
        let slot = gang.slot;
        self.store(Cell::Gone(run.gang), u64::from(run.incarnation.0));
        out.push(MemberEffect::Switcher(SwitcherCommand::Absent { slot }));
        self.reconcile(out);
    }

    /// Tells the manager what it has to know of a gang, unless it was told.
    fn signal(&mut self, run: GangRun, out: &mut Outbox<MemberEffect>) {
        let Some(fence) = self.admitted() else { return };
        let Some(phase) = self.memory.as_ref().and_then(|memory| memory.gang(run)).map(|gang| gang.phase) else { return };
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        let signal = gang.signal_in(phase, self.configuration.node);
        if signal.is_none() || gang.signalled == signal {
            return;
        }
        gang.signalled.clone_from(&signal);
        debug_assert_eq!(fence.partition, self.configuration.partition, "a member is admitted to its own partition");
        out.extend_signal(self.configuration.node, self.manager(), run, signal);
    }

    /// Tells the manager everything anew: after an admission, and at every resend.
    pub(super) fn signal_again(&mut self, out: &mut Outbox<MemberEffect>) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        for run in runs {
            if let Some(gang) = self.gangs.get_mut(&run) {
                gang.signalled = None;
            }
            self.signal(run, out);
        }
    }
}

impl Outbox<MemberEffect> {
    fn extend_signal(&mut self, node: NodeIndex, manager: Option<NodeIndex>, run: GangRun, signal: Option<GangSignal>) {
        if let (Some(to), Some(signal)) = (manager, signal) {
            self.push(MemberEffect::Event(MemberEvent::Signalled { run, signal: signal.clone() }));
            self.push(MemberEffect::Send { to, message: ToManager::Signal(Signal { node, run, signal }) });
        }
    }
}

fn hold_effect(slot: GangSlot, change: HoldChange, wanted: &GangMemory) -> MemberEffect {
    let (term, at) = wanted.effective;
    MemberEffect::Switcher(SwitcherCommand::Hold(Hold { slot, change, term, at }))
}
