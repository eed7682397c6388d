//! What the agents measure, added up over nodes and over the lives of their agents.

use std::collections::BTreeMap;

use strobe_core::model::{AgentIncarnation, NodeIncarnation, NodeIndex};
use strobe_proto::agent::{AgentHello, Counters, Figures, SwitchCause, SwitchSample};

use super::{
    histogram::Histogram,
    limits::SHOWN_EPOCH,
    skew::{Act, Skew},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Statistics {
    nodes: BTreeMap<NodeIndex, NodeStatistics>,
    skew: Skew,
    switch: Histogram,
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct NodeStatistics {
    /// The newest life of its agent.
    pub agent: AgentIncarnation,
    /// How its gangs are stopped; none until its agent has said who it is.
    pub freezer: Option<String>,
    /// How its strobe thread is scheduled; none until its agent has said who it is.
    pub scheduler: Option<String>,
    /// Its agent's state.
    pub state: String,
    /// The row that it ran in the epoch that is shown, see [`SHOWN_EPOCH`]; none when idle.
    pub row: Option<u32>,
    /// Largest error bound of its clock estimate, in nanoseconds.
    pub clock_bound: u64,
    /// Largest resident size of its agent.
    pub resident_bytes: u64,
    /// Samples that its agent had no room for.
    pub samples_dropped: u64,
    /// Of the newest life.
    counters: Counters,
    cpu_seconds: f64,
    /// Of earlier lives together.
    earlier: Counters,
    earlier_cpu_seconds: f64,
}

impl Statistics {
    /// For that many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        let indices = (0..nodes).filter_map(|index| u16::try_from(index).ok()).map(NodeIndex);
        Self {
            nodes: indices.map(|node| (node, NodeStatistics::default())).collect(),
            skew: Skew::new(nodes),
            switch: Histogram::default(),
        }
    }

    /// An agent has said who it is.
    pub(super) fn hello(&mut self, agent: NodeIncarnation, hello: &AgentHello) {
        let node = self.nodes.entry(agent.node).or_default();
        if node.agent != agent.incarnation {
            add(&mut node.earlier, &std::mem::take(&mut node.counters));
            node.earlier_cpu_seconds += std::mem::take(&mut node.cpu_seconds);
            node.agent = agent.incarnation;
        }
        (node.freezer, node.scheduler) = (Some(hello.freezer.clone()), Some(hello.scheduler.clone()));
    }

    /// An agent's figures.
    pub(super) fn take(&mut self, agent: NodeIncarnation, figures: &Figures) {
        let node = self.nodes.entry(agent.node).or_default();
        node.counters = figures.counters.unwrap_or_default();
        node.cpu_seconds = figures.agent_cpu_seconds;
        node.state.clone_from(&figures.state);
        node.clock_bound = node.clock_bound.max(figures.clock_bound_nanoseconds);
        node.resident_bytes = node.resident_bytes.max(figures.agent_resident_bytes);
        node.samples_dropped += figures.samples_dropped;
        let epochs = figures.samples.iter().filter(|sample| is_epoch(sample));
        if let Some(last) = epochs.clone().next_back() {
            let shown = epochs.clone().rfind(|sample| sample.epoch % SHOWN_EPOCH == 0).unwrap_or(last);
            node.row = last.row.and(shown.row);
        }
        epochs.for_each(|sample| self.take_sample(sample));
    }

    fn take_sample(&mut self, sample: &SwitchSample) {
        let timed = sample.due.is_some();
        self.skew.take(Act { epoch: (sample.term, sample.epoch), begin: sample.acted, end: sample.thawed, timed });
        if !sample.freeze.is_empty() || !sample.thaw.is_empty() {
            self.switch.record(sample.thawed.saturating_sub(sample.acted));
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        self.skew.finish();
    }

    /// The nodes.
    pub(super) const fn nodes(&self) -> &BTreeMap<NodeIndex, NodeStatistics> {
        &self.nodes
    }

    /// How far apart nodes act.
    pub(super) const fn skew(&self) -> &Skew {
        &self.skew
    }

    /// How long switches take, from the act to the last thaw.
    pub(super) const fn switch(&self) -> &Histogram {
        &self.switch
    }

    /// Largest error bound of an agent's clock estimate, in microseconds.
    pub(super) fn clock_bound_micros(&self) -> f64 {
        let bound = self.nodes.values().map(|node| node.clock_bound).max().unwrap_or_default();
        std::time::Duration::from_nanos(bound).as_secs_f64() * 1e6
    }

    /// The counters of all nodes together.
    pub(super) fn counters(&self) -> Counters {
        let mut all = Counters::default();
        self.nodes.values().for_each(|node| add(&mut all, &node.counters()));
        all
    }
}

/// False for a switch that had another cause than an epoch: such are no part of the distributions.
fn is_epoch(sample: &SwitchSample) -> bool {
    matches!(sample.cause(), SwitchCause::Epoch | SwitchCause::Receipt)
}

impl NodeStatistics {
    /// Of all lives of its agent together.
    pub(super) fn counters(&self) -> Counters {
        let mut all = self.earlier;
        add(&mut all, &self.counters);
        all
    }

    /// CPU seconds of all lives of its agent together.
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.earlier_cpu_seconds + self.cpu_seconds
    }
}

const fn add(sum: &mut Counters, more: &Counters) {
    sum.strobes += more.strobes;
    sum.late += more.late;
    sum.missed += more.missed;
    sum.stragglers += more.stragglers;
    sum.version_missing += more.version_missing;
    sum.unsynchronised += more.unsynchronised;
    sum.refused += more.refused;
    sum.watchdog_expiries += more.watchdog_expiries;
}

#[cfg(test)]
mod tests {
    use strobe_proto::agent::GangRun;

    use super::*;

    fn agent(incarnation: u64) -> NodeIncarnation {
        NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(incarnation) }
    }

    fn figures(strobes: u64, samples: Vec<SwitchSample>) -> Figures {
        Figures { counters: Some(Counters { strobes, ..Counters::default() }), samples, agent_cpu_seconds: 1.0, ..Figures::default() }
    }

    #[test]
    fn counters_of_one_life_replace_each_other_and_those_of_two_add_up() {
        let mut statistics = Statistics::new(1);
        statistics.hello(agent(1), &AgentHello::default());
        statistics.take(agent(1), &figures(3, Vec::new()));
        statistics.take(agent(1), &figures(5, Vec::new()));
        statistics.hello(agent(1), &AgentHello::default());
        assert_eq!(statistics.counters().strobes, 5);
        statistics.hello(agent(2), &AgentHello::default());
        statistics.take(agent(2), &figures(2, Vec::new()));
        assert_eq!(statistics.counters().strobes, 7);
        assert!((statistics.nodes()[&NodeIndex(0)].cpu_seconds() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn every_row_is_shown_in_turn_though_agents_tell_of_an_even_number_of_epochs() {
        let mut statistics = Statistics::new(1);
        let sample = |epoch, row| SwitchSample { cause: SwitchCause::Epoch.into(), term: 1, epoch, row, ..SwitchSample::default() };
        let mut shown = |samples| {
            statistics.take(agent(1), &figures(0, samples));
            statistics.nodes()[&NodeIndex(0)].row
        };
        let rows =
            [0, 10, 20, 30, 40].map(|first| shown((first..first + 10).map(|epoch| sample(epoch, Some((epoch % 2) as u32))).collect()));
        assert_eq!(rows, [Some(0), Some(1), Some(1), Some(0), Some(1)]);
        assert_eq!(shown(Vec::new()), Some(1), "nothing new");
        assert_eq!(shown(vec![sample(41, Some(0))]), Some(0), "the last");
        assert_eq!(shown(vec![sample(51, Some(1)), sample(52, None)]), None, "idle");
    }

    #[test]
    fn only_epochs_that_changed_something_are_switches() {
        let mut statistics = Statistics::new(1);
        let cause = SwitchCause::Epoch.into();
        let sample = |epoch, thaw| SwitchSample { cause, term: 1, epoch, acted: 1_000, thawed: 51_000, thaw, ..SwitchSample::default() };
        let run = GangRun { gang: 1, incarnation: 1 };
        let hold = SwitchSample { cause: SwitchCause::Hold.into(), ..sample(0, vec![run]) };
        statistics.take(agent(1), &figures(2, vec![sample(1, vec![run]), sample(2, Vec::new()), hold]));
        assert_eq!((statistics.switch().count(), statistics.skew().epochs()), (1, 2));
        assert!((statistics.switch().figures().max - 50.0).abs() < 0.2);
    }
}
