//! Contact with the agents of a partition: one session with each, opened again when it breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use strobe_core::model::{AgentIncarnation, Instant, NodeIncarnation, NodeIndex};
use strobe_proto::agent::{AddressBook, AgentHello, NodeAddress, authority_message::Message};
use tokio::sync::mpsc;

use crate::{
    limits::{DIAL_AGAIN, DIAL_AGAIN_MAX},
    session::{Session, SessionError, SessionEvent, SessionId, SessionOptions},
};

/// See the module. Agents are found where they say that they serve, and are known by their certificates.
#[derive(Debug)]
pub struct Contacts<Event> {
    nodes: BTreeMap<NodeIndex, Contact>,
    options: SessionOptions,
    /// Longer than this an agent is not silent without being unreachable.
    silence: Duration,
    events: mpsc::Sender<Event>,
    sessions: u64,
}

#[derive(Debug)]
struct Contact {
    address: SocketAddr,
    session: Option<Session>,
    /// The number of the last session.
    dialled: u64,
    dial_at: Instant,
    /// Sessions one after the other that did not come to a hello.
    failures: u32,
    /// The life of the agent that greeted in the open session.
    agent: Option<AgentIncarnation>,
    /// Where other agents reach it, from its last hello.
    listed: Option<NodeAddress>,
}

// === impl Contacts ===

impl<Event: From<SessionEvent> + Send + 'static> Contacts<Event> {
    /// Contact with nobody yet.
    #[must_use]
    pub fn new(options: SessionOptions, suspicion: Duration, events: mpsc::Sender<Event>) -> Self {
        Self { nodes: BTreeMap::new(), options, silence: Session::silence(suspicion), events, sessions: 0 }
    }

    /// Other settings of the partition: every session is opened anew, because agents serve only those whose settings they have.
    pub fn change(&mut self, options: SessionOptions, suspicion: Duration) -> Vec<NodeIncarnation> {
        (self.options, self.silence) = (options, Session::silence(suspicion));
        self.nodes.iter_mut().filter_map(|(node, contact)| contact.end(*node)).collect()
    }

    /// A node's agent serves there, or begins to. Gives the agent with which contact is lost by that.
    pub fn expect(&mut self, now: Instant, node: NodeIndex, address: SocketAddr) -> Option<NodeIncarnation> {
        let known = self.nodes.entry(node).or_insert_with(|| Contact::new(address, now));
        (known.dial_at, known.failures) = (now, 0);
        if known.address == address {
            return None;
        }
        known.address = address;
        known.end(node)
    }

    /// Queues a message to a node's agent. When it takes none, it hears everything anew in its next session.
    pub fn say(&mut self, node: NodeIndex, message: Message) {
        let Some(contact) = self.nodes.get_mut(&node).filter(|contact| contact.agent.is_some()) else { return };
        let full = contact.session.take_if(|session| !session.say(message));
        if let Some(full) = full {
            let (events, id) = (self.events.clone(), full.id);
            tokio::spawn(async move {
                // The receiver is gone only when the authority is.
                let _nobody_listens = events.send(SessionEvent::Over(id, SessionError::Late).into()).await;
            });
        }
    }

    /// The agent of a node, when it is in contact.
    #[must_use]
    pub fn agent(&self, node: NodeIndex) -> Option<NodeIncarnation> {
        let incarnation = self.nodes.get(&node)?.agent?;
        Some(NodeIncarnation { node, incarnation })
    }

    /// The nodes whose agents are in contact.
    #[must_use]
    pub fn reached(&self) -> BTreeSet<NodeIndex> {
        self.nodes.iter().filter(|(_, contact)| contact.agent.is_some()).map(|(node, _)| *node).collect()
    }

    // === events ===

    /// A session is over; it is opened again after a pause. Gives the agent that is not reached any more.
    pub fn over(&mut self, now: Instant, id: SessionId) -> Option<NodeIncarnation> {
        let contact = self.nodes.get_mut(&id.node).filter(|contact| contact.dialled == id.number)?;
        contact.failures = if contact.agent.is_some() { 0 } else { contact.failures.saturating_add(1) };
        contact.dial_at = now + pause(contact.failures);
        contact.end(id.node)
    }

    /// The agent that says something, when it says it in its node's present session and has greeted; it is then not silent.
    pub fn hears(&mut self, now: Instant, id: SessionId) -> Option<NodeIncarnation> {
        let contact = self.nodes.get_mut(&id.node).filter(|contact| contact.dialled == id.number)?;
        contact.session.as_mut()?.heard = now;
        Some(NodeIncarnation { node: id.node, incarnation: contact.agent? })
    }

    /// An agent has said who it is: it may be spoken to, and all are told where all are. None when it is not the one that was dialled.
    pub fn greeted(&mut self, now: Instant, id: SessionId, hello: &AgentHello) -> Option<NodeIncarnation> {
        let contact = self.nodes.get_mut(&id.node).filter(|contact| contact.dialled == id.number && contact.session.is_some())?;
        if hello.node != u32::from(id.node.0) {
            return None;
        }
        contact.agent = Some(AgentIncarnation(hello.incarnation));
        contact.listed = Some(NodeAddress {
            node: hello.node,
            stream_address: hello.stream_address.clone(),
            datagram_address: hello.datagram_address.clone(),
        });
        let book = AddressBook { nodes: self.nodes.values().filter_map(|contact| contact.listed.clone()).collect() };
        for node in self.reached() {
            self.say(node, Message::Addresses(book.clone()));
        }
        self.hears(now, id)
    }

    // === time ===

    /// Dials whom it is time to dial. Gives the agents that have been silent for too long.
    pub fn tick(&mut self, now: Instant) -> Vec<NodeIncarnation> {
        let mut silent = Vec::new();
        for (node, contact) in &mut self.nodes {
            match &contact.session {
                Some(session) if now >= session.heard + self.silence => {
                    contact.dial_at = now;
                    silent.extend(contact.end(*node));
                }
                None if contact.dial_at <= now => {
                    self.sessions += 1;
                    contact.dialled = self.sessions;
                    let id = SessionId { node: *node, number: self.sessions };
                    contact.session = Some(Session::dial(id, contact.address, &self.options, now, self.events.clone()));
                }
                Some(_) | None => {}
            }
        }
        silent
    }
}

// === impl Contact ===

impl Contact {
    const fn new(address: SocketAddr, now: Instant) -> Self {
        Self { address, session: None, dialled: 0, dial_at: now, failures: 0, agent: None, listed: None }
    }

    /// Ends the session. Gives the agent with which contact is lost.
    fn end(&mut self, node: NodeIndex) -> Option<NodeIncarnation> {
        self.session = None;
        self.agent.take().map(|incarnation| NodeIncarnation { node, incarnation })
    }
}

/// How long to wait after so many sessions that came to nothing.
fn pause(failures: u32) -> Duration {
    DIAL_AGAIN.saturating_mul(1 << failures.min(16)).min(DIAL_AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        assert_eq!([pause(0), pause(1), pause(u32::MAX)], [DIAL_AGAIN, 2 * DIAL_AGAIN, DIAL_AGAIN_MAX]);
    }
}
