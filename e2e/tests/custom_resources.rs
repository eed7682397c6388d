//! The custom resources at a real API server: what it accepts, refuses and fills in is what `crds` says.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::path::Path;

use kube::core::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use strobe_crds::cases::{Case, break_job, break_partition, good_partitions, job_with, partition_with};
use strobe_crds::rules::parallel_job::ParallelJobRule;
use strobe_crds::rules::partition::PartitionRule;
use strobe_crds::{ParallelJob, Partition};
use strobe_e2e::api_server::ApiServer;
use strobe_e2e::ask::Ask;
use tokio::sync::OnceCell;

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

/// Where the objects of each kind are.
const PARTITIONS: &str = "/apis/strobe.dev/v1alpha1/partitions";
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
    for partition in good_partitions() {
        let stored = Ask::create(PARTITIONS, &partition).dry().accepted(&client).await.unwrap();
        assert_eq!(stored["spec"], with_defaults::<Partition>(&partition)["spec"]);
    }
    let job = job_with(|_| ());
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
async fn kubectl_explains_every_field_of_both_kinds() {
    let Some(server) = server("kubectl explain").await else { return };
    for (field, word) in [
        ("partition.spec.quantum", "quantum <string>"),
        ("partition.spec.suspicion", "suspicion <string>"),
        ("parallelJob.spec.nodes", "nodes <integer>"),
        ("pj.spec.launch.protocol", "ENUM:\n    pmi1\n"),
    ] {
        let said = kubectl(server, &["explain", field]);
        assert!(said.contains(word) && said.contains("DESCRIPTION:"), "{field}: {said}");
    }
    let undocumented = undocumented_fields(&kubectl(server, &["get", "--raw", "/openapi/v3/apis/strobe.dev/v1alpha1"]));
    assert_eq!(undocumented, Vec::<String>::new(), "kubectl explain has nothing to say of these");
}

/// The fields of our kinds that have no description; a pod's template is described by Kubernetes.
fn undocumented_fields(document: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let mut found = Vec::new();
    for kind in ["Partition", "ParallelJob"] {
        let schema = &document["components"]["schemas"][format!("dev.strobe.v1alpha1.{kind}")];
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
}
