//! The shapes of refusals: what of a pod that may not be made is told by the status of the answer to a dry run, and what by its text alone.

use kube::core::Status;
use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask};

use super::{Namespace, add_for_all, add_policy, let_make_pods, pod};

fn quota(hard: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "of-the-house" }, "spec": { "hard": hard } })
}

/// Adds a quota with what its controller would note; there are no controllers here.
async fn add_quota(namespace: &Namespace, hard: &Value, used: &Value) {
    let mut stored = namespace.add("resourcequotas", &quota(hard)).await;
    stored["status"] = json!({ "hard": hard, "used": used });
    Ask::replace(&namespace.path("resourcequotas/of-the-house/status"), &stored).accepted(&namespace.client).await.unwrap();
}

/// What is said once everything that stands in a pod's way is known to the server.
async fn refusal(namespace: &Namespace, pod: &Value, with: &str) -> Box<Status> {
    let is_it = |answer: &Answer| answer.as_ref().is_err_and(|status| status.message.contains(with));
    namespace.dry_pod(pod).until(&namespace.client, is_it).await.unwrap().unwrap_err()
}

/// Refused because of the pod, which the status names.
fn assert_forbidden(status: &Status, why: &str) {
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"), "{}", status.message);
    let details = status.details.as_ref().unwrap();
    assert_eq!((details.kind.as_str(), details.name.as_str()), ("pods", "sor-0"));
    assert_eq!(status.message, format!("pods \"sor-0\" is forbidden: {why}"));
}

#[tokio::test]
async fn by_a_quota_that_is_used_up_or_demands_a_figure() {
    let Some(namespace) = Namespace::make("refusal-quota", json!({})).await else { return };
    add_quota(&namespace, &json!({ "limits.cpu": "1" }), &json!({ "limits.cpu": "750m" })).await;
    let status = refusal(&namespace, &pod("sor-0"), "must specify").await;
    assert_forbidden(&status, "failed quota: of-the-house: must specify limits.cpu for: rank");
    let mut limited = pod("sor-0");
    limited["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "500m" } });
    let status = refusal(&namespace, &limited, "exceeded quota").await;
    assert_forbidden(&status, "exceeded quota: of-the-house, requested: limits.cpu=500m, used: limits.cpu=750m, limited: limits.cpu=1");
    assert!(status.details.unwrap().causes.is_empty(), "only the text tells which quota");
}

#[tokio::test]
async fn by_a_quota_only_when_the_second_pod_of_a_gang_is_made() {
    let Some(namespace) = Namespace::make("refusal-gang", json!({})).await else { return };
    add_quota(&namespace, &json!({ "pods": "1" }), &json!({ "pods": "0" })).await;
    for _ in 0..2 {
        namespace.dry_pod(&pod("sor-0")).accepted(&namespace.client).await.unwrap();
    }
    namespace.add("pods", &pod("sor-1")).await;
    let status = Ask::create(&namespace.path("pods"), &pod("sor-0")).refused(&namespace.client).await.unwrap();
    assert_forbidden(&status, "exceeded quota: of-the-house, requested: pods=1, used: pods=1, limited: pods=1");
}

#[tokio::test]
async fn by_pod_security() {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let Some(namespace) = Namespace::make("refusal-security", labels).await else { return };
    let mut privileged = pod("sor-0");
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    privileged["spec"]["containers"][0]["securityContext"] = restricted;
    namespace.dry_pod(&privileged).accepted(&namespace.client).await.unwrap();
    privileged["spec"]["hostNetwork"] = json!(true);
    let status = refusal(&namespace, &privileged, "PodSecurity").await;
    assert_forbidden(&status, "violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)");
    assert!(status.details.unwrap().causes.is_empty(), "only the text tells which rule");
}

#[tokio::test]
async fn by_missing_rights_which_does_not_name_the_pod() {
    let Some(namespace) = Namespace::make("refusal-rights", json!({})).await else { return };
    let status = namespace.dry_pod(&pod("sor-0")).by("nobody", &[]).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(status.details.unwrap().name, "", "so that the operator's own lack of rights can be told");
    let why = "User \"nobody\" cannot create resource \"pods\" in API group \"\" in the namespace \"refusal-rights\"";
    assert_eq!(status.message, format!("pods is forbidden: {why}"));
    let_make_pods(&namespace, "nobody").await;
    let is_made = |answer: &Answer| answer.is_ok();
    namespace.dry_pod(&pod("sor-0")).by("nobody", &[]).until(&namespace.client, is_made).await.unwrap().unwrap();
}

#[tokio::test]
async fn by_a_policy_which_chooses_its_own_reason() {
    let Some(namespace) = Namespace::make("refusal-policy", json!({})).await else { return };
    let spec = json!({ "validations": [{ "expression": "false", "message": "not today" }] });
    add_policy(&namespace, "ValidatingAdmissionPolicy", "validatingadmission", spec).await;
    let status = refusal(&namespace, &pod("sor-0"), "not today").await;
    // Without one it looks like a pod that is badly written.
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let why = "ValidatingAdmissionPolicy 'refusal-policy' with binding 'refusal-policy' denied request: not today";
    assert_eq!(status.message, format!("pods \"sor-0\" is forbidden: {why}"));
    let causes: Vec<_> = status.details.unwrap().causes.into_iter().map(|cause| cause.message).collect();
    assert_eq!(causes, [why]);
}

#[tokio::test]
async fn by_the_pods_own_fields() {
    let Some(namespace) = Namespace::make("refusal-fields", json!({})).await else { return };
    let mut bad = pod("sor-0");
    bad["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "2" } });
    let status = namespace.dry_pod(&bad).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.starts_with("Pod \"sor-0\" is invalid: spec.containers[0].resources.requests: "), "{}", status.message);
    let mut unknown = pod("sor-0");
    unknown["spec"]["priorityClassName"] = json!("unknown");
    let status = namespace.dry_pod(&unknown).refused(&namespace.client).await.unwrap();
    assert_forbidden(&status, "no PriorityClass with name unknown was found");
}

#[tokio::test]
async fn by_what_already_or_no_longer_is_there() {
    let Some(namespace) = Namespace::make("refusal-there", json!({})).await else { return };
    namespace.add("pods", &pod("sor-0")).await;
    let status = namespace.dry_pod(&pod("sor-0")).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));
    let status = Ask::create("/api/v1/namespaces/missing/pods", &pod("sor-0")).dry().refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    // It stays, terminating, since nobody here finishes its deletion.
    Ask::delete("/api/v1/namespaces/refusal-there").accepted(&namespace.client).await.unwrap();
    let status = refusal(&namespace, &pod("sor-1"), "being terminated").await;
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
}

#[tokio::test]
async fn by_a_webhook_that_does_not_answer_which_is_no_fault_of_the_pod() {
    let Some(namespace) = Namespace::make("refusal-webhook", json!({})).await else { return };
    let pods = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }]);
    let webhooks = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "absent" },
        // Nothing listens at port 1.
        "webhooks": [{
            "name": "absent.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "rules": pods, "timeoutSeconds": 5,
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "refusal-webhook" } },
        }],
    });
    add_for_all(&namespace.client, "admissionregistration.k8s.io", "validatingwebhookconfigurations", &webhooks).await;
    let status = refusal(&namespace, &pod("sor-0"), "webhook").await;
    assert_eq!((status.code, status.reason.as_str()), (500, "InternalError"), "{}", status.message);
    let start =
        "Internal error occurred: failed calling webhook \"absent.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/";
    assert!(status.message.starts_with(start), "{}", status.message);
}

/// Such a one would be refused in a dry run, since it could do what it is told not to.
#[tokio::test]
async fn by_no_webhook_that_acts_on_a_dry_run_for_there_is_none() {
    let Some(namespace) = Namespace::make("refusal-effects", json!({})).await else { return };
    let webhooks = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "acting" },
        "webhooks": [{
            "name": "acting.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "sideEffects": "Some",
            "admissionReviewVersions": ["v1"],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let status = Ask::create(path, &webhooks).dry().refused(&namespace.client).await.unwrap();
    assert!(status.message.contains("sideEffects: Unsupported value: \"Some\""), "{}", status.message);
}
