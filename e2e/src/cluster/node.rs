//! A pod that may do to its node what an agent may: privileged, with the node's processes, network and cgroups.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Namespace, Program, SHELL_IMAGE, program};

/// Where on the node, and in the pods, agents listen.
pub(super) const SOCKETS: &str = "/run/strobe-laboratory";

/// The longest wait for a node to follow; reached by a failing test only.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pod with an agent's rights.
pub struct NodePod<'a> {
    namespace: &'a Namespace,
    name: String,
}

// === impl NodePod ===

impl<'a> NodePod<'a> {
    /// Starts one on this node, with the program that does an agent's single steps.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(namespace: &'a Namespace, name: &str, node: &str) -> Result<Self> {
        namespace.apply(&pod(name, node))?;
        namespace.wait("condition=Ready", &format!("pod/{name}"))?;
        let pod = Self { namespace, name: name.to_owned() };
        let install = "cat >/programs/laboratory-agent && chmod +x /programs/laboratory-agent";
        namespace.feed(name, &program(Program::LaboratoryAgent)?, &["sh", "-c", install])?;
        Ok(pod)
    }

    /// Runs a script of the shell in it; gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.namespace.exec(&self.name, &["sh", "-ec", script]).map(|text| text.trim_end().to_owned())
    }

    /// Runs one step of an agent.
    ///
    /// # Errors
    /// It fails; with its words.
    pub fn step(&self, arguments: &[&str]) -> Result<String> {
        self.namespace.exec(&self.name, &[&["/programs/laboratory-agent"], arguments].concat())
    }

    /// Makes the node's service manager read its files anew.
    ///
    /// # Errors
    /// It refuses.
    pub fn reload_services(&self) -> Result<()> {
        self.on_node("systemctl daemon-reload").map(drop)
    }

    /// Restarts the node's kubelet, by which this pod is reached, and waits until the new one answers.
    ///
    /// # Errors
    /// It does not.
    pub fn restart_kubelet(&self) -> Result<()> {
        let process = "systemctl show --property=MainPID --value kubelet";
        let before = self.on_node(process)?;
        // It ends the very kubelet that carries the command's output.
        let _cut_off = self.on_node("systemctl restart --no-block kubelet");
        let is_new = |now: &Result<String>| now.as_ref().is_ok_and(|now| *now != before && *now != "0");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Each question takes kubectl a good part of a second.
            let now = self.on_node(process);
            if is_new(&now) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no new kubelet answers in {PATIENCE:?}: {now:?}");
        }
    }

    /// Asks again until a script prints this.
    ///
    /// # Errors
    /// It does not in time; with what it printed last.
    pub fn sh_until(&self, script: &str, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.sh(script)?;
            if found == wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{script}: {found:?} after {PATIENCE:?}, not {wanted:?}");
            }
        }
    }

    /// Runs a command of the node's own; gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn on_node(&self, command: &str) -> Result<String> {
        self.sh(&format!("busybox nsenter -t 1 -m -- {command}")).with_context(|| format!("on the node: {command}"))
    }
}

fn pod(name: &str, node: &str) -> Value {
    let mounts = [("cgroups", "/sys/fs/cgroup"), ("bus", "/run/dbus"), ("sockets", SOCKETS), ("programs", "/programs")];
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            // The control plane's node takes it too.
            "tolerations": [{ "operator": "Exists" }],
            "hostPID": true,
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "agent", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                "securityContext": { "privileged": true },
                "volumeMounts": mounts.map(|(name, path)| json!({ "name": name, "mountPath": path })),
            }],
            "volumes": [
                { "name": "cgroups", "hostPath": { "path": "/sys/fs/cgroup", "type": "Directory" } },
                { "name": "bus", "hostPath": { "path": "/run/dbus", "type": "DirectoryOrCreate" } },
                { "name": "sockets", "hostPath": { "path": SOCKETS, "type": "DirectoryOrCreate" } },
                { "name": "programs", "emptyDir": {} },
            ],
        },
    })
}
