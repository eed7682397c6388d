//! `cargo xtask lab drive`: what tests do to the laboratory's nodes beside asking the API server. They call it by this program's path; what
//! each word means is in `e2e/src/cluster/driver.rs`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use super::build::Programs;
use super::cluster::{Cluster, control_plane, node_names};
use super::engine::Engine;
use super::state::State;
use super::store::Store;
use crate::limits::API_SERVER_ANSWERS;
use crate::process;
use crate::workspace::Workspace;

/// What the laboratory can. Nothing in it enforces NetworkPolicy objects.
const CAPABILITIES: [&str; 4] = ["node-shell", "node-power", "control-plane", "installation"];

/// Where kubelet takes the API server's pod from, and where it does not.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const ASIDE: &str = "/etc/kubernetes/kube-apiserver.yaml.aside";

/// How often the API server is asked whether it answers.
const ASKED: Duration = Duration::from_millis(500);

#[derive(Subcommand, Debug)]
pub(super) enum Deed {
    /// Print what else can be done
    Capabilities,
    /// Run a script as a node's root
    Shell { node: String, script: String },
    /// Take a node's power
    PowerOff { node: String },
    /// Give it back
    PowerOn { node: String },
    /// Take the API server away until it does not answer
    ApiServerOff,
    /// Give it back until it answers
    ApiServerOn,
}

/// Does it.
///
/// # Errors
/// The laboratory is down, or what was asked for fails.
pub(super) fn run(workspace: &Workspace, deed: &Deed) -> Result<()> {
    if matches!(deed, Deed::Capabilities) {
        println!("{}", CAPABILITIES.join("\n"));
        return Ok(());
    }
    super::kubeconfig()?;
    let store = Store::open()?;
    let state = State::open(&store)?;
    let engine = Engine::new(&store, &state);
    let docker = || if engine.is_running() { engine.docker() } else { Command::new("docker") };
    match deed {
        Deed::Capabilities => Ok(()),
        Deed::Shell { node, script } => on_node(docker(), node, script),
        Deed::PowerOff { node } => container(docker(), "kill", node),
        Deed::PowerOn { node } => {
            container(docker(), "start", node)?;
            if engine.is_running() { engine.give_real_time() } else { Ok(()) }
        }
        Deed::ApiServerOff => {
            on_node(docker(), &control_plane(), &format!("[ ! -e {MANIFEST} ] || mv {MANIFEST} {ASIDE}"))?;
            wait(workspace, &store, &state, false)
        }
        Deed::ApiServerOn => {
            on_node(docker(), &control_plane(), &format!("[ ! -e {ASIDE} ] || mv {ASIDE} {MANIFEST}"))?;
            wait(workspace, &store, &state, true)
        }
    }
}

fn on_node(mut docker: Command, node: &str, script: &str) -> Result<()> {
    check(node)?;
    docker.args(["exec", node, "bash", "-ec", script]);
    process::run(docker)
}

/// What a node does not see coming.
fn container(mut docker: Command, verb: &str, node: &str) -> Result<()> {
    check(node)?;
    docker.args([verb, node]).stdout(Stdio::null());
    process::run(docker)
}

/// The machine's own Docker may run other containers.
fn check(node: &str) -> Result<()> {
    ensure!(node_names().any(|name| name == node), "{node} is no node of the laboratory");
    Ok(())
}

/// Waits until the API server answers, or does not.
fn wait(workspace: &Workspace, store: &Store, state: &State, wanted: bool) -> Result<()> {
    let programs = Programs::kept(workspace, store)?;
    let cluster = Cluster { programs: &programs, state, engine: None };
    let deadline = Instant::now() + API_SERVER_ANSWERS;
    loop {
        let mut kubectl = cluster.kubectl();
        kubectl.args(["get", "--raw=/readyz", "--request-timeout=5s"]).stdout(Stdio::null()).stderr(Stdio::null());
        if kubectl.status().context("run kubectl")?.success() == wanted {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the API server {} answers after {API_SERVER_ANSWERS:?}",
            if wanted { "never" } else { "still" }
        );
        std::thread::sleep(ASKED);
    }
}
