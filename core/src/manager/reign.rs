//! One appointment of a manager, from its first seal to a higher term.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    ManagerEffect, ManagerInput, ManagerPhase, ManagerPhaseEvent,
    gangs::Hints,
    ordering::PendingCompare,
    sequencer::Sequencer,
    staging::Stagings,
    waiting::{Asked, Waiting},
};
use crate::{
    machine::Outbox,
    message::{AnnouncerReport, GangReport, PartitionReport, SealAnswer, ToManager},
    model::{
        AgentIncarnation, Appointment, Fence, GangRun, Instant, MatrixVersion, NodeIndex, NodeSet, Plan, RecordNumber, RowSet, Settings,
        Term, TermRecord, View,
    },
    primitives::{AbortReason, GangMemory, Memory, OperationId},
};

/// The state of one appointment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reign {
    /// Its plan is the authority's newest.
    pub(super) appointment: Appointment,
    pub(super) settings: Settings,
    pub(super) fence: Fence,
    pub(super) stage: Stage,
    pub(super) answers: BTreeMap<NodeIndex, SealAnswer>,
    pub(super) installed: NodeSet,
    pub(super) view: BTreeMap<NodeIndex, AgentIncarnation>,
    pub(super) joining: BTreeMap<NodeIndex, Joiner>,
    pub(super) lost: NodeSet,
    pub(super) sequencer: Sequencer,
    pub(super) compare: Option<PendingCompare>,
    pub(super) stagings: Stagings,
    /// Operations that wait for a number.
    pub(super) waiting: Waiting,
    /// The newest refusals of each caller: a copy of a refused operation that comes late is refused again, whatever has
    /// changed meanwhile, because its caller was told that it never takes effect.
    pub(super) refused: BTreeMap<NodeIndex, VecDeque<(OperationId, AbortReason)>>,
    pub(super) hints: BTreeMap<GangRun, Hints>,
    pub(super) lease_until: Instant,
    pub(super) next_epoch_at: Instant,
    pub(super) rotation: Option<(MatrixVersion, RowSet)>,
    reported: Option<PartitionReport>,
    resend_at: Instant,
}

/// A life of an agent that is being admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Joiner {
    pub(super) incarnation: AgentIncarnation,
    /// When it last said so.
    pub(super) heard: Instant,
}

/// How far the reign has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Members are asked to seal; with enough answers the others get until `patience`.
    Sealing { patience: Option<Instant> },
    /// The prefix is being installed on the sealed.
    Installing { patience: Instant },
    /// It commands.
    Established,
}

/// Whether the reign goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Continues,
    /// A member has promised a higher term.
    Refused,
}

impl Stage {
    const fn phase(&self) -> ManagerPhase {
        match self {
            Self::Sealing { .. } => ManagerPhase::Sealing,
            Self::Installing { .. } => ManagerPhase::Installing,
            Self::Established => ManagerPhase::Established,
        }
    }
}

impl Progress {
    pub(super) fn is_refused(self) -> bool {
        self == Self::Refused
    }
}

impl Reign {
    pub(super) fn begin(now: Instant, appointment: Appointment, settings: Settings, out: &mut Outbox<ManagerEffect>) -> Self {
        let record = &appointment.record;
        let reign = Self {
            fence: Fence { partition: record.partition, term: record.term, view: View(0) },
            lost: appointment.lost,
            stage: Stage::Sealing { patience: None },
            answers: BTreeMap::new(),
            installed: NodeSet::EMPTY,
            view: BTreeMap::new(),
            joining: BTreeMap::new(),
            sequencer: Sequencer::new(Arc::new(Memory::default())),
            compare: None,
            stagings: Stagings::default(),
            waiting: Waiting::default(),
            refused: BTreeMap::new(),
            hints: BTreeMap::new(),
            lease_until: Instant::ORIGIN,
            next_epoch_at: now,
            rotation: None,
            reported: None,
            resend_at: now + settings.heartbeat,
            appointment,
            settings,
        };
        for node in reign.record().member_nodes().iter() {
            reign.ask_seal(node, out);
        }
        reign
    }

    /// The authority repeats the appointment of this term, perhaps with a newer plan and other deaths; an older term's is
    /// ignored.
    pub(super) fn appointed_again(&mut self, now: Instant, appointment: &Appointment, out: &mut Outbox<ManagerEffect>) {
        if appointment.record.term == self.term() {
            self.take_plan(&appointment.plan);
            (self.appointment.dead, self.lost) = (appointment.dead, appointment.lost);
            if matches!(self.stage, Stage::Sealing { .. }) {
                self.consider_command(now, out);
            }
            self.advance(now, out);
        }
    }

    fn take_plan(&mut self, plan: &Arc<Plan>) {
        if plan.version > self.appointment.plan.version {
            self.appointment.plan = Arc::clone(plan);
        }
    }

    pub(super) const fn phase(&self) -> ManagerPhase {
        self.stage.phase()
    }

    /// The one door to the table within a reign: every caller looks at the stage first.
    pub(super) fn enter(&mut self, event: ManagerPhaseEvent, stage: Stage) {
        let next = self.phase().after(event).unwrap_or_else(|wrong| panic!("term {}: {wrong}", self.fence.term));
        assert_eq!(stage.phase(), next, "the stage that {event:?} leads to");
        self.stage = stage;
    }

    pub(super) const fn term(&self) -> Term {
        self.fence.term
    }

    pub(super) const fn record(&self) -> &TermRecord {
        &self.appointment.record
    }

    pub(super) fn next_deadline(&self) -> Instant {
        match self.stage {
            Stage::Sealing { patience: Some(patience) } | Stage::Installing { patience } => patience.min(self.resend_at),
            Stage::Sealing { patience: None } | Stage::Established => self.resend_at,
        }
    }

    pub(super) fn step(&mut self, now: Instant, input: ManagerInput, out: &mut Outbox<ManagerEffect>) -> Progress {
        match input {
            ManagerInput::Appointed { .. } => {}
            ManagerInput::Plan(plan) => self.take_plan(&plan),
            ManagerInput::Lost(nodes) => self.lost = nodes,
            ManagerInput::FromMember { message: ToManager::SealRefused { sealed }, .. } => {
                if sealed > self.term() {
                    self.report_refusal(sealed, out);
                    return Progress::Refused;
                }
            }
            ManagerInput::FromMember { from, message } => self.member_says(now, from, message, out),
            ManagerInput::LinkUp(node) => self.send_again(node, out),
            ManagerInput::Announcer(report) => self.announcer_reports(report, out),
            ManagerInput::Timer => self.timer(now, out),
        }
        self.advance(now, out);
        Progress::Continues
    }

    fn member_says(&mut self, now: Instant, from: NodeIndex, message: ToManager, out: &mut Outbox<ManagerEffect>) {
        let fence = self.fence;
        let current = |other: Fence| other.partition == fence.partition && other.term == fence.term;
        match message {
            ToManager::Sealed(answer) => {
                if answer.member.node == from {
                    self.seal_answered(now, answer, out);
                }
            }
            ToManager::SealRefused { .. } => {}
            ToManager::Installed { fence, number } if current(fence) => self.installed(now, from, number, out),
            ToManager::Held { fence, number } if current(fence) => self.held(from, number, out),
            ToManager::Compared { fence, number, truth } if current(fence) => self.compared(from, number, truth),
            ToManager::Staged { fence, operation, held } if current(fence) => {
                // A life that is being admitted says it again when it is.
                if self.view.contains_key(&from) && !self.joining.contains_key(&from) {
                    self.stagings.answered(from, operation, held);
                }
            }
            ToManager::Installed { .. } | ToManager::Held { .. } | ToManager::Compared { .. } | ToManager::Staged { .. } => {}
            ToManager::Submit { operation, after, request } => self.submitted(from, Asked { operation, after, request }),
            ToManager::Signal(signal) => {
                let member = signal.node == from && self.view.contains_key(&from);
                if member && self.sequencer.memory().gang(signal.run).is_some() {
                    self.hints.entry(signal.run).or_default().take(now, signal);
                }
            }
        }
    }

    /// A node that left the view and does not know it still says what it holds: it is asked to join again. The members of the
    /// record are asked in any case, others only here.
    fn held(&mut self, from: NodeIndex, number: RecordNumber, out: &mut Outbox<ManagerEffect>) {
        let known = self.view.contains_key(&from) || self.joining.contains_key(&from);
        if self.stage == Stage::Established && !known {
            self.ask_seal(from, out);
        } else if self.view.contains_key(&from) {
            self.sequencer.receipt(from, number);
        }
    }

    /// Keeps a member's own operation until it can be numbered.
    fn submitted(&mut self, from: NodeIndex, asked: Asked) {
        let caller = asked.operation.caller;
        if caller.node == from && self.view.get(&from) == Some(&caller.incarnation) {
            self.waiting.keep(asked);
        }
    }

    fn announcer_reports(&mut self, report: AnnouncerReport, out: &mut Outbox<ManagerEffect>) {
        match report {
            AnnouncerReport::Lease { fence, until, next_epoch_at, .. } if fence.term == self.term() => {
                self.lease_until = until;
                self.next_epoch_at = next_epoch_at;
            }
            AnnouncerReport::Suspect { fence, node, incarnation } if fence.term == self.term() => self.suspect(node, incarnation, out),
            AnnouncerReport::Lease { .. } | AnnouncerReport::Suspect { .. } => {}
        }
    }

    fn timer(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        self.sealing_timer(now, out);
        if self.resend_at <= now {
            self.resend_at = now + self.settings.heartbeat;
            self.drop_vanished(now);
            let nodes = self.record().member_nodes().union(self.view_nodes()).union(self.joining.keys().copied().collect());
            for node in nodes.iter() {
                self.send_again(node, out);
            }
        }
    }

    /// Repeats to a node what a lost link may have swallowed; members take each once.
    fn send_again(&self, node: NodeIndex, out: &mut Outbox<ManagerEffect>) {
        let sealed = self.sealed().contains(node);
        match self.stage {
            Stage::Sealing { .. } if !sealed => self.ask_seal(node, out),
            Stage::Installing { .. } if sealed && !self.installed.contains(node) => self.install(node, out),
            Stage::Sealing { .. } | Stage::Installing { .. } => {}
            Stage::Established if self.joining.contains_key(&node) => self.install(node, out),
            Stage::Established if self.view.contains_key(&node) => self.continue_member(node, out),
            Stage::Established => self.ask_seal(node, out),
        }
    }

    /// Reports the whole state when it changed.
    pub(super) fn report(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        let memory = self.sequencer.memory();
        let sequence = self.reported.as_ref().map_or(0, |reported| reported.sequence);
        let report = PartitionReport {
            fence: self.fence,
            sequence,
            established: true,
            leads: now < self.lease_until,
            refused_by: None,
            view: self.members(),
            generation: memory.generation,
            plan: memory.plan.version,
            gangs: memory.gangs().map(|gang| self.gang_report(gang)).collect(),
        };
        if self.reported.as_ref() != Some(&report) {
            let report = PartitionReport { sequence: sequence + 1, ..report };
            self.reported = Some(report.clone());
            out.push(ManagerEffect::Report(report));
        }
    }

    fn gang_report(&self, gang: &GangMemory) -> GangReport {
        let nodes = self.sequencer.memory().plan.gang(gang.run).map_or(NodeSet::EMPTY, crate::model::PlannedGang::nodes);
        let up = self.hints.get(&gang.run).map_or(0, |hints| hints.up.len());
        GangReport {
            run: gang.run,
            phase: gang.phase,
            held: gang.held,
            nodes_up: u16::try_from(up).unwrap_or(u16::MAX),
            nodes_absent: nodes.difference(self.view_nodes()).iter().collect(),
        }
    }

    fn report_refusal(&self, sealed: Term, out: &mut Outbox<ManagerEffect>) {
        let sequence = self.reported.as_ref().map_or(0, |reported| reported.sequence) + 1;
        out.push(ManagerEffect::Report(PartitionReport {
            fence: self.fence,
            sequence,
            established: false,
            leads: false,
            refused_by: Some(sealed),
            view: Vec::new(),
            generation: self.sequencer.memory().generation,
            plan: self.sequencer.memory().plan.version,
            gangs: Vec::new(),
        }));
    }
}
