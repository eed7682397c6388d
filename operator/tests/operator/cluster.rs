//! An API server that has our resources, and the operator there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strobe_e2e::api_server::ApiServer;
use strobe_e2e::programs;
use tokio::sync::OnceCell;

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");

/// What a cluster is told of the operator: its rights above all.
const DEPLOYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/strobe.yaml");

/// Who the operator is there.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:strobe-system:strobe-operator";

/// How long kubectl waits; a loaded machine of two cores takes seconds.
pub(crate) const WAIT: &str = "--timeout=60s";

/// How long the API server may take to follow what was told it just now.
pub(crate) const FOLLOWED: Duration = Duration::from_secs(60);

/// From which that is made, and the template of the rights.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/strobe");
const RIGHTS: &str = "templates/operator-rights.yaml";

/// Runs the operator until its own standard input is closed, which the end of the test's process does as well.
const KEEPER: &str =
    r#""$0" --identity-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 "$@" & operator=$!; cat >/dev/null; kill $operator; wait $operator"#;

/// See the module.
pub(crate) struct Cluster {
    server: Server,
}

enum Server {
    Own(ApiServer),
    Shared(&'static ApiServer),
}

/// A running operator; it ends with this value.
pub(crate) struct Operator(Child);

/// The operator that all tests of the shared server are about.
static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

// === impl Cluster ===

impl Cluster {
    /// One of the test's own; none where its programs are not named.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let Some(server) = ApiServer::start().await.unwrap() else {
            programs::left_out(test, "no programs of Kubernetes are named");
            return None;
        };
        let cluster = Self { server: Server::Own(server) };
        cluster.install();
        Some(cluster)
    }

    /// One of the test's own that serves groups of pods; none where there are no programs of such a server.
    pub(crate) async fn start_with_pod_groups(test: &str) -> Option<Self> {
        let Some(server) = ApiServer::start_with_pod_groups().await.unwrap() else {
            programs::left_out(test, "no programs of a Kubernetes are named that serves groups of pods");
            return None;
        };
        let cluster = Self { server: Server::Own(server) };
        cluster.install();
        Some(cluster)
    }

    /// The one that tests share, with its operator, each in a namespace of its own name; none where its programs are not named.
    pub(crate) async fn shared(namespace: &str) -> Option<Self> {
        let cluster = Self { server: Server::Shared(ApiServer::shared(namespace).await.unwrap()?) };
        OPERATOR
            .get_or_init(async || {
                cluster.install();
                cluster.operator()
            })
            .await;
        cluster.run(&["create", "namespace", namespace]);
        Some(cluster)
    }

    /// The resources and the operator's rights.
    fn install(&self) {
        self.run(&["apply", "-f", GENERATED]);
        // kubectl does not wait for a resource that has no conditions at all yet.
        let established = ["wait", "--for=condition=Established", WAIT, "-f", GENERATED];
        until("the resources are established", || self.server().kubectl().args(established).output().unwrap().status.success());
        self.run(&["apply", "-f", DEPLOYED]);
        // The server takes a moment to follow its own roles, and the operator begins by asking for this.
        let asked = ["auth", "can-i", "create", "secrets", "--namespace=strobe-system", "--as", ACCOUNT];
        until("the operator has rights", || self.server().kubectl().args(asked).stdout(Stdio::null()).status().unwrap().success());
    }

    /// Gives the operator the rights that it has where a value of the chart is another; false where there is no Helm to say which.
    pub(crate) fn install_rights(&self, test: &str, value: &str) -> bool {
        let Some(helm) = programs::find("helm") else {
            programs::left_out(test, "no Helm is named");
            return false;
        };
        let rendered = Command::new(helm).args(["template", "strobe", CHART, "--show-only", RIGHTS, "--set", value]).output().unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        assert!(self.give_text(&["apply"], &rendered.stdout).status.success());
        true
    }

    pub(crate) const fn server(&self) -> &ApiServer {
        match &self.server {
            Server::Own(server) => server,
            Server::Shared(server) => server,
        }
    }

    /// Starts it with the rights of its service account and no others.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_with(&[])
    }

    /// The same, with more arguments.
    pub(crate) fn operator_with(&self, arguments: &[&str]) -> Operator {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, env!("CARGO_BIN_EXE_strobe-operator")]).args(arguments);
        Operator(keeper.env("KUBECONFIG", self.kubeconfig_of_operator()).stdin(Stdio::piped()).spawn().unwrap())
    }

    pub(crate) fn kubeconfig_of_operator(&self) -> PathBuf {
        let own = self.server().kubeconfig();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&own).unwrap()).unwrap();
        config["users"][0]["user"]["as"] = json!(ACCOUNT);
        let path = own.with_file_name("kubeconfig-of-operator");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// What kubectl says when it succeeds.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.server().kubectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What comes of kubectl, which is given an object.
    pub(crate) fn give(&self, arguments: &[&str], object: &Value) -> Output {
        self.give_text(arguments, object.to_string().as_bytes())
    }

    /// What comes of kubectl, which reads this.
    fn give_text(&self, arguments: &[&str], text: &[u8]) -> Output {
        let mut command = self.server().kubectl();
        let mut child = command.args(arguments).args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Makes an object; gives it as it was made.
    pub(crate) fn create(&self, object: &Value) -> Value {
        let output = self.give(&["create", "--output=json"], object);
        assert!(output.status.success(), "kubectl create {object}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until a field has a value.
    pub(crate) fn wait(&self, object: &str, field: &str, value: &str) {
        self.run(&["wait", WAIT, &format!("--for=jsonpath={{{field}}}={value}"), object]);
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // When it cannot be waited for, it is gone.
        let _ended = self.0.wait();
    }
}

/// Looks again and again until something holds, which is to be soon.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + FOLLOWED;
    while !holds() {
        assert!(Instant::now() < until, "not after {} s: {what}", FOLLOWED.as_secs());
    }
}
