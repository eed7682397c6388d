//! Writes `PartitionNode` objects, beside the partition's loop: what has changed, and of each node at most once in some seconds.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use strobe_crds::API_VERSION;
use strobe_crds::partition_node::{PartitionNode, PartitionNodeStatus};
use tokio::sync::watch;

use super::{AllSaid, Said};
use crate::controller::MANAGER;
use crate::limits::NODE_SAID_AGAIN;

/// See the module.
pub(super) struct Writer {
    nodes: Api<PartitionNode>,
    /// The partition, with which its nodes go.
    owner: OwnerReference,
    partition: String,
    /// What was written last of each node, by this writer.
    written: BTreeMap<String, Said>,
}

// === impl Writer ===

impl Writer {
    pub(super) const fn new(nodes: Api<PartitionNode>, owner: OwnerReference, partition: String) -> Self {
        Self { nodes, owner, partition, written: BTreeMap::new() }
    }

    /// Works until nobody says anything any more. What could not be written is tried again with what is said next.
    pub(super) async fn run(mut self, mut said: watch::Receiver<AllSaid>) {
        while said.changed().await.is_ok() {
            let all = AllSaid::clone(&said.borrow_and_update());
            self.write_changed(&all).await;
            // Between two writes of the same node lies at least this.
            tokio::time::sleep(NODE_SAID_AGAIN).await;
        }
    }

    async fn write_changed(&mut self, all: &BTreeMap<String, Said>) {
        let changed: Vec<_> = all.iter().filter(|(name, node)| self.written.get(*name) != Some(*node)).collect();
        for (name, node) in changed {
            match self.write(name, node).await {
                Ok(()) => {
                    self.written.insert(name.clone(), node.clone());
                }
                Err(error) => {
                    self.written.remove(name);
                    tracing::warn!(node = name, error = &error as &dyn std::error::Error, "a PartitionNode is not written yet");
                }
            }
        }
    }

    async fn write(&self, name: &str, node: &Said) -> Result<(), kube::Error> {
        let is_ours = self.written.get(name).is_some_and(|written| written.reached) && node.reached;
        if is_ours || self.claim(name, node.reached).await? {
            self.write_status(name, &node.status).await?;
        }
        Ok(())
    }

    /// Whether the object of a node is this partition's, which it is made to be where there is none, or where the node's agent is reached
    /// here. A node whose agent is not may have gone to another partition: that one's object is left alone.
    async fn claim(&self, name: &str, reached: bool) -> Result<bool, kube::Error> {
        let found = if reached { None } else { self.nodes.get_opt(name).await? };
        match found {
            Some(found) => Ok(found.owner_references().iter().any(|owner| owner.uid == self.owner.uid)),
            None => self.take(name).await.map(|()| true),
        }
    }

    /// Makes the object, or takes it over from the partition to which the node belonged before.
    async fn take(&self, name: &str) -> Result<(), kube::Error> {
        let object = json!({
            "apiVersion": API_VERSION, "kind": "PartitionNode",
            "metadata": { "name": name, "ownerReferences": [self.owner] },
            "spec": { "partition": self.partition },
        });
        self.nodes.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await.map(drop)
    }

    async fn write_status(&self, name: &str, status: &PartitionNodeStatus) -> Result<(), kube::Error> {
        let status = PartitionNodeStatus { measured: Some(Time(now())), ..status.clone() };
        let object = json!({ "apiVersion": API_VERSION, "kind": "PartitionNode", "metadata": {}, "status": status });
        self.nodes.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await.map(drop)
    }
}

/// To the second, as Kubernetes' times are.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use strobe_crds::partition_node::NodeState;
    use strobe_e2e::api_server::ApiServer;

    use super::*;

    const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated/partition-node.yaml");

    fn writer(nodes: &Api<PartitionNode>, partition: &str) -> Writer {
        let owner = OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: "Partition".to_owned(),
            name: partition.to_owned(),
            uid: format!("uid-of-{partition}"),
            ..OwnerReference::default()
        };
        Writer::new(nodes.clone(), owner, partition.to_owned())
    }

    fn said(state: NodeState) -> BTreeMap<String, Said> {
        let status = PartitionNodeStatus { state: Some(state), ..PartitionNodeStatus::default() };
        BTreeMap::from([("moves".to_owned(), Said { reached: state == NodeState::Reachable, status })])
    }

    /// Which partition the object names, whose it is, and what its status says.
    fn seen(node: &PartitionNode) -> (&str, Vec<&str>, Option<NodeState>) {
        let owners = node.owner_references().iter().map(|owner| owner.name.as_str()).collect();
        (&node.spec.partition, owners, node.status.as_ref().and_then(|status| status.state))
    }

    #[tokio::test]
    async fn a_node_belongs_to_the_partition_that_reaches_its_agent_and_is_written_when_something_has_changed() {
        let Some(server) = ApiServer::shared("a node that moves").await.unwrap() else { return };
        for arguments in [&["apply", "-f", GENERATED][..], &["wait", "--for=condition=Established", "--timeout=60s", "-f", GENERATED]] {
            assert!(server.kubectl().args(arguments).status().unwrap().success(), "kubectl {arguments:?}");
        }
        let nodes: Api<PartitionNode> = Api::all(server.client().await.unwrap());
        let (mut first, mut second) = (writer(&nodes, "first"), writer(&nodes, "second"));
        first.write_changed(&said(NodeState::Reachable)).await;
        let made = nodes.get("moves").await.unwrap();
        assert_eq!(seen(&made), ("first", vec!["first"], Some(NodeState::Reachable)));
        first.write_changed(&said(NodeState::Reachable)).await;
        assert_eq!(nodes.get("moves").await.unwrap().resource_version(), made.resource_version(), "nothing has changed");
        first.write_changed(&said(NodeState::Unreachable)).await;
        assert_eq!(seen(&nodes.get("moves").await.unwrap()).2, Some(NodeState::Unreachable));

        second.write_changed(&said(NodeState::Absent)).await;
        assert_eq!(seen(&nodes.get("moves").await.unwrap()).0, "first", "it is not the second's before its agent is reached there");
        second.write_changed(&said(NodeState::Reachable)).await;
        assert_eq!(seen(&nodes.get("moves").await.unwrap()), ("second", vec!["second"], Some(NodeState::Reachable)));
        first.write_changed(&said(NodeState::Dead)).await;
        assert_eq!(seen(&nodes.get("moves").await.unwrap()), ("second", vec!["second"], Some(NodeState::Reachable)));
    }
}
