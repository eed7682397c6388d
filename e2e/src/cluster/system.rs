//! Strobe itself in the cluster, as its users install it: by its chart.

use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{applied, kubeconfig, printed, wait};
use crate::programs;

/// The chart, and the release's name.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/strobe");
const RELEASE: &str = "strobe";

/// Names registry and path before the images, where nodes have them under another name than the chart's.
const IMAGES: &str = "STROBE_IMAGES";

/// Names a file with more values for the chart.
const VALUES: &str = "STROBE_VALUES";

/// The namespace of operator and agents.
pub const NAMESPACE: &str = "strobe-system";

/// The operator's workload there.
pub const OPERATOR: &str = "deployment/strobe-operator";

/// The agents'.
pub const AGENT: &str = "daemonset/strobe-agent";

/// The partition of all workers. There is one for all tests: a node is in one partition alone.
pub const PARTITION: &str = "e2e";

/// The tests of one process install once: `kubectl apply` of an object that does not exist yet fails where two do it at the same time.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Installs it where it is not, waits until operator and agents are ready, and makes the partition [`PARTITION`] with its manager. It stays for as long as
/// the cluster does.
///
/// # Errors
/// No cluster is named, or something does not become ready; with what the pods say.
pub fn install() -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    upgrade(&[])?;
    applied(anywhere()?, &partition())?;
    kubectl(&["wait", "--for=condition=Ready", &wait(), &format!("partition/{PARTITION}")])
        .with_context(|| [OPERATOR, AGENT].map(said_by).join("\n"))?;
    *installed = true;
    Ok(())
}

/// Installs the chart, or changes its values, and waits until operator and agents are ready.
///
/// # Errors
/// Helm fails, or something does not become ready; with what the pods say.
pub fn upgrade(values: &[&str]) -> Result<()> {
    let wait = wait();
    let mut arguments = vec!["upgrade", "--install", RELEASE, CHART, "--wait", &wait];
    let partition = format!("test.partition={PARTITION}");
    let registry = std::env::var(IMAGES).ok().map(|registry| format!("images.registry={registry}"));
    let file = std::env::var(VALUES).ok();
    if let Some(file) = &file {
        arguments.extend(["--values", file]);
    }
    for value in [partition.as_str()].into_iter().chain(registry.as_deref()).chain(values.iter().copied()) {
        arguments.extend(["--set", value]);
    }
    helm(&arguments).map(drop).with_context(|| [OPERATOR, AGENT].map(said_by).join("\n"))
}

/// Runs the chart's test.
///
/// # Errors
/// It fails; with what it says.
pub fn test() -> Result<()> {
    helm(&["test", RELEASE, &wait()]).map(drop).with_context(|| said_by("pod/strobe-test"))
}

/// Removes the release, and waits until its objects are gone.
///
/// # Errors
/// Helm fails.
pub fn uninstall() -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *installed = false;
    helm(&["uninstall", RELEASE, "--wait", &wait()])?;
    // The namespace is the last that goes; Helm does not wait for what is in it.
    kubectl(&["wait", "--for=delete", &wait(), &format!("namespace/{NAMESPACE}")]).map(drop)
}

fn partition() -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": PARTITION },
        "spec": { "rows": 4, "quantum": "50ms", "placementTimeout": "20s", "nodeLost": "20s", "dedicated": false },
    })
}

/// Whether each node of the partition has its figures: they come a moment after the partition is ready.
///
/// # Errors
/// kubectl fails.
pub fn shows_its_nodes() -> Result<bool> {
    let nodes = kubectl(&["get", &format!("partition/{PARTITION}"), "--output=jsonpath={.status.nodes}"])?;
    let shown = kubectl(&["get", "partitionnodes", &format!("--field-selector=spec.partition={PARTITION}"), "--output=name"])?;
    Ok(nodes == shown.lines().count().to_string())
}

/// The node of the machine manager, once there is one: the end of a term takes a moment.
///
/// # Errors
/// There is none in time.
pub fn manager() -> Result<String> {
    kubectl(&["wait", "--for=jsonpath={.status.manager}", &wait(), &format!("partition/{PARTITION}")])?;
    kubectl(&["get", &format!("partition/{PARTITION}"), "--output=jsonpath={.status.manager}"])
}

/// The number of the machine manager's term, the last that the operator has written.
///
/// # Errors
/// The partition does not say.
pub fn term() -> Result<u64> {
    let said = kubectl(&["get", &format!("partition/{PARTITION}"), "--output=jsonpath={.status.term}"])?;
    said.parse().with_context(|| format!("the manager's term: {said:?}"))
}

/// How many gangs the partition has.
///
/// # Errors
/// It does not say.
pub fn gangs() -> Result<u64> {
    let said = kubectl(&["get", &format!("partition/{PARTITION}"), "--output=jsonpath={.status.gangs}"])?;
    said.parse().with_context(|| format!("the partition's gangs: {said:?}"))
}

/// The partition's nodes.
///
/// # Errors
/// kubectl fails.
pub fn nodes() -> Result<Vec<String>> {
    let names = kubectl(&["get", "partitionnodes", "--output=jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// The address that other nodes reach a node at.
///
/// # Errors
/// kubectl fails.
pub fn address(node: &str) -> Result<String> {
    kubectl(&["get", &format!("node/{node}"), "--output=jsonpath={.status.addresses[?(@.type=='InternalIP')].address}"])
}

/// The node of the operator that leads.
///
/// # Errors
/// None does.
pub fn leader() -> Result<String> {
    let pod = kubectl(&["--namespace", NAMESPACE, "get", "lease/strobe-operator", "--output=jsonpath={.spec.holderIdentity}"])?;
    kubectl(&["--namespace", NAMESPACE, "get", &format!("pod/{pod}"), "--output=jsonpath={.spec.nodeName}"])
}

/// Waits until operator and agents are as many as they shall be, and ready.
///
/// # Errors
/// They do not come to that; with what the pods say.
pub fn settle() -> Result<()> {
    for workload in [OPERATOR, AGENT] {
        kubectl(&["--namespace", NAMESPACE, "rollout", "status", &wait(), workload]).with_context(|| said_by(workload))?;
    }
    Ok(())
}

/// Changes the partition's spec.
///
/// # Errors
/// The API server refuses it.
pub fn change_partition(spec: &Value) -> Result<()> {
    let patch = json!({ "spec": spec }).to_string();
    kubectl(&["patch", "partition", PARTITION, "--type=merge", "--patch", &patch]).map(drop)
}

/// What a workload's pods have said.
#[must_use]
pub fn said_by(workload: &str) -> String {
    kubectl(&["--namespace", NAMESPACE, "logs", "--all-pods", "--prefix", "--tail=50", workload]).unwrap_or_else(|error| error.to_string())
}

/// What kubectl prints when it succeeds, with all rights and in no namespace.
///
/// # Errors
/// No cluster is named, or kubectl fails; with what it complains of.
pub fn kubectl(arguments: &[&str]) -> Result<String> {
    printed(anywhere()?, arguments)
}

/// `kubectl` with all rights and in no namespace.
fn anywhere() -> Result<Command> {
    program("kubectl")
}

fn helm(arguments: &[&str]) -> Result<String> {
    let mut helm = program("helm")?;
    // What it keeps for itself belongs to no user.
    for kept in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(kept, std::env::temp_dir().join("strobe-helm"));
    }
    printed(helm, arguments)
}

/// A program that finds the cluster.
fn program(name: &str) -> Result<Command> {
    let program = programs::find_or_installed(name).with_context(|| format!("no {name}: run `cargo xtask e2e`"))?;
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig()?);
    Ok(command)
}
