//! The cluster: one control plane and three workers, by kind.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::build::Programs;
use super::engine::{Engine, LABORATORY, network};
use super::loaded::Loaded;
use super::made::{Docker, Made, Wanted};
use super::outside::Target;
use super::programs::{KUBERNETES, minor};
use super::state::State;
use super::step::{Step, step};
use crate::limits::{CLUSTER_BYTES_FREE, CLUSTER_READY_SECONDS};
use crate::process::output_of;
use crate::room::memory_available;

/// Of the cluster, and the first word of its nodes' names.
const NAME: &str = "strobe";

const WORKERS: usize = 3;

/// Where the API server listens, in the laboratory's own network.
const PORT: u16 = 6443;

/// Where kubelets listen, at their nodes' addresses.
const KUBELET: u16 = 10_250;

/// Of the control plane, against 1024 of each worker: ranks that fill every CPU must not stop it.
const CONTROL_PLANE_SHARES: u32 = 16 * 1024;

/// A cluster, there or not.
pub(super) struct Cluster<'a> {
    pub(super) programs: &'a Programs,
    pub(super) state: &'a State,
    /// None where it runs in the machine's own Docker.
    pub(super) engine: Option<&'a Engine<'a>>,
}

// === impl Cluster ===

impl Cluster<'_> {
    /// Makes the cluster from an image, unless a complete one of that image is there. `cpus` are lists of CPUs, as systemd has them, for
    /// the first workers' own services: kubelet and containerd. (Their cgroup could not be narrowed: kubelet gives its pods' cgroup all
    /// CPUs of the machine, and where that is refused it does not start.)
    ///
    /// # Errors
    /// Too little memory, or kind fails; with the end of what it says.
    pub(super) fn make(&self, image: &str, cpus: &[String]) -> Result<()> {
        let version = self.programs.version;
        if self.is_complete(Wanted { docker: self.docker(), kubernetes: version, image: Some(image) })? {
            return Ok(());
        }
        check_memory()?;
        Loaded::forget(self.state);
        let log = self.state.file("kind.log");
        step("remove what is left of another cluster", |step| step.run(self.kind_cluster("delete"), &log))?;
        let made = Made { docker: self.docker(), image: image.to_owned(), kubernetes: version.to_owned(), complete: false };
        self.state.note(&made)?;
        let configuration = self.state.file("kind.json");
        fs::write(&configuration, self.configuration(cpus)?.to_string()).context("write kind's configuration")?;
        let mut create = self.kind_cluster("create");
        create.args(["--image", image, "--config"]).arg(&configuration);
        step("make the cluster", |step| step.run(create, &log))?;
        if let Some(engine) = self.engine {
            step("give the control plane its share", |step| self.raise_control_plane(step, &log))?;
            step("give the nodes real time", |_| engine.give_real_time())?;
        }
        step("wait until all is ready", |step| {
            self.wait(step, &log)?;
            self.annotate(cpus, step, &log)
        })?;
        self.state.note(&Made { complete: true, ..made }).context("note that the cluster is complete")
    }

    /// Gives the images of an archive to every node.
    ///
    /// # Errors
    /// The archive is none, or kind fails.
    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        let mut command = self.kind();
        command.args(["load", "image-archive", "--name", NAME]).arg(archive);
        step(&format!("load {}", archive.display()), |step| step.run(command, &self.state.file("kind.log")))
    }

    /// Removes the cluster.
    ///
    /// # Errors
    /// kind fails.
    pub(super) fn delete(&self) -> Result<()> {
        let log = self.state.file("kind.log");
        step("remove the cluster", |step| step.run(self.kind_cluster("delete"), &log))
    }

    /// `kubectl` with all rights in the cluster.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = Command::new(self.programs.path("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// What nobody outside of the machine may reach: the API server, which the machine does, and a kubelet, which only what is in the
    /// laboratory's own network does.
    ///
    /// # Errors
    /// The API server does not say where a node is.
    pub(super) fn targets(&self) -> Result<[Target; 2]> {
        let mut ask = self.kubectl();
        ask.args(["get", "node", &control_plane(), "--output=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}"]);
        let output = ask.output().context("run kubectl")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let node = said.trim().parse().with_context(|| format!("the address of {}: {said:?}", control_plane()))?;
        let api_server = Target { address: SocketAddrV4::new(LABORATORY, PORT), near: None };
        Ok([api_server, Target { address: SocketAddrV4::new(node, KUBELET), near: Some(network().namespace()) }])
    }

    /// The file for clients.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state.file("kubeconfig")
    }

    fn docker(&self) -> Docker {
        if self.engine.is_some() { Docker::Laboratory } else { Docker::Machine }
    }

    /// Whether the wanted cluster is there and answers.
    fn is_complete(&self, wanted: Wanted<'_>) -> Result<bool> {
        let Some(made) = self.state.made() else { return Ok(false) };
        made.check_gives_way(wanted)?;
        Ok(made.complete && self.kubectl().args(["get", "nodes"]).output().context("run kubectl")?.status.success())
    }

    /// kind makes or deletes the cluster, and writes that into the file for clients.
    fn kind_cluster(&self, verb: &str) -> Command {
        let mut command = self.kind();
        command.args([verb, "cluster", "--name", NAME, "--kubeconfig"]).arg(self.kubeconfig());
        command
    }

    fn kind(&self) -> Command {
        let mut command = Command::new(self.programs.path("kind"));
        if let Some(engine) = self.engine {
            command.env("DOCKER_HOST", engine.host());
        }
        command
    }

    /// JSON is YAML, too.
    fn configuration(&self, cpus: &[String]) -> Result<serde_json::Value> {
        ensure!(cpus.len() <= WORKERS, "{} lists of CPUs for {WORKERS} workers", cpus.len());
        let mut nodes = vec![json!({ "role": "control-plane" })];
        for worker in 0..WORKERS {
            let mounts: Vec<_> = cpus.get(worker).map(|list| self.affinity(worker, list)).transpose()?.into_iter().collect();
            nodes.push(json!({ "role": "worker", "extraMounts": mounts }));
        }
        let mut configuration = json!({ "kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": NAME, "nodes": nodes });
        configuration["networking"] = json!({ "ipFamily": "ipv4" });
        if self.engine.is_some() {
            configuration["networking"] = json!({ "ipFamily": "ipv4", "apiServerAddress": LABORATORY, "apiServerPort": PORT });
        }
        // Groups of pods are tried where they are served; asking an older server for them stops it.
        if minor(self.programs.version) == minor(KUBERNETES) {
            configuration["featureGates"] = json!({ "GenericWorkload": true, "GangScheduling": true });
            configuration["runtimeConfig"] = json!({ "scheduling.k8s.io/v1alpha2": "true" });
        }
        Ok(configuration)
    }

    /// A mount that tells a worker's systemd its CPUs.
    fn affinity(&self, worker: usize, list: &str) -> Result<serde_json::Value> {
        let file = self.state.file(&format!("worker-{worker}.conf"));
        // An engine that begins with nodes of an earlier cluster makes a folder where the file of their mount is gone.
        let _no_folder = fs::remove_dir(&file);
        fs::write(&file, format!("[Manager]\nCPUAffinity={list}\n")).with_context(|| format!("write {}", file.display()))?;
        Ok(json!({ "hostPath": file, "containerPath": "/etc/systemd/system.conf.d/10-cpus.conf", "readOnly": true }))
    }

    fn raise_control_plane(&self, step: &mut Step, log: &Path) -> Result<()> {
        let engine = self.engine.context("an engine of our own")?;
        let mut command = engine.docker();
        command.args(["update", "--cpu-shares", &CONTROL_PLANE_SHARES.to_string(), &control_plane()]);
        step.run(command, log)
    }

    /// Says by a node's annotation which CPUs its ranks may have: all nodes are on one machine, and see all of its CPUs.
    fn annotate(&self, cpus: &[String], step: &mut Step, log: &Path) -> Result<()> {
        for (node, list) in node_names().skip(1).zip(cpus) {
            let mut command = self.kubectl();
            command.args(["annotate", "--overwrite", "node", &node, &format!("strobe.dev/cpus={list}")]);
            step.run(command, log)?;
        }
        Ok(())
    }

    /// Waits for every node by its name: one that never came would not be missed among all that did.
    fn wait(&self, step: &mut Step, log: &Path) -> Result<()> {
        let timeout = format!("--timeout={CLUSTER_READY_SECONDS}s");
        let mut nodes = self.kubectl();
        nodes.args(["wait", "--for=create", "--for=condition=Ready", &timeout, "nodes"]).args(node_names());
        step.run(nodes, log)?;
        let mut pods = self.kubectl();
        pods.args(["wait", "--for=condition=Ready", "--all", &timeout, "pods", "--namespace=kube-system"]);
        step.run(pods, log)
    }
}

/// The node of the control plane.
pub(super) fn control_plane() -> String {
    format!("{NAME}-control-plane")
}

/// As kind names them.
pub(super) fn node_names() -> impl Iterator<Item = String> {
    let worker = |number| if number == 1 { format!("{NAME}-worker") } else { format!("{NAME}-worker{number}") };
    std::iter::once(control_plane()).chain((1..=WORKERS).map(worker))
}

fn check_memory() -> Result<()> {
    let free = memory_available()?;
    ensure!(
        free >= CLUSTER_BYTES_FREE,
        "{} MiB of memory are available and a cluster needs {} MiB: end something else first",
        free >> 20,
        CLUSTER_BYTES_FREE >> 20
    );
    Ok(())
}

/// Whether the machine's own Docker answers.
pub(super) fn ordinary_docker() -> bool {
    output_of("docker", &["info"]).is_some()
}
