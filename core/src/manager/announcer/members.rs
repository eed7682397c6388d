//! Who answers: the lease and the suspects.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::{
    limits::MEMBERS_MAX,
    message::HeartbeatReply,
    model::{Instant, NodeIncarnation, NodeSet, View},
};

/// The members of the view, and what they answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Members {
    /// The nodes of the term's record: more than half of them make the lease.
    record: NodeSet,
    view: ArrayVec<Answers, MEMBERS_MAX>,
}

/// What one life of a member answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Answers {
    member: NodeIncarnation,
    /// The first view that has it: answers to earlier ones do not count.
    joined: View,
    /// When the newest heartbeat that it answered was sent.
    answered: Option<Instant>,
    /// From when on its silence counts.
    asked_since: Instant,
    suspected: bool,
}

// === impl Members ===

impl Members {
    /// A view of at most [`MEMBERS_MAX`] members, to which nobody has answered.
    pub(super) fn new(now: Instant, record: &[NodeIncarnation], number: View, view: &[NodeIncarnation]) -> Self {
        let mut members = Self { record: record.iter().map(|member| member.node).collect(), view: ArrayVec::new() };
        members.raise_view(now, number, view);
        members
    }

    /// Replaces the view. Lives that stay keep what they answered; one that is silent is suspected anew, because it may have
    /// been kept only because the view was small.
    pub(super) fn raise_view(&mut self, now: Instant, number: View, view: &[NodeIncarnation]) {
        let earlier = self.view.take();
        self.view.extend(view.iter().map(|member| {
            let known = earlier.iter().find(|answers| answers.member == *member);
            let known = known.map(|answers| Answers { suspected: false, ..*answers });
            known.unwrap_or(Answers { member: *member, joined: number, answered: None, asked_since: now, suspected: false })
        }));
    }

    /// The members of the view.
    pub(super) fn view(&self) -> impl Iterator<Item = NodeIncarnation> + '_ {
        self.view.iter().map(|answers| answers.member)
    }

    /// Takes an answer in; false when it is not of a present member's present life.
    pub(super) fn answer(&mut self, reply: &HeartbeatReply) -> bool {
        let member = NodeIncarnation { node: reply.node, incarnation: reply.incarnation };
        let Some(answers) = self.view.iter_mut().find(|answers| answers.member == member && answers.joined <= reply.fence.view) else {
            return false;
        };
        if answers.answered.is_none_or(|earlier| earlier < reply.sent_at) {
            answers.answered = Some(reply.sent_at);
            answers.suspected = false;
        }
        true
    }

    /// The instant at which the heartbeats that more than half of the record answered are `suspicion` old; none when no
    /// more than half of it ever answered.
    pub(super) fn lease_until(&self, suspicion: Duration) -> Option<Instant> {
        let mut answered: ArrayVec<Instant, MEMBERS_MAX> =
            self.view.iter().filter(|answers| self.record.contains(answers.member.node)).filter_map(|answers| answers.answered).collect();
        answered.sort_unstable_by(|earlier, later| later.cmp(earlier));
        answered.get(self.record.len() / 2).map(|sent_at| *sent_at + suspicion)
    }

    /// The next member that has answered no heartbeat sent in the last `suspicion`, each silence once in a view.
    pub(super) fn take_suspect(&mut self, now: Instant, suspicion: Duration) -> Option<NodeIncarnation> {
        let suspect = self.view.iter_mut().find(|answers| !answers.suspected && answers.silent_since() + suspicion <= now)?;
        suspect.suspected = true;
        Some(suspect.member)
    }

    /// When the next member becomes suspect, unless it answers.
    pub(super) fn next_suspicion(&self, suspicion: Duration) -> Option<Instant> {
        self.view.iter().filter(|answers| !answers.suspected).map(|answers| answers.silent_since() + suspicion).min()
    }

    /// This machine slept: every answer is older by that than its instant says.
    pub(super) fn age(&mut self, asleep: Duration) {
        for answers in &mut self.view {
            answers.answered = answers.answered.map(|answered| answered - asleep);
        }
    }

    /// Counts nobody's silence before `now`: it was this agent that did not ask.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        for answers in &mut self.view {
            answers.asked_since = now;
        }
    }
}

// === impl Answers ===

impl Answers {
    fn silent_since(&self) -> Instant {
        self.answered.map_or(self.asked_since, |answered| answered.max(self.asked_since))
    }
}
