//! The member: an agent's part of a term, without the strobe.
//!
//! It seals terms, holds and applies the records of the one order, and keeps the node's gangs as global memory wants them.
//! *Invariant:* nothing of a term below the seal is obeyed; a seal is answered only after the strobe thread refuses the
//! older terms, their links are cut and the promise is written.
//! *Invariant:* effects outside follow stable records only.

mod face;
mod gangs;
mod phase;
mod replica;
mod seal;
mod staging;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use face::{AdoptedGang, AdoptedLife, MemberConfiguration, MemberEffect, MemberEvent, MemberInput};
use gangs::{Life, LocalGang, Pause};
pub use phase::{MemberPhase, MemberPhaseEvent, WrongMemberEvent};
use staging::Staged;

use crate::{
    machine::{Machine, Outbox},
    message::{RowTable, SwitcherCommand, SwitcherReport, ToManager, ToMember},
    model::{Fence, GangRun, Instant, NodeIndex, Policy, Term},
    primitives::{Cell, Memory, OperationId, Record, RegionName, Request},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    configuration: MemberConfiguration,
    sealed: Option<Term>,
    /// No earlier life of the agent has promised this term or a later one; none before this life's first promise when the
    /// seal file was missing.
    knows_from: Option<Term>,
    stage: Stage,
    /// The term whose manager completed the prefix that this life of the agent holds.
    installed_term: Option<Term>,
    memory: Option<Arc<Memory>>,
    sight: Sight,
    /// Records held and not yet stable, the first with the number after memory's.
    held: VecDeque<Arc<Record>>,
    cells: BTreeMap<Cell, u64>,
    deferred_stores: Vec<(Cell, u64)>,
    gangs: BTreeMap<GangRun, LocalGang>,
    table: Option<RowTable>,
    operations: BTreeMap<u64, Outstanding>,
    last_operation: u64,
    /// Blocks that are not readable yet.
    staged: BTreeMap<OperationId, Staged>,
    /// Blocks beside the order that are readable here, each with what has put it.
    readable: BTreeMap<RegionName, OperationId>,
    resend_at: Option<Instant>,
}

/// An operation of this node that has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Outstanding {
    request: Request,
    /// Of one with a block beside the order, the term in which it was submitted: in no other one it is numbered.
    submitted_in: Option<Term>,
}

/// How far the member has come in the term that it sealed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// This life has sealed nothing.
    Unsealed,
    /// The promise is being made.
    Sealing { term: Term, manager: NodeIndex },
    /// The promise is made.
    Sealed { term: Term, manager: NodeIndex },
    /// The prefix is installed.
    Installed { fence: Fence, manager: NodeIndex },
    /// It belongs to the view.
    Admitted { fence: Fence, manager: NodeIndex },
}

/// What readers see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sight {
    /// The memory as it is here.
    Memory,
    /// The one before it. Its prefix was installed by a manager whose term is not known to be established: of what only members hold that
    /// this manager had sealed, another term may know nothing.
    Earlier(Option<Arc<Memory>>),
}

impl Stage {
    const fn phase(&self) -> MemberPhase {
        match self {
            Self::Unsealed => MemberPhase::Unsealed,
            Self::Sealing { .. } => MemberPhase::Sealing,
            Self::Sealed { .. } => MemberPhase::Sealed,
            Self::Installed { .. } => MemberPhase::Installed,
            Self::Admitted { .. } => MemberPhase::Admitted,
        }
    }
}

impl Member {
    /// A member at the start of an agent's life, and the first commands to its strobe thread.
    #[must_use]
    pub fn new(configuration: MemberConfiguration, out: &mut Outbox<MemberEffect>) -> Self {
        let settings = &configuration.settings;
        out.push(MemberEffect::Switcher(SwitcherCommand::Settings {
            watchdog: settings.watchdog,
            suspicion: settings.suspicion,
            clock_tolerance: settings.clock_tolerance,
            switching: settings.policy == Policy::Gang,
        }));
        Self {
            sealed: configuration.sealed,
            knows_from: configuration.sealed.map(Term::next),
            configuration,
            stage: Stage::Unsealed,
            installed_term: None,
            memory: None,
            sight: Sight::Memory,
            held: VecDeque::new(),
            cells: BTreeMap::new(),
            deferred_stores: Vec::new(),
            gangs: BTreeMap::new(),
            table: None,
            operations: BTreeMap::new(),
            last_operation: 0,
            staged: BTreeMap::new(),
            readable: BTreeMap::new(),
            resend_at: None,
        }
    }

    /// The fence of the view that this life belongs to.
    #[must_use]
    pub const fn admitted(&self) -> Option<Fence> {
        match self.stage {
            Stage::Admitted { fence, .. } => Some(fence),
            Stage::Unsealed | Stage::Sealing { .. } | Stage::Sealed { .. } | Stage::Installed { .. } => None,
        }
    }

    /// The highest term that was promised.
    #[must_use]
    pub const fn sealed(&self) -> Option<Term> {
        self.sealed
    }

    /// The applied memory, once a prefix was installed and its term is known to be established: what was seen there is never undone.
    #[must_use]
    pub const fn memory(&self) -> Option<&Arc<Memory>> {
        match &self.sight {
            Sight::Memory => self.memory.as_ref(),
            Sight::Earlier(earlier) => earlier.as_ref(),
        }
    }

    /// How far it has come in the term that it sealed last.
    #[must_use]
    pub const fn phase(&self) -> MemberPhase {
        self.stage.phase()
    }

    /// The one door to the table: every caller looks at the stage first.
    fn enter(&mut self, event: MemberPhaseEvent, stage: Stage) {
        let next = self.phase().after(event).unwrap_or_else(|wrong| panic!("node {}: {wrong}", self.configuration.node));
        assert_eq!(stage.phase(), next, "the stage that {event:?} leads to");
        self.stage = stage;
    }

    const fn manager(&self) -> Option<NodeIndex> {
        match self.stage {
            Stage::Unsealed => None,
            Stage::Sealing { manager, .. }
            | Stage::Sealed { manager, .. }
            | Stage::Installed { manager, .. }
            | Stage::Admitted { manager, .. } => Some(manager),
        }
    }

    /// True when that manager of that term is the one whose seal was answered.
    fn follows(&self, from: NodeIndex, fence: Fence) -> bool {
        let sealing = matches!(self.stage, Stage::Unsealed | Stage::Sealing { .. });
        !sealing && fence.partition == self.configuration.partition && self.sealed == Some(fence.term) && self.manager() == Some(from)
    }

    /// True when records of that manager and term continue what is held.
    fn obeys(&self, from: NodeIndex, fence: Fence) -> bool {
        let installed = matches!(self.stage, Stage::Installed { .. } | Stage::Admitted { .. });
        installed && self.follows(from, fence)
    }

    fn manager_says(&mut self, from: NodeIndex, message: ToMember, out: &mut Outbox<MemberEffect>) {
        let fence = message.fence().filter(|fence| fence.partition == self.configuration.partition);
        if let (Some(fence), Some(sealed)) = (fence, self.sealed)
            && fence.term < sealed
        {
            return refuse_stale(from, fence.term, sealed, out);
        }
        match message {
            ToMember::Seal(record) => self.seal_asked(from, &record, out),
            ToMember::Install { fence, memory } => self.install(from, fence, memory, out),
            ToMember::Admitted { fence, members } => self.admit(from, fence, &members, out),
            ToMember::Append { fence, number, record } => self.append(from, fence, number, record, out),
            ToMember::Stable { fence, number } => self.stable(from, fence, number, out),
            ToMember::Stagings { fence, numbered, open } => self.stagings_listed(from, fence, numbered, &open, out),
            ToMember::Refused { fence, operation, outcome } => self.refused((from, fence), operation, outcome, out),
        }
    }

    fn switcher_reports(&mut self, report: SwitcherReport, out: &mut Outbox<MemberEffect>) {
        match report {
            SwitcherReport::Sealed { term } => self.switcher_sealed(term, out),
            SwitcherReport::LeftOut { term } => self.left_out(term, out),
            SwitcherReport::VersionMissing { .. } => self.say_held(out),
            SwitcherReport::State(_) | SwitcherReport::HoldEffective { .. } => {}
        }
    }

    fn adopt(&mut self, inventory: Vec<AdoptedGang>, out: &mut Outbox<MemberEffect>) {
        for adopted in inventory {
            let Some(slot) = self.free_slot() else { break };
            let mut gang = LocalGang::new(slot);
            gang.life = match adopted.life {
                AdoptedLife::Starting => Life::Configured,
                AdoptedLife::Up => Life::Up,
                AdoptedLife::Released => Life::Released,
                AdoptedLife::Completed => Life::Gone,
            };
            gang.pause = if adopted.held { Pause::Held } else { Pause::None };
            gang.entry = adopted.entry;
            gang.ranks = Some(adopted.ranks);
            if adopted.life == AdoptedLife::Completed {
                gang.exited = adopted.ended.iter().map(|(rank, _)| *rank).collect();
                self.gangs.insert(adopted.run, gang);
                self.store(Cell::Gone(adopted.run.gang), u64::from(adopted.run.incarnation.0));
                continue;
            }
            self.gangs.insert(adopted.run, gang);
            if adopted.life >= AdoptedLife::Up {
                self.store(Cell::Up(adopted.run.gang), u64::from(adopted.run.incarnation.0));
            }
            out.push(MemberEffect::Configure { run: adopted.run, slot });
            let released = adopted.life == AdoptedLife::Released && !adopted.held;
            out.push(MemberEffect::Switcher(SwitcherCommand::Present { slot, released }));
            for (rank, outcome) in adopted.ended {
                self.rank_ended(adopted.run, rank, outcome, out);
            }
        }
    }

    /// Says how far records are held: the manager sends what is missing.
    fn say_held(&self, out: &mut Outbox<MemberEffect>) {
        if let Stage::Admitted { fence, manager } = self.stage {
            out.push(MemberEffect::Send { to: manager, message: ToManager::Held { fence, number: self.held_number() } });
        }
    }

    /// Repeats what a lost link may have swallowed; the manager takes each once.
    fn send_everything_again(&mut self, out: &mut Outbox<MemberEffect>) {
        self.say_held(out);
        self.signal_again(out);
        self.tell_staged_again(out);
        self.submit_outstanding(0, out);
    }

    fn timer(&mut self, now: Instant, out: &mut Outbox<MemberEffect>) {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.resend_at = None;
            self.answer_seal(out);
            self.confirm_installed_again(out);
            self.send_everything_again(out);
        }
    }

    fn link_up(&mut self, node: NodeIndex, out: &mut Outbox<MemberEffect>) {
        if self.manager() == Some(node) {
            self.answer_seal(out);
            self.send_everything_again(out);
        }
    }
}

/// Tells the manager of a term below the seal that it commands no more: cut links do not tell the one on the own node.
fn refuse_stale(from: NodeIndex, term: Term, sealed: Term, out: &mut Outbox<MemberEffect>) {
    out.push(MemberEffect::Event(MemberEvent::StaleRefused(term)));
    out.push(MemberEffect::Send { to: from, message: ToManager::SealRefused { sealed } });
}

impl Machine for Member {
    type Input = MemberInput;
    type Effect = MemberEffect;

    fn step(&mut self, now: Instant, input: MemberInput, out: &mut Outbox<MemberEffect>) {
        match input {
            MemberInput::Inventory(inventory) => self.adopt(inventory, out),
            MemberInput::Introduced(record) => self.introduced(&record, out),
            MemberInput::FromManager { from, message } => self.manager_says(from, message, out),
            MemberInput::LinkUp(node) => self.link_up(node, out),
            MemberInput::Switcher(report) => self.switcher_reports(report, out),
            MemberInput::SealPersisted(term) => self.seal_persisted(term, out),
            MemberInput::SupervisorUp { run, entry } => self.supervisor_up(run, entry, out),
            MemberInput::HoldAcknowledged(run) => self.hold_acknowledged(run, out),
            MemberInput::RankEnded { run, rank, outcome } => self.rank_ended(run, rank, outcome, out),
            MemberInput::BarrierFailed { run, reason } => self.barrier_failed(run, reason, out),
            MemberInput::SupervisorLost(run) => self.supervisor_lost(run, out),
            MemberInput::GangGone(run) => self.gang_gone(run, out),
            MemberInput::Submit(request) => self.submit(request, out),
            MemberInput::Staged { operation, held } => self.block_staged(operation, held, out),
            MemberInput::Store { cell, value } => self.store(cell, value),
            MemberInput::Timer => self.timer(now, out),
        }
        if self.resend_at.is_none() && self.stage != Stage::Unsealed {
            self.resend_at = Some(now + self.configuration.settings.heartbeat);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.resend_at
    }
}
