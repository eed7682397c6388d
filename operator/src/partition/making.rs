//! Making the pods of gangs.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use strobe_core::model::NodeIndex;
use tokio::time::Instant;

use super::pods::delete;
use crate::names::{LABEL_INCARNATION, LABEL_JOB_UID};
use crate::trial::is_forbidden;

/// Why the pods of a gang could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    /// The API server refuses them: Pod Security, a quota, an admission policy.
    #[error("{0}")]
    Forbidden(String),
    /// It fails, or a webhook that it asks does not answer; its words.
    #[error("{0}")]
    Failing(String),
    /// It did not answer.
    #[error("the API server does not make the pods")]
    Unavailable(#[source] Box<kube::Error>),
    /// A pod of that name is somebody else's.
    #[error("pod {0:?} exists and is not of this gang: delete it, or give the job another name")]
    Taken(String),
}

/// The pods of a gang, made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Where they are.
    pub(super) namespace: String,
    /// For each node its pod's name and UID.
    pub(super) pods: BTreeMap<NodeIndex, (String, String)>,
}

/// Makes the pods. A pod that is there from an earlier attempt is taken. One of that name that is being deleted, as those
/// of an earlier job are, is waited for; all of them together for as long as `patience`.
///
/// *Guarantees*: of a failed attempt the pods of this gang are deleted again, and nobody else's.
///
/// # Errors
/// See [`MakeError`].
pub(super) async fn make(client: &Client, namespace: String, pods: Vec<(NodeIndex, Pod)>, patience: Duration) -> Result<Made, MakeError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let deadline = Instant::now() + patience;
    let mut made = BTreeMap::new();
    for (node, pod) in &pods {
        match create_in_time(&api, pod, deadline).await {
            Ok(uid) => made.insert(*node, (pod.name_any(), uid)),
            Err(error) => {
                // The last one may have been made though the answer did not come.
                for (_, pod) in pods.iter().take(made.len() + 1) {
                    delete_ours(&api, pod).await;
                }
                return Err(error);
            }
        };
    }
    Ok(Made { namespace, pods: made })
}

async fn create_in_time(api: &Api<Pod>, pod: &Pod, deadline: Instant) -> Result<String, MakeError> {
    let name = pod.name_any();
    let mut is_taken = false;
    let created = async {
        loop {
            let uid = match create(api, pod).await {
                Ok(uid) => return Ok(uid),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Leaving(uid)) => Some(uid),
                Err(Attempt::Left) => None,
            };
            is_taken = true;
            let Some(uid) = uid else { continue };
            tracing::info!(pod = name, "a pod of this name is being deleted; waited for");
            let gone = await_condition(api.clone(), &name, conditions::is_deleted(&uid)).await;
            gone.map_err(|error| MakeError::Failing(format!("cannot wait for the end of pod {name:?}: {error}")))?;
        }
    };
    let created = tokio::time::timeout_at(deadline, created).await;
    created.unwrap_or_else(|_late| {
        let silent = || MakeError::Failing("the API server has not answered in time".to_owned());
        Err(if is_taken { MakeError::Taken(name.clone()) } else { silent() })
    })
}

/// Why one attempt to make a pod made none.
enum Attempt {
    /// The pod of that name with this UID is being deleted.
    Leaving(String),
    /// There was one of that name, and it went meanwhile.
    Left,
    /// Another attempt would do no better now.
    Failed(MakeError),
}

async fn create(api: &Api<Pod>, pod: &Pod) -> Result<String, Attempt> {
    let unavailable = |error| Attempt::Failed(MakeError::Unavailable(Box::new(error)));
    match api.create(&PostParams::default(), pod).await {
        Ok(pod) => Ok(pod.uid().unwrap_or_default()),
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let found = api.get_opt(&pod.name_any()).await.map_err(unavailable)?;
            let Some(found) = found else {
                // A conflict of another kind, as with a quota that changes, is none about the name.
                let is_name = answer.reason == "AlreadyExists";
                return Err(if is_name { Attempt::Left } else { Attempt::Failed(MakeError::Failing(answer.message)) });
            };
            let uid = found.uid().unwrap_or_default();
            match found.metadata.deletion_timestamp {
                Some(_) => Err(Attempt::Leaving(uid)),
                None if is_same(&found, pod) => Ok(uid),
                None => Err(Attempt::Failed(MakeError::Taken(pod.name_any()))),
            }
        }
        Err(kube::Error::Api(answer)) if is_forbidden(&answer) => Err(Attempt::Failed(MakeError::Forbidden(answer.message))),
        Err(kube::Error::Api(answer)) if answer.code >= 500 => Err(Attempt::Failed(MakeError::Failing(answer.message))),
        Err(error) => Err(unavailable(error)),
    }
}

/// True for a pod of the same life of the same job's gang.
fn is_same(found: &Pod, pod: &Pod) -> bool {
    [LABEL_JOB_UID, LABEL_INCARNATION].iter().all(|label| found.labels().get(*label) == pod.labels().get(*label))
}

/// Deletes the pod of that name, if it is this one: somebody else may have one of the same name.
async fn delete_ours(api: &Api<Pod>, pod: &Pod) {
    let name = pod.name_any();
    match api.get_opt(&name).await {
        Ok(found) => {
            let ours = found.filter(|found| is_same(found, pod)).and_then(|found| found.uid());
            if let Some(uid) = ours {
                delete(api, &name, uid).await;
            }
        }
        Err(error) => tracing::warn!(pod = name, error = &error as &dyn std::error::Error, "not looked for; its job's end deletes it"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::StatusCode;
    use axum::{Router, routing};
    use kube::api::{DeleteParams, Patch, PatchParams};
    use serde_json::json;
    use strobe_e2e::api_server::ApiServer;
    use strobe_e2e::programs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The pod of a job's gang, which nothing lets go.
    fn pod(name: &str, job: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { LABEL_JOB_UID: job, LABEL_INCARNATION: "1" } },
            "spec": { "schedulingGates": [{ "name": "strobe.dev/gang" }], "containers": [{ "name": "rank", "image": "any" }] },
        }))
        .unwrap()
    }

    fn gang(job: &str) -> Vec<(NodeIndex, Pod)> {
        (0..2).map(|index| (NodeIndex(index), pod(&format!("sor-1-{index}"), job))).collect()
    }

    /// Gives a test a namespace of an API server, where its programs are named.
    async fn with_server<Test: Future<Output = ()>>(namespace: &str, test: impl FnOnce(Client, Api<Pod>) -> Test) {
        let Some(server) = ApiServer::shared(namespace).await.unwrap() else {
            return programs::left_out(namespace, "no programs of Kubernetes are named");
        };
        for arguments in [["create", "namespace", namespace], ["create", "serviceaccount", "default"]] {
            let made = server.kubectl().args(["--namespace", namespace]).args(arguments).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let client = server.client().await.unwrap();
        test(client.clone(), Api::namespaced(client, namespace)).await;
    }

    fn uid(pod: &Pod) -> String {
        pod.uid().unwrap()
    }

    #[tokio::test]
    async fn a_name_that_is_somebody_elses_fails_the_gang_and_only_its_own_pods_are_deleted() {
        with_server("a-name-of-somebody-else", async |client, api| {
            let other = api.create(&PostParams::default(), &pod("sor-1-1", "another")).await.unwrap();
            let failed = make(&client, "a-name-of-somebody-else".to_owned(), gang("ours"), PATIENCE).await.unwrap_err();
            assert!(matches!(&failed, MakeError::Taken(name) if name == "sor-1-1"), "{failed}");
            assert_eq!(api.get_opt("sor-1-0").await.unwrap(), None, "it was made and is deleted again");
            assert_eq!(uid(&api.get("sor-1-1").await.unwrap()), uid(&other));
        })
        .await;
    }

    #[tokio::test]
    async fn pods_of_an_earlier_attempt_are_taken() {
        with_server("an-earlier-attempt", async |client, api| {
            let earlier = api.create(&PostParams::default(), &pod("sor-1-0", "ours")).await.unwrap();
            let made = make(&client, "an-earlier-attempt".to_owned(), gang("ours"), PATIENCE).await.unwrap();
            assert_eq!(made.pods[&NodeIndex(0)], ("sor-1-0".to_owned(), uid(&earlier)));
            assert_eq!(made.pods[&NodeIndex(1)].1, uid(&api.get("sor-1-1").await.unwrap()));
        })
        .await;
    }

    #[tokio::test]
    async fn a_pod_of_an_earlier_job_that_is_being_deleted_is_waited_for() {
        with_server("an-earlier-job", async |client, api| {
            let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
            api.create(&PostParams::default(), &pod("sor-1-0", "earlier")).await.unwrap();
            api.patch("sor-1-0", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
            api.delete("sor-1-0", &DeleteParams::default()).await.unwrap();
            let late = make(&client, "an-earlier-job".to_owned(), gang("ours"), Duration::from_millis(200)).await.unwrap_err();
            assert!(matches!(late, MakeError::Taken(_)), "{late}");
            let making = tokio::spawn(async move { make(&client, "an-earlier-job".to_owned(), gang("ours"), PATIENCE).await });
            let let_go = json!({ "metadata": { "finalizers": null } });
            api.patch("sor-1-0", &PatchParams::default(), &Patch::Merge(let_go)).await.unwrap();
            let made = making.await.unwrap().unwrap();
            assert_eq!(made.pods[&NodeIndex(0)].1, uid(&api.get("sor-1-0").await.unwrap()));
        })
        .await;
    }
    /// An API server whose pod goes between its answer to the first POST and its answer to the GET, as one did that was being deleted.
    #[tokio::test]
    async fn a_pod_that_goes_while_it_is_looked_at_is_in_nobodys_way() {
        let asked = Arc::new(AtomicUsize::new(0));
        let status = |code: u16, reason: &str| {
            let status =
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason });
            (StatusCode::from_u16(code).unwrap(), status.to_string())
        };
        let made = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "sor-1-0", "uid": "the second" } });
        let posted = Arc::clone(&asked);
        let post = move || async move {
            match posted.fetch_add(1, Ordering::Relaxed) {
                0 => status(409, "AlreadyExists"),
                _ => (StatusCode::CREATED, made.to_string()),
            }
        };
        let get = move || async move { status(404, "NotFound") };
        let pods = "/api/v1/namespaces/default/pods";
        let router = Router::new().route(pods, routing::post(post)).route(&format!("{pods}/sor-1-0"), routing::get(get));
        let client = Client::new(router, "default");
        let made = make(&client, "default".to_owned(), vec![(NodeIndex(0), pod("sor-1-0", "ours"))], PATIENCE).await.unwrap();
        assert_eq!(made.pods[&NodeIndex(0)], ("sor-1-0".to_owned(), "the second".to_owned()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
