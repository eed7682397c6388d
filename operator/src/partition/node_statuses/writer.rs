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

/// Whose the object of a node is.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Us,
    Another,
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
            for (name, node) in all.iter().filter(|(name, node)| self.written.get(*name) != Some(*node)).collect::<Vec<_>>() {
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
            // Between two writes of the same node lies at least this.
            tokio::time::sleep(NODE_SAID_AGAIN).await;
        }
    }

    /// A node whose agent is not reached may have gone to another partition: that one's object is left alone.
    async fn write(&self, name: &str, node: &Said) -> Result<(), kube::Error> {
        let is_ours = self.written.get(name).is_some_and(|written| written.reached) && node.reached;
        if !is_ours {
            let holder = if node.reached { Holder::Nobody } else { self.holder(name).await? };
            match holder {
                Holder::Nobody => self.take(name).await?,
                Holder::Us => {}
                Holder::Another => return Ok(()),
            }
        }
        self.write_status(name, &node.status).await
    }

    async fn holder(&self, name: &str) -> Result<Holder, kube::Error> {
        let found = self.nodes.get_opt(name).await?;
        Ok(found.map_or(Holder::Nobody, |found| {
            let is_owned = found.owner_references().iter().any(|owner| owner.uid == self.owner.uid);
            if is_owned { Holder::Us } else { Holder::Another }
        }))
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
