//! The operator: the authority, its store, and what its shell keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use strobe_core::{
    authority::{Authority, AuthorityInput, JobSpecification, Launches, Recollection},
    model::{AgentIncarnation, GangId, GangRun, NodeIndex, NodePlacement, NodeSet, TermRecord},
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
    /// What users and the cluster have said.
    pub(crate) facts: Facts,
    /// When each run was admitted.
    pub(crate) admitted: BTreeMap<GangRun, Moment>,
    /// The agents that are reached.
    pub(crate) reached: BTreeMap<NodeIndex, AgentIncarnation>,
    pub(crate) sessions: u64,
    /// When the last message of a node's session arrives, at the operator and at the agent.
    pub(crate) arrivals: BTreeMap<NodeIndex, [Moment; 2]>,
    /// The placement of every run that was launched.
    pub(crate) placements: BTreeMap<GangRun, Vec<NodePlacement>>,
    /// Nodes that take no further gang, whether or not the operator has heard of it.
    pub(crate) cordoned: NodeSet,
    /// Until when nodes start no pod.
    pub(crate) full: BTreeMap<NodeIndex, Moment>,
    /// Which agents were told of which runs.
    pub(crate) launches: Launches,
    /// Runs whose pods are wanted.
    pub(crate) pods: BTreeSet<GangRun>,
}

/// What users and the cluster have said, as the API server tells it to whoever asks.
#[derive(Default)]
pub(crate) struct Facts {
    jobs: BTreeMap<GangId, Wish>,
    /// Nodes that are proven dead and were not seen to live since.
    proven: BTreeSet<NodeIndex>,
    /// Nodes that take no further gang.
    pub(crate) cordoned: NodeSet,
    failed: Vec<AuthorityInput>,
}

/// A job as its user wants it.
struct Wish {
    specification: JobSpecification,
    cancelled: bool,
}

impl Facts {
    /// Notes what was said.
    pub(crate) fn note(&mut self, said: &AuthorityInput) {
        match said {
            AuthorityInput::Submit(specification) => {
                self.jobs.insert(specification.gang, Wish { specification: specification.clone(), cancelled: false });
            }
            AuthorityInput::SetPaused { gang, paused } => self.with(*gang, |wish| wish.specification.paused = *paused),
            AuthorityInput::SetSuspended { gang, suspended } => self.with(*gang, |wish| wish.specification.suspended = *suspended),
            AuthorityInput::Cancel { gang } => self.with(*gang, |wish| wish.cancelled = true),
            AuthorityInput::NodeProvenDead { node } => {
                self.proven.insert(*node);
            }
            AuthorityInput::NodeReturned { node } => {
                self.proven.remove(node);
            }
            AuthorityInput::Cordon { nodes } => self.cordoned = *nodes,
            AuthorityInput::LaunchFailed { .. } | AuthorityInput::Evicted { .. } | AuthorityInput::NotPlaced { .. } => {
                self.failed.push(said.clone());
            }
            _ => {}
        }
    }

    fn with(&mut self, gang: GangId, change: impl FnOnce(&mut Wish)) {
        if let Some(wish) = self.jobs.get_mut(&gang) {
            change(wish);
        }
    }

    /// An agent of the node lives.
    pub(crate) fn lives(&mut self, node: NodeIndex) {
        self.proven.remove(&node);
    }

    /// All of it, for an authority that begins anew with what an earlier one must not forget, and how long each run has held its slots.
    pub(crate) fn told_anew(&self, mut recollections: BTreeMap<GangId, (Recollection, Duration)>) -> Vec<AuthorityInput> {
        let jobs = self.jobs.iter().flat_map(|(gang, wish)| {
            let specification = wish.specification.clone();
            let begun = match recollections.remove(gang) {
                Some((recollection, held)) => AuthorityInput::Resume { specification, recollection, held },
                None => AuthorityInput::Submit(specification),
            };
            std::iter::once(begun).chain(wish.cancelled.then_some(AuthorityInput::Cancel { gang: *gang }))
        });
        let jobs: Vec<_> = jobs.collect();
        let proven = self.proven.iter().map(|node| AuthorityInput::NodeProvenDead { node: *node });
        let cordon = AuthorityInput::Cordon { nodes: self.cordoned };
        std::iter::once(cordon).chain(jobs).chain(proven).chain(self.failed.iter().cloned()).collect()
    }
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
            facts: Facts::default(),
            admitted: BTreeMap::new(),
            reached: BTreeMap::new(),
            sessions: 0,
            arrivals: BTreeMap::new(),
            placements: BTreeMap::new(),
            cordoned: NodeSet::EMPTY,
            full: BTreeMap::new(),
            launches: Launches::default(),
            pods: BTreeSet::new(),
        }
    }
}
