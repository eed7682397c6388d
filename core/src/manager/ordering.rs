//! What is numbered next, and what follows when it is stable.

use std::sync::Arc;

use super::{
    ManagerEffect, ManagerEvent, Reign, Stage,
    gangs::{Circumstances, FollowUp, GANG_COMPARISON, Hints, Step, next_step},
    staging::Staged,
    waiting::Asked,
};
use crate::{
    limits::{OUTCOMES_PER_NODE_MAX, PAYLOAD_BYTES_MAX},
    machine::Outbox,
    message::{AnnouncerCommand, ToMember},
    model::{GangRun, Instant, NodeIndex, NodeSet, PlannedGang, RecordNumber, RowSet},
    primitives::{AbortReason, Applied, Compare, CompareResult, Content, GangCommand, GangVerb, OperationId, Outcome, Record, Request},
};

/// A compare that is numbered and has no result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PendingCompare {
    number: RecordNumber,
    set: NodeSet,
    /// Nodes on which it holds.
    pub(super) holds: NodeSet,
    /// The first node on which it does not.
    fails: Option<NodeIndex>,
    /// The gang of the manager's own compare, and what follows.
    follow_up: Option<(GangRun, FollowUp)>,
}

impl Reign {
    /// Numbers all that may be numbered now and applies all that is stable.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) {
        if self.stage != Stage::Established {
            return;
        }
        self.apply_stable(out);
        while self.may_number(now) {
            let Some(record) = self.next_record(now, out) else { break };
            self.number(record, out);
        }
        self.report(now, out);
    }

    /// Numbering needs the lease, room, and no compare without a result, except for that result.
    fn may_number(&self, now: Instant) -> bool {
        now < self.lease_until && self.sequencer.has_room()
    }

    fn next_record(&mut self, now: Instant, out: &mut Outbox<ManagerEffect>) -> Option<Record> {
        if self.compare.is_some() {
            return self.compare_result(now);
        }
        self.next_plan().or_else(|| self.next_gang_record(now)).or_else(|| self.next_operation(out))
    }

    fn number(&mut self, record: Record, out: &mut Outbox<ManagerEffect>) {
        let record = Arc::new(record);
        let number = self.sequencer.number(Arc::clone(&record));
        out.push(ManagerEffect::Event(ManagerEvent::Numbered { number, record: Arc::clone(&record) }));
        for node in self.view_nodes().iter() {
            out.push(ManagerEffect::Send {
                to: node,
                message: ToMember::Append { fence: self.fence, number, record: Arc::clone(&record) },
            });
        }
        if let Record::Xfer { operation, .. } = &*record {
            self.close_staging(*operation, out);
        }
    }

    fn apply_stable(&mut self, out: &mut Outbox<ManagerEffect>) {
        let applied = self.sequencer.apply_stable(self.view_nodes());
        if applied.is_empty() {
            return;
        }
        let number = self.sequencer.memory().applied;
        for node in self.view_nodes().iter() {
            out.push(ManagerEffect::Send { to: node, message: ToMember::Stable { fence: self.fence, number } });
        }
        if applied.iter().any(|change| matches!(change, Applied::Plan)) {
            let memory = Arc::clone(self.sequencer.memory());
            self.hints.retain(|run, _| memory.gang(*run).is_some());
        }
        for change in &applied {
            if let Applied::Compared(CompareResult { command: Some(GangCommand { run, verb: GangVerb::Release { .. } }), .. }) = change {
                out.push(ManagerEffect::Event(ManagerEvent::Released(*run)));
            }
        }
        self.strobe_rows(out);
    }

    /// Tells the announcer which rows have a gang that may run.
    pub(super) fn strobe_rows(&mut self, out: &mut Outbox<ManagerEffect>) {
        let memory = self.sequencer.memory();
        let running = memory.gangs().filter(|gang| gang.runs()).filter_map(|gang| memory.plan.gang(gang.run));
        let rows = running.fold(RowSet::EMPTY, |rows, planned| rows.union(planned.rows));
        let rotation = (memory.plan.version, rows);
        if self.rotation != Some(rotation) {
            self.rotation = Some(rotation);
            out.push(ManagerEffect::Announcer(AnnouncerCommand::Rotation { version: rotation.0, rows, quantum: self.settings.quantum }));
        }
    }

    fn next_plan(&self) -> Option<Record> {
        let numbered = self.sequencer.in_flight().filter_map(|record| match &**record {
            Record::Plan(plan) => Some(plan.version),
            Record::Gang(_) | Record::Xfer { .. } | Record::Compare { .. } | Record::CompareResult(_) => None,
        });
        let newest = numbered.max().unwrap_or(self.sequencer.memory().plan.version);
        (self.appointment.plan.version > newest).then(|| Record::Plan(Arc::clone(&self.appointment.plan)))
    }

    /// The next step of the first gang that needs one. A gang waits while a record of its own is not yet applied.
    fn next_gang_record(&mut self, now: Instant) -> Option<Record> {
        let memory = Arc::clone(self.sequencer.memory());
        let patience = now - self.settings.suspicion;
        let circumstances = Circumstances { view: self.view_nodes(), lost: self.lost, patience };
        let nothing = Hints::default();
        let (planned, step) = memory.plan.gangs.iter().filter(|planned| !self.is_commanded(planned.run)).find_map(|planned| {
            let hints = self.hints.get(&planned.run).unwrap_or(&nothing);
            let step = next_step(planned, memory.gang(planned.run)?, hints, circumstances)?;
            Some((planned, step))
        })?;
        Some(self.record_of(now, planned, step))
    }

    fn is_commanded(&self, run: GangRun) -> bool {
        self.sequencer.in_flight().any(|record| match &**record {
            Record::Gang(command) => command.run == run,
            Record::CompareResult(result) => result.command.as_ref().is_some_and(|command| command.run == run),
            Record::Plan(_) => true,
            Record::Xfer { .. } | Record::Compare { .. } => false,
        })
    }

    fn record_of(&mut self, now: Instant, planned: &PlannedGang, step: Step) -> Record {
        let run = planned.run;
        let (term, at) = (self.fence.term, self.next_boundary(now));
        let command = |verb| Record::Gang(GangCommand { run, verb });
        match step {
            Step::Compare { set, cell, follow_up } => {
                let compare = Compare { set, cell, comparison: GANG_COMPARISON, value: u64::from(run.incarnation.0), write: None };
                self.begin_compare(set, Some((run, follow_up)));
                Record::Compare { operation: None, compare }
            }
            Step::ReleaseAgain => command(self.release_verb(now, planned)),
            Step::Hold => command(GangVerb::Hold { term, at }),
            Step::Resume => command(GangVerb::Resume { term, at }),
            Step::End { cause, grace } => command(GangVerb::End { cause, grace }),
            Step::Ended => command(GangVerb::Ended),
        }
    }

    fn release_verb(&self, now: Instant, planned: &PlannedGang) -> GangVerb {
        let entries = self.hints.get(&planned.run).map(|hints| &hints.up);
        let entry = |node| entries.and_then(|up| up.get(&node)).cloned().unwrap_or_else(|| crate::primitives::Payload::new([]));
        let peers = planned.placement.iter().map(|placement| entry(placement.node)).collect();
        GangVerb::Release { term: self.fence.term, at: now + self.settings.lead, peers }
    }

    /// The first boundary of an epoch that is far enough ahead for a record to be stable everywhere.
    fn next_boundary(&self, now: Instant) -> Instant {
        let earliest = now + 2 * self.settings.lead;
        let quantum = u64::try_from(self.settings.quantum.as_nanos()).expect("a quantum is at most 10 s");
        let ahead = u64::try_from(earliest.since(self.next_epoch_at).as_nanos()).unwrap_or(u64::MAX);
        let next =
            Instant::from_nanoseconds(self.next_epoch_at.as_nanoseconds().saturating_add(ahead.div_ceil(quantum).saturating_mul(quantum)));
        next.max(earliest)
    }

    fn begin_compare(&mut self, set: NodeSet, follow_up: Option<(GangRun, FollowUp)>) {
        let number = self.sequencer.last().next();
        self.compare = Some(PendingCompare { number, set, holds: NodeSet::EMPTY, fails: None, follow_up });
    }

    /// One member's part of the compare.
    pub(super) fn compared(&mut self, node: NodeIndex, number: RecordNumber, truth: bool) {
        let Some(pending) = self.compare.as_mut().filter(|pending| pending.number == number && pending.set.contains(node)) else { return };
        if truth {
            pending.holds.insert(node);
        } else {
            pending.fails = Some(pending.fails.map_or(node, |first| first.min(node)));
        }
    }

    /// A node that left the view can no longer be asked.
    pub(super) fn fail_compare_on(&mut self, node: NodeIndex) {
        if let Some(pending) = self.compare.as_mut().filter(|pending| pending.set.contains(node)) {
            pending.fails = Some(pending.fails.map_or(node, |first| first.min(node)));
        }
    }

    fn compare_result(&mut self, now: Instant) -> Option<Record> {
        let pending = self.compare.take_if(|pending| pending.fails.is_some() || pending.set.is_subset(pending.holds))?;
        let truth = pending.fails.is_none();
        if let (Some((run, _)), Some(node)) = (pending.follow_up, pending.fails) {
            self.hints.entry(run).or_default().doubt(node);
        }
        let planned = pending.follow_up.and_then(|(run, follow_up)| Some((self.sequencer.memory().plan.gang(run)?.clone(), follow_up)));
        let command = planned.filter(|_| truth).map(|(planned, follow_up)| {
            let verb = match follow_up {
                FollowUp::Release => self.release_verb(now, &planned),
                FollowUp::Ended => GangVerb::Ended,
            };
            GangCommand { run: planned.run, verb }
        });
        Some(Record::CompareResult(CompareResult { compare: pending.number, truth, first_failing: pending.fails, command }))
    }

    /// The next operation of a member that may be numbered; those that may not are refused. One whose block is still being staged waits,
    /// and so does one whose caller has asked for another before it; with either those that its caller has submitted after it.
    fn next_operation(&mut self, out: &mut Outbox<ManagerEffect>) -> Option<Record> {
        // By node and not by life: a late copy of what an earlier life has asked for must not overtake what would forget its outcome.
        let mut waits = NodeSet::EMPTY;
        let mut place = 0;
        while let Some(asked) = self.waiting.get(place) {
            let operation = asked.operation;
            if waits.contains(operation.caller.node) {
                place += 1;
                continue;
            }
            if self.is_numbered(operation) {
                self.waiting.remove(place);
                continue;
            }
            let before = self.refused_before(operation);
            if before.is_none() && self.is_early(asked) {
                if self.view.get(&operation.caller.node) == Some(&operation.caller.incarnation) {
                    // Its caller repeats the one before it, which was lost on the way so far.
                    waits.insert(operation.caller.node);
                    place += 1;
                } else {
                    // That life repeats nothing, unless it comes back, and then repeats all.
                    self.waiting.remove(place);
                }
                continue;
            }
            let request = asked.request.clone();
            let overtaken = || self.is_overtaken(operation).then_some(AbortReason::OutOfOrder);
            let staged = match (&request, before.or_else(overtaken).or_else(|| self.refusal(&request))) {
                (_, Some(reason)) => Staged::Never(reason),
                (Request::Xfer(xfer), None) => self.staged(operation, xfer, out),
                (Request::CompareAndWrite(_), None) => Staged::Everywhere,
            };
            match staged {
                Staged::InPart => {
                    waits.insert(operation.caller.node);
                    place += 1;
                }
                Staged::Never(reason) => {
                    self.waiting.remove(place);
                    self.refuse(operation, reason, out);
                }
                Staged::Everywhere => {
                    self.waiting.remove(place);
                    return Some(self.operation_record(operation, request));
                }
            }
        }
        None
    }

    /// True when the operation before it has neither a number nor a refusal.
    fn is_early(&self, asked: &Asked) -> bool {
        asked.earlier().is_some_and(|earlier| !self.is_numbered(earlier) && self.refused_before(earlier).is_none())
    }

    fn refuse(&mut self, operation: OperationId, reason: AbortReason, out: &mut Outbox<ManagerEffect>) {
        self.remember_refusal(operation, reason);
        self.close_staging(operation, out);
        out.push(ManagerEffect::Send {
            to: operation.caller.node,
            message: ToMember::Refused { fence: self.fence, operation, outcome: Outcome::Aborted(reason) },
        });
    }

    fn refused_before(&self, operation: OperationId) -> Option<AbortReason> {
        let refused = self.refused.get(&operation.caller.node)?;
        refused.iter().find(|(known, _)| *known == operation).map(|(_, reason)| *reason)
    }

    fn remember_refusal(&mut self, operation: OperationId, reason: AbortReason) {
        let refused = self.refused.entry(operation.caller.node).or_default();
        // What is asked for again was not heard: it is forgotten last.
        refused.retain(|(known, _)| *known != operation);
        if refused.len() == OUTCOMES_PER_NODE_MAX {
            refused.pop_front();
        }
        refused.push_back((operation, reason));
    }

    fn operation_record(&mut self, operation: OperationId, request: Request) -> Record {
        match request {
            Request::Xfer(xfer) => Record::Xfer { operation, xfer },
            Request::CompareAndWrite(compare) => {
                self.begin_compare(compare.set, None);
                Record::Compare { operation: Some(operation), compare }
            }
        }
    }

    /// True when the operation has its number, or its outcome: it takes effect once.
    fn is_numbered(&self, operation: OperationId) -> bool {
        self.sequencer.memory().outcome(operation).is_some() || self.without_outcome().any(|numbered| numbered == operation)
    }

    /// True when a later operation of its caller has its number: the caller's order is kept.
    fn is_overtaken(&self, operation: OperationId) -> bool {
        let is_later = |numbered: OperationId| numbered.caller == operation.caller && numbered.sequence > operation.sequence;
        self.sequencer.memory().is_overtaken(operation) || self.without_outcome().any(is_later)
    }

    /// The operations that have their number and no outcome in memory.
    fn without_outcome(&self) -> impl Iterator<Item = OperationId> {
        let in_flight = self.sequencer.in_flight().filter_map(|record| record.operation());
        in_flight.chain(self.sequencer.memory().pending_operation())
    }

    fn refusal(&self, request: &Request) -> Option<AbortReason> {
        let set = match request {
            Request::Xfer(xfer) => xfer.set,
            Request::CompareAndWrite(compare) => compare.set,
        };
        if set.is_empty() || !set.is_subset(self.view_nodes()) {
            return Some(AbortReason::SetOutsideView);
        }
        let Request::Xfer(xfer) = request else { return None };
        let Content::Inline(payload) = &xfer.content else { return None };
        if payload.bytes().len() > PAYLOAD_BYTES_MAX {
            Some(AbortReason::PayloadTooLarge)
        } else {
            (!self.sequencer.memory().has_room(xfer.region, &xfer.content, 0)).then_some(AbortReason::MemoryFull)
        }
    }
}
