//! Who is obeyed.

use std::time::Duration;

use strobe_core::{
    message::{Datagram, ToManager},
    model::{AgentIncarnation, Epoch, Term},
};

use super::{Ledger, Violation};
use crate::clock::Moment;

/// Two clocks of 500 ppm each, and a message on its way, for the longest lease.
const LEASE_SLACK: Duration = Duration::from_millis(1);

impl Ledger {
    fn not_stale(&self, node: usize, term: Term, what: &str) -> Result<(), Violation> {
        let answered = self.answered[node];
        if term < answered {
            return Err(Violation::new(
                "no stale fence",
                format!("node {node} has answered the seal of term {answered}, and {what} of term {term}"),
            ));
        }
        Ok(())
    }

    /// A member says something to a manager.
    pub(crate) fn member_speaks(&mut self, node: usize, message: &ToManager) -> Result<(), Violation> {
        match message {
            ToManager::Sealed(answer) => {
                self.not_stale(node, answer.term, "answers the seal")?;
                if answer.term > self.answered[node] {
                    // The new term may complete another prefix than this node held.
                    self.appended[node].clear();
                    self.answered[node] = answer.term;
                }
                Ok(())
            }
            ToManager::Installed { fence, .. } => self.not_stale(node, fence.term, "installs the prefix"),
            ToManager::Held { fence, .. } => self.not_stale(node, fence.term, "holds a record"),
            ToManager::Compared { fence, .. } => self.not_stale(node, fence.term, "answers a compare"),
            ToManager::Staged { fence, .. } => self.not_stale(node, fence.term, "tells of a block"),
            ToManager::SealRefused { .. } | ToManager::Submit { .. } | ToManager::Signal(_) => Ok(()),
        }
    }

    /// A switcher sends a datagram.
    pub(crate) fn datagram_sent(&self, node: usize, datagram: &Datagram) -> Result<(), Violation> {
        match datagram {
            Datagram::HeartbeatReply(reply) => self.not_stale(node, reply.fence.term, "answers a heartbeat"),
            Datagram::ClockProbe(_) | Datagram::Strobe(_) | Datagram::Heartbeat(_) | Datagram::ClockReply(_) => Ok(()),
        }
    }

    /// A frame of a link of that term reaches an agent.
    pub(crate) fn frame_delivered(&self, node: usize, term: Term) -> Result<(), Violation> {
        let answered = self.answered[node];
        if term < answered {
            let detail = format!("node {node} has answered the seal of term {answered}, and a frame of term {term} arrives");
            return Err(Violation::new("old links are closed", detail));
        }
        Ok(())
    }

    /// A switcher executes an epoch.
    pub(crate) fn executed(&mut self, node: usize, life: AgentIncarnation, term: Term, epoch: Epoch) -> Result<(), Violation> {
        self.not_stale(node, term, "executes an epoch")?;
        let before = self.executed[node].replace((life, term, epoch));
        let falls = |(earlier_life, earlier_term, earlier): (AgentIncarnation, Term, Epoch)| {
            // Epochs are soft state: the next life of an agent does not know which one its predecessor executed, and while
            // the manager's machine sleeps a predecessor may have been ahead of the manager. Terms outlive the agent.
            // Within a life one epoch may be entered again, after the watchdog.
            if earlier_life == life { (term, epoch) < (earlier_term, earlier) } else { term < earlier_term }
        };
        match before.filter(|before| falls(*before)) {
            Some((_, earlier_term, earlier)) => {
                let detail = format!("node {node} executes {term}/{epoch} after {earlier_term}/{earlier}");
                Err(Violation::new("epochs grow", detail))
            }
            None => Ok(()),
        }
    }

    /// A manager of that term sends a strobe.
    pub(crate) fn strobed(&mut self, now: Moment, term: Term, suspicion: Duration) -> Result<(), Violation> {
        self.strobed.entry(term).or_insert(now);
        let higher = self
            .strobed
            .range(Term(term.0 + 1)..)
            .map(|(term, first)| (*term, *first))
            .find(|(_, first)| now > *first + suspicion + LEASE_SLACK);
        match higher {
            Some((higher, first)) => {
                let detail = format!("term {term} strobes {:?} after term {higher} first did", now.since(first));
                Err(Violation::new("one manager strobes", detail))
            }
            None => Ok(()),
        }
    }
}
