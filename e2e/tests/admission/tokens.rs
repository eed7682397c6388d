//! Tokens of service accounts with an audience of ours: what a review tells of the pod and node, and what it does not.

use std::time::Instant;

use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask};

use super::{Namespace, let_make_pods, pod};

const AUDIENCE: &str = "strobe.dev/agent";
const SHORTEST_SECONDS: u32 = 600;

/// An agent's pod on a node; gives both.
async fn agent(namespace: &Namespace, name: &str, node: &str) -> (Value, Value) {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } });
    let node = Ask::create("/api/v1/nodes", &node).accepted(&namespace.client).await.unwrap();
    (namespace.add("pods", &agents_pod(name, &node)).await, node)
}

fn agents_pod(name: &str, node: &Value) -> Value {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = node["metadata"]["name"].clone();
    pod["spec"]["serviceAccountName"] = json!("agent");
    pod
}

async fn with_account(name: &'static str) -> Option<Namespace> {
    let namespace = Namespace::make(name, json!({})).await?;
    namespace.add("serviceaccounts", &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "agent" } })).await;
    Some(namespace)
}

fn request(namespace: &Namespace, bound_to: Option<&Value>, seconds: u32) -> Ask {
    let bound_to = bound_to.map(|object| {
        json!({ "apiVersion": "v1", "kind": object["kind"], "name": object["metadata"]["name"], "uid": object["metadata"]["uid"] })
    });
    let spec = json!({ "audiences": [AUDIENCE], "expirationSeconds": seconds, "boundObjectRef": bound_to });
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
    Ask::create(&namespace.path("serviceaccounts/agent/token"), &request)
}

async fn token(namespace: &Namespace, bound_to: Option<&Value>) -> String {
    let given = request(namespace, bound_to, SHORTEST_SECONDS).accepted(&namespace.client).await.unwrap();
    given["status"]["token"].as_str().unwrap().to_owned()
}

fn review(token: &str, audience: &str) -> Ask {
    let spec = json!({ "token": token, "audiences": [audience] });
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec });
    Ask::create("/apis/authentication.k8s.io/v1/tokenreviews", &review)
}

async fn reviewed(namespace: &Namespace, token: &str, audience: &str) -> Value {
    review(token, audience).accepted(&namespace.client).await.unwrap()["status"].take()
}

fn extra<'a>(status: &'a Value, field: &str) -> Option<&'a str> {
    status["user"]["extra"].get(format!("authentication.kubernetes.io/{field}"))?[0].as_str()
}

fn is_refused(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|review| review["status"]["authenticated"] != true)
}

#[tokio::test]
async fn a_review_names_account_pod_and_node() {
    let Some(namespace) = with_account("tokens-names").await else { return };
    let (pod, node) = agent(&namespace, "agent-a", "tokens-names-node").await;
    let status = reviewed(&namespace, &token(&namespace, Some(&pod)).await, AUDIENCE).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["audiences"], json!([AUDIENCE]));
    assert_eq!(status["user"]["username"], "system:serviceaccount:tokens-names:agent");
    let metadata = |object: &Value, field: &str| object["metadata"][field].as_str().map(str::to_owned);
    for (field, expected) in [
        ("pod-name", metadata(&pod, "name")),
        ("pod-uid", metadata(&pod, "uid")),
        ("node-name", metadata(&node, "name")),
        ("node-uid", metadata(&node, "uid")),
    ] {
        assert_eq!(extra(&status, field), expected.as_deref(), "{field}");
    }
}

#[tokio::test]
async fn another_audience_is_refused_on_both_sides() {
    let Some(namespace) = with_account("tokens-audience").await else { return };
    let (pod, _) = agent(&namespace, "agent-a", "tokens-audience-node").await;
    let token = token(&namespace, Some(&pod)).await;
    let status = reviewed(&namespace, &token, "strobe.dev/other").await;
    assert_eq!(status.get("authenticated"), None, "absent, not false");
    assert_eq!(status["user"], json!({}));
    let why = r#"token audiences ["strobe.dev/agent"] is invalid for the target audiences ["strobe.dev/other"]"#;
    assert_eq!(status["error"], format!("[invalid bearer token, {why}]"));
    // A review that names no audience asks for the API server's own.
    let mut own = reviewed(&namespace, &token, "https://kubernetes.default.svc").await;
    assert!(own["error"].take().as_str().unwrap().contains(r#"target audiences ["https://kubernetes.default.svc"]"#));
}

#[tokio::test]
async fn a_node_cannot_be_written_into_a_token() {
    let Some(namespace) = with_account("tokens-forged").await else { return };
    let (own, _) = agent(&namespace, "agent-a", "tokens-forged-own").await;
    let (wanted, _) = agent(&namespace, "agent-b", "tokens-forged-wanted").await;
    let (own, wanted) = (token(&namespace, Some(&own)).await, token(&namespace, Some(&wanted)).await);
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (own, wanted) = (parts(&own), parts(&wanted));
    let forged = [&own[0][..], &wanted[1], &own[2]].join(".");
    let status = reviewed(&namespace, &forged, AUDIENCE).await;
    assert_eq!(status.get("authenticated"), None);
    assert!(status["error"].as_str().unwrap().starts_with("[invalid bearer token, "), "{status}");
}

#[tokio::test]
async fn a_token_need_not_name_a_pod_though_it_names_a_node() {
    let Some(namespace) = with_account("tokens-bound").await else { return };
    let (_, node) = agent(&namespace, "agent-a", "tokens-bound-node").await;
    let of_node = reviewed(&namespace, &token(&namespace, Some(&node)).await, AUDIENCE).await;
    assert_eq!((extra(&of_node, "pod-name"), extra(&of_node, "node-name")), (None, Some("tokens-bound-node")));
    let of_nothing = reviewed(&namespace, &token(&namespace, None).await, AUDIENCE).await;
    assert_eq!(of_nothing["authenticated"], true);
    assert_eq!((extra(&of_nothing, "pod-name"), extra(&of_nothing, "node-name")), (None, None));
}

#[tokio::test]
async fn a_token_is_asked_for_by_those_with_the_right_and_for_the_pods_own_account() {
    let Some(namespace) = with_account("tokens-rights").await else { return };
    let (pod, _) = agent(&namespace, "agent-a", "tokens-rights-node").await;
    let account = "system:serviceaccount:tokens-rights:agent";
    let ask = request(&namespace, Some(&pod), SHORTEST_SECONDS);
    let status = ask.by(account, &["system:serviceaccounts", "system:authenticated"]).refused(&namespace.client).await.unwrap();
    assert_eq!(status.code, 403);
    assert!(status.message.contains("cannot create resource \"serviceaccounts/token\""), "{}", status.message);
    let mut others = super::pod("other");
    others["spec"]["serviceAccountName"] = json!("other");
    let others = namespace.add("pods", &others).await;
    let status = request(&namespace, Some(&others), SHORTEST_SECONDS).refused(&namespace.client).await.unwrap();
    let why = "cannot bind token for serviceaccount \"agent\" to pod running with different serviceaccount name.";
    assert!(status.message.ends_with(why), "{}", status.message);
}

/// Only who may make pods there guards the agents' namespace: neither account nor owner does.
#[tokio::test]
async fn who_may_make_pods_in_the_namespace_may_make_an_agent_on_any_node() {
    let Some(namespace) = with_account("tokens-owner").await else { return };
    let (_, node) = agent(&namespace, "agent-a", "tokens-owner-node").await;
    let_make_pods(&namespace, "somebody").await;
    let mut claiming = agents_pod("claiming", &node);
    claiming["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "00000000-0000-4000-8000-000000000000",
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let made = namespace.dry_pod(&claiming).by("somebody", &[]).until(&namespace.client, Answer::is_ok).await.unwrap().unwrap();
    assert_eq!(made["metadata"]["ownerReferences"], claiming["metadata"]["ownerReferences"]);
}

#[tokio::test]
async fn a_token_lives_ten_minutes_at_least() {
    let Some(namespace) = with_account("tokens-shortest").await else { return };
    let (node_pod, _) = agent(&namespace, "agent-a", "tokens-shortest-node").await;
    let status = request(&namespace, Some(&node_pod), SHORTEST_SECONDS - 1).refused(&namespace.client).await.unwrap();
    let why = "Invalid value: 599: may not specify a duration less than 10 minutes";
    assert!(status.message.ends_with(why), "{}", status.message);
    let mut projecting = pod("projecting");
    let source = json!({ "serviceAccountToken": { "audience": AUDIENCE, "expirationSeconds": SHORTEST_SECONDS - 1, "path": "token" } });
    projecting["spec"]["serviceAccountName"] = json!("agent");
    projecting["spec"]["volumes"] = json!([{ "name": "token", "projected": { "sources": [source] } }]);
    let status = namespace.dry_pod(&projecting).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.ends_with(why), "{}", status.message);
}

#[tokio::test]
async fn after_its_pod_a_token_is_refused() {
    let Some(namespace) = with_account("tokens-gone").await else { return };
    let (pod, _) = agent(&namespace, "agent-a", "tokens-gone-node").await;
    let token = token(&namespace, Some(&pod)).await;
    assert_eq!(reviewed(&namespace, &token, AUDIENCE).await["authenticated"], true);
    Ask::delete(&namespace.path("pods/agent-a")).accepted(&namespace.client).await.unwrap();
    let began = Instant::now();
    // The server remembers for seconds what it found.
    let review = review(&token, AUDIENCE).until(&namespace.client, is_refused).await.unwrap().unwrap();
    println!("refused {} ms after the pod was deleted", began.elapsed().as_millis());
    assert_eq!(review["status"]["error"], "[invalid bearer token, service account token has been invalidated]");
}

#[tokio::test]
async fn a_pod_of_the_same_name_does_not_inherit_a_token() {
    let Some(namespace) = with_account("tokens-again").await else { return };
    let (pod, node) = agent(&namespace, "agent-a", "tokens-again-node").await;
    let token = token(&namespace, Some(&pod)).await;
    Ask::delete(&namespace.path("pods/agent-a")).accepted(&namespace.client).await.unwrap();
    let began = Instant::now();
    namespace.add("pods", &agents_pod("agent-a", &node)).await;
    // It was not reviewed before: nothing is remembered of it.
    let is_refused_for_the_new = |answer: &Answer| {
        is_refused(answer) && answer.as_ref().is_ok_and(|review| review["status"]["error"].to_string().contains("pod UID"))
    };
    review(&token, AUDIENCE).until(&namespace.client, is_refused_for_the_new).await.unwrap().unwrap();
    println!("refused {} ms after the pod was deleted", began.elapsed().as_millis());
}

#[tokio::test]
async fn after_its_node_a_token_of_a_pod_still_names_it() {
    let Some(namespace) = with_account("tokens-node-gone").await else { return };
    let (pod, node) = agent(&namespace, "agent-a", "tokens-node-gone-node").await;
    let (of_pod, of_node) = (token(&namespace, Some(&pod)).await, token(&namespace, Some(&node)).await);
    Ask::delete("/api/v1/nodes/tokens-node-gone-node").accepted(&namespace.client).await.unwrap();
    review(&of_node, AUDIENCE).until(&namespace.client, is_refused).await.unwrap().unwrap();
    let status = reviewed(&namespace, &of_pod, AUDIENCE).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(extra(&status, "node-uid"), node["metadata"]["uid"].as_str(), "so the operator compares it with the node's own");
}
