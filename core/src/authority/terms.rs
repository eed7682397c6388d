//! The terms of a partition: when a next one is needed, who is in it, and what its manager is told.

use std::sync::Arc;

use super::{
    AuthorityEffect, NodeState, TermEvent, TermPhase,
    limits::SINCE_MAX,
    nodes::{Node, Nodes},
};
use crate::{
    machine::Outbox,
    message::PartitionReport,
    model::{
        Appointment, EstablishedTerm, Instant, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, PartitionUid, Plan, Settings, Term,
        TermRecord,
    },
};

/// Agents that come back one after the other do so within this part of `suspicion`.
const MEETING_PART: u32 = 4;

/// The newest term and what was said of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) phase: TermPhase,
    /// True once the store was asked.
    recovered: bool,
    /// What the store holds.
    recorded: Option<TermRecord>,
    /// The record that is being written.
    writing: Option<TermRecord>,
    /// The record of the term that this authority has appointed last.
    reigning: Option<TermRecord>,
    /// When the phase was entered.
    entered: Instant,
    /// The newest report of the reigning term: its number and its view.
    heard: Option<(u64, Vec<NodeIncarnation>)>,
    /// Since when the reigning manager says that it has no lease, while it says so.
    leaderless_since: Option<Instant>,
    /// When an agent that was silent was last reached again.
    met_again: Option<Instant>,
    /// The highest term that a manager was refused by.
    refused_by: Term,
    /// Nodes left out of the next term because an earlier one was not established with them.
    doubted: NodeSet,
    /// What the reigning manager was sent.
    commanded: Option<Commanded>,
}

/// What a manager was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Commanded {
    /// None: it may not have arrived.
    plan: Option<MatrixVersion>,
    /// The nodes whose gangs it ends; none: it may not know them.
    lost: Option<NodeSet>,
}

/// What terms are judged by.
pub(super) struct Circumstances<'authority> {
    pub(super) now: Instant,
    pub(super) partition: PartitionUid,
    pub(super) settings: &'authority Settings,
    /// The instant at which the first term waits for absent nodes no longer.
    pub(super) start_by: Instant,
}

impl Terms {
    pub(super) const fn new() -> Self {
        Self {
            phase: TermPhase::Waiting,
            recovered: false,
            recorded: None,
            writing: None,
            reigning: None,
            entered: Instant::ORIGIN,
            heard: None,
            leaderless_since: None,
            met_again: None,
            refused_by: Term(0),
            doubted: NodeSet::EMPTY,
            commanded: None,
        }
    }

    /// The record of the term that was appointed last.
    pub(super) const fn reigning(&self) -> Option<&TermRecord> {
        self.reigning.as_ref()
    }

    /// The newest term that may have been recorded.
    pub(super) fn newest(&self) -> Term {
        self.writing.iter().chain(&self.recorded).map(|record| record.term).max().unwrap_or_default()
    }

    fn happens(&mut self, now: Instant, event: TermEvent) {
        self.phase = self.phase.after(event).expect("the phase was looked at before the event was made");
        self.entered = now;
    }

    /// The store's content is the truth: a write in flight was refused, and what was appointed is over.
    pub(super) fn recover(&mut self, now: Instant, found: Option<TermRecord>) {
        self.recovered = true;
        self.recorded = found.or(self.recorded.take());
        (self.writing, self.reigning, self.commanded) = (None, None, None);
        self.happens(now, TermEvent::Overtaken);
    }

    /// The record is in the store: now it may be sent.
    pub(super) fn written(&mut self, now: Instant, term: Term, nodes: &mut Nodes) {
        let Some(record) = self.writing.take_if(|record| record.term == term) else { return };
        if self.phase == TermPhase::Writing {
            (self.heard, self.leaderless_since, self.commanded) = (None, None, None);
            for member in &record.members {
                if let Some(known) = nodes.get_mut(member.node) {
                    known.tried = known.tried.max(Some(member.incarnation));
                }
            }
        }
        self.recorded = Some(record.clone());
        self.reigning = Some(record);
        self.happens(now, TermEvent::Written);
    }

    /// Takes a report of the reigning manager; false when it is of another term, doubled or overtaken.
    pub(super) fn hear(&mut self, now: Instant, report: &PartitionReport, out: &mut Outbox<AuthorityEffect>) -> bool {
        let Some(reigning) = &self.reigning else { return false };
        let newer = self.heard.as_ref().is_none_or(|(sequence, _)| report.sequence > *sequence);
        if (report.fence.partition, report.fence.term) != (reigning.partition, reigning.term) || !newer {
            return false;
        }
        self.heard = Some((report.sequence, report.view.clone()));
        self.refused_by = self.refused_by.max(report.refused_by.unwrap_or_default());
        self.leaderless_since = (!report.leads).then(|| self.leaderless_since.unwrap_or(now));
        if report.established && self.phase == TermPhase::Appointed {
            self.confirm(now, out);
        }
        true
    }

    /// Moves the reigning term to `established` and empties `since`.
    fn confirm(&mut self, now: Instant, out: &mut Outbox<AuthorityEffect>) {
        let mut record = self.reigning.clone().expect("a phase after the writing has a reigning term");
        record.established = Some(EstablishedTerm { term: record.term, members: record.member_nodes() });
        record.since.clear();
        self.doubted = NodeSet::EMPTY;
        self.happens(now, TermEvent::Established);
        self.write(record, out);
    }

    fn write(&mut self, record: TermRecord, out: &mut Outbox<AuthorityEffect>) {
        self.writing = Some(record.clone());
        out.push(AuthorityEffect::WriteRecord(record));
    }

    /// Begins the next term when one is needed and could be established with the nodes that are reached.
    pub(super) fn govern(&mut self, circumstances: &Circumstances<'_>, nodes: &Nodes, out: &mut Outbox<AuthorityEffect>) {
        if !self.needs_next(circumstances, nodes) {
            return;
        }
        self.doubt(circumstances);
        let without_doubted = self.next_record(circumstances.partition, nodes, self.doubted.union(nodes.leaving()));
        let Some(record) = without_doubted.or_else(|| self.next_record(circumstances.partition, nodes, NodeSet::EMPTY)) else { return };
        self.happens(circumstances.now, TermEvent::Begin);
        self.write(record, out);
    }

    fn needs_next(&self, circumstances: &Circumstances<'_>, nodes: &Nodes) -> bool {
        let now = circumstances.now;
        match (self.phase, &self.reigning) {
            (TermPhase::Waiting, _) => {
                let missing = nodes.in_state(|state| matches!(state, NodeState::Absent | NodeState::Unreachable));
                self.recovered && (missing.is_empty() || now >= circumstances.start_by)
            }
            (TermPhase::Appointed, Some(record)) => {
                !nodes.reaches(record.manager) || self.refused_by >= record.term || now >= self.entered + circumstances.settings.suspicion
            }
            (TermPhase::Established, Some(record)) => {
                (!nodes.reaches(record.manager) && self.meeting_until(circumstances).is_none_or(|until| now >= until))
                    || self.lacks_majority(circumstances, nodes, record)
                    || self.is_leaderless(circumstances)
                    || self.may_hand_over(circumstances, nodes, record)
                    || self.may_widen(circumstances, nodes, record)
            }
            (TermPhase::Writing | TermPhase::Confirming, _) | (TermPhase::Appointed | TermPhase::Established, None) => false,
        }
    }

    /// True when the lease of the reigning manager is over, as far as can be known here: no more than half of its members
    /// answer it, or no more than half are reached since `suspicion`.
    fn lacks_majority(&self, circumstances: &Circumstances<'_>, nodes: &Nodes, record: &TermRecord) -> bool {
        let lately = |known: &Node| match known.state {
            NodeState::Reachable => true,
            NodeState::Unreachable => circumstances.now < known.silent_since + circumstances.settings.suspicion,
            NodeState::Absent | NodeState::Dead | NodeState::Lost => false,
        };
        let reached = nodes.iter().filter(|(_, known)| lately(known)).map(|(node, _)| node).collect();
        let answering = self.heard.iter().flat_map(|(_, view)| view).map(|member| member.node).collect();
        !record.is_majority(reached) || !record.is_majority(answering)
    }

    /// An agent in the life that was known is reached again.
    pub(super) fn meet_again(&mut self, now: Instant) {
        self.met_again = Some(now);
    }

    /// Until when a manager that is not reached may still come back as others did: it may have been this authority that was
    /// cut off, and what the term does without it needs no successor.
    fn meeting_until(&self, circumstances: &Circumstances<'_>) -> Option<Instant> {
        self.met_again.map(|met| met + circumstances.settings.suspicion / MEETING_PART)
    }

    /// Until when a manager without a lease may get one again.
    fn leaderless_until(&self, circumstances: &Circumstances<'_>) -> Option<Instant> {
        self.leaderless_since.map(|since| since + circumstances.settings.suspicion)
    }

    /// True when the manager has had no lease for `suspicion`: its members are reached from here, and not by it.
    fn is_leaderless(&self, circumstances: &Circumstances<'_>) -> bool {
        self.leaderless_until(circumstances).is_some_and(|until| circumstances.now >= until)
    }

    /// True when the manager is about to leave and the others can go on without it.
    fn may_hand_over(&self, circumstances: &Circumstances<'_>, nodes: &Nodes, record: &TermRecord) -> bool {
        let leaving = nodes.leaving();
        let next = || self.next_record(circumstances.partition, nodes, self.doubted.union(leaving));
        leaving.contains(record.manager.node) && next().is_some()
    }

    fn may_widen(&self, circumstances: &Circumstances<'_>, nodes: &Nodes, record: &TermRecord) -> bool {
        circumstances.now >= self.entered + circumstances.settings.suspicion && self.has_outsider(nodes, record)
    }

    /// True when a node is reached that counts for no quorum of this term, or may not join it, and that a next term could
    /// take in: one that no term has tried to take in in this life, or that the manager has admitted meanwhile.
    fn has_outsider(&self, nodes: &Nodes, record: &TermRecord) -> bool {
        let (members, leaving) = (record.member_nodes(), nodes.leaving());
        let admitted = |agent: &NodeIncarnation| self.heard.as_ref().is_some_and(|(_, view)| view.contains(agent));
        nodes.reachable_agents().filter(|agent| !leaving.contains(agent.node)).any(|agent| {
            let known = nodes.get(agent.node).expect("the agent was taken from these nodes");
            let outside = !members.contains(agent.node) || !known.may_join(record.term);
            outside && (known.tried < known.agent || known.sealed > Some(record.term) || admitted(&agent))
        })
    }

    /// Notes whom the term lacked: its manager when that kept silent, or led no more, else the members that the manager could
    /// not seal.
    fn doubt(&mut self, circumstances: &Circumstances<'_>) {
        let Some(record) = &self.reigning else { return };
        let overdue = self.phase == TermPhase::Appointed && circumstances.now >= self.entered + circumstances.settings.suspicion;
        let answering: NodeSet = self.heard.iter().flat_map(|(_, view)| view).map(|member| member.node).collect();
        let unheard = record.member_nodes().difference(answering);
        let leaderless = self.phase == TermPhase::Established && self.is_leaderless(circumstances);
        if self.phase == TermPhase::Established && !record.is_majority(answering) {
            self.doubted = unheard;
        } else if leaderless || overdue && (answering.is_empty() || unheard.is_empty()) {
            self.doubted.insert(record.manager.node);
        } else if overdue {
            self.doubted = self.doubted.union(unheard);
            self.doubted.remove(record.manager.node);
        }
        if record.member_nodes().is_subset(self.doubted) {
            self.doubted = NodeSet::EMPTY;
        }
    }

    /// The record of the next term, or none when it could not be established with the nodes that are reached.
    fn next_record(&self, partition: PartitionUid, nodes: &Nodes, without: NodeSet) -> Option<TermRecord> {
        let members: Vec<_> = nodes.reachable_agents().filter(|agent| !without.contains(agent.node)).collect();
        let manager = self.choose_manager(&members)?;
        let established = self.recorded.as_ref().and_then(|record| record.established);
        let term = self.newest().max(nodes.highest_seal()).max(self.refused_by).next();
        let record = TermRecord { partition, term, manager, members, established, since: self.next_since() };
        let possible = record.may_command(record.member_nodes(), nodes.proven_dead()) && record.since.len() <= SINCE_MAX;
        possible.then_some(record)
    }

    /// Every term since the established one, the recorded one included. Of terms with the same members the oldest stands for
    /// all: a seal counts members, not terms, and whoever knows what became of that one knows it of the later ones too.
    fn next_since(&self) -> Vec<EstablishedTerm> {
        let Some(recorded) = &self.recorded else { return Vec::new() };
        if recorded.established.is_some_and(|established| established.term == recorded.term) {
            return Vec::new();
        }
        let newest = EstablishedTerm { term: recorded.term, members: recorded.member_nodes() };
        let known = recorded.since.iter().any(|earlier| earlier.members == newest.members);
        recorded.since.iter().copied().chain((!known).then_some(newest)).collect()
    }

    /// One that is not doubted, a member of the established term before others, an agent in the life that the record knows
    /// before a restarted one (both may hold global memory), the present manager before others, the lowest node.
    fn choose_manager(&self, members: &[NodeIncarnation]) -> Option<NodeIncarnation> {
        let recorded = self.recorded.as_ref();
        let established = recorded.and_then(|record| record.established).map_or(NodeSet::EMPTY, |established| established.members);
        let unchanged = |agent: &NodeIncarnation| recorded.is_some_and(|record| record.members.contains(agent));
        let presides = |agent: &NodeIncarnation| recorded.is_some_and(|record| record.manager == *agent);
        let doubted = |agent: &NodeIncarnation| self.doubted.contains(agent.node);
        let order =
            |agent: &NodeIncarnation| (doubted(agent), !established.contains(agent.node), !unchanged(agent), !presides(agent), agent.node);
        members.iter().copied().min_by_key(order)
    }

    /// The manager's agent was reached again: what it was sent may be lost.
    pub(super) fn forget_commands(&mut self) {
        if self.phase == TermPhase::Appointed {
            self.commanded = None;
        } else if let Some(commanded) = &mut self.commanded {
            (commanded.plan, commanded.lost) = (None, None);
        }
    }

    /// Tells the reigning manager, and the other agents, what they do not know yet. A member hears of its term here too and
    /// not from its manager alone: a link of a term stands only when both its ends know the term.
    pub(super) fn command(&mut self, plan: &Arc<Plan>, nodes: &mut Nodes, out: &mut Outbox<AuthorityEffect>) {
        let Some(record) = self.reigning.clone() else { return };
        if nodes.reaches(record.manager) {
            self.command_manager(&record, plan, nodes, out);
        }
        for (node, known) in nodes.iter_mut() {
            let due = known.state == NodeState::Reachable && known.introduced < Some(record.term) && known.may_join(record.term);
            if due && node != record.manager.node {
                known.introduced = Some(record.term);
                out.push(AuthorityEffect::Introduce { node, record: record.clone() });
            }
        }
    }

    /// A dead node counts for the right to command, which an appointment gives; only a lost node fails a gang. So the
    /// manager is told of both in an appointment, and after it of the lost ones alone.
    fn command_manager(&mut self, record: &TermRecord, plan: &Arc<Plan>, nodes: &Nodes, out: &mut Outbox<AuthorityEffect>) {
        let (manager, lost) = (record.manager.node, nodes.lost());
        let commanded = self.commanded.unwrap_or_else(|| {
            let appointment = Appointment { record: record.clone(), dead: nodes.proven_dead(), lost, plan: Arc::clone(plan) };
            out.push(AuthorityEffect::Appoint { manager: record.manager, appointment });
            Commanded { plan: Some(plan.version), lost: Some(lost) }
        });
        if commanded.lost != Some(lost) {
            out.push(AuthorityEffect::SendLost { manager, nodes: lost });
        }
        if commanded.plan != Some(plan.version) {
            out.push(AuthorityEffect::SendPlan { manager, plan: Arc::clone(plan) });
        }
        self.commanded = Some(Commanded { plan: Some(plan.version), lost: Some(lost) });
    }

    /// The instants at which time alone may call for a next term.
    pub(super) fn deadlines(&self, circumstances: &Circumstances<'_>, nodes: &Nodes) -> Vec<Instant> {
        let suspicion = circumstances.settings.suspicion;
        match (self.phase, &self.reigning) {
            (TermPhase::Waiting, _) => vec![circumstances.start_by],
            (TermPhase::Appointed, _) => vec![self.entered + suspicion],
            (TermPhase::Established, Some(record)) => {
                let silent = nodes
                    .iter()
                    .filter(|(_, known)| known.state == NodeState::Unreachable)
                    .map(|(_, known)| known.silent_since + suspicion);
                let widening = self.has_outsider(nodes, record).then(|| self.entered + suspicion);
                let waits = self.leaderless_until(circumstances).into_iter().chain(self.meeting_until(circumstances));
                silent.chain(widening).chain(waits).collect()
            }
            (TermPhase::Writing | TermPhase::Confirming, _) | (TermPhase::Established, None) => Vec::new(),
        }
    }

    /// True when `node` manages the reigning term.
    pub(super) fn is_manager(&self, node: NodeIndex) -> bool {
        self.reigning.as_ref().is_some_and(|record| record.manager.node == node)
    }
}
