//! The nodes of the cluster, as the API server has them: whether they take gangs, and what may prove that nothing runs on them any more.

pub(crate) mod taint;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, ResourceExt as _};

use crate::names::TAINT;
use crate::partitions::Partitions;

/// The taint by which an administrator says that a node is off, and nothing of it runs (Kubernetes' KEP-2268).
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The effect of our own taint: what runs there stays.
pub const TAINT_EFFECT: &str = "NoSchedule";

/// All nodes, by name.
pub type Nodes = BTreeMap<String, NodeFacts>;

/// What counts of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Which machine of its name it is.
    pub uid: String,
    /// Which life of the machine kubelet has reported.
    pub boot_id: Option<String>,
    /// True while kubelet reports that it is ready.
    pub ready: bool,
    /// True when nothing new shall be bound to it.
    pub cordoned: bool,
    /// True when an administrator says that it is off.
    pub out_of_service: bool,
    /// The partition that our taint on it names.
    pub dedicated_to: Option<String>,
    /// The partition that it belongs to.
    pub partition: Option<String>,
}

// === impl NodeFacts ===

impl NodeFacts {
    /// What a node says of itself; which partition it belongs to is for others to say.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        let taints = || spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let boot_id = status.and_then(|status| status.node_info.as_ref()).map(|info| info.boot_id.clone());
        Self {
            uid: node.uid().unwrap_or_default(),
            boot_id: boot_id.filter(|boot_id| !boot_id.is_empty()),
            ready: conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True"),
            cordoned: spec.is_some_and(|spec| spec.unschedulable == Some(true)),
            out_of_service: taints().any(|taint| taint.key == OUT_OF_SERVICE),
            dedicated_to: taints().find(|taint| is_ours(taint)).map(|taint| taint.value.clone().unwrap_or_default()),
            partition: None,
        }
    }
}

/// True for the taint that keeps other pods from a partition's nodes.
#[must_use]
pub fn is_ours(taint: &Taint) -> bool {
    taint.key == TAINT && taint.effect == TAINT_EFFECT
}

/// Tells the partitions which nodes there are, for as long as the process lives.
pub async fn follow(client: Client, partitions: Arc<Partitions>) {
    let (cache, writer) = reflector::store();
    let watched = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff().modify(|node| {
        node.managed_fields_mut().clear();
        if let Some(status) = &mut node.status {
            status.images = None;
        }
    });
    let mut changes = std::pin::pin!(reflector(writer, watched));
    while let Some(change) = changes.next().await {
        match change {
            // A list that has begun does not have them all.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => partitions.see_nodes(cache.state()),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "nodes are not seen for now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_of_a_node_is_read_from_its_object() {
        let bare: Node = serde_json::from_value(json!({ "metadata": { "name": "worker" } })).unwrap();
        assert_eq!(NodeFacts::of(&bare), NodeFacts::default());
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "worker", "uid": "u1" },
            "spec": { "unschedulable": true, "taints": [
                { "key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute" },
                { "key": TAINT, "value": "old", "effect": "PreferNoSchedule" },
                { "key": TAINT, "value": "fast", "effect": "NoSchedule" },
            ] },
            "status": {
                "conditions": [{ "type": "MemoryPressure", "status": "False" }, { "type": "Ready", "status": "True" }],
                "nodeInfo": {
                    "bootID": "b1", "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
                },
            },
        }))
        .unwrap();
        let expected = NodeFacts {
            uid: "u1".to_owned(),
            boot_id: Some("b1".to_owned()),
            ready: true,
            cordoned: true,
            out_of_service: true,
            dedicated_to: Some("fast".to_owned()),
            partition: None,
        };
        assert_eq!(NodeFacts::of(&node), expected);
    }
}
