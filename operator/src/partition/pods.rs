//! Freeing and deleting the pods of gangs, and what can be seen of them.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use strobe_core::model::{GangRun, NodeIndex, NodeSet};
use strobe_crds::parallel_job::ParallelJob;

use crate::names::{GATE, LABEL_INCARNATION, LABEL_INDEX, LABEL_JOB_UID};

/// Reasons of a container that waits for an image in vain.
const NO_IMAGE: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];

/// How the scheduler begins what it says of a pod that would have its node, if others of its group had theirs (docs/spikes/g).
const GROUP_WAITS: &str = "pod group is unschedulable";

/// What can be seen of one life of a gang.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Pods that exist.
    pub(super) pods: u32,
    /// Nodes, by their place in the gang, to which pods were bound, and which did not refuse them.
    pub(super) bound: Vec<usize>,
    /// Why a pod is not bound, or its container does not start: of the first pod that says so.
    pub(super) trouble: Option<Trouble>,
    /// Pods that only wait for others of their group, by their place in the gang.
    pub(super) waiting: Vec<usize>,
    /// Pods whose images do not come, by their place in the gang.
    pub(super) without_image: Vec<usize>,
    /// Pods that have ended, by their place in the gang.
    pub(super) ended: Vec<usize>,
    /// Of these, the ones that kubelet refused before a container of theirs was made.
    pub(super) rejected: Vec<usize>,
}

/// What keeps a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The scheduler does not bind it because of other pods of its group.
    Group(String),
    /// The scheduler does not bind it.
    Unschedulable(String),
    /// Its image does not come.
    Image(String),
    /// Kubelet refuses it.
    Rejected(String),
}

impl Trouble {
    /// What the scheduler or kubelet says.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Group(words) | Self::Unschedulable(words) | Self::Image(words) | Self::Rejected(words) => words,
        }
    }

    /// Of several pods' troubles the first of the greatest weight is told: a refusal ends the attempt, whatever else keeps other pods, and
    /// that a group waits is said of each pod but the one that it waits for.
    const fn weight(&self) -> u8 {
        match self {
            Self::Group(_) => 1,
            Self::Unschedulable(_) | Self::Image(_) => 2,
            Self::Rejected(_) => 3,
        }
    }
}

// === impl Seen ===

impl Seen {
    /// The pods of so many that keep the others waiting, by their place in the gang: not bound, or without their images. Of a group none is
    /// bound before all can be: those count that do not only wait for others, where there are such.
    pub(super) fn late(&self, pods: usize) -> Vec<usize> {
        let is_late = |index: &usize| !self.bound.contains(index) || self.without_image.contains(index);
        let late: Vec<usize> = (0..pods).filter(is_late).collect();
        let reasons: Vec<usize> = late.iter().copied().filter(|index| !self.waiting.contains(index)).collect();
        if reasons.is_empty() { late } else { reasons }
    }
}

/// Takes our gate from the pods; the UIDs keep it from later pods of the same names.
pub(super) async fn free(client: Client, namespace: String, pods: Vec<(String, String)>) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    for (name, uid) in pods {
        let patch = json!({ "metadata": { "uid": uid }, "spec": { "schedulingGates": [{ "$patch": "delete", "name": GATE }] } });
        if let Err(error) = api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            // It is tried again with the next look at the gang.
            tracing::warn!(pod = name, error = &error as &dyn std::error::Error, "a pod is not let go");
        }
    }
}

/// Deletes those pods of a gang that waits no longer for them which are not bound: on the condition that nothing of them has changed
/// meanwhile. Gives their nodes. The others stay until the gang has ended there: a supervisor that is ended before would be a failure.
pub(super) async fn give_up(client: &Client, namespace: &str, pods: Vec<(NodeIndex, Arc<Pod>)>) -> NodeSet {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut empty = NodeSet::EMPTY;
    for (node, pod) in pods {
        let unchanged = Preconditions { uid: pod.uid(), resource_version: pod.resource_version() };
        let condition = DeleteParams { preconditions: Some(unchanged), ..DeleteParams::default() };
        if !is_bound(&pod) && api.delete(&pod.name_any(), &condition).await.is_ok() {
            empty.insert(node);
        }
    }
    empty
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// True once a container of the pod was made. One without has no logs.
fn has_run(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    containers.flatten().any(|container| container.container_id.is_some())
}

/// True for a pod of a life that may have logs. Ranks that end at once have done so before kubelet tells of their containers: where they were
/// `released`, all containers had been made.
pub(super) fn has_logs(pod: &Pod, released: bool) -> bool {
    released || has_run(pod)
}

/// True where kubelet does not take a pod that was bound to its node (`OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError` …): it says a
/// reason, and makes no container.
fn is_rejected(pod: &Pod) -> bool {
    let Some(status) = pod.status.as_ref().filter(|_| is_bound(pod)) else { return false };
    status.phase.as_deref() == Some("Failed") && status.reason.is_some() && !has_run(pod)
}

/// Deletes the pods of a gang that is not to run there, by their names and UIDs.
pub(super) async fn remove(client: Client, namespace: String, pods: Vec<(String, String)>) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    for (name, uid) in pods {
        delete(&api, "pod", &name, uid).await;
    }
}

/// Deletes a pod that nobody is left to end: its node is proven dead. The UID keeps it from a later pod of its name.
pub(super) async fn remove_by_force(client: Client, namespace: String, name: String, uid: String) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..only(uid) };
    match api.delete(&name, &at_once).await {
        Ok(_) => tracing::info!(pod = name, "a pod of a dead node is deleted by force"),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
        // It is tried again at a later look.
        Err(error) => tracing::warn!(pod = name, error = &error as &dyn std::error::Error, "a pod of a dead node is not deleted"),
    }
}

/// On the condition that it is the object with this UID, and no later one of its name.
fn only(uid: String) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }), ..DeleteParams::default() }
}

/// Deletes an object of a job, if it is there with that UID.
pub(super) async fn delete<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, kind: &str, name: &str, uid: String) {
    match api.delete(name, &only(uid)).await {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
        Err(error) => tracing::warn!(kind, name, error = &error as &dyn std::error::Error, "not deleted; its job's end does that"),
    }
}

/// A pod's place in a life of a job's gang; none when it is another's.
pub(super) fn place(pod: &Pod, job: &ParallelJob, run: GangRun) -> Option<usize> {
    let labels = pod.labels();
    let is_ours = labels.get(LABEL_JOB_UID) == job.metadata.uid.as_ref() && labels.get(LABEL_INCARNATION)? == &run.incarnation.to_string();
    labels.get(LABEL_INDEX).filter(|_| is_ours)?.parse().ok()
}

/// What can be seen of pods with their places in the gang.
pub(super) fn seen<'a>(pods: impl Iterator<Item = (usize, &'a Pod)>) -> Seen {
    let mut seen = Seen::default();
    for (index, pod) in pods {
        seen.pods += 1;
        let status = pod.status.as_ref();
        if is_rejected(pod) {
            seen.rejected.push(index);
        } else if is_bound(pod) {
            seen.bound.push(index);
        }
        if matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")) {
            seen.ended.push(index);
        }
        let trouble = trouble(pod);
        match trouble {
            Some(Trouble::Image(_)) => seen.without_image.push(index),
            Some(Trouble::Group(_)) => seen.waiting.push(index),
            Some(Trouble::Unschedulable(_) | Trouble::Rejected(_)) | None => {}
        }
        let weight = |trouble: &Option<Trouble>| trouble.as_ref().map_or(0, Trouble::weight);
        if weight(&trouble) > weight(&seen.trouble) {
            seen.trouble = trouble;
        }
    }
    seen
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    if is_rejected(pod) {
        let words = status.message.as_ref().or(status.reason.as_ref()).cloned().unwrap_or_default();
        return Some(Trouble::Rejected(format!("pod {}: {words}", pod.name_any())));
    }
    let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    if let Some(condition) = scheduled.filter(|condition| condition.reason.as_deref() == Some("Unschedulable")) {
        let message = condition.message.as_deref().unwrap_or_default();
        let words = format!("pod {}: {message}", pod.name_any());
        return Some(if message.starts_with(GROUP_WAITS) { Trouble::Group(words) } else { Trouble::Unschedulable(words) });
    }
    let mut waiting = status.container_statuses.iter().flatten().filter_map(|status| status.state.as_ref()?.waiting.as_ref());
    let image = waiting.find(|waiting| waiting.reason.as_deref().is_some_and(|reason| NO_IMAGE.contains(&reason)));
    image.map(|waiting| Trouble::Image(format!("pod {}: {}", pod.name_any(), waiting.message.clone().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod(spec: &Value, status: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "sor-1-0" }, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn what_is_seen_of_a_gang_is_counted_and_the_first_trouble_told() {
        let free = json!({ "containers": [] });
        let bound = json!({ "containers": [], "nodeName": "worker" });
        let unschedulable = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes are available" },
        ] });
        let waiting = json!({ "reason": "ErrImagePull", "message": "no such image" });
        let pulling = json!({ "phase": "Pending", "containerStatuses": [
            { "name": "rank", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": { "waiting": waiting } },
        ] });
        let pods = [pod(&free, &unschedulable), pod(&bound, &pulling), pod(&bound, &json!({ "phase": "Succeeded" }))];
        let seen = seen(pods.iter().enumerate());
        assert_eq!((seen.pods, seen.bound, seen.ended, seen.without_image), (3, vec![1, 2], vec![2], vec![1]));
        assert_eq!(seen.rejected, Vec::<usize>::new());
        assert_eq!(seen.trouble, Some(Trouble::Unschedulable("pod sor-1-0: 0/4 nodes are available".to_owned())));
        assert_eq!(trouble(&pods[1]), Some(Trouble::Image("pod sor-1-0: no such image".to_owned())));
    }

    #[test]
    fn of_a_group_the_pod_counts_that_the_others_wait_for() {
        let free = json!({ "containers": [] });
        let because = |message: &str| {
            let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
            pod(&free, &json!({ "conditions": [condition] }))
        };
        let waits = || because("pod group is unschedulable, waiting for minCount pods from a gang to be scheduled, 0/4 nodes");
        let large = because("0/4 nodes are available: 1 Insufficient memory");
        let of = |pods: &[Pod]| seen(pods.iter().enumerate());
        let one = of(&[waits(), large, waits()]);
        assert_eq!((one.waiting.clone(), one.late(3)), (vec![0, 2], vec![1]));
        assert_eq!(one.trouble, Some(Trouble::Unschedulable("pod sor-1-0: 0/4 nodes are available: 1 Insufficient memory".to_owned())));
        let all = of(&[waits(), waits()]);
        assert_eq!(all.late(2), [0, 1], "nothing says which it is");
        assert!(matches!(all.trouble, Some(Trouble::Group(_))));
        assert_eq!(of(&[waits()]).late(2), [1], "a pod that is not there is waited for too");
    }

    #[test]
    fn a_pod_that_kubelet_refuses_is_told_from_one_whose_container_failed() {
        let bound = json!({ "containers": [], "nodeName": "worker" });
        let refused =
            json!({ "phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu" });
        let container = json!({
            "name": "rank", "ready": false, "restartCount": 0, "image": "", "imageID": "", "containerID": "containerd://1",
            "state": { "terminated": { "exitCode": 1 } },
        });
        let failed = json!({ "phase": "Failed", "containerStatuses": [container] });
        let mut ended_by_kubelet = failed.clone();
        ended_by_kubelet["reason"] = json!("Evicted");
        let unschedulable = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] });
        let free = pod(&json!({ "containers": [] }), &unschedulable);
        let [refused, failed, ended_by_kubelet] = [refused, failed, ended_by_kubelet].map(|status| pod(&bound, &status));
        let seen = seen([&free, &refused, &failed, &ended_by_kubelet].into_iter().enumerate());
        assert_eq!((seen.bound, seen.ended, seen.rejected), (vec![2, 3], vec![1, 2, 3], vec![1]));
        let words = "pod sor-1-0: Pod was rejected: Node didn't have enough resource: cpu".to_owned();
        assert_eq!(seen.trouble, Some(Trouble::Rejected(words)), "it goes before what keeps other pods");
        assert_eq!([&free, &refused, &failed].map(|pod| has_logs(pod, false)), [false, false, true]);
        let untold = pod(&bound, &json!({ "phase": "Pending" }));
        assert_eq!([false, true].map(|released| has_logs(&untold, released)), [false, true]);
    }
}
