//! The operator's program at a real API server: the option that gangs are groups of pods too, where the server serves them and where not.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::cluster::{ACCOUNT, Cluster, WAIT, until};
use super::lives::{partition, pod};

/// The chart's value for it.
const VALUE: &str = "podGroups=true";

/// The operator's.
const OPTION: [&str; 1] = ["--pod-groups"];

impl Cluster {
    /// The Partitions of which events say that the option is ignored, and what they say.
    fn ignored(&self) -> Vec<(String, String)> {
        let events = self.run(&["get", "events.events.k8s.io", "--field-selector=reason=PodGroupsIgnored", "--output=json"]);
        let events: Value = serde_json::from_str(&events).unwrap();
        let field = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of = |event: &Value| {
            assert_eq!((event["type"].as_str(), &event["series"]), (Some("Warning"), &Value::Null), "{event}");
            (field(event, "/regarding/kind") + "/" + &field(event, "/regarding/name"), field(event, "/note"))
        };
        let mut found: Vec<_> = events["items"].as_array().unwrap().iter().map(of).collect();
        found.sort();
        found
    }

    /// The group that an operator has made for the first life of a job's gang.
    fn create_group(&self, job: &Value) {
        self.create(&json!({
            "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup",
            "metadata": { "name": "sor-1", "namespace": "default", "labels": { "strobe.dev/job-uid": job["metadata"]["uid"] } },
            "spec": { "schedulingPolicy": { "gang": { "minCount": 1 } } },
        }));
    }

    /// Waits until that is being deleted, and lets it go as the controller would that sees no pod of it.
    fn group_goes(&self) {
        until("the group is deleted", || {
            !self.run(&["get", "podgroup", "sor-1", "--output=jsonpath={.metadata.deletionTimestamp}"]).is_empty()
        });
        self.run(&["patch", "podgroup", "sor-1", "--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#]);
        self.run(&["wait", WAIT, "--for=delete", "podgroup/sor-1"]);
    }

    /// Ends the gangs as `helm uninstall` does, with the option.
    fn withdraw(&self) {
        let mut withdrawing = Command::new(env!("CARGO_BIN_EXE_strobe-operator"));
        withdrawing.args(["--namespace", "strobe-system", "withdraw"]).args(OPTION);
        assert!(withdrawing.env("KUBECONFIG", self.server().kubeconfig()).status().unwrap().success());
    }

    fn may(&self, verb: &str, resource: &str) -> bool {
        let asked = ["auth", "can-i", verb, resource, "--all-namespaces", "--as", ACCOUNT];
        self.server().kubectl().args(asked).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

#[tokio::test]
async fn where_groups_of_pods_are_not_served_the_option_is_ignored_and_each_partition_told_so_once() {
    let Some(cluster) = Cluster::start("an ignored option").await else { return };
    cluster.create(&partition("fast"));
    let is_led = |name: &str| cluster.wait(&format!("partition/{name}"), ".status.conditions[?(@.type==\"Ready\")].reason", "NoNodes");
    let operator = cluster.operator();
    is_led("fast");
    drop(operator);
    let operator = cluster.operator_with(&OPTION);
    until("the Partition is told", || !cluster.ignored().is_empty());
    let said = "the API server does not serve PodGroup in scheduling.k8s.io/v1alpha2: gangs are placed by gates and affinity alone";
    let of = |name: &str| (format!("Partition/{name}"), said.to_owned());
    assert_eq!(cluster.ignored(), [of("fast")], "by the operator with the option, and not by the one before");
    cluster.create(&partition("slow"));
    is_led("slow");
    until("the other is told too", || cluster.ignored().len() > 1);
    assert_eq!(cluster.ignored(), [of("fast"), of("slow")]);
    drop(operator);
    // There are no groups to be removed, which keeps nobody from uninstalling it.
    cluster.withdraw();
}

#[tokio::test]
async fn the_operator_has_rights_to_groups_of_pods_only_with_the_option() {
    let test = "rights to groups of pods";
    let Some(cluster) = Cluster::start_with_pod_groups(test).await else { return };
    let groups = "podgroups.scheduling.k8s.io";
    let verbs = ["get", "list", "watch", "create", "delete", "update", "patch", "deletecollection"];
    let granted = || verbs.into_iter().filter(|verb| cluster.may(verb, groups)).collect::<Vec<_>>();
    assert_eq!(granted(), [""; 0]);
    if !cluster.install_rights(test, VALUE) {
        return;
    }
    until("the server follows", || cluster.may("delete", groups));
    assert_eq!(granted(), ["get", "list", "watch", "create", "delete"]);
    assert!(!cluster.may("get", "workloads.scheduling.k8s.io"));
}

#[tokio::test]
async fn the_group_of_a_life_goes_with_it_and_no_partition_is_told_that_the_option_is_ignored() {
    let test = "the group of a life";
    let Some(cluster) = Cluster::start_with_pod_groups(test).await else { return };
    if !cluster.install_rights(test, VALUE) {
        return;
    }
    let (fast, sor) = cluster.with_a_gang();
    cluster.create_group(&sor);
    let mut member = pod(&sor, &fast, "worker");
    member["spec"]["schedulingGroup"] = json!({ "podGroupName": "sor-1" });
    cluster.create(&member);
    let _operator = cluster.operator_with(&OPTION);
    cluster.wait("pj/sor", ".status.reason", "NodeUnreachable");
    assert_eq!(cluster.run(&["get", "podgroup", "sor-1", "--output=jsonpath={.metadata.deletionTimestamp}"]), "", "its gang has not ended");
    cluster.run(&["delete", "node", "worker"]);
    cluster.wait("pj/sor", ".status.state", "Failed");
    cluster.group_goes();
    assert_eq!(cluster.ignored(), []);
}

#[tokio::test]
async fn groups_go_before_the_operator_is_uninstalled() {
    let Some(cluster) = Cluster::start_with_pod_groups("groups go before").await else { return };
    let (_, sor) = cluster.with_a_gang();
    cluster.create_group(&sor);
    let mut other = json!({ "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup" });
    other["metadata"] = json!({ "name": "other", "namespace": "default" });
    other["spec"] = json!({ "schedulingPolicy": { "basic": {} } });
    cluster.create(&other);
    cluster.withdraw();
    cluster.group_goes();
    let left = cluster.run(&["get", "podgroup", "other", "--output=jsonpath={.metadata.deletionTimestamp}"]);
    assert_eq!(left, "", "that of nobody's gang stays");
}
