//! Strobe itself in the cluster, as its users install it: the custom resources, the operator and the agents.

use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LABORATORY, WAIT, applied, printed};
use crate::programs;

/// What is installed, from the top of the checkout.
const MANIFESTS: [&str; 3] = ["crds/generated", "deploy/operator.yaml", "deploy/agent.yaml"];

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
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for manifest in MANIFESTS {
        kubectl(&["apply", "--server-side", "--filename", &format!("{root}/{manifest}")])?;
    }
    for workload in ["deployment/strobe-operator", "daemonset/strobe-agent"] {
        let ready = kubectl(&["--namespace=strobe-system", "rollout", "status", WAIT, workload]);
        ready.with_context(|| said_by(workload))?;
    }
    applied(anywhere()?, &partition())?;
    *installed = true;
    Ok(())
}

fn partition() -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": PARTITION },
        "spec": { "rows": 4, "quantum": "50ms", "dedicated": false },
    })
}

/// Kills the operator's process, and waits until another is there.
///
/// # Errors
/// None comes.
pub fn kill_operator() -> Result<()> {
    kill("app.kubernetes.io/name=strobe-operator", &[])?;
    kubectl(&["--namespace=strobe-system", "rollout", "status", WAIT, "deployment/strobe-operator"]).map(|_| ())
}

/// Kills the process of a node's agent, and waits until all agents are ready again.
///
/// # Errors
/// None comes.
pub fn kill_agent(node: &str) -> Result<()> {
    kill("app.kubernetes.io/name=strobe-agent", &[&format!("--field-selector=spec.nodeName={node}")])?;
    kubectl(&["--namespace=strobe-system", "rollout", "status", WAIT, "daemonset/strobe-agent"]).map(|_| ())
}

/// Without a grace: kubelet kills what is there.
fn kill(label: &str, chosen: &[&str]) -> Result<()> {
    let label = format!("--selector={label}");
    let delete = ["--namespace=strobe-system", "delete", "pod", "--grace-period=0", "--force", "--wait=true", &label];
    kubectl(&[&delete[..], chosen].concat()).map(|_| ())
}

/// What a workload's pods have said.
#[must_use]
pub fn said_by(workload: &str) -> String {
    kubectl(&["--namespace=strobe-system", "logs", "--all-pods", "--prefix", "--tail=50", workload])
        .unwrap_or_else(|error| error.to_string())
}

/// What kubectl prints when it succeeds, with all rights and in no namespace.
fn kubectl(arguments: &[&str]) -> Result<String> {
    printed(anywhere()?, arguments)
}

/// `kubectl` with all rights and in no namespace.
fn anywhere() -> Result<Command> {
    let kubeconfig = std::env::var_os(LABORATORY).with_context(|| format!("{LABORATORY} names no cluster: run `cargo xtask lab test`"))?;
    let program = programs::find("kubectl").context("no kubectl: run `cargo xtask lab test`")?;
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig);
    Ok(command)
}
