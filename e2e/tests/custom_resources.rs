//! The custom resources at a real API server: what it accepts, refuses and fills in is what `crds` says.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::path::Path;

use kube::core::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use strobe_crds::cases::{Case, break_job, break_partition, good_partitions, job_with, partition_with};
use strobe_crds::duration::Duration;
use strobe_crds::partition_node::{Distribution, NodeFigures, NodeRow, NodeState, PartitionNodeStatus, StrobeState};
use strobe_crds::rules::parallel_job::ParallelJobRule;
use strobe_crds::rules::partition::PartitionRule;
use strobe_crds::{ParallelJob, Partition, PartitionNode};
use strobe_e2e::api_server::ApiServer;
use strobe_e2e::ask::{Answer, Ask, Change};
use tokio::sync::OnceCell;

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

const KINDS: [&str; 3] = ["Partition", "PartitionNode", "ParallelJob"];

/// Where the objects of each kind are.
const PARTITIONS: &str = "/apis/strobe.dev/v1alpha1/partitions";
const NODES: &str = "/apis/strobe.dev/v1alpha1/partitionnodes";
const JOBS: &str = "/apis/strobe.dev/v1alpha1/namespaces/default/paralleljobs";

/// The shared server, which knows the custom resources.
async fn server(test: &str) -> Option<&'static ApiServer> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let server = ApiServer::shared(test).await.unwrap()?;
    let install = async || {
        // Client-side apply keeps a whole file in an annotation: it must fit there.
        kubectl(server, &["apply", "--server-side=false", "-f", GENERATED]);
        kubectl(server, &["wait", "--for=condition=Established", "--timeout=60s", "-f", GENERATED]);
    };
    INSTALLED.get_or_init(install).await;
    Some(server)
}

/// What kubectl says when it succeeds.
fn kubectl(server: &ApiServer, arguments: &[&str]) -> String {
    let output = server.kubectl().args(arguments).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {arguments:?}: {complained}");
    assert_eq!(complained, "", "kubectl {arguments:?} warns");
    said.into_owned()
}

/// What kubectl says when it fails.
fn kubectl_refuses(server: &ApiServer, arguments: &[&str]) -> String {
    let output = server.kubectl().args(arguments).output().unwrap();
    assert!(!output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The messages of the rules for which an object was refused.
fn messages(status: Status) -> Vec<String> {
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{}", status.message);
    status.details.unwrap().causes.into_iter().map(|cause| cause.message).collect()
}

/// An object as Rust fills it in.
fn with_defaults<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
    let object: T = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(object).unwrap()
}

#[tokio::test]
async fn each_rule_of_a_partition_refuses_with_its_message() {
    let Some(server) = server("rules of a partition").await else { return };
    let client = server.client().await.unwrap();
    for rule in PartitionRule::ALL {
        let ask = Ask::create(PARTITIONS, &break_partition(*rule).new).dry();
        let refused = messages(*ask.refused(&client).await.unwrap());
        assert!(refused.len() == 1 && refused[0].ends_with(&rule.cel().message), "{}: {refused:#?}", rule.name());
    }
}

#[tokio::test]
async fn each_rule_of_a_job_refuses_with_its_message() {
    let Some(server) = server("rules of a job").await else { return };
    let client = server.client().await.unwrap();
    for rule in ParallelJobRule::ALL {
        let Case { old, mut new } = break_job(*rule);
        let ask = match old {
            None => Ask::create(JOBS, &new),
            Some(mut old) => {
                let name = format!("sor-{}", rule.name());
                old["metadata"]["name"] = json!(name);
                new["metadata"] = Ask::create(JOBS, &old).accepted(&client).await.unwrap()["metadata"].take();
                Ask::replace(&format!("{JOBS}/{name}"), &new)
            }
        };
        let refused = messages(*ask.dry().refused(&client).await.unwrap());
        assert!(refused.len() == 1 && refused[0].ends_with(&rule.cel().message), "{}: {refused:#?}", rule.name());
    }
}

#[tokio::test]
async fn nodes_and_template_change_only_while_suspended_without_pods() {
    let Some(server) = server("changes at rest").await else { return };
    let client = server.client().await.unwrap();
    for (name, suspend, pods, refused) in [("rest-1", true, 0, 0), ("rest-2", true, 1, 2), ("rest-3", false, 0, 2)] {
        let job = job_with(|job| {
            job["metadata"]["name"] = json!(name);
            job["spec"]["suspend"] = json!(suspend);
        });
        let mut made = Ask::create(JOBS, &job).accepted(&client).await.unwrap();
        made["status"] = json!({ "pods": pods });
        let mut changed = Ask::replace(&format!("{JOBS}/{name}/status"), &made).accepted(&client).await.unwrap();
        assert_eq!(changed["status"]["pods"], pods, "the status is a resource of its own");
        changed["spec"]["nodes"] = json!(4);
        changed["spec"]["template"]["spec"]["containers"][1]["image"] = json!("other");
        match Ask::replace(&format!("{JOBS}/{name}"), &changed).dry().answer(&client).await.unwrap() {
            Ok(_) => assert_eq!(refused, 0, "{name}"),
            Err(status) => assert_eq!(messages(*status).len(), refused, "{name}"),
        }
    }
}

#[tokio::test]
async fn what_breaks_no_rule_is_stored_with_the_defaults_that_rust_fills_in() {
    let Some(server) = server("defaults").await else { return };
    let client = server.client().await.unwrap();
    // Of names that no other test uses meanwhile.
    let named = |mut object: Value| {
        object["metadata"]["name"] = json!("defaults");
        object
    };
    for partition in good_partitions().into_iter().map(named) {
        let stored = Ask::create(PARTITIONS, &partition).dry().accepted(&client).await.unwrap();
        assert_eq!(stored["spec"], with_defaults::<Partition>(&partition)["spec"]);
    }
    let job = named(job_with(|_| ()));
    let stored = Ask::create(JOBS, &job).dry().accepted(&client).await.unwrap();
    assert_eq!(stored["spec"], with_defaults::<ParallelJob>(&job)["spec"]);
}

#[tokio::test]
async fn kubectl_apply_takes_the_examples_twice_by_both_ways() {
    let Some(server) = server("kubectl apply").await else { return };
    for file in std::fs::read_dir(EXAMPLES).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "yaml") {
            apply_twice(server, &file);
        }
    }
}

fn apply_twice(server: &ApiServer, file: &Path) {
    let file = file.to_str().unwrap();
    kubectl(server, &["apply", "--server-side=false", "-f", file]);
    let again = kubectl(server, &["apply", "--server-side=false", "-f", file]);
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{file}: {again}");
    let taken_over = kubectl(server, &["apply", "--server-side", "-f", file]);
    assert!(taken_over.lines().all(|line| line.ends_with(" serverside-applied")), "{file}: {taken_over}");
    kubectl(server, &["delete", "-f", file]);
}

#[tokio::test]
async fn a_node_is_found_by_its_partition_and_its_status_is_stored_as_rust_writes_it() {
    let Some(server) = server("status of a node").await else { return };
    let client = server.client().await.unwrap();
    for (name, partition) in [("mine", "found"), ("other", "elsewhere")] {
        let node = json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "PartitionNode", "metadata": { "name": name }, "spec": { "partition": partition },
        });
        Ask::create(NODES, &node).accepted(&client).await.unwrap();
    }
    let found = kubectl(server, &["get", "partitionnodes", "--field-selector=spec.partition=found", "-o", "name"]);
    assert_eq!(found, "partitionnode.strobe.dev/mine\n");
    let times = Distribution {
        p50: Duration::from_micros(18),
        p99: Duration::from_micros(83),
        max: std::time::Duration::from_nanos(1_894_500).into(),
    };
    let status = PartitionNodeStatus {
        state: Some(NodeState::Reachable),
        member: true,
        incarnation: Some(u64::try_from(i64::MAX).unwrap()),
        cpus: Some("0-3,8".to_owned()),
        rows: vec![NodeRow { gangs: 1, used_slots: 4 }],
        figures: Some(NodeFigures { strobe: Some(StrobeState::FreeRunning), skew: Some(times), ..NodeFigures::default() }),
        ..PartitionNodeStatus::default()
    };
    let change = json!({ "status": status });
    let stored = Ask::change(&format!("{NODES}/mine/status"), Change::Merge, &change).accepted(&client).await.unwrap();
    assert_eq!(stored["status"], serde_json::to_value(&status).unwrap());
    assert_eq!(serde_json::from_value::<PartitionNode>(stored).unwrap().status, Some(status));
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_named_and_refused() {
    let Some(server) = server("unknown fields").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.json");
    let job = job_with(|job| job["spec"]["ranksPerNod"] = json!(2));
    std::fs::write(&file, job.to_string()).unwrap();
    let refused = kubectl_refuses(server, &["apply", "-f", file.to_str().unwrap()]);
    assert!(refused.contains("unknown field \"spec.ranksPerNod\""), "{refused}");
}

#[tokio::test]
async fn kubectl_explains_every_field_of_every_kind() {
    let Some(server) = server("kubectl explain").await else { return };
    let client = server.client().await.unwrap();
    // What is published follows what is served by a moment.
    let is_published = |document: &Value, kind: &str| document["components"]["schemas"][published(kind)].is_object();
    let wanted = |answer: &Answer| answer.as_ref().is_ok_and(|document| KINDS.iter().all(|kind| is_published(document, kind)));
    let document = Ask::read("/openapi/v3/apis/strobe.dev/v1alpha1").until(&client, wanted).await.unwrap().unwrap();
    for (field, word) in [
        ("partition.spec.quantum", "quantum <string>"),
        ("partition.spec.suspicion", "suspicion <string>"),
        ("parallelJob.spec.nodes", "nodes <integer>"),
        ("pj.spec.launch.protocol", "ENUM:\n    pmi1\n"),
        ("partitionNode.status.figures.skew", "p99\t<string>"),
    ] {
        let said = kubectl(server, &["explain", field]);
        assert!(said.contains(word) && said.contains("DESCRIPTION:"), "{field}: {said}");
    }
    assert_eq!(undocumented_fields(&document), Vec::<String>::new(), "kubectl explain has nothing to say of these");
}

/// What a kind is called where schemas are published.
fn published(kind: &str) -> String {
    format!("dev.strobe.v1alpha1.{kind}")
}

/// The fields of our kinds that have no description; a pod's template is described by Kubernetes.
fn undocumented_fields(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for kind in KINDS {
        let schema = &document["components"]["schemas"][published(kind)];
        assert!(schema["properties"]["spec"].is_object(), "{kind} is published");
        for part in ["spec", "status"] {
            collect_undocumented(&format!("{kind}.{part}"), &schema["properties"][part], &mut found);
        }
    }
    found
}

fn collect_undocumented(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if path.ends_with(".template") {
            continue;
        }
        if field["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        collect_undocumented(&path, field, found);
        collect_undocumented(&path, &field["items"], found);
    }
}

#[tokio::test]
async fn kubectl_get_shows_what_is_worth_a_column() {
    let Some(server) = server("kubectl get").await else { return };
    let client = server.client().await.unwrap();
    let mut partition = partition_with(&json!({}));
    partition["metadata"]["name"] = json!("columns");
    Ask::create(PARTITIONS, &partition).accepted(&client).await.unwrap();
    let job = job_with(|job| job["metadata"]["name"] = json!("columns"));
    Ask::create(JOBS, &job).accepted(&client).await.unwrap();
    let columns = |arguments: &[&str]| {
        let table = kubectl(server, arguments);
        table.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(columns(&["get", "partition"]), ["NAME", "NODES", "ROWS", "QUANTUM", "POLICY", "GANGS", "AGE"]);
    let job = ["NAME", "STATE", "READY", "ROW", "SHARE", "RESTARTS", "AGE"];
    assert_eq!(columns(&["get", "paralleljobs"]), job);
    let wide = ["PRIORITY", "QUANTUM", "CPU-EFF", "START", "REASON"];
    assert_eq!(columns(&["get", "pj", "-o", "wide"]), [&job[..], &wide[..]].concat());
    assert_eq!(columns(&["get", "partition", "-o", "wide"])[7..], ["MANAGER", "TERM"]);
    let node = json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "PartitionNode", "metadata": { "name": "columns" }, "spec": { "partition": "columns" },
    });
    Ask::create(NODES, &node).accepted(&client).await.unwrap();
    let node = ["NAME", "PARTITION", "STATE", "CPUS", "MEMBER", "MANAGER", "CPU-EFF", "SKEW-P99", "AGE"];
    assert_eq!(columns(&["get", "partitionnodes"]), node);
    let wide = ["SWITCH-P99", "CLOCK-ERROR", "STRAGGLERS", "ADDRESS", "MEASURED"];
    assert_eq!(columns(&["get", "partitionnodes", "-o", "wide"])[node.len()..], wide);
}
