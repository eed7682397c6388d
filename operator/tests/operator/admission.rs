//! The operator's program at a real API server: what it tells jobs that it does not admit.

use serde_json::{Value, json};

use super::cluster::{Cluster, WAIT, until};

impl Cluster {
    fn apply(&self, object: &Value) {
        assert!(self.is_applied(object), "kubectl apply {object}");
    }

    fn is_applied(&self, object: &Value) -> bool {
        self.give(&["apply"], object).status.success()
    }

    /// What the server would make of an object.
    fn dry(&self, object: &Value) -> String {
        String::from_utf8_lossy(&self.give(&["create", "--dry-run=server", "--output=json"], object).stdout).into_owned()
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
    let plain = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": namespace }, "spec": { "containers": [{ "name": "rank", "image": "any" }] } });
    // The operator's watch may be faster than the server's own, which admits by it.
    until("the range is in force", || cluster.dry(&plain).contains("500m"));
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
async fn a_webhook_that_does_not_answer_is_told_in_the_servers_words_until_it_is_gone() {
    let namespace = "unanswered";
    let Some(cluster) = Cluster::shared(namespace).await else { return };
    cluster.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": namespace },
        "webhooks": [{
            // Nobody listens there.
            "name": "nobody.example.com", "clientConfig": { "url": "https://127.0.0.1:9/" }, "failurePolicy": "Fail",
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        }],
    }));
    let plain = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": namespace }, "spec": { "containers": [{ "name": "rank", "image": "any" }] } });
    until("the webhook is asked", || cluster.dry(&plain).is_empty());
    cluster.apply(&partition(namespace, &json!({})));
    cluster.apply(&job(namespace, "sor", namespace));
    let told = cluster.told(namespace, "sor", "TrialNotAnswered");
    let message = told["status"]["message"].as_str().unwrap();
    assert!(message.contains("failed calling webhook \"nobody.example.com\""), "{message}");
    let condition = &told["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("Admitted"), &json!("False"), &json!("TrialNotAnswered"))
    );
    cluster.run(&["delete", "validatingwebhookconfiguration", namespace]);
    cluster.told(namespace, "sor", "PartitionNotReady");
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
    let Some(cluster) = Cluster::start("a_job_that_cannot_be_read_stops_no_other").await else { return };
    let operator = cluster.operator();
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    // Objects may be selected by their partition, which a schema has to know for that.
    let mut spec = anything.clone();
    spec["properties"] = json!({ "partition": { "type": "string" } });
    let value = json!({ "type": "object", "properties": { "spec": spec, "status": anything } });
    let open = json!([{ "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": value }]);
    cluster.run(&["patch", "crd", "paralleljobs.strobe.dev", "--type=json", "--patch", &open.to_string()]);
    let unreadable =
        json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "a" }, "spec": { "nodes": "two" } });
    until("the server follows the changed schema", || cluster.is_applied(&unreadable));
    cluster.apply(&job(namespace, "b", "nowhere"));
    cluster.told(namespace, "b", "PartitionNotFound");
    // Also where it is there before the operator is.
    drop(operator);
    let _operator = cluster.operator();
    cluster.apply(&job(namespace, "c", "nowhere"));
    cluster.told(namespace, "c", "PartitionNotFound");
    assert_eq!(cluster.job(namespace, "a")["status"], Value::Null);
}
