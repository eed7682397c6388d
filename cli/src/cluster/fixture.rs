//! Objects for tests.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use strobe_crds::{ParallelJob, Partition, PartitionNode};

/// A minute and a half after every object was made.
pub(super) const NOW: Timestamp = Timestamp::constant(1_767_225_690, 0);

const MADE: &str = "2026-01-01T00:00:00Z";

/// A job of two nodes with two ranks of two CPUs each.
pub(super) fn job(namespace: &str, name: &str, status: &Value) -> ParallelJob {
    let mut object = json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob",
        "metadata": { "name": name, "namespace": namespace, "uid": format!("uid-{name}"), "creationTimestamp": MADE },
        "spec": {
            "partition": "main", "nodes": 2, "ranksPerNode": 2, "cpusPerRank": 2,
            "template": { "spec": { "containers": [{ "name": "rank", "image": "sor", "command": ["sor"] }] } },
        },
    });
    if !status.is_null() {
        object["status"] = status.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// A partition of two rows.
pub(super) fn partition(name: &str, selector: &Value) -> Partition {
    serde_json::from_value(json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": name },
        "spec": { "rows": 2, "nodeSelector": selector }, "status": { "manager": "a", "term": 3 },
    }))
    .unwrap()
}

/// A node of the partition `main`.
pub(super) fn partition_node(name: &str, status: &Value) -> PartitionNode {
    serde_json::from_value(json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "PartitionNode", "metadata": { "name": name, "creationTimestamp": MADE },
        "spec": { "partition": "main" }, "status": status,
    }))
    .unwrap()
}

/// A pod of a job's first life, on a node or nowhere yet.
pub(super) fn pod(job: &str, index: u32, node: Option<&str>, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": format!("{job}-1-{index}"), "namespace": "physics", "labels": {
            "strobe.dev/job-uid": format!("uid-{job}"), "strobe.dev/incarnation": "1",
            "batch.kubernetes.io/job-completion-index": index.to_string(),
        } },
        "spec": { "containers": [{ "name": "rank" }], "nodeName": node }, "status": status,
    }))
    .unwrap()
}

/// A node with labels.
pub(super) fn node(name: &str, labels: &Value) -> Node {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels, "creationTimestamp": MADE } })).unwrap()
}
