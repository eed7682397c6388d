//! What the agents of a test have said, and waiting until it gives an answer.

use std::collections::{BTreeMap, BTreeSet};

use strobe_core::{
    message::PartitionReport,
    model::{EndCause, GangRun, NodeIndex},
    primitives::GangPhase,
};
use strobe_proto::agent::{self, agent_message::Message as FromAgent};

use super::Nodes;
use crate::observe::PATIENCE;

/// What the agents have said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The newest report.
    pub(crate) report: Option<PartitionReport>,
    /// The newest figures of each node, and how many came.
    pub(crate) figures: BTreeMap<u16, (u64, agent::Figures)>,
    /// What ranks said as they called MPI_Abort.
    pub(crate) last_words: Vec<String>,
    /// How far the files are that were asked for.
    pub(super) stagings: BTreeMap<String, agent::FileStaging>,
    /// The newest request.
    pub(super) request: u64,
    /// Why gangs were switched.
    pub(crate) causes: BTreeSet<agent::SwitchCause>,
    /// Epochs that thawed a gang.
    pub(super) switches: u64,
}

impl Heard {
    /// What is told of a file at the end.
    pub(crate) fn staged(&self, name: &str) -> Option<&agent::FileStaging> {
        self.stagings.get(name).filter(|staging| !matches!(staging.state, Some(agent::file_staging::State::Stored(_))))
    }

    /// Bytes of a file that every node has written, while that goes on.
    pub(crate) fn stored(&self, name: &str) -> Option<u64> {
        match self.stagings.get(name)?.state {
            Some(agent::file_staging::State::Stored(stored)) => Some(stored),
            _ => None,
        }
    }

    /// The phase of a gang in the newest report.
    pub(crate) fn phase(&self, run: GangRun) -> Option<GangPhase> {
        self.report.as_ref()?.gangs.iter().find(|gang| gang.run == run).map(|gang| gang.phase)
    }

    /// How a gang has ended.
    pub(crate) fn ended(&self, run: GangRun) -> Option<EndCause> {
        match self.phase(run)? {
            GangPhase::Ended(cause) => Some(cause),
            GangPhase::Launching | GangPhase::Released | GangPhase::Ending(_) => None,
        }
    }

    pub(super) fn take(&mut self, node: NodeIndex, message: FromAgent) {
        match message {
            FromAgent::Report(report) => self.report = Some(PartitionReport::try_from(report).expect("a report can be read")),
            FromAgent::Figures(figures) => {
                self.switches += figures.samples.iter().filter(|sample| is_turn(sample)).count() as u64;
                self.causes.extend(figures.samples.iter().map(agent::SwitchSample::cause));
                let count = self.figures.get(&node.0).map_or(0, |(count, _)| *count);
                self.figures.insert(node.0, (count + 1, figures));
            }
            FromAgent::Hello(_) | FromAgent::Leaving(_) => {}
            // Agents say again what became of earlier ones.
            FromAgent::Staging(staging) if staging.request < self.request => {}
            FromAgent::Staging(staging) => drop(self.stagings.insert(staging.name.clone(), staging)),
            FromAgent::RankAborted(aborted) => self.last_words.push(aborted.message),
            FromAgent::LaunchFailed(failure) => panic!("launch failed: {failure:?}"),
        }
    }
}

/// True for an epoch that thawed a gang.
fn is_turn(sample: &agent::SwitchSample) -> bool {
    !sample.thaw.is_empty() && matches!(sample.cause(), agent::SwitchCause::Epoch | agent::SwitchCause::Receipt)
}

impl Nodes {
    /// Waits until what the agents have said gives an answer.
    pub(crate) async fn wait_for<T>(&mut self, what: &str, answer: impl Fn(&Heard) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(answer) = answer(&self.heard) {
                    return answer;
                }
                let (node, message) = self.said.recv().await.expect("agents speak");
                self.heard.take(node, message);
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(answer) => answer,
            Err(_) => panic!("{what}: not in {PATIENCE:?}; heard so far: {:#?}", self.heard.report),
        }
    }

    /// Waits until the agents have told of so many switches that thawed a gang.
    pub(crate) async fn wait_for_switches(&mut self, least: u64) {
        self.wait_for("the gangs are switched", |heard| (heard.switches >= least).then_some(())).await;
    }

    /// Waits until an agent has sent so many figures after all that came until now: it has lived on for a while.
    pub(crate) async fn wait_for_figures(&mut self, node: u16, count: u64) -> agent::Figures {
        while let Ok((from, message)) = self.said.try_recv() {
            self.heard.take(from, message);
        }
        let before = self.heard.figures.get(&node).map_or(0, |(count, _)| *count);
        let newer = |heard: &Heard| heard.figures.get(&node).filter(|(now, _)| *now >= before + count).map(|(_, figures)| figures.clone());
        self.wait_for("the agent sends figures", newer).await
    }
}
