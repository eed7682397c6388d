//! Withdrawing before Strobe is uninstalled: the operator ends, then the gangs, while the agents that thaw them are still there.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectList, Patch, PatchParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{reflector, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use strobe_crds::API_VERSION;
use strobe_crds::parallel_job::{GangState, ParallelJob, Reason};
use strobe_crds::partition::Partition;

use super::ErrandError;
use crate::access::access;
use crate::controller::MANAGER;
use crate::names::{FINALIZER, LABEL_JOB_UID, OPERATOR};
use crate::nodes::{NodeFacts, taint, taint::Wish};
use crate::partition::{deletion, pod_groups};
use crate::refusal::Refusal;
use crate::status;

/// Ends the operator and then all gangs, and tells the jobs. They stay, and start anew when Strobe is installed again. The gangs' groups of
/// pods go where there may be some.
///
/// *Caveats*: whoever makes another operator meanwhile undoes it.
///
/// # Errors
/// See [`ErrandError`].
pub async fn withdraw(client: &Client, namespace: &str, pod_groups: bool) -> Result<(), ErrandError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    deployments.patch_scale(OPERATOR, &PatchParams::default(), &none).await.map_err(access("scale the operator to nothing"))?;
    gone(Api::namespaced(client.clone(), namespace), &format!("app.kubernetes.io/name={OPERATOR}"), "wait for the operator's end").await?;
    tracing::info!("the operator has ended");
    end_gangs(client).await?;
    tracing::info!("all gangs have ended");
    if pod_groups {
        remove_groups(client).await?;
    }
    tell_jobs(client).await?;
    release_nodes(client).await?;
    release_partitions(client).await
}

/// Deletes the pods of all gangs, as `kubectl delete` would, and waits until they are gone.
async fn end_gangs(client: &Client) -> Result<(), ErrandError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let list = pods.list_metadata(&ListParams::default().labels(LABEL_JOB_UID)).await.map_err(access("list the gangs' pods"))?;
    for namespace in namespaces_of(&list) {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let deleted = pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels(LABEL_JOB_UID)).await;
        deleted.map_err(access("delete the gangs' pods"))?;
    }
    gone(Api::all(client.clone()), LABEL_JOB_UID, "wait for the gangs' ends").await
}

/// Deletes the groups of pods of all gangs, where they are served.
async fn remove_groups(client: &Client) -> Result<(), ErrandError> {
    let groups: Api<DynamicObject> = Api::all_with(client.clone(), &pod_groups::resource());
    let of_gangs = ListParams::default().labels(LABEL_JOB_UID);
    let list = match groups.list_metadata(&of_gangs).await {
        Ok(list) => list,
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
        Err(error) => return Err(access("list the gangs' groups of pods")(error).into()),
    };
    for namespace in namespaces_of(&list) {
        let deleted = pod_groups::api(client, &namespace).delete_collection(&DeleteParams::default(), &of_gangs).await;
        deleted.map_err(access("delete the gangs' groups of pods"))?;
    }
    Ok(())
}

/// Where objects are, each namespace once.
fn namespaces_of<K: ResourceExt + Clone>(objects: &ObjectList<K>) -> BTreeSet<String> {
    objects.iter().filter_map(ResourceExt::namespace).collect()
}

/// Waits until no pod with a label is there.
async fn gone(pods: Api<PartialObjectMeta<Pod>>, label: &str, what: &'static str) -> Result<(), ErrandError> {
    let (there, writer) = store();
    let watched = watcher(pods, watcher::Config::default().labels(label)).default_backoff();
    let mut changes = std::pin::pin!(reflector(writer, watched));
    let failed = |source| ErrandError::Watch { what, source: Box::new(source) };
    while let Some(change) = changes.try_next().await.map_err(failed)? {
        let is_whole = !matches!(change, watcher::Event::Init | watcher::Event::InitApply(_));
        if is_whole && there.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Tells every job that is not over that it waits; nobody else would until Strobe is back.
async fn tell_jobs(client: &Client) -> Result<(), ErrandError> {
    let all: Api<DeserializeGuard<ParallelJob>> = Api::all(client.clone());
    let list = all.list(&ListParams::default()).await.map_err(access("list the jobs"))?;
    for job in list.iter().filter_map(|job| job.0.as_ref().ok()) {
        if job.status.as_ref().and_then(|status| status.state).is_none_or(GangState::is_over) {
            continue;
        }
        let message = "Strobe was uninstalled, and the gang has ended; the job starts anew when Strobe is installed again".to_owned();
        let status = status::waiting(job, Some(Refusal { reason: Reason::PartitionNotReady, message }), &Time(Timestamp::now()));
        let object = json!({ "apiVersion": API_VERSION, "kind": "ParallelJob", "metadata": { "uid": job.uid() }, "status": status });
        let jobs: Api<ParallelJob> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
        match jobs.patch_status(&job.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {}
            Err(error) => return Err(access("tell a job")(error).into()),
        }
    }
    Ok(())
}

/// Takes our taints from nodes: nothing would any more.
async fn release_nodes(client: &Client) -> Result<(), ErrandError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await.map_err(access("list the nodes"))? {
        if let Some(partition) = NodeFacts::of(&node).dedicated_to {
            let written = taint::write(client, &node.name_any(), &partition, Wish::Take).await;
            written.map_err(access("take the taint from a node"))?;
        }
    }
    Ok(())
}

/// Takes our finalizers from Partitions: whoever deletes one would wait for ever.
async fn release_partitions(client: &Client) -> Result<(), ErrandError> {
    let partitions: Api<Partition> = Api::all(client.clone());
    let list = partitions.list_metadata(&ListParams::default()).await.map_err(access("list the Partitions"))?;
    for partition in list.iter().filter(|partition| partition.finalizers().iter().any(|finalizer| finalizer == FINALIZER)) {
        match deletion::hold(client, &partition.name_any(), partition.uid().as_deref(), false).await {
            Ok(()) => {}
            // It is gone, or another of its name is there.
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {}
            Err(error) => return Err(access("take the finalizer from a Partition")(error).into()),
        }
    }
    Ok(())
}
