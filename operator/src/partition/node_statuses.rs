//! The nodes of the partition as `PartitionNode` objects: what the authority knows of each, and what its agent measures.
//!
//! The partition's loop only puts together what is to be said; a task of its own writes it ([`writer`]).

mod measured;
mod spread;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{Api, Resource as _};
use kube::{Client, ResourceExt as _};
use strobe_core::authority::NodeState as Core;
use strobe_core::model::{Instant, NodeIncarnation, NodeIndex};
use strobe_crds::cpu_list::CpuList;
use strobe_crds::partition::Partition as Object;
use strobe_crds::partition_node::{NodeRow, NodeState, PartitionNodeStatus};
use strobe_proto::agent::{AgentHello, Figures};
use tokio::sync::watch;

use super::Partition;
use super::kept::KeptNode;
use crate::limits::SAID_AGAIN;
use measured::Measured;
use spread::Spread;
use writer::Writer;

/// What is to be said of a node.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    /// True while its agent is reached here: then the node is this partition's, whoever had it before.
    reached: bool,
    status: PartitionNodeStatus,
}

/// What is to be said of all nodes, by their names.
type AllSaid = Arc<BTreeMap<String, Said>>;

/// See the module.
pub(super) struct NodeStatuses {
    measured: BTreeMap<NodeIndex, Measured>,
    spread: Spread,
    said: watch::Sender<AllSaid>,
    /// When it is put together again.
    due: Instant,
}

// === impl NodeStatuses ===

impl NodeStatuses {
    /// Of a partition, whose objects are written for as long as this value lives.
    pub(super) fn new(client: Client, partition: &Object) -> Self {
        let (said, hears) = watch::channel(AllSaid::default());
        if let Some(owner) = partition.owner_ref(&()) {
            tokio::spawn(Writer::new(Api::all(client), owner, partition.name_any()).run(hears));
        }
        Self { measured: BTreeMap::new(), spread: Spread::default(), said, due: Instant::from_nanoseconds(0) }
    }

    /// An agent has said who it is.
    pub(super) fn greeted(&mut self, now: Instant, agent: NodeIncarnation, hello: &AgentHello) {
        let known = self.measured.entry(agent.node).or_insert_with(|| Measured::new(now, agent.incarnation));
        known.greeted(now, agent.incarnation, hello);
    }

    /// An agent tells what it has measured; `members` nodes are strobed.
    pub(super) fn measured(&mut self, now: Instant, agent: NodeIncarnation, figures: &Figures, members: usize) {
        let Some(known) = self.measured.get_mut(&agent.node) else { return };
        known.take(now, figures);
        let timed = figures.samples.iter().filter_map(|sample| measured::lateness(sample).map(|late| ((sample.term, sample.epoch), late)));
        for (epoch, late) in timed {
            for (node, behind) in self.spread.take(epoch, agent.node, late, members) {
                if let Some(known) = self.measured.get_mut(&node) {
                    known.behind(behind);
                }
            }
        }
    }
}

impl Partition {
    /// What an agent has measured of its node.
    pub(super) fn node_measured(&mut self, agent: NodeIncarnation, figures: &Figures) {
        let (now, members) = (self.now(), self.members().len());
        self.node_statuses.measured(now, agent, figures, members);
    }

    /// Says what is known of the nodes. Whether it is written is the writer's business.
    pub(super) fn publish_nodes(&mut self) {
        let now = self.now();
        if now < self.node_statuses.due {
            return;
        }
        self.node_statuses.due = now + SAID_AGAIN;
        let kept = self.keeper.kept();
        // Of machines that had the same name the last one is meant: it has the highest number.
        let all = kept.nodes.iter().map(|node| (node.name.clone(), self.known(now, node))).collect();
        self.node_statuses.said.send_replace(Arc::new(all));
    }

    fn known(&self, now: Instant, node: &KeptNode) -> Said {
        let agent = self.contacts.agent(node.index);
        let list = CpuList::of(node.cpus.iter().map(|cpu| cpu.0));
        let figures = self.node_statuses.measured.get(&node.index).filter(|_| agent.is_some());
        let status = PartitionNodeStatus {
            number: node.index.0,
            state: self.authority.node_state(node.index).map(state),
            member: self.members().iter().any(|member| member.node == node.index),
            manager: self.leading().is_some_and(|record| record.manager.node == node.index),
            incarnation: agent.map(|agent| agent.incarnation.0),
            cpu_count: list.as_ref().map_or(0, |list| u32::try_from(list.len()).unwrap_or(u32::MAX)),
            cpus: list.map(|list| list.to_string()),
            address: Some(node.address.to_string()),
            rows: self.rows_of(node.index),
            figures: figures.and_then(|measured| measured.figures(now, node.cpus.len())),
            measured: None,
        };
        Said { reached: agent.is_some(), status }
    }

    /// What each row holds on a node.
    fn rows_of(&self, node: NodeIndex) -> Vec<NodeRow> {
        let row = |row: u8| {
            let gangs = self.authority.plan().gangs.iter().filter(|gang| gang.rows.iter().any(|held| held.0 == row));
            let parts = gangs.flat_map(|gang| gang.placement.iter().filter(|part| part.node == node));
            parts.fold(NodeRow::default(), |row, part| NodeRow {
                gangs: row.gangs + 1,
                used_slots: row.used_slots + u32::try_from(part.cpus.len()).unwrap_or(u32::MAX),
            })
        };
        (0..self.valid.rows).map(row).collect()
    }
}

/// The core's word for a state, in the resource's.
const fn state(state: Core) -> NodeState {
    match state {
        Core::Absent => NodeState::Absent,
        Core::Reachable => NodeState::Reachable,
        Core::Unreachable => NodeState::Unreachable,
        Core::Dead => NodeState::Dead,
        Core::Lost => NodeState::Lost,
    }
}
