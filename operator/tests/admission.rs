//! The operator's program at a real API server: what it tells jobs that it does not admit.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strobe_e2e::api_server::ApiServer;
use tokio::sync::OnceCell;

const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated");

/// What a cluster is told of the operator: its rights above all.
const DEPLOYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/strobe.yaml");

/// Who the operator is there.
const ACCOUNT: &str = "system:serviceaccount:strobe-system:strobe-operator";

/// How long kubectl waits; a loaded machine of two cores takes seconds.
const WAIT: &str = "--timeout=60s";

/// How long the API server may take to follow a changed schema.
const FOLLOWED: Duration = Duration::from_secs(60);

/// Runs the operator until its own standard input is closed, which the end of the test's process does as well.
const KEEPER: &str = r#""$0" --identity-listen 127.0.0.1:0 & operator=$!; cat >/dev/null; kill $operator; wait $operator"#;

/// An API server with our resources, and the operator.
struct Cluster<'a> {
    server: &'a ApiServer,
}

/// The operator that all tests of the shared server are about.
static OPERATOR: OnceCell<Child> = OnceCell::const_new();

// === impl Cluster ===

impl<'a> Cluster<'a> {
    /// The one that the tests share, each in a namespace of its own name; none where its programs are not named.
    async fn shared(namespace: &str) -> Option<Self> {
        let cluster = Cluster { server: ApiServer::shared(namespace).await.unwrap()? };
        OPERATOR.get_or_init(async || cluster.start()).await;
        cluster.run(&["create", "namespace", namespace]);
        Some(cluster)
    }

    /// Installs the resources and the operator's rights, and starts it.
    fn start(&self) -> Child {
        self.run(&["apply", "-f", GENERATED]);
        self.run(&["wait", "--for=condition=Established", WAIT, "-f", GENERATED]);
        self.run(&["apply", "-f", DEPLOYED]);
        // The server takes a moment to follow its own roles, and the operator begins by asking for this.
        let until = Instant::now() + FOLLOWED;
        let may = || {
            self.server
                .kubectl()
                .args(["auth", "can-i", "create", "secrets", "--namespace=strobe-system", "--as", ACCOUNT])
                .stdout(Stdio::null())
                .status()
        };
        while !may().unwrap().success() {
            assert!(Instant::now() < until, "{ACCOUNT} has no rights after {} s", FOLLOWED.as_secs());
        }
        self.start_operator()
    }

    /// Starts it with the rights of its service account and no others.
    fn start_operator(&self) -> Child {
        let own = self.server.kubeconfig();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&own).unwrap()).unwrap();
        config["users"][0]["user"]["as"] = json!(ACCOUNT);
        let config_path = own.with_file_name("kubeconfig-of-operator");
        std::fs::write(&config_path, config.to_string()).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, env!("CARGO_BIN_EXE_strobe-operator")]);
        keeper.env("KUBECONFIG", config_path).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// What kubectl says when it succeeds.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.server.kubectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn apply(&self, object: &Value) {
        assert!(self.is_applied(object), "kubectl apply {object}");
    }

    /// Applies what a schema allows that was changed just now: the server takes a moment to follow.
    fn apply_in_time(&self, object: &Value) {
        let until = Instant::now() + FOLLOWED;
        while !self.is_applied(object) {
            assert!(Instant::now() < until, "kubectl apply {object}, after {} s", FOLLOWED.as_secs());
        }
    }

    fn is_applied(&self, object: &Value) -> bool {
        let mut command = self.server.kubectl();
        let mut child = command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        child.wait().unwrap().success()
    }

    /// What the server would make of an object.
    fn dry(&self, object: &Value) -> String {
        let mut command = self.server.kubectl();
        command.args(["create", "--dry-run=server", "--output=json", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    }

    /// Waits until a job's status names the reason; gives the job.
    fn told(&self, namespace: &str, name: &str, reason: &str) -> Value {
        let (condition, job) = (format!("--for=jsonpath={{.status.reason}}={reason}"), format!("paralleljob/{name}"));
        self.run(&["wait", "--namespace", namespace, WAIT, &condition, &job]);
        self.job(namespace, name)
    }

    fn job(&self, namespace: &str, name: &str) -> Value {
        serde_json::from_str(&self.run(&["get", "--namespace", namespace, "--output=json", "paralleljob", name])).unwrap()
    }
}

fn job(namespace: &str, name: &str, partition: &str) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "partition": partition, "nodes": 2,
            "template": { "spec": { "containers": [{ "name": "rank", "image": "any", "command": ["sor"] }] } },
        },
    })
}

fn partition(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn a_job_hears_of_its_partition_when_that_comes_and_goes() {
    let namespace = "comes-and-goes";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&job(namespace, "sor", namespace));
    let told = cluster.told(namespace, "sor", "PartitionNotFound");
    assert_eq!(told["status"]["conditions"][0]["type"], "Admitted");
    assert_eq!(told["status"]["conditions"][0]["status"], "False");
    assert_eq!(told["status"]["observedGeneration"], told["metadata"]["generation"]);
    let listed = cluster.run(&["get", "pj", "--namespace", namespace, "--no-headers", "--output=wide"]);
    assert!(listed.contains("Queued") && listed.contains("0/2") && listed.contains("no Partition is called"), "{listed}");

    cluster.apply(&partition(namespace, &json!({})));
    cluster.told(namespace, "sor", "PartitionNotReady");
    cluster.run(&["delete", "partition", namespace]);
    cluster.told(namespace, "sor", "PartitionNotFound");
    let events = cluster.run(&["get", "events", "--namespace", namespace, "--output=jsonpath={.items[*].reason}"]);
    assert!(events.contains("PartitionNotFound") && events.contains("PartitionNotReady"), "{events}");
}

#[tokio::test]
async fn what_the_schema_cannot_refuse_is_refused_with_its_reason_and_admitted_once_it_is_mended() {
    let namespace = "refused";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    let handler =
        json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "hidden" }, "handler": "kata-qemu" });
    cluster.apply(&handler);
    let two = json!([{ "name": "rank", "image": "any", "command": ["sor"] }, { "name": "logs", "image": "any" }]);
    let cases = [
        ("network", "hostNetwork", json!(true), "HostNetworkRefused"),
        ("runtime", "runtimeClassName", json!("hidden"), "RuntimeClassRefused"),
        ("containers", "containers", two, "ContainerNeverEnds"),
        (
            "claims",
            "initContainers",
            json!([{ "name": "one", "image": "any", "resources": { "claims": [{ "name": "gpu" }] } }]),
            "AcceleratorsNotShared",
        ),
    ];
    for (name, field, value, reason) in cases {
        let mut refused = job(namespace, name, namespace);
        refused["spec"]["template"]["spec"][field] = value;
        cluster.apply(&refused);
        let told = cluster.told(namespace, name, reason);
        assert_eq!(told["status"]["state"], "Queued");
        // A template may change while its job is suspended.
        refused["spec"]["suspend"] = json!(true);
        cluster.apply(&refused);
        cluster.run(&["wait", "--namespace", namespace, WAIT, "--for=condition=Suspended", &format!("pj/{name}")]);
        let mut mended = job(namespace, name, namespace);
        mended["spec"]["suspend"] = json!(true);
        cluster.apply(&mended);
        mended["spec"]["suspend"] = json!(false);
        cluster.apply(&mended);
        cluster.told(namespace, name, "PartitionNotReady");
    }
}

#[tokio::test]
async fn a_namespace_is_admitted_by_its_labels_from_the_moment_that_it_has_them() {
    let namespace = "labelled";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({ "namespaceSelector": { "matchLabels": { "team": "hpc" } } })));
    cluster.apply(&job(namespace, "sor", namespace));
    cluster.told(namespace, "sor", "NamespaceNotAllowed");
    cluster.run(&["label", "namespace", namespace, "team=hpc"]);
    cluster.told(namespace, "sor", "PartitionNotReady");
}

#[tokio::test]
async fn a_status_that_says_the_same_is_not_written_again() {
    let namespace = "unchanged";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    cluster.apply(&job(namespace, "first", namespace));
    let before = cluster.told(namespace, "first", "PartitionNotReady");
    // Both jobs are looked at again, and of the second that is known.
    cluster.apply(&job(namespace, "second", "nowhere"));
    cluster.told(namespace, "second", "PartitionNotFound");
    cluster.run(&["label", "namespace", namespace, "seen=again"]);
    cluster.apply(&partition("nowhere", &json!({})));
    cluster.told(namespace, "second", "PartitionNotReady");
    assert_eq!(cluster.job(namespace, "first"), before);
}

#[tokio::test]
async fn the_job_of_another_manager_is_left_alone() {
    let namespace = "managed";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    let mut other = job(namespace, "other", namespace);
    other["spec"]["managedBy"] = json!("kueue.x-k8s.io/multikueue");
    cluster.apply(&other);
    cluster.apply(&job(namespace, "ours", namespace));
    cluster.told(namespace, "ours", "PartitionNotFound");
    assert_eq!(cluster.job(namespace, "other")["status"], Value::Null);
}

#[tokio::test]
async fn a_suspended_job_says_so_as_long_as_it_is() {
    let namespace = "suspended";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    let mut suspended = job(namespace, "sor", namespace);
    suspended["spec"]["suspend"] = json!(true);
    cluster.apply(&suspended);
    let told = cluster.told(namespace, "sor", "SuspendRequested");
    assert_eq!(told["status"]["state"], "Suspended");
    cluster.run(&["patch", "--namespace", namespace, "pj", "sor", "--type=merge", "--patch", r#"{"spec":{"suspend":false}}"#]);
    cluster.run(&["wait", "--namespace", namespace, WAIT, "--for=condition=Suspended=false", "pj/sor"]);
}

#[tokio::test]
async fn the_queue_is_ordered_by_priority_classes_and_a_class_that_does_not_exist_is_told() {
    let namespace = "prioritised";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    let with = |name: &str, class: &str| {
        let mut job = job(namespace, name, namespace);
        job["spec"]["priorityClassName"] = json!(class);
        job
    };
    let class = |name: &str, value: i32| json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name }, "value": value });
    cluster.apply(&class("usual", 3));
    cluster.apply(&with("first", "usual"));
    let position = |name: &str, position: u32| {
        let condition = format!("--for=jsonpath={{.status.position}}={position}");
        cluster.run(&["wait", "--namespace", namespace, WAIT, &condition, &format!("pj/{name}")]);
    };
    position("first", 1);
    cluster.apply(&with("second", "urgent"));
    let told = cluster.told(namespace, "second", "PriorityClassNotFound");
    assert_eq!((&told["status"]["conditions"][0]["status"], &told["status"]["priority"]), (&json!("False"), &Value::Null));
    cluster.apply(&class("urgent", 1000));
    position("second", 1);
    position("first", 2);
    assert_eq!(["first", "second"].map(|name| cluster.job(namespace, name)["status"]["priority"].clone()), [json!(3), json!(1000)]);
    cluster.apply(&with("first", "urgent"));
    position("first", 1);
}

#[tokio::test]
async fn a_cpu_limit_that_the_namespace_injects_is_told_with_its_range_until_that_is_gone() {
    let namespace = "injects";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "house", "namespace": namespace },
        "spec": { "limits": [{ "type": "Container", "default": { "cpu": "500m" }, "defaultRequest": { "cpu": "100m" } }] },
    }));
    // The operator's watch may be faster than the server's own, which admits by it.
    let until = Instant::now() + FOLLOWED;
    let plain = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": namespace }, "spec": { "containers": [{ "name": "rank", "image": "any" }] } });
    let is_limited = || cluster.dry(&plain).contains("500m");
    while !is_limited() {
        assert!(Instant::now() < until, "the range is not in force after {} s", FOLLOWED.as_secs());
    }
    cluster.apply(&job(namespace, "sor", namespace));
    let told = cluster.told(namespace, "sor", "CPULimitInjected");
    assert_eq!(
        (&told["status"]["conditions"][0]["type"], &told["status"]["conditions"][0]["status"]),
        (&json!("Admitted"), &json!("False"))
    );
    let message = told["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("LimitRange \"house\" gives the ranks' container a CPU limit of 500m"), "{message}");
    let mut stating = job(namespace, "stating", namespace);
    stating["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1" } });
    cluster.apply(&stating);
    cluster.told(namespace, "stating", "PartitionNotReady");
    cluster.run(&["delete", "--namespace", namespace, "limitrange", "house"]);
    cluster.told(namespace, "sor", "PartitionNotReady");
}

#[tokio::test]
async fn pods_that_their_namespace_forbids_are_told_in_the_servers_words_until_it_allows_them() {
    let namespace = "forbids";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.run(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline"]);
    cluster.apply(&partition(namespace, &json!({})));
    let mut open = job(namespace, "open", namespace);
    open["spec"]["template"]["spec"]["hostPID"] = json!(true);
    cluster.apply(&open);
    let told = cluster.told(namespace, "open", "PodForbidden");
    let message = told["status"]["message"].as_str().unwrap();
    assert!(message.contains("violates PodSecurity") && message.contains("hostPID=true"), "{message}");
    assert_eq!(cluster.run(&["get", "pods", "--namespace", namespace, "--output=name"]), "", "none was made");
    cluster.run(&["label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged"]);
    cluster.told(namespace, "open", "PartitionNotReady");
}

#[tokio::test]
async fn a_finished_job_is_deleted_with_its_pods_when_it_was_kept_long_enough() {
    let namespace = "finished";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    let finish = |name: &str, ttl: &Value| {
        let mut kept = job(namespace, name, "nowhere-in-particular");
        kept["spec"]["ttlSecondsAfterFinished"] = ttl.clone();
        cluster.apply(&kept);
        cluster.told(namespace, name, "PartitionNotFound");
        let status = r#"{"status":{"state":"Complete","completionTime":"2026-01-01T00:00:00Z"}}"#;
        cluster.run(&["patch", "--namespace", namespace, "pj", name, "--subresource=status", "--type=merge", "--patch", status]);
    };
    finish("for-ever", &Value::Null);
    finish("for-a-century", &json!(2_147_483_647));
    finish("for-a-second", &json!(1));
    // There is no collector of garbage here that would end what is deleted in the foreground.
    let deleting = "--for=jsonpath={.metadata.deletionTimestamp}";
    cluster.run(&["wait", "--namespace", namespace, WAIT, deleting, "pj/for-a-second"]);
    assert_eq!(cluster.job(namespace, "for-a-second")["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(
        ["for-ever", "for-a-century"].map(|name| cluster.job(namespace, name)["metadata"]["deletionTimestamp"].clone()),
        [Value::Null, Value::Null]
    );
}

#[tokio::test]
async fn a_job_has_a_service_and_where_its_pods_are_isolated_a_policy_for_as_long_as_they_are() {
    let namespace = "networked";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&partition(namespace, &json!({})));
    let users = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "own", "namespace": namespace }, "spec": { "clusterIP": "None" } });
    cluster.apply(&users);
    cluster.apply(&job(namespace, "own", namespace));
    cluster.apply(&job(namespace, "sor", namespace));
    let uid = cluster.told(namespace, "sor", "PartitionNotReady")["metadata"]["uid"].clone();
    cluster.told(namespace, "own", "PartitionNotReady");
    let get = |kind: &str, name: &str| -> Value {
        serde_json::from_str(&cluster.run(&["get", "--namespace", namespace, "--output=json", kind, name])).unwrap()
    };
    let service = get("service", "sor");
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["publishNotReadyAddresses"]), (&json!("None"), &json!(true)));
    assert_eq!(service["spec"]["selector"], json!({ "strobe.dev/job-uid": uid }));
    assert_eq!(
        (&service["metadata"]["ownerReferences"][0]["uid"], &get("service", "own")["metadata"]["ownerReferences"]),
        (&uid, &Value::Null)
    );
    let named = |names: &str| cluster.run(&["get", "networkpolicy", "--namespace", namespace, "--output=name"]) == names;
    assert!(named(""), "nothing isolates its pods");

    let closed = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "closed", "namespace": namespace },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    });
    cluster.apply(&closed);
    cluster.run(&["wait", "--namespace", namespace, WAIT, "--for=create", "networkpolicy/sor"]);
    let policy = get("networkpolicy", "sor");
    assert_eq!((&policy["spec"]["policyTypes"], &policy["metadata"]["ownerReferences"][0]["uid"]), (&json!(["Ingress"]), &uid));
    cluster.run(&["delete", "--namespace", namespace, "networkpolicy", "closed"]);
    cluster.run(&["wait", "--namespace", namespace, WAIT, "--for=delete", "networkpolicy/sor"]);
}

/// Behind a schema that lets it in, as an older or a newer one might.
#[tokio::test]
async fn a_job_that_cannot_be_read_stops_no_other() {
    let namespace = "default";
    let Some(server) = ApiServer::start().await.unwrap() else {
        strobe_e2e::programs::left_out("a_job_that_cannot_be_read_stops_no_other", "no programs of Kubernetes are named");
        return;
    };
    let cluster = Cluster { server: &server };
    let mut operator = cluster.start();
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    // Objects may be selected by their partition, which a schema has to know for that.
    let mut spec = anything.clone();
    spec["properties"] = json!({ "partition": { "type": "string" } });
    let value = json!({ "type": "object", "properties": { "spec": spec, "status": anything } });
    let open = json!([{ "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": value }]);
    cluster.run(&["patch", "crd", "paralleljobs.strobe.dev", "--type=json", "--patch", &open.to_string()]);
    let unreadable =
        json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "a" }, "spec": { "nodes": "two" } });
    cluster.apply_in_time(&unreadable);
    cluster.apply(&job(namespace, "b", "nowhere"));
    cluster.told(namespace, "b", "PartitionNotFound");
    // Also where it is there before the operator is.
    drop(operator.stdin.take());
    operator.wait().unwrap();
    let mut operator = cluster.start_operator();
    cluster.apply(&job(namespace, "c", "nowhere"));
    cluster.told(namespace, "c", "PartitionNotFound");
    assert_eq!(cluster.job(namespace, "a")["status"], Value::Null);
    drop(operator.stdin.take());
    operator.wait().unwrap();
}
