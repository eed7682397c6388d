//! Strobe itself in the cluster, as its users install it: by its chart.

use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LABORATORY, WAIT, applied, printed};
use crate::programs;

/// The chart, and the release's name.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/strobe");
const RELEASE: &str = "strobe";

/// The namespace of operator and agents.
pub const NAMESPACE: &str = "strobe-system";

/// The operator's workload there.
pub const OPERATOR: &str = "deployment/strobe-operator";

/// The agents'.
pub const AGENT: &str = "daemonset/strobe-agent";

/// How long Helm waits.
const HELM_WAIT: &str = "--timeout=180s";

/// The partition of all workers. There is one for all tests: a node is in one partition alone.
pub const PARTITION: &str = "laboratory";

/// The tests of one process install once: `kubectl apply` of an object that does not exist yet fails where two do it at the same time.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Installs it where it is not, waits until operator and agents are ready, and makes the partition [`PARTITION`]. It stays for as long as
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
    *installed = true;
    Ok(())
}

/// Installs the chart, or changes its values, and waits until operator and agents are ready.
///
/// # Errors
/// Helm fails, or something does not become ready; with what the pods say.
pub fn upgrade(values: &[&str]) -> Result<()> {
    let mut arguments = vec!["upgrade", "--install", RELEASE, CHART, "--wait", HELM_WAIT];
    let partition = format!("test.partition={PARTITION}");
    for value in [partition.as_str()].iter().chain(values) {
        arguments.extend(["--set", value]);
    }
    helm(&arguments).map(drop).with_context(|| [OPERATOR, AGENT].map(said_by).join("\n"))
}

/// Runs the chart's test.
///
/// # Errors
/// It fails; with what it says.
pub fn test() -> Result<()> {
    helm(&["test", RELEASE, HELM_WAIT]).map(drop).with_context(|| said_by("pod/strobe-test"))
}

/// Removes the release, and waits until its objects are gone.
///
/// # Errors
/// Helm fails.
pub fn uninstall() -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *installed = false;
    helm(&["uninstall", RELEASE, "--wait", HELM_WAIT])?;
    // The namespace is the last that goes; Helm does not wait for what is in it.
    kubectl(&["wait", "--for=delete", WAIT, &format!("namespace/{NAMESPACE}")]).map(drop)
}

fn partition() -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": PARTITION },
        "spec": { "rows": 4, "quantum": "50ms", "dedicated": false },
    })
}

/// Kills the operator that leads, and waits until there are as many replicas as before.
///
/// # Errors
/// None leads, or no other replica comes.
pub fn kill_operator() -> Result<()> {
    let leader = kubectl(&["--namespace", NAMESPACE, "get", "lease/strobe-operator", "--output=jsonpath={.spec.holderIdentity}"])?;
    kill("app.kubernetes.io/name=strobe-operator", &[&format!("--field-selector=metadata.name={leader}")])?;
    kubectl(&["--namespace", NAMESPACE, "rollout", "status", WAIT, OPERATOR]).map(drop)
}

/// Kills the process of a node's agent, and waits until all agents are ready again.
///
/// # Errors
/// None comes.
pub fn kill_agent(node: &str) -> Result<()> {
    kill("app.kubernetes.io/name=strobe-agent", &[&format!("--field-selector=spec.nodeName={node}")])?;
    kubectl(&["--namespace", NAMESPACE, "rollout", "status", WAIT, AGENT]).map(drop)
}

/// Without a grace: kubelet kills what is there.
fn kill(label: &str, chosen: &[&str]) -> Result<()> {
    let label = format!("--selector={label}");
    let delete = ["--namespace", NAMESPACE, "delete", "pod", "--grace-period=0", "--force", "--wait=true", &label];
    kubectl(&[&delete[..], chosen].concat()).map(drop)
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
    let kubeconfig = std::env::var_os(LABORATORY).with_context(|| format!("{LABORATORY} names no cluster: run `cargo xtask lab test`"))?;
    let program = programs::find(name).with_context(|| format!("no {name}: run `cargo xtask lab test`"))?;
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig);
    Ok(command)
}
