//! What the authority knows of the nodes of its partition.

use std::collections::BTreeMap;

use super::{NodeEvent, NodeState};
use crate::model::{AgentIncarnation, Instant, NodeIncarnation, NodeIndex, NodeSet, Term};

/// The nodes of the partition's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Nodes(BTreeMap<NodeIndex, Node>);

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) state: NodeState,
    /// The newest life of its agent that was reached.
    pub(super) agent: Option<AgentIncarnation>,
    /// What its seal file held when it was reached; none without a file.
    pub(super) sealed: Option<Term>,
    /// The newest term that may have been recorded before this life of the agent was first reached.
    pub(super) known_from: Term,
    /// Since when it is silent, while it is.
    pub(super) silent_since: Instant,
    /// The last term that this life of the agent was told of.
    pub(super) introduced: Option<Term>,
    /// The newest life of its agent that a record had as member.
    pub(super) tried: Option<AgentIncarnation>,
    /// The newest life of its agent that said that it leaves.
    leaving: Option<AgentIncarnation>,
}

impl Nodes {
    /// Takes over the configured nodes; what is known of those that stay is kept.
    pub(super) fn configure(&mut self, nodes: impl Iterator<Item = NodeIndex>) {
        let mut earlier = std::mem::take(&mut self.0);
        self.0 = nodes.map(|node| (node, earlier.remove(&node).unwrap_or_else(Node::absent))).collect();
    }

    /// True when one of these is not among them.
    pub(super) fn lacks_one_of(&self, mut nodes: impl Iterator<Item = NodeIndex>) -> bool {
        nodes.any(|node| !self.0.contains_key(&node))
    }

    /// Takes nodes in beside those that there are.
    pub(super) fn widen(&mut self, nodes: impl Iterator<Item = NodeIndex>) {
        for node in nodes {
            self.0.entry(node).or_insert_with(Node::absent);
        }
    }

    pub(super) fn get(&self, node: NodeIndex) -> Option<&Node> {
        self.0.get(&node)
    }

    pub(super) fn get_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.0.get_mut(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.0.iter().map(|(node, known)| (*node, known))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIndex, &mut Node)> {
        self.0.iter_mut().map(|(node, known)| (*node, known))
    }

    /// The nodes whose state passes the test.
    pub(super) fn in_state(&self, test: impl Fn(NodeState) -> bool) -> NodeSet {
        self.iter().filter(|(_, known)| test(known.state)).map(|(node, _)| node).collect()
    }

    /// The nodes whose agents are reached now.
    pub(super) fn reachable(&self) -> NodeSet {
        self.in_state(|state| state == NodeState::Reachable)
    }

    /// The nodes of which there is proof that no rank lives on them.
    pub(super) fn proven_dead(&self) -> NodeSet {
        self.in_state(NodeState::is_proven_dead)
    }

    /// The nodes that are lost.
    pub(super) fn lost(&self) -> NodeSet {
        self.in_state(|state| state == NodeState::Lost)
    }

    /// The agents that are reached now, sorted by node.
    pub(super) fn reachable_agents(&self) -> impl Iterator<Item = NodeIncarnation> {
        self.iter().filter(|(_, known)| known.state == NodeState::Reachable).filter_map(|(node, known)| known.as_incarnation(node))
    }

    /// True when that life of that agent is reached now.
    pub(super) fn reaches(&self, agent: NodeIncarnation) -> bool {
        self.get(agent.node).is_some_and(|known| known.state == NodeState::Reachable && known.agent == Some(agent.incarnation))
    }

    /// That life of the agent has said that it leaves; another is not meant.
    pub(super) fn note_leaving(&mut self, agent: NodeIncarnation) {
        if let Some(known) = self.get_mut(agent.node).filter(|known| known.agent == Some(agent.incarnation)) {
            known.leaving = known.agent;
        }
    }

    /// The nodes whose agents have said that they leave.
    pub(super) fn leaving(&self) -> NodeSet {
        self.iter().filter(|(_, known)| known.agent.is_some() && known.leaving == known.agent).map(|(node, _)| node).collect()
    }

    /// The highest term that a reached agent has sealed.
    pub(super) fn highest_seal(&self) -> Term {
        let reached = self.iter().filter(|(_, known)| known.state == NodeState::Reachable);
        reached.filter_map(|(_, known)| known.sealed).max().unwrap_or_default()
    }
}

impl Node {
    const fn absent() -> Self {
        Self {
            state: NodeState::Absent,
            agent: None,
            sealed: None,
            known_from: Term(0),
            silent_since: Instant::ORIGIN,
            introduced: None,
            tried: None,
            leaving: None,
        }
    }

    /// Applies an event; false when it does not belong to the state, which then stays.
    pub(super) fn happens(&mut self, event: NodeEvent) -> bool {
        self.state.after(event).map(|state| self.state = state).is_ok()
    }

    /// Its agent's newest life.
    pub(super) fn as_incarnation(&self, node: NodeIndex) -> Option<NodeIncarnation> {
        self.agent.map(|incarnation| NodeIncarnation { node, incarnation })
    }

    /// True when a message about that life of the agent is news: of no earlier life, and not of one that was proven dead.
    pub(super) fn may_be_reached_as(&self, incarnation: AgentIncarnation) -> bool {
        self.agent.is_none_or(|known| incarnation > known || (incarnation == known && !self.state.is_proven_dead()))
    }

    /// True when `term` may take this life of the agent in: it promised something that still holds, or the term was
    /// recorded after the agent was reached, and so after a boot that may have lost a promise.
    pub(super) fn may_join(&self, term: Term) -> bool {
        match self.sealed {
            Some(sealed) => sealed <= term,
            None => term > self.known_from,
        }
    }
}
