//! What a life of a gang has made of its slots, as the agents of its nodes measure it.

use std::collections::BTreeMap;

use strobe_core::model::{AgentIncarnation, NodeIncarnation, NodeIndex};
use strobe_proto::agent::GangFigures;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<NodeIndex, OnNode>);

/// On one node: what its agent tells counts from the beginning of the agent's life.
#[derive(Debug)]
struct OnNode {
    agent: AgentIncarnation,
    newest: Seconds,
    /// Of the agent's earlier lives.
    earlier: Seconds,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seconds {
    /// CPU time of all ranks there.
    cpu: f64,
    /// In which they were commanded thawed.
    thawed: f64,
}

// === impl Used ===

impl Used {
    /// Takes what an agent tells.
    pub(super) fn take(&mut self, agent: NodeIncarnation, figures: &GangFigures) {
        let NodeIncarnation { node, incarnation } = agent;
        let told = Seconds { cpu: figures.commanded_cpu_seconds, thawed: figures.thawed_seconds };
        let begun = OnNode { agent: incarnation, newest: Seconds::default(), earlier: Seconds::default() };
        let known = self.0.entry(node).or_insert(begun);
        if known.agent != incarnation {
            known.earlier = known.earlier.plus(known.newest);
            known.agent = incarnation;
        }
        known.newest = told;
    }

    /// CPU time used, of that of so many slots on each node while the ranks were thawed there; none while they never were.
    pub(super) fn efficiency(&self, slots: u32) -> Option<f64> {
        let all = self.0.values().fold(Seconds::default(), |all, node| all.plus(node.earlier).plus(node.newest));
        (all.thawed > 0.0).then(|| all.cpu / (all.thawed * f64::from(slots)))
    }
}

// === impl Seconds ===

impl Seconds {
    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, thawed: self.thawed + other.thawed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(node: u16, incarnation: u64) -> NodeIncarnation {
        NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) }
    }

    fn told(cpu: f64, thawed: f64) -> GangFigures {
        // What ranks used while their agent was away is not counted: nobody knows for how long they were thawed.
        GangFigures { cpu_seconds: cpu + 1000.0, commanded_cpu_seconds: cpu, thawed_seconds: thawed, ..GangFigures::default() }
    }

    /// In whole per cent, of two slots a node.
    fn percent(used: &Used) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "these are few")]
        used.efficiency(2).map(|part| (part * 100.0).round() as u32)
    }

    #[test]
    fn time_in_which_the_ranks_were_frozen_does_not_count() {
        let mut used = Used::default();
        assert_eq!(percent(&used), None);
        used.take(agent(0, 1), &told(0.0, 0.0));
        assert_eq!(percent(&used), None, "they are held until they are released");
        used.take(agent(0, 1), &told(6.0, 5.0));
        assert_eq!(percent(&used), Some(60));
        used.take(agent(1, 1), &told(10.0, 5.0));
        assert_eq!(percent(&used), Some(80), "16 of 20 CPU seconds on two nodes");
    }

    #[test]
    fn what_was_measured_by_an_earlier_life_of_an_agent_counts_further() {
        let mut used = Used::default();
        used.take(agent(0, 1), &told(10.0, 5.0));
        used.take(agent(0, 2), &told(1.0, 2.0));
        used.take(agent(0, 2), &told(5.0, 5.0));
        assert_eq!(percent(&used), Some(75));
    }
}
