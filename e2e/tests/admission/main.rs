//! What a real API server does with the pods of gangs before any scheduler or kubelet sees them, and with the tokens of agents: the part
//! of the spikes g and h (docs/spikes) that needs no node.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod dry_run;
mod gates;
mod groups;
mod refusals;
mod tokens;
mod volumes;

use kube::Client;
use serde_json::{Value, json};
use strobe_e2e::api_server::ApiServer;
use strobe_e2e::ask::Ask;
use strobe_e2e::programs;

/// A namespace of the shared server, for one test. It goes with the server, which has no controllers that could delete it.
struct Namespace {
    client: Client,
    name: &'static str,
}

impl Namespace {
    /// Makes it; none where the programs are not named.
    async fn make(name: &'static str, labels: Value) -> Option<Self> {
        Self::make_in(ApiServer::shared(name).await.unwrap()?, name, labels).await
    }

    /// Where groups of pods are served; none where there is no such server.
    async fn make_with_groups(name: &'static str) -> Option<Self> {
        Self::make_in(ApiServer::shared_with_pod_groups(name).await.unwrap()?, name, json!({})).await
    }

    async fn make_in(server: &ApiServer, name: &'static str, labels: Value) -> Option<Self> {
        let client = server.client().await.unwrap();
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        Ask::create("/api/v1/namespaces", &object).accepted(&client).await.unwrap();
        Some(Self { client, name })
    }

    /// Where something of the core's API in this namespace is.
    fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.name)
    }

    /// Adds an object of the core's API.
    async fn add(&self, collection: &str, object: &Value) -> Value {
        Ask::create(&self.path(collection), object).accepted(&self.client).await.unwrap()
    }

    fn dry_pod(&self, pod: &Value) -> Ask {
        Ask::create(&self.path("pods"), pod).dry()
    }
}

/// A pod of a gang, as small as it can be.
fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "containers": [{ "name": "rank", "image": "any" }] } })
}

/// Makes an object that belongs to no namespace.
async fn add_for_all(client: &Client, group: &str, collection: &str, object: &Value) {
    Ask::create(&format!("/apis/{group}/v1/{collection}"), object).accepted(client).await.unwrap();
}

/// Whether the server lets policies change objects; where not, this is said, and fails where nothing may be left out.
async fn policies_change(namespace: &Namespace) -> bool {
    let served = Ask::read("/apis/admissionregistration.k8s.io/v1").accepted(&namespace.client).await.unwrap();
    let is_served = served["resources"].as_array().unwrap().iter().any(|resource| resource["kind"] == "MutatingAdmissionPolicy");
    if !is_served {
        programs::left_out(namespace.name, "Kubernetes before 1.36 serves no MutatingAdmissionPolicy");
    }
    is_served
}

/// A policy of admission for the pods of one namespace, bound to it.
async fn add_policy(namespace: &Namespace, kind: &str, collection: &str, spec: Value) {
    let (client, name) = (&namespace.client, namespace.name);
    let group = "admissionregistration.k8s.io";
    let mut policy = json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": { "name": name }, "spec": spec });
    policy["spec"]["failurePolicy"] = json!("Fail");
    policy["spec"]["matchConstraints"] =
        json!({ "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }] });
    add_for_all(client, group, &format!("{collection}policies"), &policy).await;
    let mut binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": format!("{kind}Binding"), "metadata": { "name": name },
        "spec": { "policyName": name, "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } } },
    });
    if kind == "ValidatingAdmissionPolicy" {
        binding["spec"]["validationActions"] = json!(["Deny"]);
    }
    add_for_all(client, group, &format!("{collection}policybindings"), &binding).await;
}

/// Lets a user make pods in a namespace, by the part of the role `edit` that is there without a controller that adds the parts up.
async fn let_make_pods(namespace: &Namespace, user: &str) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "generateName": "make-pods-" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:aggregate-to-edit" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", namespace.name);
    Ask::create(&path, &role).accepted(&namespace.client).await.unwrap();
}
