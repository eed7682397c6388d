//! The volume plugin (`e2e/examples/csi-driver`) on one node of the cluster, and pods that use it from a restricted namespace.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strobe_e2e::cluster::{Namespace, SHELL_IMAGE, WORKERS};

/// The node of plugins and pods.
const NODE: &str = WORKERS[0];

/// Kubelet's folder on every node.
const KUBELET: &str = "/var/lib/kubelet";

/// The plugin's own pod.
const POD: &str = "plugin";

/// A pod that sees kubelet's folder as the node does.
const FILES: &str = "files";

/// A plugin with a name of its own, and a restricted namespace for the pods of a test. All of it goes with this value.
pub(super) struct Plugin {
    name: String,
    namespace: Namespace,
    pods: Namespace,
}

/// The security context that the level `restricted` asks for, with nothing writable.
fn restricted() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// What a container on our node shares with the node.
fn host_path(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } })
}

/// The plugin's program, without any shared library: it has to start in an image with nothing but a shell, and in every pod.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build().expect("build the plugin"))
}

fn build() -> Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["rustc", "--locked", "--quiet", "--package", "strobe-e2e", "--features", "laboratory", "--example", "csi-driver"]);
    command.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    ensure!(command.status().context("run cargo")?.success(), "the plugin does not compile");
    let own = env::current_exe().context("the path of this program")?;
    let folder = own.parent().and_then(Path::parent).context("a test's program is two folders deep")?;
    Ok(folder.join("examples/csi-driver"))
}

// === impl Plugin ===

impl Plugin {
    /// Puts the plugin's program on the node and its `CSIDriver` into the cluster. It does not run yet.
    pub(super) fn install(test: &str) -> Result<Self> {
        let name = format!("spike-csi-{test}.strobe.dev");
        // Pods that an interrupted run has left go while its plugin may still be there to take their volumes.
        let pods = Namespace::make(&format!("spike-csi-{test}"))?;
        let namespace = Namespace::make(&format!("spike-csi-{test}-plugin"))?;
        pods.run(&["label", "namespace", pods.name(), "pod-security.kubernetes.io/enforce=restricted"])?;
        let plugin = Self { name, namespace, pods };
        plugin.namespace.apply(&plugin.driver())?;
        plugin.namespace.apply(&plugin.files())?;
        plugin.namespace.wait("condition=Ready", &format!("pod/{FILES}"))?;
        plugin.copy(program())?;
        Ok(plugin)
    }

    /// The restricted namespace.
    pub(super) fn pods(&self) -> &Namespace {
        &self.pods
    }

    /// A restricted pod with a volume of this plugin at `/strobe`.
    pub(super) fn pod(&self, name: &str, attributes: &Value) -> Value {
        let source = json!({ "driver": self.name, "readOnly": true, "volumeAttributes": attributes });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": NODE },
                // Of 0 seconds, the API server forgets the pod at once, and waits for no volume.
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "volumes": [{ "name": "strobe", "csi": source }],
                "containers": [{
                    "name": "shell", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                    "securityContext": restricted(), "volumeMounts": [{ "name": "strobe", "mountPath": "/strobe" }],
                }],
            },
        })
    }

    /// Starts the plugin's pod; returns when kubelet has taken the plugin in.
    pub(super) fn start(&self) -> Result<()> {
        self.namespace.apply(&self.plugin())?;
        self.namespace.wait("condition=Ready", &format!("pod/{POD}"))
    }

    /// Ends the plugin's pod; it leaves kubelet's registry.
    pub(super) fn stop(&self) -> Result<()> {
        self.namespace.run(&["delete", "pod", POD]).map(drop)
    }

    /// Kills the plugin's process; returns when kubelet has started it again and taken it in.
    pub(super) fn kill(&self) -> Result<()> {
        let started = self.calls("Start")?;
        let process = started.first().context("the plugin notes its start")?["pid"].to_string();
        self.namespace.exec(POD, &["kill", "-9", &process])?;
        self.namespace.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &format!("pod/{POD}"))?;
        self.namespace.wait("condition=Ready", &format!("pod/{POD}"))
    }

    /// The calls of one kind that the plugin has noted since its container began.
    pub(super) fn calls(&self, call: &str) -> Result<Vec<Value>> {
        let log = self.namespace.run(&["logs", POD])?;
        let lines: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("read the plugin's log")?;
        Ok(lines.into_iter().filter(|line| line["call"] == call).map(|mut line| line["details"].take()).collect())
    }

    /// The node's mounts beneath the folder of a pod's volumes of this kind, a line of mountinfo each.
    pub(super) fn mounts(&self, pod_uid: &str) -> Result<Vec<String>> {
        let mounts = self.namespace.exec(FILES, &["cat", "/proc/self/mountinfo"])?;
        let folder = format!("{KUBELET}/pods/{pod_uid}/volumes/kubernetes.io~csi/");
        Ok(mounts.lines().filter(|line| line.contains(&folder)).map(ToOwned::to_owned).collect())
    }

    /// The names of the volumes whose folders the plugin has on the node.
    pub(super) fn volumes(&self) -> Result<String> {
        self.namespace.exec(FILES, &["ls", &format!("{}/volumes", self.folder())])
    }

    fn folder(&self) -> String {
        format!("{KUBELET}/plugins/{}", self.name)
    }

    fn driver(&self) -> Value {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": self.name },
            "spec": { "attachRequired": false, "podInfoOnMount": true, "fsGroupPolicy": "None", "volumeLifecycleModes": ["Ephemeral"] },
        })
    }

    fn files(&self) -> Value {
        let mount = json!({ "name": "kubelet", "mountPath": KUBELET, "mountPropagation": "HostToContainer" });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": FILES },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": NODE },
                "terminationGracePeriodSeconds": 0,
                "volumes": [host_path("kubelet", KUBELET)],
                "containers": [{
                    "name": "shell", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                    "volumeMounts": [mount],
                }],
            },
        })
    }

    fn plugin(&self) -> Value {
        let pods = format!("{KUBELET}/pods");
        let mounts = json!([
            { "name": "plugin", "mountPath": "/plugin" },
            { "name": "registry", "mountPath": "/registry" },
            { "name": "pods", "mountPath": pods, "mountPropagation": "Bidirectional" },
        ]);
        let volumes =
            [host_path("plugin", &self.folder()), host_path("registry", &format!("{KUBELET}/plugins_registry")), host_path("pods", &pods)];
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": POD },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": NODE },
                "hostPID": true,
                "volumes": volumes,
                "containers": [{
                    "name": "plugin", "image": SHELL_IMAGE, "imagePullPolicy": "Never",
                    "command": ["/plugin/csi-driver", "serve", self.name],
                    "securityContext": { "privileged": true }, "volumeMounts": mounts,
                    "readinessProbe": { "exec": { "command": ["cat", "/tmp/registered"] }, "periodSeconds": 1 },
                }],
            },
        })
    }

    /// Copies a program into the plugin's folder on the node.
    fn copy(&self, program: &Path) -> Result<()> {
        let file = File::open(program).with_context(|| format!("open {}", program.display()))?;
        let size = file.metadata().context("its size")?.len();
        let folder = self.folder();
        let script = format!(
            "busybox rm -rf {folder} && busybox mkdir -p {folder} && cat > {folder}/csi-driver && busybox chmod 755 {folder}/csi-driver"
        );
        let mut command = self.namespace.kubectl();
        command.args(["exec", "--stdin", FILES, "--", "sh", "-c", &script]).stdin(file);
        ensure!(command.status().context("run kubectl")?.success(), "the program could not be copied to the node");
        let copied = self.namespace.exec(FILES, &["busybox", "stat", "-c", "%s", &format!("{folder}/csi-driver")])?;
        ensure!(copied.trim() == size.to_string(), "{} of {size} bytes of the program came to the node", copied.trim());
        Ok(())
    }

    /// Removes all of it, whatever cannot be removed. The pods go first: without the plugin their volumes stay.
    fn remove(&self) -> [Result<()>; 5] {
        [
            self.start(),
            self.pods.run(&["delete", "pods", "--all", "--timeout=200s"]).map(drop),
            self.stop(),
            self.namespace.exec(FILES, &["busybox", "rm", "-rf", &self.folder()]).map(drop),
            self.namespace.run(&["delete", "csidriver", &self.name]).map(drop),
        ]
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        for error in self.remove().into_iter().filter_map(Result::err) {
            eprintln!("of the plugin {} something is left: {error:#}", self.name);
        }
    }
}
