//! What jobs refer to or are bound by, as the operator's watches have it: nothing of it is asked of the API server for each look at a job.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::Api;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use strobe_crds::parallel_job::{GangState, ParallelJob};
use tokio::sync::mpsc;

use crate::controller::WatchedJob;
use crate::names::LABEL_JOB_UID;
use crate::priority;

/// See the module.
#[derive(Clone)]
pub struct Watched {
    namespaces: Store<Namespace>,
    runtime_classes: Store<RuntimeClass>,
    priority_classes: Store<PriorityClass>,
    limit_ranges: Store<LimitRange>,
    quotas: Store<ResourceQuota>,
    policies: Store<NetworkPolicy>,
}

/// Whom a change is told: the jobs that it concerns.
#[derive(Clone)]
struct Followers {
    jobs: Store<WatchedJob>,
    changed: mpsc::Sender<ObjectRef<WatchedJob>>,
}

// === impl Watched ===

impl Watched {
    /// Begins to watch; jobs that a change concerns are sent to `changed`, for as long as somebody listens.
    #[must_use]
    pub fn begin(client: &Client, jobs: Store<WatchedJob>, changed: mpsc::Sender<ObjectRef<WatchedJob>>) -> Self {
        let followers = Followers { jobs, changed };
        Self {
            namespaces: followers.follow(client, |namespace: &Namespace| {
                let name = namespace.name_any();
                move |job: &ParallelJob| job.metadata.namespace.as_deref() == Some(&name)
            }),
            runtime_classes: followers.follow(client, |class: &RuntimeClass| {
                let name = class.name_any();
                move |job: &ParallelJob| runtime_class_of(job) == Some(&name)
            }),
            priority_classes: followers.follow(client, |class: &PriorityClass| {
                let name = class.name_any();
                move |job: &ParallelJob| priority::stated(job).is_none_or(|stated| stated == name)
            }),
            limit_ranges: followers.follow(client, |range: &LimitRange| waits_in(range.namespace())),
            quotas: followers.follow(client, |quota: &ResourceQuota| waits_in(quota.namespace())),
            policies: followers.follow(client, |policy: &NetworkPolicy| {
                // Those of gangs isolate nobody.
                let namespace = policy.namespace().filter(|_| !policy.labels().contains_key(LABEL_JOB_UID));
                move |job: &ParallelJob| namespace.is_some() && job.metadata.namespace == namespace
            }),
        }
    }

    /// Until all of it was listed once. One waits: of several that wait for a cache of kube's one alone is woken.
    pub async fn listed(&self) {
        wait(&self.namespaces).await;
        wait(&self.runtime_classes).await;
        wait(&self.priority_classes).await;
        wait(&self.limit_ranges).await;
        wait(&self.quotas).await;
        wait(&self.policies).await;
    }

    /// The namespace of a job.
    #[must_use]
    pub fn namespace(&self, job: &ParallelJob) -> Option<Arc<Namespace>> {
        self.namespaces.get(&ObjectRef::new(job.metadata.namespace.as_deref()?))
    }

    /// The runtime class that a job's template names.
    #[must_use]
    pub fn runtime_class(&self, job: &ParallelJob) -> Option<Arc<RuntimeClass>> {
        self.runtime_classes.get(&ObjectRef::new(runtime_class_of(job)?))
    }

    /// All priority classes.
    #[must_use]
    pub fn priority_classes(&self) -> Vec<Arc<PriorityClass>> {
        self.priority_classes.state()
    }

    /// The ranges of a namespace, by name.
    #[must_use]
    pub fn limit_ranges(&self, namespace: &str) -> Vec<Arc<LimitRange>> {
        of_namespace(&self.limit_ranges, namespace)
    }

    /// The quotas of a namespace, by name.
    #[must_use]
    pub fn quotas(&self, namespace: &str) -> Vec<Arc<ResourceQuota>> {
        of_namespace(&self.quotas, namespace)
    }

    /// The network policies of a namespace, by name.
    #[must_use]
    pub fn policies(&self, namespace: &str) -> Vec<Arc<NetworkPolicy>> {
        of_namespace(&self.policies, namespace)
    }
}

// === impl Followers ===

impl Followers {
    /// Watches one kind of object in the whole cluster.
    fn follow<K, Concerned>(&self, client: &Client, concerned: impl Fn(&K) -> Concerned + Send + 'static) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        Concerned: Fn(&ParallelJob) -> bool + Send,
    {
        let (store, writer) = reflector::store();
        let objects = watcher(Api::<K>::all(client.clone()), watcher::Config::default());
        let changes = reflector::reflector(writer, objects.default_backoff().modify(|object| object.managed_fields_mut().clear()));
        let followers = self.clone();
        tokio::spawn(async move {
            let mut touched = std::pin::pin!(changes.touched_objects());
            while let Some(change) = touched.next().await {
                match change {
                    Ok(object) if followers.tell(concerned(&object)).await => {}
                    Ok(_) => return,
                    Err(error) => tracing::warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "not seen for now"),
                }
            }
        });
        store
    }

    /// False when nobody listens any more.
    async fn tell(&self, concerned: impl Fn(&ParallelJob) -> bool) -> bool {
        let found = |job: &Arc<WatchedJob>| job.0.as_ref().is_ok_and(&concerned).then(|| ObjectRef::from_obj(job.as_ref()));
        let found: Vec<ObjectRef<WatchedJob>> = self.jobs.state().iter().filter_map(found).collect();
        for job in found {
            if self.changed.send(job).await.is_err() {
                return false;
            }
        }
        !self.changed.is_closed()
    }
}

async fn wait<K>(store: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    // The writer is gone only when this process ends.
    let _gone = store.wait_until_ready().await;
}

fn of_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut found: Vec<Arc<K>> = store.state().into_iter().filter(|object| object.namespace().as_deref() == Some(namespace)).collect();
    found.sort_unstable_by_key(|object| object.name_any());
    found
}

fn runtime_class_of(job: &ParallelJob) -> Option<&String> {
    job.spec.template.spec.as_ref()?.runtime_class_name.as_ref()
}

/// The jobs of a namespace that have no slots yet: the others' pods are made.
fn waits_in(namespace: Option<String>) -> impl Fn(&ParallelJob) -> bool + Send {
    move |job| {
        let waits = job.status.as_ref().and_then(|status| status.state).is_none_or(|state| state == GangState::Queued);
        waits && job.metadata.namespace == namespace
    }
}
