//! Making the pods of gangs, and where they have one their group.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strobe_core::model::NodeIndex;
use tokio::time::Instant;

use super::pod_groups;
use super::pods::{self, delete};
use crate::limits::MAKE_AGAIN;
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
    /// An object of that kind and name is somebody else's.
    #[error("{kind} {name:?} exists and is not of this gang: delete it, or give the job another name")]
    Taken {
        /// What it is.
        kind: &'static str,
        /// What it is called.
        name: String,
    },
}

/// What one life of a gang is to be made of.
pub(super) struct Wanted {
    /// Where.
    pub(super) namespace: String,
    /// The group that its pods name.
    pub(super) group: Option<DynamicObject>,
    /// Its pod on each node.
    pub(super) pods: Vec<(NodeIndex, Pod)>,
}

/// The pods of a gang, made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Where they are.
    pub(super) namespace: String,
    /// The name and UID of their group.
    pub(super) group: Option<(String, String)>,
    /// For each node its pod's name and UID.
    pub(super) pods: BTreeMap<NodeIndex, (String, String)>,
}

/// An object of a gang.
trait Object: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static {
    const KIND: &'static str;
}

impl Object for Pod {
    const KIND: &'static str = "pod";
}

impl Object for DynamicObject {
    const KIND: &'static str = pod_groups::KIND;
}

/// Makes the pods, and before them their group. An object that is there from an earlier attempt is taken. One of that name that is being
/// deleted, as those of an earlier job are, is waited for; all of them together for as long as `patience`.
///
/// *Guarantees*: of a failed attempt the objects of this gang are deleted again, and nobody else's.
///
/// # Errors
/// See [`MakeError`].
pub(super) async fn make(client: &Client, wanted: Wanted, patience: Duration) -> Result<Made, MakeError> {
    let Wanted { namespace, group, pods } = wanted;
    let deadline = Instant::now() + patience;
    let groups = pod_groups::api(client, &namespace);
    let made_group = match &group {
        Some(group) => match create_in_time(&groups, group, deadline).await {
            Ok(uid) => Some((group.name_any(), uid)),
            Err(error) => {
                delete_ours(&groups, group).await;
                return Err(error);
            }
        },
        None => None,
    };
    match make_pods(&Api::namespaced(client.clone(), &namespace), &pods, deadline).await {
        Ok(pods) => Ok(Made { namespace, group: made_group, pods }),
        Err(error) => {
            if let Some((name, uid)) = made_group {
                delete(&groups, pod_groups::KIND, &name, uid).await;
            }
            Err(error)
        }
    }
}

async fn make_pods(
    api: &Api<Pod>,
    pods: &[(NodeIndex, Pod)],
    deadline: Instant,
) -> Result<BTreeMap<NodeIndex, (String, String)>, MakeError> {
    let mut made = BTreeMap::new();
    for (node, pod) in pods {
        match create_in_time(api, pod, deadline).await {
            Ok(uid) => made.insert(*node, (pod.name_any(), uid)),
            Err(error) => {
                // The last one may have been made though the answer did not come.
                for (_, pod) in pods.iter().take(made.len() + 1) {
                    delete_ours(api, pod).await;
                }
                return Err(error);
            }
        };
    }
    Ok(made)
}

/// Deletes what was made of a life that has ended meanwhile.
pub(super) async fn unmake(client: Client, Made { namespace, group, pods }: Made) {
    pods::remove(client.clone(), namespace.clone(), pods.into_values().collect()).await;
    if let Some((name, uid)) = group {
        delete(&pod_groups::api(&client, &namespace), pod_groups::KIND, &name, uid).await;
    }
}

async fn create_in_time<K: Object>(api: &Api<K>, object: &K, deadline: Instant) -> Result<String, MakeError> {
    let name = object.name_any();
    let mut is_taken = false;
    let created = async {
        loop {
            let uid = match create(api, object).await {
                Ok(uid) => return Ok(uid),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Leaving(uid)) => Some(uid),
                Err(Attempt::Left) => None,
            };
            is_taken = uid.is_some();
            let Some(uid) = uid else {
                // A server that always answers so is not asked without a pause.
                tokio::time::sleep(MAKE_AGAIN).await;
                continue;
            };
            tracing::info!(kind = K::KIND, name, "one of this name is being deleted; waited for");
            let gone = await_condition(api.clone(), &name, conditions::is_deleted(&uid)).await;
            gone.map_err(|error| MakeError::Failing(format!("cannot wait for the end of {} {name:?}: {error}", K::KIND)))?;
        }
    };
    let created = tokio::time::timeout_at(deadline, created).await;
    created.unwrap_or_else(|_late| {
        let silent = || MakeError::Failing("the API server has not answered in time".to_owned());
        Err(if is_taken { MakeError::Taken { kind: K::KIND, name: name.clone() } } else { silent() })
    })
}

/// Why one attempt to make an object made none.
enum Attempt {
    /// The one of that name with this UID is being deleted.
    Leaving(String),
    /// There was one of that name, and it went meanwhile.
    Left,
    /// Another attempt would do no better now.
    Failed(MakeError),
}

async fn create<K: Object>(api: &Api<K>, object: &K) -> Result<String, Attempt> {
    let unavailable = |error| Attempt::Failed(MakeError::Unavailable(Box::new(error)));
    match api.create(&PostParams::default(), object).await {
        Ok(made) => Ok(made.uid().unwrap_or_default()),
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let found = api.get_opt(&object.name_any()).await.map_err(unavailable)?;
            let Some(found) = found else {
                // A conflict of another kind, as with a quota that changes, is none about the name.
                let is_name = answer.reason == "AlreadyExists";
                return Err(if is_name { Attempt::Left } else { Attempt::Failed(MakeError::Failing(answer.message)) });
            };
            let uid = found.uid().unwrap_or_default();
            match found.meta().deletion_timestamp {
                Some(_) => Err(Attempt::Leaving(uid)),
                None if is_same(&found, object) => Ok(uid),
                None => Err(Attempt::Failed(MakeError::Taken { kind: K::KIND, name: object.name_any() })),
            }
        }
        Err(kube::Error::Api(answer)) if is_forbidden(&answer) => Err(Attempt::Failed(MakeError::Forbidden(answer.message))),
        Err(kube::Error::Api(answer)) if answer.code >= 500 => Err(Attempt::Failed(MakeError::Failing(answer.message))),
        Err(error) => Err(unavailable(error)),
    }
}

/// True for an object of the same life of the same job's gang.
fn is_same<K: Object>(found: &K, wanted: &K) -> bool {
    [LABEL_JOB_UID, LABEL_INCARNATION].iter().all(|label| found.labels().get(*label) == wanted.labels().get(*label))
}

/// Deletes the object of that name, if it is this one: somebody else may have one of the same name.
async fn delete_ours<K: Object>(api: &Api<K>, object: &K) {
    let (kind, name) = (K::KIND, object.name_any());
    match api.get_opt(&name).await {
        Ok(found) => {
            let ours = found.filter(|found| is_same(found, object)).and_then(|found| found.uid());
            if let Some(uid) = ours {
                delete(api, kind, &name, uid).await;
            }
        }
        Err(error) => tracing::warn!(kind, name, error = &error as &dyn std::error::Error, "not looked for; its job's end deletes it"),
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

    fn gang(namespace: &str, job: &str) -> Wanted {
        let pods = (0..2).map(|index| (NodeIndex(index), pod(&format!("sor-1-{index}"), job))).collect();
        Wanted { namespace: namespace.to_owned(), group: None, pods }
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
            let failed = make(&client, gang("a-name-of-somebody-else", "ours"), PATIENCE).await.unwrap_err();
            assert!(matches!(&failed, MakeError::Taken { kind: "pod", name } if name == "sor-1-1"), "{failed}");
            assert_eq!(api.get_opt("sor-1-0").await.unwrap(), None, "it was made and is deleted again");
            assert_eq!(uid(&api.get("sor-1-1").await.unwrap()), uid(&other));
        })
        .await;
    }

    #[tokio::test]
    async fn pods_of_an_earlier_attempt_are_taken() {
        with_server("an-earlier-attempt", async |client, api| {
            let earlier = api.create(&PostParams::default(), &pod("sor-1-0", "ours")).await.unwrap();
            let made = make(&client, gang("an-earlier-attempt", "ours"), PATIENCE).await.unwrap();
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
            let late = make(&client, gang("an-earlier-job", "ours"), Duration::from_secs(5)).await.unwrap_err();
            assert!(matches!(late, MakeError::Taken { .. }), "{late}");
            let making = tokio::spawn(async move { make(&client, gang("an-earlier-job", "ours"), PATIENCE).await });
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
        let wanted = Wanted { namespace: "default".to_owned(), group: None, pods: vec![(NodeIndex(0), pod("sor-1-0", "ours"))] };
        let made = make(&client, wanted, PATIENCE).await.unwrap();
        assert_eq!(made.pods[&NodeIndex(0)], ("sor-1-0".to_owned(), "the second".to_owned()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
