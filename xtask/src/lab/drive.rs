//! `cargo xtask lab drive`, and the emulated machine's: what tests do to nodes, which are a Docker's containers, beside asking the API server.
//! They call it by this program's path; what each word means is in `e2e/src/cluster/driver.rs`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;

use super::cluster::{control_plane, node_names};
use crate::limits::API_SERVER_ANSWERS;
use crate::process;

/// For scenarios that take the API server away.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// Where kubelet takes the API server's pod from, and where it does not.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const ASIDE: &str = "/etc/kubernetes/kube-apiserver.yaml.aside";

/// How often the API server is asked whether it answers.
const ASKED: Duration = Duration::from_millis(500);

#[derive(Subcommand, Debug)]
pub(crate) enum Deed {
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

/// How the nodes of a cluster are reached.
pub(crate) struct Hands<'a> {
    /// What can be done to it, in the words of the scenarios.
    pub(crate) capabilities: &'a [&'a str],
    /// Its Docker's client, with these arguments.
    pub(crate) docker: &'a dyn Fn(&[&str]) -> Command,
    /// `kubectl` with all rights.
    pub(crate) kubectl: &'a dyn Fn() -> Command,
    /// What a container's start leaves out that a node needs.
    pub(crate) begun: &'a dyn Fn() -> Result<()>,
}

// === impl Deed ===

impl Deed {
    /// Does it.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn run(&self, hands: &Hands<'_>) -> Result<()> {
        match self {
            Self::Capabilities => {
                println!("{}", hands.capabilities.join("\n"));
                Ok(())
            }
            Self::Shell { node, script } => hands.on_node(node, script),
            Self::PowerOff { node } => hands.container("kill", node),
            Self::PowerOn { node } => {
                hands.container("start", node)?;
                (hands.begun)()
            }
            Self::ApiServerOff | Self::ApiServerOn if !hands.capabilities.contains(&CONTROL_PLANE) => {
                bail!("the API server of this cluster is not a node's: it cannot be taken away")
            }
            Self::ApiServerOff => {
                hands.on_node(&control_plane(), &format!("[ ! -e {MANIFEST} ] || mv {MANIFEST} {ASIDE}"))?;
                wait_for_api_server(hands.kubectl, false)
            }
            Self::ApiServerOn => {
                hands.on_node(&control_plane(), &format!("[ ! -e {ASIDE} ] || mv {ASIDE} {MANIFEST}"))?;
                wait_for_api_server(hands.kubectl, true)
            }
        }
    }
}

// === impl Hands ===

impl Hands<'_> {
    fn on_node(&self, node: &str, script: &str) -> Result<()> {
        check(node)?;
        process::run((self.docker)(&["exec", node, "bash", "-ec", script]))
    }

    /// What a node does not see coming.
    fn container(&self, verb: &str, node: &str) -> Result<()> {
        check(node)?;
        let mut docker = (self.docker)(&[verb, node]);
        docker.stdout(Stdio::null());
        process::run(docker)
    }
}

/// Waits until the API server answers, or does not.
///
/// # Errors
/// kubectl cannot be run, or it is as it was for too long.
pub(crate) fn wait_for_api_server(kubectl: &dyn Fn() -> Command, wanted: bool) -> Result<()> {
    let deadline = Instant::now() + API_SERVER_ANSWERS;
    loop {
        let mut asked = kubectl();
        asked.args(["get", "--raw=/readyz", "--request-timeout=5s"]).stdout(Stdio::null()).stderr(Stdio::null());
        if asked.status().context("run kubectl")?.success() == wanted {
            return Ok(());
        }
        let still = if wanted { "never" } else { "still" };
        ensure!(Instant::now() < deadline, "the API server {still} answers after {API_SERVER_ANSWERS:?}");
        std::thread::sleep(ASKED);
    }
}

/// The Docker may run other containers.
fn check(node: &str) -> Result<()> {
    ensure!(node_names().any(|name| name == node), "{node} is no node of the laboratory");
    Ok(())
}
