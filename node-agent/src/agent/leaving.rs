//! Leaving: an agent that is asked to end, or has to begin anew, hands over what it manages first, and its gangs run on.

use strobe_core::model::{Instant, Term};
use strobe_proto::agent::{Leaving as LeavingMessage, agent_message::Message};

use super::{Agent, limits::HAND_OVER_TIME_MAX};
use crate::{cgroup::CgroupPath, sys::clock::monotonic_now};

/// Why an agent leaves though its partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeavingReason {
    /// Its process was asked to end.
    Terminated,
    /// The partition is another than when this life began: the next one learns what it is now.
    PartitionChanged,
    /// Its certificate has to be renewed, which the next life does.
    CertificateAged,
}

/// An agent that leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub(super) reason: LeavingReason,
    /// What it waits for; nothing when it manages nothing, or nobody would take it over.
    handing_over: Option<HandingOver>,
}

/// The role of the machine manager, on its way to another agent.
#[derive(Debug, Clone, Copy)]
struct HandingOver {
    /// The term that is managed here.
    term: Term,
    /// When it is waited for no longer.
    by: Instant,
}

impl Leaving {
    /// When the agent leaves in any case.
    pub(super) fn deadline(self) -> Option<Instant> {
        self.handing_over.map(|handing_over| handing_over.by)
    }
}

impl Agent {
    /// Asks the authority for another manager, where this agent is one. The first reason counts.
    pub(super) fn begin_to_leave(&mut self, reason: LeavingReason) {
        if self.leaving.is_some() {
            return;
        }
        let heard = self.session.as_ref().is_some_and(|session| !session.is_closed());
        let managed = self.report.as_ref().map(|report| report.fence.term).filter(|_| heard && self.manager.is_appointed());
        if heard {
            self.say(Message::Leaving(LeavingMessage {}));
        }
        let handing_over = managed.map(|term| HandingOver { term, by: monotonic_now() + HAND_OVER_TIME_MAX });
        self.leaving = Some(Leaving { reason, handing_over });
    }

    /// True once it leaves and manages nothing any more: a later term has taken it in as a member, so that another strobes.
    pub(super) fn has_handed_over(&self) -> bool {
        let Some(leaving) = self.leaving else { return false };
        let Some(HandingOver { term, by }) = leaving.handing_over else { return true };
        if let Some(fence) = self.member.admitted().filter(|fence| fence.term > term) {
            tracing::info!(term = fence.term.0, "another agent is the machine manager now");
            return true;
        }
        let overdue = monotonic_now() >= by;
        if overdue {
            tracing::info!("no other agent has become the machine manager in time");
        }
        overdue
    }

    /// Leaves nothing behind: files, sockets and cgroups of this node. Gangs that are not over run on; held ones stay as they are.
    pub(super) fn leave(self) {
        // First: it would freeze again what is thawed.
        self.strobe.stop();
        for (run, gang) in self.gangs.iter().filter(|(_, gang)| !gang.held) {
            // Its supervisor does the same when the connection ends, where it has one.
            if let Some(Err(error)) = gang.cgroup.as_ref().map(crate::cgroup::RankCgroup::thaw) {
                tracing::warn!(%run, error = &error as &dyn std::error::Error, "a gang is left to its supervisor to thaw");
            }
        }
        if let Some((tree, parent)) = &self.cgroups
            && let Err(error) = tree.remove_unused(parent, &CgroupPath::root())
        {
            tracing::warn!(%error, "the agent's cgroup is left behind");
        }
    }
}
