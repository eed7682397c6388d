//! The lives of gangs that hold slots, and which agents were told to start them: told again whenever it may be lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AgentIncarnation, GangRun, GangState, NodeIncarnation, NodeIndex, NodePlacement};

/// See the module.
#[derive(Debug, Default)]
pub struct Launches {
    runs: BTreeMap<GangRun, Launch>,
    /// Lives that are over, told to an agent after its next figures: those have their last CPU times.
    over: BTreeMap<NodeIndex, BTreeSet<GangRun>>,
}

#[derive(Debug)]
struct Launch {
    placement: Vec<NodePlacement>,
    told: BTreeMap<NodeIndex, AgentIncarnation>,
}

impl Launches {
    /// A gang shall be started. Gives its nodes.
    pub fn begin(&mut self, run: GangRun, placement: Vec<NodePlacement>) -> Vec<NodeIndex> {
        let nodes = placement.iter().map(|part| part.node).collect();
        self.runs.entry(run).or_insert(Launch { placement, told: BTreeMap::new() });
        nodes
    }

    /// A life is over: its agents shall forget it.
    pub fn end(&mut self, run: GangRun) {
        let Some(launch) = self.runs.remove(&run) else { return };
        for part in launch.placement {
            self.over.entry(part.node).or_default().insert(run);
        }
    }

    /// The lives that an agent may forget, after its figures.
    #[must_use]
    pub fn take_over(&mut self, node: NodeIndex) -> BTreeSet<GangRun> {
        self.over.remove(&node).unwrap_or_default()
    }

    /// True when every agent was told what to forget.
    #[must_use]
    pub fn nothing_over(&self, reached: &BTreeSet<NodeIndex>) -> bool {
        self.over.keys().all(|node| !reached.contains(node))
    }

    /// True for a life that holds slots.
    #[must_use]
    pub fn holds(&self, run: GangRun) -> bool {
        self.runs.contains_key(&run)
    }

    /// The lives that an agent in a new session is to be told of, by the state of each whose part may live there ([`Authority::part`]).
    ///
    /// The same life of an agent may be told again: a repetition changes nothing. A new life of an agent is told only
    /// while the gang's ranks wait for their release: released ranks whose supervisor was not adopted are dead, and must
    /// not begin again beside those of other nodes. No agent is told of a part that was proven dead, even of one that it was
    /// never told of: its pod may not have begun before its node died, and must not when the node is back.
    ///
    /// [`Authority::part`]: super::Authority::part
    pub fn due(&self, agent: NodeIncarnation, adopted: &[GangRun], part: impl Fn(GangRun) -> Option<GangState>) -> Vec<GangRun> {
        let is_due = |(run, launch): &(&GangRun, &Launch)| {
            let here = launch.placement.iter().any(|part| part.node == agent.node);
            let Some(state) = part(**run).filter(|_| here) else { return false };
            let waits = matches!(state, GangState::Placed | GangState::Launching);
            launch.told.get(&agent.node).is_none_or(|told| *told == agent.incarnation || waits && !adopted.contains(run))
        };
        self.runs.iter().filter(is_due).map(|(run, _)| *run).collect()
    }

    /// Notes that an agent is told to start its part of a gang. Gives the placement, and whether this life of the agent is told for the
    /// first time; none when the gang's life is over.
    pub fn tell(&mut self, agent: NodeIncarnation, run: GangRun) -> Option<(&[NodePlacement], bool)> {
        let launch = self.runs.get_mut(&run)?;
        let first = launch.told.insert(agent.node, agent.incarnation) != Some(agent.incarnation);
        Some((&launch.placement, first))
    }

    /// Where a gang's life is placed, while it holds slots.
    #[must_use]
    pub fn placement(&self, run: GangRun) -> Option<&[NodePlacement]> {
        self.runs.get(&run).map(|launch| launch.placement.as_slice())
    }
}
