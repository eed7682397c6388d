//! Which partition a node belongs to: the one whose selector its labels match, or else the one that selects nothing.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

use crate::partition::Partition;

/// The taint of nodes that run the cluster itself: they belong to a partition only where their labels are asked for.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// The partitions that lay claim to a node. It belongs to one where there is exactly one.
#[must_use]
pub fn claimants<'a>(node: &Node, partitions: impl IntoIterator<Item = &'a Partition>) -> Vec<&'a Partition> {
    let labels = node.labels();
    let matches = |partition: &&Partition| partition.spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let (open, stated): (Vec<_>, Vec<_>) =
        partitions.into_iter().filter(matches).partition(|partition| partition.spec.node_selector.is_empty());
    let runs_cluster = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == CONTROL_PLANE);
    if !stated.is_empty() {
        stated
    } else if runs_cluster {
        Vec::new()
    } else {
        open
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn partition(name: &str, selector: &Value) -> Partition {
        serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": name }, "spec": { "nodeSelector": selector },
        }))
        .unwrap()
    }

    fn node(labels: &Value, taint: Option<&str>) -> Node {
        let taints: Vec<_> = taint.into_iter().map(|key| json!({ "key": key, "effect": "NoSchedule" })).collect();
        serde_json::from_value(json!({ "metadata": { "name": "n", "labels": labels }, "spec": { "taints": taints } })).unwrap()
    }

    fn names(claimants: &[&Partition]) -> Vec<String> {
        claimants.iter().map(|partition| partition.name_any()).collect()
    }

    #[test]
    fn a_node_belongs_to_who_selects_it_before_who_selects_nothing() {
        let partitions = [partition("fast", &json!({ "net": "ib" })), partition("rest", &json!({}))];
        let of = |node: &Node| names(&claimants(node, &partitions));
        assert_eq!(of(&node(&json!({ "net": "ib" }), None)), ["fast"]);
        assert_eq!(of(&node(&json!({ "net": "ether" }), None)), ["rest"]);
        assert_eq!(of(&node(&json!({}), Some(CONTROL_PLANE))), [""; 0]);
        assert_eq!(of(&node(&json!({ "net": "ib" }), Some(CONTROL_PLANE))), ["fast"], "it was asked for by its label");
    }

    #[test]
    fn all_that_select_a_node_are_named() {
        let partitions = [partition("a", &json!({ "x": "1" })), partition("b", &json!({ "y": "2" }))];
        assert_eq!(names(&claimants(&node(&json!({ "x": "1", "y": "2" }), None), &partitions)), ["a", "b"]);
        assert_eq!(names(&claimants(&node(&json!({}), None), &partitions)), [""; 0]);
    }
}
