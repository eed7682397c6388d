//! A state of the explored world: three agents, what is on the links between them, and what callers and readers have seen.

use strobe_core::{
    manager::Manager,
    message::{ToManager, ToMember},
    model::{AgentIncarnation, NodeIndex, Term},
    node::Member,
};

use crate::{digested::Digested, observed::Observed};

/// Nodes of the partition, all of them members of both terms.
pub(crate) const NODES: usize = 3;

/// The life in which each agent begins.
pub(crate) const FIRST_LIFE: AgentIncarnation = AgentIncarnation(1);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: [Node; NODES],
    /// What is under way, by sender and receiver, the next to arrive first.
    pub(crate) frames: [[Vec<Digested<Frame>>; NODES]; NODES],
    /// True once the authority has appointed the manager of the second term.
    pub(crate) appointed: bool,
    /// Faults that are still to come.
    pub(crate) crashes: u8,
    pub(crate) losses: u8,
    pub(crate) suspicions: u8,
    pub(crate) observed: Digested<Observed>,
}

/// One node with the present life of its agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) life: AgentIncarnation,
    pub(crate) member: Digested<Member>,
    pub(crate) manager: Digested<Manager>,
    /// What stands in its seal file. Links of lower terms are refused.
    pub(crate) promised: Option<Term>,
    /// The term whose links this life of the agent sends over.
    pub(crate) links: Option<Term>,
}

/// A message on a link of a term.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub(crate) link: Term,
    pub(crate) message: Message,
}

/// What travels between agents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    ToMember(ToMember),
    ToManager(ToManager),
}

impl State {
    /// True when nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.frames.iter().flatten().all(Vec::is_empty)
    }

    /// True once an agent has crashed.
    pub(crate) fn has_crashed(&self) -> bool {
        self.nodes.iter().any(|node| node.life != FIRST_LIFE)
    }

    /// Drops what is under way from and to a node over links of which this is true.
    pub(crate) fn cut(&mut self, node: usize, is_cut: impl Fn(Term) -> bool) {
        for other in 0..NODES {
            self.frames[node][other].retain(|frame| !is_cut(frame.link));
            self.frames[other][node].retain(|frame| !is_cut(frame.link));
        }
    }
}

pub(crate) fn index_of(node: usize) -> NodeIndex {
    NodeIndex(u16::try_from(node).expect("few nodes"))
}
