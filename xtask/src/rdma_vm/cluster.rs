//! `cargo xtask rdma-vm cluster`: kind in the machine. Its kernel has cgroup v2 alone, and its Docker and kubelets take systemd's driver, as
//! most clusters of today do and the laboratory, where the machine decides, may not.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use super::control_plane::ControlPlane;
use super::files::Files;
use super::monitor::Monitor;
use super::shell::Shell;
use crate::images;
use crate::lab::drive::{Deed, Hands};
use crate::lab::step::step;
use crate::lab::{self, IMPORT, Ingredients};
use crate::limits::{RDMA_VM_CLUSTER, RDMA_VM_CLUSTER_MEMORY_MIB, RDMA_VM_COMMAND};
use crate::process;
use crate::workspace::Workspace;

/// The folder in the machine, and in it: kind, its file for clients, and the note that the cluster is whole.
const FOLDER: &str = "/opt/cgroup-v2";
const KIND: &str = "/opt/cgroup-v2/kind";
const KUBECONFIG: &str = "/opt/cgroup-v2/kubeconfig";
const COMPLETE: &str = "/opt/cgroup-v2/complete";

/// Where the API server listens.
pub(super) const PORT: u16 = 6443;

/// The node that kind makes for the control plane, which [`control_plane`](super::control_plane) takes out of it; and the nodes that stay,
/// with the CPU that each one's ranks may have.
pub(super) const CONTROL_PLANE: &str = "strobe-control-plane";
const WORKERS: [(&str, &str); 2] = [("strobe-worker", "0"), ("strobe-worker2", "1")];

/// What scenarios can have done to it. Its API server is no node's.
const CAPABILITIES: [&str; 3] = ["node-shell", "node-power", "installation"];

/// A cluster in the machine, there or not.
struct Cluster<'a> {
    files: Files,
    shell: Shell,
    ingredients: &'a Ingredients,
}

/// Makes the cluster in the machine, which must be up, or finds it; gives its nodes the images that are built now.
///
/// # Errors
/// The machine is not up, has no Docker or too little memory, or what a step says.
pub(super) fn make(workspace: &Workspace) -> Result<ExitCode> {
    let shell = Shell::of_this_user()?;
    let files = Files::of_this_user()?;
    let _lock = files.lock()?;
    let shape = files.running()?.context("the machine is not up")?;
    let hint = format!("`cargo xtask rdma-vm up --containers --memory {RDMA_VM_CLUSTER_MEMORY_MIB}` starts one for a cluster");
    ensure!(shell.output(&["docker", "info"]).is_ok(), "the machine has no Docker: {hint}");
    ensure!(shape.memory_mib >= RDMA_VM_CLUSTER_MEMORY_MIB, "the machine has too little memory: {hint}");
    let ingredients = lab::ingredients(workspace)?;
    let archives = images::for_users(workspace)?;
    let cluster = Cluster { files, shell, ingredients: &ingredients };
    // Not by an exit status, which a lost connection has too: what is there would be removed.
    if cluster.shell.output(&["sh", "-c", &format!("[ ! -e {COMPLETE} ] || echo complete")])?.is_empty() {
        cluster.create(&workspace.root.join("e2e/cgroup-v2"))?;
    }
    let again = "the cluster's control plane is not there: `cargo xtask rdma-vm down`, where a snapshot is saved `snapshot delete`, and make \
        both again";
    cluster.control_plane()?.wait().context(again)?;
    cluster.settle()?;
    for archive in &archives {
        cluster.load(archive)?;
    }
    let mut nodes = cluster.kubectl();
    nodes.args(["get", "nodes", "--output=wide"]);
    process::run(nodes)?;
    println!("export KUBECONFIG={}", cluster.files.kubeconfig().display());
    Ok(ExitCode::SUCCESS)
}

/// Does to a node of it what a test needs.
///
/// # Errors
/// The machine is not up, or it fails.
pub(super) fn drive(workspace: &Workspace, deed: &Deed) -> Result<()> {
    let shell = Shell::of_this_user()?;
    let files = Files::of_this_user()?;
    let program = lab::kubectl(workspace)?;
    let docker = |arguments: &[&str]| shell.limited(RDMA_VM_COMMAND, &[&["docker"], arguments].concat());
    deed.run(&Hands { capabilities: &CAPABILITIES, docker: &docker, kubectl: &|| kubectl(&program, &files), begun: &|| Ok(()) })
}

// === impl Cluster ===

impl Cluster<'_> {
    /// Makes it in a machine that has none, or half of one.
    fn create(&self, source: &Path) -> Result<()> {
        let Ingredients { image, name, .. } = self.ingredients;
        let beside = self.files.control_plane();
        ensure!(!beside.exists(), "{} is of a cluster that was not finished: `cargo xtask rdma-vm down` first", beside.display());
        self.shell.output(&["mkdir", "-p", FOLDER])?;
        let files = [self.ingredients.program("kind"), image.clone(), source.join("kind.yaml"), source.join("patches")];
        step("copy what it is made of", |step| step.run(self.shell.copying(&files, FOLDER)?, &self.files.cluster_log()))?;
        let archive = format!("{FOLDER}/{}", image.file_name().unwrap_or_default().display());
        self.step("take in the nodes' image", &[&["docker"], &IMPORT[..], &[&archive, name]].concat())?;
        self.step("remove what is left of another cluster", &[KIND, "delete", "cluster", "--name=strobe"])?;
        let (configuration, kubeconfig) = (format!("--config={FOLDER}/kind.yaml"), format!("--kubeconfig={KUBECONFIG}"));
        self.step("make the cluster", &[KIND, "create", "cluster", "--image", name, &configuration, &kubeconfig])?;
        let control_plane = self.control_plane()?;
        step("take the control plane out of the machine", |step| control_plane.take_out(step))?;
        self.shell.output(&["touch", COMPLETE]).map(drop)
    }

    fn control_plane(&self) -> Result<ControlPlane<'_>> {
        let monitor = Monitor::connect(&self.files.monitor())?.context("the machine is not up")?;
        let (shell, files, emulator) = (&self.shell, &self.files, monitor.pid());
        Ok(ControlPlane { shell, files, emulator, ingredients: self.ingredients, kubeconfig: KUBECONFIG })
    }

    /// Waits for every node by its name, and says by its annotation which CPU a worker's ranks may have: all nodes see all CPUs.
    fn settle(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", RDMA_VM_CLUSTER.as_secs());
        let mut wait = self.kubectl();
        wait.args(["wait", "--for=create", "--for=condition=Ready", &timeout, "nodes"]).args(WORKERS.map(|(node, _)| node));
        step("wait until all is ready", |step| step.run(wait, &self.files.cluster_log()))?;
        for (node, cpu) in WORKERS {
            let mut annotate = self.kubectl();
            annotate.args(["annotate", "--overwrite", "node", node, &format!("strobe.dev/cpus={cpu}")]).stdout(Stdio::null());
            process::run(annotate)?;
        }
        Ok(())
    }

    /// Gives the images of an archive to the nodes.
    fn load(&self, archive: &Path) -> Result<()> {
        let name = archive.file_name().unwrap_or_default().display();
        step(&format!("copy {name}"), |step| step.run(self.shell.copying(&[archive.to_owned()], FOLDER)?, &self.files.cluster_log()))?;
        let copy = format!("{FOLDER}/{name}");
        let nodes = format!("--nodes={}", WORKERS.map(|(node, _)| node).join(","));
        self.step(&format!("load {name}"), &[KIND, "load", "image-archive", "--name=strobe", &nodes, &copy])
    }

    /// Runs a command in the machine as a step, which has its limit there.
    fn step(&self, name: &str, words: &[&str]) -> Result<()> {
        step(name, |step| step.run(self.shell.limited(RDMA_VM_CLUSTER, words), &self.files.cluster_log()))
    }

    fn kubectl(&self) -> Command {
        kubectl(&self.ingredients.program("kubectl"), &self.files)
    }
}

/// `kubectl` with all rights in the machine's cluster.
pub(super) fn kubectl(program: &Path, files: &Files) -> Command {
    let mut command = Command::new(program);
    command.env("KUBECONFIG", files.kubeconfig());
    command
}
