//! Whether a token proves an agent, and of which node.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use tonic::Status;

use crate::names::{AGENTS_ACCOUNT, AGENTS_DAEMON_SET, AUDIENCE};

/// Asks the API server, and never a cache.
pub(super) struct Prover {
    client: Client,
    namespace: String,
}

/// What a review says of a token's pod and node.
#[derive(Debug, PartialEq, Eq)]
struct Claims {
    pod: Named,
    node: Named,
}

/// A name, and which object of that name.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    name: String,
    uid: String,
}

// === impl Prover ===

impl Prover {
    pub(super) const fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// The node whose agent shows this token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it proves nobody, `PERMISSION_DENIED` when it proves somebody else or a pod that goes, `UNAVAILABLE` when
    /// the API server does not answer.
    pub(super) async fn prove(&self, token: &str) -> Result<Node, Status> {
        let claims = claims(&self.review(token).await?, &self.namespace)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pod = pods.get_opt(&claims.pod.name).await.map_err(|error| unanswered(&error))?;
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let set = sets.get_opt(AGENTS_DAEMON_SET).await.map_err(|error| unanswered(&error))?;
        check_pod(pod.as_ref(), set.as_ref(), &claims)?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.get_opt(&claims.node.name).await.map_err(|error| unanswered(&error))?;
        node.filter(|node| node.uid().as_deref() == Some(&claims.node.uid)).ok_or_else(|| {
            Status::permission_denied(format!("node {:?} is not the one any more for which the token was made", claims.node.name))
        })
    }

    async fn review(&self, token: &str) -> Result<TokenReviewStatus, Status> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.map_err(|error| unanswered(&error))?;
        answer.status.ok_or_else(|| Status::unavailable("the review of the token has no status"))
    }
}

fn unanswered(error: &kube::Error) -> Status {
    tracing::warn!(error = error as &dyn std::error::Error, "the API server does not say whether an agent is one");
    Status::unavailable("the API server does not answer")
}

/// Whom a reviewed token is of: an agent, in its pod, on its node.
fn claims(status: &TokenReviewStatus, namespace: &str) -> Result<Claims, Status> {
    let ours = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    if status.authenticated != Some(true) || !ours {
        return Err(Status::unauthenticated(format!("the token is none, has expired, or is not for {AUDIENCE:?}")));
    }
    let user = status.user.clone().unwrap_or_default();
    let expected = format!("system:serviceaccount:{namespace}:{AGENTS_ACCOUNT}");
    if user.username.as_deref() != Some(&expected) {
        let name = user.username.unwrap_or_default();
        return Err(Status::permission_denied(format!("the token is of {name:?} and not of {expected:?}")));
    }
    let named = |kind: &str| Some(Named { name: extra(&user, kind, "name")?, uid: extra(&user, kind, "uid")? });
    let (pod, node) = (named("pod"), named("node"));
    let both = pod.zip(node).ok_or_else(|| Status::permission_denied("the token is not bound to a pod on a node"))?;
    Ok(Claims { pod: both.0, node: both.1 })
}

fn extra(user: &UserInfo, kind: &str, field: &str) -> Option<String> {
    user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{kind}-{field}"))?.first().cloned()
}

/// The pod is the one of the token, runs where the token says, is not going, and is the agents' DaemonSet's.
fn check_pod(pod: Option<&Pod>, set: Option<&DaemonSet>, claims: &Claims) -> Result<(), Status> {
    let denied = |what: &str| Err(Status::permission_denied(format!("pod {:?} {what}", claims.pod.name)));
    let Some(pod) = pod.filter(|pod| pod.uid().as_deref() == Some(&claims.pod.uid)) else { return denied("is gone") };
    if pod.metadata.deletion_timestamp.is_some() {
        return denied("is ending");
    }
    if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(&claims.node.name) {
        return denied("does not run on the node of its token");
    }
    let set = set.and_then(kube::ResourceExt::uid);
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    if set.is_none() || controller.map(|owner| &owner.uid) != set.as_ref() {
        return denied("does not belong to the DaemonSet of the agents");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tonic::Code;

    use super::*;

    fn review(change: impl FnOnce(&mut Value)) -> Result<Claims, Code> {
        let mut status = json!({
            "authenticated": true, "audiences": [AUDIENCE],
            "user": { "username": "system:serviceaccount:strobe-system:strobe-agent", "extra": {
                "authentication.kubernetes.io/pod-name": ["strobe-agent-x"], "authentication.kubernetes.io/pod-uid": ["p1"],
                "authentication.kubernetes.io/node-name": ["worker"], "authentication.kubernetes.io/node-uid": ["n1"],
            } },
        });
        change(&mut status);
        claims(&serde_json::from_value(status).unwrap(), "strobe-system").map_err(|status| status.code())
    }

    #[test]
    fn a_token_is_an_agents_when_it_names_audience_account_pod_and_node() {
        let claims = review(|_| {}).unwrap();
        assert_eq!((claims.pod.name.as_str(), claims.node.uid.as_str()), ("strobe-agent-x", "n1"));
        assert_eq!(review(|status| status["authenticated"] = json!(null)), Err(Code::Unauthenticated));
        assert_eq!(review(|status| status["audiences"] = json!(["https://kubernetes.default.svc"])), Err(Code::Unauthenticated));
        let other = |status: &mut Value| status["user"]["username"] = json!("system:serviceaccount:default:strobe-agent");
        assert_eq!(review(other), Err(Code::PermissionDenied));
        let unbound = |status: &mut Value| status["user"]["extra"] = json!({ "authentication.kubernetes.io/node-name": ["worker"] });
        assert_eq!(review(unbound), Err(Code::PermissionDenied));
    }

    #[test]
    fn its_pod_is_there_stays_runs_on_its_node_and_is_the_daemon_sets() {
        let set: DaemonSet = serde_json::from_value(json!({ "metadata": { "name": AGENTS_DAEMON_SET, "uid": "d1" } })).unwrap();
        let checked = |change: &dyn Fn(&mut Value)| {
            let owner = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": AGENTS_DAEMON_SET, "uid": "d1", "controller": true });
            let mut pod = json!({
                "metadata": { "name": "strobe-agent-x", "uid": "p1", "ownerReferences": [owner] },
                "spec": { "nodeName": "worker", "containers": [] },
            });
            change(&mut pod);
            check_pod(Some(&serde_json::from_value(pod).unwrap()), Some(&set), &review(|_| {}).unwrap()).map_err(|status| status.code())
        };
        assert_eq!(checked(&|_| {}), Ok(()));
        assert_eq!(checked(&|pod| pod["metadata"]["uid"] = json!("p2")), Err(Code::PermissionDenied));
        assert_eq!(checked(&|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")), Err(Code::PermissionDenied));
        assert_eq!(checked(&|pod| pod["spec"]["nodeName"] = json!("other")), Err(Code::PermissionDenied));
        assert_eq!(checked(&|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("d2")), Err(Code::PermissionDenied));
        assert_eq!(check_pod(None, Some(&set), &review(|_| {}).unwrap()).unwrap_err().code(), Code::PermissionDenied);
    }
}
