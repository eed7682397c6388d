//! The agents of a run: kept alive, kept in contact, and known to be dead when they are.
//!
//! An agent that dies is started again after a short back-off, as a new incarnation with the same folder: it adopts the
//! gangs that its earlier life left. Before that it is looked whether anything of the node lives at all: a node whose
//! agent, supervisors and ranks are all dead is proven dead, and its gangs do not come back with its agent.

use std::{collections::BTreeSet, net::SocketAddr, process::ExitStatus};

use strobe_authority::{Session, SessionError, SessionEvent, SessionId, SessionOptions};
use strobe_core::model::{AgentIncarnation, Instant, NodeIncarnation, NodeIndex};
use strobe_proto::{
    agent::{AddressBook, AgentHello, NodeAddress, authority_message::Message},
    bootstrap::Listening,
};
use tokio::sync::mpsc;

use super::{
    agent_process::{self, ADDRESS, AgentOptions, AgentStartError},
    cgroup::RunCgroup,
    event::Event,
    limits::{AGENT_START_ATTEMPTS, LIVED_LONG, RESTART_BACK_OFF, RESTART_BACK_OFF_MAX, SESSION_AGAIN},
    processes::{self, Process},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Agents {
    nodes: Vec<Node>,
    sessions: SessionOptions,
    /// Longer than this an agent is not silent without being unreachable.
    silence: std::time::Duration,
    cgroup: Option<RunCgroup>,
    events: mpsc::Sender<Event>,
    session_number: u64,
    /// Agents that leave are not started again.
    leaving: bool,
}

/// What follows from an event or from time.
#[derive(Debug)]
pub(super) enum Happening {
    /// An agent is not reached any more.
    Unreachable(NodeIncarnation),
    /// Nothing of a node lives.
    ProvenDead(NodeIndex),
    /// To be said.
    Status(String),
    /// An agent does not begin, again and again.
    GivenUp(NodeIndex, AgentStartError),
}

#[derive(Debug)]
struct Node {
    options: AgentOptions,
    incarnation: AgentIncarnation,
    life: Life,
    /// The number of the last session with this life of the agent; 0 before the first.
    dialled: u64,
    /// It is not started again: how tests lose a node.
    stays_down: bool,
    proven_dead: bool,
    /// Deaths that followed soon on a start.
    soon: u32,
    /// Starts one after the other that came to nothing.
    failures: u32,
    born: Instant,
    /// Its addresses, from its hello; those of its newest life.
    address: Option<NodeAddress>,
}

#[derive(Debug)]
enum Life {
    Down { start_at: Instant },
    Starting { process: Option<Process> },
    Up { process: Option<Process>, port: u16, session: Option<Session>, dial_at: Instant },
}

impl Agents {
    /// The agents of these nodes, none of them started; those of `down` are not started again when they die.
    pub(super) fn new(
        nodes: Vec<AgentOptions>,
        down: &BTreeSet<u16>,
        sessions: SessionOptions,
        cgroup: Option<RunCgroup>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let silence = nodes.first().map_or(std::time::Duration::ZERO, |options| Session::silence(options.settings.suspicion));
        let node = |options: AgentOptions| Node {
            stays_down: down.contains(&options.node.0),
            options,
            incarnation: AgentIncarnation(0),
            life: Life::Down { start_at: Instant::ORIGIN },
            dialled: 0,
            proven_dead: false,
            soon: 0,
            failures: 0,
            born: Instant::ORIGIN,
            address: None,
        };
        Self { nodes: nodes.into_iter().map(node).collect(), sessions, silence, cgroup, events, session_number: 0, leaving: false }
    }

    /// Queues a message to a node's agent. When it takes none, it hears everything anew in its next session.
    pub(super) fn say(&mut self, node: NodeIndex, message: Message) {
        let Life::Up { session, .. } = &mut self.nodes[usize::from(node.0)].life else { return };
        let fits = session.as_ref().is_none_or(|open| !open.open || open.say(message));
        if !fits && let Some(full) = session.take() {
            // Dropping it ends its task; the event that it is over is sent for it.
            let events = self.events.clone();
            let id = full.id;
            drop(full);
            tokio::spawn(async move {
                let _run_is_over = events.send(SessionEvent::Over(id, SessionError::Late).into()).await;
            });
        }
    }

    /// The nodes whose agents are in contact.
    pub(super) fn reached(&self) -> BTreeSet<NodeIndex> {
        let open = |node: &&Node| matches!(&node.life, Life::Up { session: Some(session), .. } if session.open);
        self.nodes.iter().filter(open).map(|node| node.options.node).collect()
    }

    /// The agent of a node, when it is in contact.
    pub(super) fn reached_agent(&self, node: NodeIndex) -> Option<NodeIncarnation> {
        let known = self.nodes.get(usize::from(node.0)).filter(|_| self.reached().contains(&node))?;
        Some(NodeIncarnation { node, incarnation: known.incarnation })
    }

    /// Agents whose process lives.
    pub(super) fn living(&self) -> usize {
        self.nodes.iter().filter(|node| !matches!(node.life, Life::Down { .. })).count()
    }

    // === events ===

    /// An agent listens: it is dialled.
    pub(super) fn listening(&mut self, now: Instant, agent: NodeIncarnation, listening: Listening) {
        let Some(index) = self.current(agent) else { return };
        let Life::Starting { process } = self.nodes[index].life else { return };
        self.nodes[index].failures = 0;
        self.nodes[index].life = Life::Up { process, port: listening.session_port, session: None, dial_at: now };
        self.dial(index, now);
    }

    /// An agent's start came to nothing.
    pub(super) fn not_started(&mut self, now: Instant, agent: NodeIncarnation, error: AgentStartError) -> Vec<Happening> {
        let Some(index) = self.current(agent) else { return Vec::new() };
        self.failed(index, now, error)
    }

    /// An agent has died.
    pub(super) fn exited(&mut self, now: Instant, agent: NodeIncarnation, status: &std::io::Result<ExitStatus>) -> Vec<Happening> {
        let Some(index) = self.current(agent) else { return Vec::new() };
        let mut happenings = self.lose_contact(index, now);
        let node = &mut self.nodes[index];
        node.soon = if now >= node.born + LIVED_LONG { 0 } else { node.soon + 1 };
        node.life = Life::Down { start_at: now + back_off(node.soon) };
        if !self.leaving {
            let how = status.as_ref().map_or_else(ToString::to_string, ToString::to_string);
            let what = if self.nodes[index].stays_down { "it stays down" } else { "starting it again" };
            happenings.push(Happening::Status(format!("the agent of node {} has ended ({how}); {what}", agent.node)));
        }
        happenings
    }

    /// A session is over; while its agent lives it is opened again.
    pub(super) fn session_over(&mut self, now: Instant, id: SessionId) -> Vec<Happening> {
        match self.dialled(id) {
            Some(index) => self.lose_contact(index, now),
            None => Vec::new(),
        }
    }

    /// The agent that says something, when it says it in its node's present session; it is then not silent.
    pub(super) fn hears(&mut self, now: Instant, id: SessionId) -> Option<NodeIncarnation> {
        let index = self.dialled(id)?;
        let node = &mut self.nodes[index];
        let Life::Up { session: Some(session), .. } = &mut node.life else { return None };
        session.heard = now;
        Some(NodeIncarnation { node: id.node, incarnation: node.incarnation })
    }

    /// An agent has said who it is: it may be spoken to, and all are told where all are. False when it is not the one
    /// that was dialled.
    pub(super) fn hello(&mut self, id: SessionId, hello: &AgentHello) -> bool {
        let Some(index) = self.dialled(id) else { return false };
        let node = &mut self.nodes[index];
        if hello.node != u32::from(id.node.0) || hello.incarnation != node.incarnation.0 {
            return false;
        }
        let Life::Up { session: Some(session), .. } = &mut node.life else { return false };
        session.open = true;
        node.address = Some(NodeAddress {
            node: hello.node,
            stream_address: hello.stream_address.clone(),
            datagram_address: hello.datagram_address.clone(),
        });
        let book = AddressBook { nodes: self.nodes.iter().filter_map(|node| node.address.clone()).collect() };
        for node in self.reached() {
            self.say(node, Message::Addresses(book.clone()));
        }
        true
    }

    // === time ===

    /// Starts what is to be started, dials what is to be dialled, and looks for silence and death.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for index in 0..self.nodes.len() {
            match &self.nodes[index].life {
                Life::Down { start_at } if *start_at <= now && !self.leaving => happenings.extend(self.look_after_dead(index, now)),
                Life::Up { session: Some(session), .. } if now >= session.heard + self.silence => {
                    happenings.extend(self.lose_contact(index, now));
                }
                Life::Up { session: None, dial_at, .. } if *dial_at <= now => self.dial(index, now),
                Life::Down { .. } | Life::Starting { .. } | Life::Up { .. } => {}
            }
        }
        happenings
    }

    fn look_after_dead(&mut self, index: usize, now: Instant) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let node = &self.nodes[index];
        if node.incarnation.0 > 0 && !node.proven_dead && self.nothing_lives(node) {
            happenings.push(Happening::ProvenDead(node.options.node));
            self.nodes[index].proven_dead = true;
        }
        let node = &mut self.nodes[index];
        if node.stays_down && node.incarnation.0 > 0 {
            return happenings;
        }
        node.incarnation = AgentIncarnation(node.incarnation.0 + 1);
        (node.born, node.proven_dead, node.dialled) = (now, false, 0);
        match agent_process::start(&node.options, node.incarnation, self.events.clone()) {
            Ok(pid) => {
                let process = Process::find(pid);
                let line = process.map_or_else(String::new, Process::to_line);
                // Only a later run that has to clean up after this one needs it.
                let _found_otherwise = std::fs::write(&node.options.process_file, line);
                node.life = Life::Starting { process };
            }
            Err(error) => happenings.extend(self.failed(index, now, error)),
        }
        happenings
    }

    fn nothing_lives(&self, node: &Node) -> bool {
        let populated = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.node_is_populated(node.options.node.0));
        !populated && processes::supervisors(&node.options.directory).is_empty()
    }

    fn failed(&mut self, index: usize, now: Instant, error: AgentStartError) -> Vec<Happening> {
        let node = &mut self.nodes[index];
        node.failures += 1;
        node.life = Life::Down { start_at: now + back_off(node.failures) };
        let name = node.options.node;
        if self.leaving {
            return Vec::new();
        }
        if node.failures >= AGENT_START_ATTEMPTS {
            return vec![Happening::GivenUp(name, error)];
        }
        vec![Happening::Status(format!("the agent of node {name} did not begin ({error}); trying again"))]
    }

    fn dial(&mut self, index: usize, now: Instant) {
        let node = &mut self.nodes[index];
        if let Life::Up { port, session, .. } = &mut node.life {
            self.session_number += 1;
            node.dialled = self.session_number;
            let id = SessionId { node: node.options.node, number: node.dialled };
            *session = Some(Session::dial(id, SocketAddr::new(ADDRESS, *port), &self.sessions, now, self.events.clone()));
        }
    }

    fn lose_contact(&mut self, index: usize, now: Instant) -> Vec<Happening> {
        let node = &mut self.nodes[index];
        let agent = NodeIncarnation { node: node.options.node, incarnation: node.incarnation };
        if let Life::Up { session, dial_at, .. } = &mut node.life {
            (*session, *dial_at) = (None, now + SESSION_AGAIN);
        }
        // The authority ignores it for an agent that it has not reached.
        vec![Happening::Unreachable(agent)]
    }

    fn current(&self, agent: NodeIncarnation) -> Option<usize> {
        let index = usize::from(agent.node.0);
        self.nodes.get(index).filter(|node| node.incarnation == agent.incarnation).map(|_| index)
    }

    /// The node of a session, when it is the last that was opened with the agent that lives there now.
    fn dialled(&self, id: SessionId) -> Option<usize> {
        let index = usize::from(id.node.0);
        self.nodes.get(index).filter(|node| node.dialled == id.number).map(|_| index)
    }

    // === the end ===

    /// Asks every agent to end its gangs and itself; one that cannot be asked is killed, for it could not be asked later.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        let reached = self.reached();
        for node in &reached {
            self.say(*node, Message::Shutdown(strobe_proto::agent::Shutdown {}));
        }
        for node in self.nodes.iter().filter(|node| !reached.contains(&node.options.node)) {
            node.kill();
        }
    }

    /// Kills every agent.
    pub(super) fn kill(&mut self) {
        self.leaving = true;
        self.nodes.iter().for_each(Node::kill);
    }
}

impl Node {
    fn kill(&self) {
        if let Life::Starting { process: Some(process) } | Life::Up { process: Some(process), .. } = &self.life {
            process.kill();
        }
    }
}

/// How long to wait after the death or failure of that number.
fn back_off(number: u32) -> std::time::Duration {
    RESTART_BACK_OFF.saturating_mul(1 << number.saturating_sub(1).min(16)).min(RESTART_BACK_OFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        assert_eq!(back_off(0), RESTART_BACK_OFF);
        assert_eq!(back_off(1), RESTART_BACK_OFF);
        assert_eq!(back_off(3), 4 * RESTART_BACK_OFF);
        assert_eq!(back_off(u32::MAX), RESTART_BACK_OFF_MAX);
    }
}
