//! The operator: the authority, its store, and what its shell keeps.

use std::collections::{BTreeMap, BTreeSet};

use strobe_core::{
    authority::{Authority, AuthorityInput},
    model::{AgentIncarnation, GangRun, NodeIndex, NodePlacement, TermRecord},
};

use crate::clock::Moment;

/// The operator and the API server behind it.
pub(crate) struct Operator {
    pub(crate) authority: Authority,
    /// What the API server holds.
    pub(crate) store: Option<TermRecord>,
    /// Counts lives; what was under way to an earlier one is lost.
    pub(crate) life: u64,
    pub(crate) alive: bool,
    pub(crate) armed: Option<Moment>,
    /// When the last of what users and the cluster said arrives.
    pub(crate) told: Moment,
    /// What users and the cluster said while there was no operator.
    pub(crate) waiting: Vec<AuthorityInput>,
    /// The agents that are reached.
    pub(crate) reached: BTreeMap<NodeIndex, AgentIncarnation>,
    pub(crate) sessions: u64,
    /// When the last message of a node's session arrives, at the operator and at the agent.
    pub(crate) arrivals: BTreeMap<NodeIndex, [Moment; 2]>,
    /// The placement of every run that was launched.
    pub(crate) placements: BTreeMap<GangRun, Vec<NodePlacement>>,
    /// Runs whose pods are wanted.
    pub(crate) pods: BTreeSet<GangRun>,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::new(),
            store: None,
            life: 1,
            alive: true,
            armed: None,
            told: Moment(0),
            waiting: Vec::new(),
            reached: BTreeMap::new(),
            sessions: 0,
            arrivals: BTreeMap::new(),
            placements: BTreeMap::new(),
            pods: BTreeSet::new(),
        }
    }
}
