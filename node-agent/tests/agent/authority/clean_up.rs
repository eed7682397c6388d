//! The end of a test: nothing of its run may be left, and nothing is, however it ends.

use std::time::Duration;

use strobe_core::model::{GangRun, NodeIndex, PartitionUid};
use strobe_node_agent::cgroup::{CgroupPath, CgroupTree};
use strobe_proto::agent::{self, authority_message::Message};

use super::{Agent, Nodes};
use crate::observe::{Ranks, eventually, processes_naming};

impl Nodes {
    /// The rank cgroup of a gang on a node.
    pub(crate) fn ranks(&self, run: GangRun, node: u16) -> Ranks {
        Ranks::of(&format!("{}/gang-{run}", cgroup_path(self.partition, NodeIndex(node))))
    }

    /// Fails unless nothing of the run is left: no supervisor and no cgroup.
    pub(crate) async fn assert_nothing_left(&self) {
        let folder = self.folder.path().to_owned();
        eventually("no process of the run is left", || processes_naming(&folder).is_empty()).await;
        let cgroups: Vec<_> = (0..self.agents.len()).map(|node| format!("{}/node-{node}", run_cgroup(self.partition))).collect();
        eventually("no cgroup of the run is left", || cgroups.iter().all(|path| !Ranks::of(path).exists())).await;
    }

    /// Ends the agents; each must leave by itself, and nothing may be left.
    pub(crate) async fn stop(mut self) {
        self.say_to_living(&Message::Shutdown(agent::Shutdown {})).await;
        for node in 0..self.agents.len() {
            let status = self.wait_for_agent(u16::try_from(node).expect("few nodes"));
            assert!(status.success(), "an agent left with {status}");
        }
        self.assert_nothing_left().await;
    }
}

impl Drop for Nodes {
    /// A failed test leaves no cgroup.
    fn drop(&mut self) {
        let agents = self.agents.drain(..).count();
        for process in processes_naming(self.folder.path()) {
            // It may have ended since it was looked for.
            let _gone = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        let Ok(tree) = CgroupTree::find() else { return };
        for node in 0..u16::try_from(agents).expect("few nodes") {
            if self.options.in_cluster {
                self.kubelet(node).clean_up();
            }
            let parent = CgroupPath::parse(&cgroup_path(self.partition, NodeIndex(node))).expect("a path of our own");
            for leftover in tree.leftovers(&parent).unwrap_or_default() {
                leftover.remove(Duration::from_secs(10)).expect("a rank cgroup of the test can be removed");
            }
            tree.remove_unused(&parent, &CgroupPath::root()).expect("an empty cgroup of the test can be removed");
        }
    }
}

pub(super) fn cgroup_path(partition: PartitionUid, node: NodeIndex) -> String {
    format!("{}/node-{node}", run_cgroup(partition))
}

/// Below the cgroup that a recipe has made for its tests, or below the root.
fn run_cgroup(partition: PartitionUid) -> String {
    format!("{}/strobe-test-{:x}", std::env::var("STROBE_CGROUP").unwrap_or_default(), partition.0)
}

impl Drop for Agent {
    /// A failed test leaves no agent: its supervisors end their ranks when the test's process is gone.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.process.kill().expect("an own child can be killed");
            self.process.wait().expect("a killed child can be waited for");
        }
    }
}
