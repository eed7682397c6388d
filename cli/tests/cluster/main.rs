//! The commands for a cluster, at a real API server: their objects and statuses are written by the tests, since no operator runs.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod changes;
mod errors;
mod explain;
mod kubelet;
mod logs;
mod tables;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kube::Client;
use serde_json::{Value, json};
use strobe_e2e::api_server::ApiServer;
use strobe_e2e::ask::{Ask, Change};
use tokio::sync::OnceCell;

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");

const GROUP: &str = "/apis/strobe.dev/v1alpha1";

/// What a user may do who may only look at jobs.
const LOOK_AT_JOBS: &[(&str, &str, &[&str])] = &[("strobe.dev", "paralleljobs", &["get", "list"])];

/// A namespace of the shared server, for one test, and a folder for its files.
struct Scene {
    server: &'static ApiServer,
    client: Client,
    namespace: &'static str,
    folder: tempfile::TempDir,
}

/// What is left of a command that has ended.
#[derive(Debug)]
struct Outcome {
    succeeded: bool,
    stdout: String,
    stderr: String,
}

/// Of a command that is being run, what it has printed so far.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Scene {
    /// Makes it; none where the programs are not named.
    async fn make(namespace: &'static str) -> Option<Self> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let server = ApiServer::shared(namespace).await.unwrap()?;
        let kubectl = |arguments: &[&str]| {
            let output = server.kubectl().args(arguments).output().unwrap();
            assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let install = async || {
            kubectl(&["apply", "-f", GENERATED]);
            kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", GENERATED]);
        };
        INSTALLED.get_or_init(install).await;
        let client = server.client().await.unwrap();
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        Ask::create("/api/v1/namespaces", &object).accepted(&client).await.unwrap();
        Some(Self { server, client, namespace, folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.namespace)
    }

    fn jobs(&self) -> String {
        format!("{GROUP}/namespaces/{}/paralleljobs", self.namespace)
    }

    /// Makes an object, and then its status.
    async fn add(&self, collection: &str, object: &Value, status: &Value) -> Value {
        let made = Ask::create(collection, object).accepted(&self.client).await.unwrap();
        if status.is_null() {
            return made;
        }
        let path = format!("{collection}/{}/status", made["metadata"]["name"].as_str().unwrap());
        Ask::change(&path, Change::Merge, &json!({ "status": status })).accepted(&self.client).await.unwrap()
    }

    /// A partition, named as the namespace.
    async fn add_partition(&self) {
        let spec = json!({ "rows": 2, "nodeSelector": { "partition": self.namespace } });
        let object =
            json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": self.namespace }, "spec": spec });
        let status = json!({ "manager": format!("{}-a", self.namespace), "term": 3, "ready": "2/2" });
        self.add(&format!("{GROUP}/partitions"), &object, &status).await;
    }

    /// A node of it, named as the namespace and this.
    async fn add_node(&self, name: &str, status: &Value) {
        let metadata = json!({ "name": format!("{}-{name}", self.namespace) });
        let spec = json!({ "partition": self.namespace });
        let object = json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "PartitionNode", "metadata": metadata, "spec": spec });
        self.add(&format!("{GROUP}/partitionnodes"), &object, status).await;
    }

    /// A job of it with so many pods, each of its first life, on the nodes a, b, …
    async fn add_job(&self, name: &str, status: &Value, pods: usize) -> Value {
        let object = json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name },
            "spec": {
                "partition": self.namespace, "nodes": 2, "ranksPerNode": 2,
                "template": { "spec": { "containers": [{ "name": "rank", "image": "any", "command": ["sor"] }] } },
            },
        });
        let job = self.add(&self.jobs(), &object, status).await;
        for index in 0..pods {
            self.add_pod(&job, index).await;
        }
        job
    }

    async fn add_pod(&self, job: &Value, index: usize) {
        let labels = json!({
            "strobe.dev/job-uid": job["metadata"]["uid"], "strobe.dev/incarnation": "1",
            "batch.kubernetes.io/job-completion-index": index.to_string(),
        });
        let node = format!("{}-{}", self.namespace, ["a", "b"][index]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{}-1-{index}", job["metadata"]["name"].as_str().unwrap()), "labels": labels },
            "spec": { "nodeName": node, "containers": [{ "name": "rank", "image": "any" }] },
        });
        self.add(&self.path("pods"), &pod, &Value::Null).await;
    }

    /// A user who may do this in the namespace, and nothing else: the file by which he is known.
    async fn user(&self, name: &str, rights: &[(&str, &str, &[&str])]) -> PathBuf {
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
        self.add(&self.path("serviceaccounts"), &account, &Value::Null).await;
        let rule =
            |(group, resource, verbs): &(&str, &str, &[&str])| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
        let rules: Vec<Value> = rights.iter().map(rule).collect();
        let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.namespace);
        let version = "rbac.authorization.k8s.io/v1";
        let role = json!({ "apiVersion": version, "kind": "Role", "metadata": { "name": name }, "rules": rules });
        self.add(&format!("{roles}/roles"), &role, &Value::Null).await;
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": self.namespace }],
        });
        self.add(&format!("{roles}/rolebindings"), &binding, &Value::Null).await;
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 3600 } });
        let token = Ask::create(&self.path(&format!("serviceaccounts/{name}/token")), &request).accepted(&self.client).await.unwrap();
        self.kubeconfig(name, |file| file["users"][0]["user"] = json!({ "token": token["status"]["token"] }))
    }

    /// The file of all rights, changed.
    fn kubeconfig(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let original = self.server.kubeconfig();
        let mut file: Value = serde_json::from_slice(&std::fs::read(&original).unwrap()).unwrap();
        for place in ["/clusters/0/cluster/certificate-authority", "/users/0/user/client-certificate", "/users/0/user/client-key"] {
            let name = file.pointer_mut(place).unwrap();
            *name = json!(original.with_file_name(name.as_str().unwrap()));
        }
        change(&mut file);
        let path = self.folder.path().join(name);
        std::fs::write(&path, file.to_string()).unwrap();
        path
    }

    /// `kubectl-strobe ARGUMENTS` in the namespace, with all rights.
    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_as(&self.server.kubeconfig(), arguments)
    }

    fn run_as(&self, kubeconfig: &std::path::Path, arguments: &[&str]) -> Outcome {
        let output = self.command(kubeconfig, arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Outcome { succeeded: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn command(&self, kubeconfig: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-strobe"));
        command.args(arguments).arg("--kubeconfig").arg(kubeconfig).args(["--namespace", self.namespace]).stdin(Stdio::null());
        command
    }

    /// Starts it; what it prints can be read meanwhile.
    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(&self.server.kubeconfig(), arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

impl Outcome {
    /// What a command printed that had to succeed, line by line.
    fn lines(&self) -> Vec<&str> {
        assert!(self.succeeded, "{}", self.stderr);
        self.stdout.lines().collect()
    }

    /// What a command complained of that had to fail.
    fn error(&self) -> &str {
        assert!(!self.succeeded && self.stdout.is_empty(), "{self:?}");
        self.stderr.trim_end()
    }
}

impl Running {
    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
