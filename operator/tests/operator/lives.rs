//! The operator's program at a real API server: what it does about nodes that live or not, and about Partitions that go. There are no agents here: gangs are
//! those of an earlier operator, as it has kept them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use strobe_core::authority::{RecalledRun, Recollection};
use strobe_core::model::{CpuIndex, GangId, GangIncarnation, NodeIndex, NodePlacement, NodeSet, RankIndex, RowIndex};

use super::cluster::{Cluster, WAIT, until};

impl Cluster {
    /// An earlier operator has launched the gang of the job `sor`, alone on the node `worker` of the Partition `fast`.
    pub(super) fn with_a_gang(&self) -> (Value, Value) {
        let fast = self.create(&partition("fast"));
        let worker = self.create(&node("worker", "fast"));
        let sor = self.create(&job("sor", "fast"));
        self.keep(&fast, &worker, Some(&sor));
        (fast, sor)
    }

    /// What an operator would have kept of a gang of that job, alone on that node.
    fn keep(&self, partition: &Value, node: &Value, job: Option<&Value>) {
        let gangs: Vec<Value> = job.iter().map(|job| kept_gang(job)).collect();
        let nodes = json!([{
            "index": 0, "name": node["metadata"]["name"], "uid": node["metadata"]["uid"], "address": "127.0.0.1:9",
            "cpus": [0], "memory_bytes": 0, "boots": ["b1"],
        }]);
        let kept = json!({ "nodes": nodes, "term": null, "rows": 4, "gangs": gangs });
        let name = format!("strobe-partition-{}", partition["metadata"]["uid"].as_str().unwrap());
        self.create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "strobe-system" },
            "data": { "authority.json": kept.to_string() },
        }));
    }

    fn taints(&self, node: &str) -> BTreeSet<String> {
        let node: Value = serde_json::from_str(&self.run(&["get", "node", node, "--output=json"])).unwrap();
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().map(|taint| format!("{}={}", taint["key"].as_str().unwrap(), taint["value"].as_str().unwrap_or_default())).collect()
    }
}

fn kept_gang(job: &Value) -> Value {
    let uid = job["metadata"]["uid"].as_str().unwrap();
    let digits: String = uid.chars().filter(|character| *character != '-').take(16).collect();
    let placement = NodePlacement { node: NodeIndex(0), cpus: [CpuIndex(0)].into_iter().collect(), first_rank: RankIndex(0), ranks: 1 };
    let recollection = Recollection {
        gang: GangId(u64::from_str_radix(&digits, 16).unwrap()),
        incarnation: GangIncarnation(1),
        restarts: 0,
        preemptions: 0,
        unplaced: BTreeMap::new(),
        active: Duration::ZERO,
        run: Some(RecalledRun { home: RowIndex(0), placement: vec![placement], dead: NodeSet::EMPTY }),
        ended: None,
    };
    json!({
        "job": { "namespace": "default", "name": job["metadata"]["name"], "uid": uid },
        "recollection": recollection, "admitted": 0,
    })
}

pub(super) fn partition(name: &str) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": name },
        "spec": { "nodeSelector": { "of": name }, "heartbeat": "50ms", "suspicion": "200ms", "watchdog": "300ms", "nodeLost": "300ms" },
    })
}

fn node(name: &str, partition: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "of": partition } } })
}

fn job(name: &str, partition: &str) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "partition": partition, "nodes": 1,
            "template": { "spec": { "containers": [{ "name": "rank", "image": "any", "command": ["sor"] }] } },
        },
    })
}

/// A pod of the first life of a job's gang, as it is bound.
pub(super) fn pod(job: &Value, partition: &Value, node: &str) -> Value {
    let name = job["metadata"]["name"].as_str().unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{name}-1-0"), "namespace": "default", "labels": {
            "strobe.dev/job": name, "strobe.dev/job-uid": job["metadata"]["uid"], "strobe.dev/incarnation": "1",
            "batch.kubernetes.io/job-completion-index": "0", "strobe.dev/partition-uid": partition["metadata"]["uid"],
        } },
        "spec": { "nodeName": node, "containers": [{ "name": "rank", "image": "any" }] },
    })
}

/// A cluster with a gang of an earlier operator, its Partition and its job. There is no pod of it yet.
async fn with_a_gang(test: &str) -> Option<(Cluster, Value, Value)> {
    let cluster = Cluster::start(test).await?;
    let (fast, sor) = cluster.with_a_gang();
    Some((cluster, fast, sor))
}

#[tokio::test]
async fn a_partition_is_held_says_how_it_is_and_goes_at_once_when_it_has_no_gangs() {
    let Some(cluster) = Cluster::start("a_partition_is_held").await else { return };
    cluster.create(&partition("fast"));
    let _operator = cluster.operator();
    cluster.wait("partition/fast", ".metadata.finalizers[0]", "strobe.dev/gangs");
    cluster.run(&["wait", WAIT, "--for=condition=Ready=false", "partition/fast"]);
    cluster.wait("partition/fast", ".status.conditions[?(@.type==\"Ready\")].reason", "NoNodes");
    cluster.run(&["delete", WAIT, "partition", "fast"]);
}

#[tokio::test]
async fn a_dedicated_partitions_nodes_have_its_taint_while_they_are_in_it() {
    let Some(cluster) = Cluster::start("a_dedicated_partitions_nodes").await else { return };
    let fast = cluster.create(&partition("fast"));
    let worker = cluster.create(&node("worker", "fast"));
    cluster.run(&["taint", "node", "worker", "gpu=present:NoSchedule"]);
    cluster.keep(&fast, &worker, None);
    let _operator = cluster.operator();
    let ours = |value: &str| cluster.wait("node/worker", ".spec.taints[?(@.key==\"strobe.dev/partition\")].value", value);
    ours("fast");
    assert!(cluster.taints("worker").contains("gpu=present"), "those of others stay");
    let without = |change: &[&str]| {
        cluster.run(change);
        until(&format!("the taint is gone after kubectl {change:?}"), || !cluster.taints("worker").contains("strobe.dev/partition=fast"));
    };
    without(&["label", "--overwrite", "node", "worker", "of=nobody"]);
    cluster.run(&["label", "--overwrite", "node", "worker", "of=fast"]);
    ours("fast");
    without(&["patch", "partition", "fast", "--type=merge", "--patch", r#"{"spec":{"dedicated":false}}"#]);
    cluster.run(&["patch", "partition", "fast", "--type=merge", "--patch", r#"{"spec":{"dedicated":true}}"#]);
    ours("fast");
    without(&["delete", WAIT, "partition", "fast"]);
    assert!(cluster.taints("worker").contains("gpu=present"));
}

#[tokio::test]
async fn partitions_and_nodes_are_let_go_before_the_operator_is_uninstalled() {
    let Some(cluster) = Cluster::start("partitions_and_nodes_are_let_go").await else { return };
    let fast = cluster.create(&partition("fast"));
    let worker = cluster.create(&node("worker", "fast"));
    cluster.keep(&fast, &worker, None);
    let operator = cluster.operator();
    cluster.wait("partition/fast", ".metadata.finalizers[0]", "strobe.dev/gangs");
    cluster.wait("node/worker", ".spec.taints[?(@.key==\"strobe.dev/partition\")].value", "fast");
    drop(operator);
    let mut withdrawing = Command::new(env!("CARGO_BIN_EXE_strobe-operator"));
    let withdrawn =
        withdrawing.args(["--namespace", "strobe-system", "withdraw"]).env("KUBECONFIG", cluster.server().kubeconfig()).status();
    assert!(withdrawn.unwrap().success());
    assert!(!cluster.taints("worker").contains("strobe.dev/partition=fast"));
    cluster.run(&["delete", WAIT, "partition", "fast"]);
}

#[tokio::test]
async fn a_gang_of_a_node_that_does_not_answer_waits_for_proof_and_a_deleted_node_is_one() {
    let Some((cluster, fast, sor)) = with_a_gang("a_gang_of_a_node").await else { return };
    cluster.create(&pod(&sor, &fast, "worker"));
    let _operator = cluster.operator();
    cluster.wait("pj/sor", ".status.reason", "NodeUnreachable");
    cluster.wait("partition/fast", ".status.conditions[?(@.type==\"NodesAnswer\")].reason", "NodesSilent");
    // The job is told after its partition.
    until("the job says what an administrator can do", || {
        let told = cluster.run(&["get", "pj", "sor", "--output=jsonpath={.status.message}"]);
        told.contains("kubectl taint node worker node.kubernetes.io/out-of-service")
    });
    // Nobody is there to end the pod: it hangs until its node is known to be dead.
    cluster.run(&["delete", "pod", "sor-1-0", "--wait=false"]);
    cluster.run(&["delete", "node", "worker"]);
    cluster.wait("pj/sor", ".status.reason", "NodeLost");
    cluster.wait("pj/sor", ".status.state", "Failed");
    cluster.run(&["wait", WAIT, "--for=delete", "pod/sor-1-0"]);
    cluster.wait("partition/fast", ".status.conditions[?(@.type==\"NodesAnswer\")].reason", "NodesAnswer");
}

#[tokio::test]
async fn a_running_job_is_never_told_to_wait_by_an_operator_that_begins_to_lead() {
    let Some((cluster, fast, sor)) = with_a_gang("a_running_job_is_never_told_to_wait").await else { return };
    cluster.create(&pod(&sor, &fast, "worker"));
    let told = json!({ "status": { "state": "Running", "incarnation": 1, "startTime": "2026-01-01T00:00:00Z" } }).to_string();
    cluster.run(&["patch", "pj", "sor", "--subresource=status", "--type=merge", "--patch", &told]);
    let _operator = cluster.operator();
    cluster.wait("pj/sor", ".status.reason", "NodeUnreachable");
    assert_eq!(cluster.run(&["get", "pj", "sor", "--output=jsonpath={.status.state} {.status.startTime}"]), "Running 2026-01-01T00:00:00Z");
    // What was told in between would stand in its events.
    cluster.wait("partition/fast", ".status.conditions[?(@.type==\"NodesAnswer\")].reason", "NodesSilent");
    let events = cluster.run(&["get", "events", "--namespace=default", "--output=jsonpath={.items[*].reason}"]);
    assert!(events.contains("NodeUnreachable") && !events.contains("PartitionNot"), "{events}");
}

#[tokio::test]
async fn a_gang_whose_pod_was_taken_while_no_operator_was_there_waits_again_and_was_not_restarted() {
    let Some((cluster, _, _)) = with_a_gang("a_gang_whose_pod_was_taken").await else { return };
    let _operator = cluster.operator();
    cluster.wait("pj/sor", ".status.state", "Terminating");
    cluster.run(&["taint", "node", "worker", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"]);
    cluster.wait("pj/sor", ".status.preemptions", "1");
    cluster.wait("pj/sor", ".status.state", "Queued");
    cluster.wait("pj/sor", ".status.restarts", "0");
}

#[tokio::test]
async fn a_partition_that_is_deleted_waits_for_its_gangs_and_takes_no_other() {
    let Some((cluster, fast, sor)) = with_a_gang("a_partition_that_is_deleted").await else { return };
    cluster.create(&pod(&sor, &fast, "worker"));
    let _operator = cluster.operator();
    cluster.wait("partition/fast", ".metadata.finalizers[0]", "strobe.dev/gangs");
    cluster.wait("pj/sor", ".status.reason", "NodeUnreachable");
    cluster.run(&["delete", "partition", "fast", "--wait=false"]);
    cluster.wait("partition/fast", ".status.conditions[?(@.type==\"Terminating\")].reason", "GangsHoldSlots");
    let told = cluster.run(&["get", "partition", "fast", "--output=jsonpath={.status.conditions[?(@.type==\"Terminating\")].message}"]);
    assert!(told.contains("default/sor"), "{told}");
    cluster.create(&job("late", "fast"));
    cluster.wait("pj/late", ".status.reason", "PartitionNotReady");
    let told = cluster.run(&["get", "pj", "late", "--output=jsonpath={.status.message}"]);
    assert!(told.contains("being deleted"), "{told}");
    cluster.run(&["delete", "node", "worker"]);
    cluster.run(&["wait", WAIT, "--for=delete", "partition/fast"]);
    cluster.wait("pj/sor", ".status.state", "Failed");
}
