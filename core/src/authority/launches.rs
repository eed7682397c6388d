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

#[cfg(test)]
mod tests {
    use crate::model::{CpuSet, GangId, GangIncarnation, RankIndex};

    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

    fn agent(incarnation: u64) -> NodeIncarnation {
        NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(incarnation) }
    }

    fn launches(told: Option<u64>) -> Launches {
        let mut launches = Launches::default();
        launches.begin(RUN, vec![NodePlacement { node: NodeIndex(0), cpus: CpuSet::default(), first_rank: RankIndex(0), ranks: 1 }]);
        let launch = launches.runs.get_mut(&RUN).unwrap();
        launch.told = told.into_iter().map(|incarnation| (NodeIndex(0), AgentIncarnation(incarnation))).collect();
        launches
    }

    #[test]
    fn a_restarted_agent_starts_only_gangs_that_wait_and_were_not_adopted() {
        let due = |told, adopted: &[GangRun], state| !launches(told).due(agent(2), adopted, |_| Some(state)).is_empty();
        assert!(due(None, &[], GangState::Running), "it was never told");
        assert!(due(Some(2), &[], GangState::Running), "this life was told: a repetition");
        assert!(due(Some(1), &[], GangState::Placed));
        assert!(!due(Some(1), &[RUN], GangState::Placed), "its supervisor lives");
        assert!(!due(Some(1), &[], GangState::Running), "its ranks had been released");
    }

    #[test]
    fn nobody_is_told_of_a_part_that_is_dead() {
        assert_eq!(launches(None).due(agent(2), &[], |_| None), []);
        assert_eq!(launches(Some(2)).due(agent(2), &[], |_| None), []);
    }

    #[test]
    fn lives_that_are_over_are_told_once() {
        let mut launches = launches(Some(1));
        launches.end(RUN);
        launches.end(RUN);
        assert!(!launches.holds(RUN) && !launches.nothing_over(&BTreeSet::from([NodeIndex(0)])));
        assert!(launches.nothing_over(&BTreeSet::new()), "a node that is not reached is not waited for");
        assert_eq!(launches.take_over(NodeIndex(0)), BTreeSet::from([RUN]));
        assert_eq!(launches.take_over(NodeIndex(0)), BTreeSet::new());
    }
}
