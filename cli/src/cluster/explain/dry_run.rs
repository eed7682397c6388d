//! A pod of the job's template, tried at the API server without being made, with the user's own rights: what Pod Security, quotas, limits
//! and webhooks of the namespace say of it.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use strobe_crds::ParallelJob;

use crate::cluster::access::Cluster;
use crate::cluster::error::ClusterError;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DryRun {
    /// The user may not make pods, so that nothing was tried.
    NotAllowed,
    /// The API server refuses the pod.
    Refused(String),
    /// It takes it, and adds CPU limits to these containers.
    Limited(Vec<String>),
    /// It takes it as it is.
    Accepted,
}

/// Tries it.
///
/// # Errors
/// There is no answer.
pub(super) async fn attempt(cluster: &Cluster, job: &ParallelJob) -> Result<DryRun, ClusterError> {
    let what = || format!("a dry run of a pod in namespace {:?}", cluster.namespace);
    if !may_make_pods(cluster).await? {
        return Ok(DryRun::NotAllowed);
    }
    let asked = pod(job);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &cluster.namespace);
    match pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &asked).await {
        Ok(answered) => Ok(verdict(&asked, &answered)),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 409 | 422) => Ok(DryRun::Refused(status.message)),
        Err(error) => Err(cluster.failed(what(), error)),
    }
}

async fn may_make_pods(cluster: &Cluster) -> Result<bool, ClusterError> {
    let attributes = ResourceAttributes {
        namespace: Some(cluster.namespace.clone()),
        verb: Some("create".to_owned()),
        resource: Some("pods".to_owned()),
        version: Some("v1".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
    let reviewed = reviews.create(&PostParams::default(), &review).await;
    let reviewed = reviewed.map_err(|error| cluster.failed("whether you may make pods", error))?;
    Ok(reviewed.status.is_some_and(|status| status.allowed))
}

/// A pod of the template, with what the operator sets whatever the template says, but without its volume, which only the operator may ask for.
fn pod(job: &ParallelJob) -> Pod {
    let template = job.spec.template.clone();
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None };
    pod.metadata.name = None;
    pod.metadata.generate_name = Some(format!("{}-", job.name_any()));
    pod.metadata.namespace = job.namespace();
    if let Some(spec) = &mut pod.spec {
        spec.restart_policy = Some("Never".to_owned());
        if spec.priority_class_name.is_none() {
            spec.priority_class_name.clone_from(&job.spec.priority_class_name);
        }
    }
    pod
}

/// A CPU limit throttles ranks: of one that nobody asked for the user should know.
fn verdict(asked: &Pod, answered: &Pod) -> DryRun {
    let limited = |pod: &Pod| -> Vec<String> {
        let has_limit = |container: &&Container| {
            let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key("cpu"))
        };
        pod.spec.iter().flat_map(|spec| &spec.containers).filter(has_limit).map(|container| container.name.clone()).collect()
    };
    let before = limited(asked);
    let added: Vec<String> = limited(answered).into_iter().filter(|name| !before.contains(name)).collect();
    if added.is_empty() { DryRun::Accepted } else { DryRun::Limited(added) }
}

impl DryRun {
    /// What is said of it.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![match self {
            Self::NotAllowed => "not tried: you may not create pods in this namespace".to_owned(),
            Self::Refused(message) => format!("the API server refuses a pod of its template: {message}"),
            Self::Limited(containers) => format!(
                "the API server takes a pod of its template, and gives a CPU limit to {}: a LimitRange or a webhook does; ranks would be throttled",
                containers.join(", ")
            ),
            Self::Accepted => "the API server takes a pod of its template".to_owned(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::job;

    #[test]
    fn the_pod_is_of_the_template_and_has_no_name_of_its_own() {
        let mut job = job("physics", "sor", &json!(null));
        job.spec.template.metadata = serde_json::from_value(json!({ "name": "mine", "labels": { "a": "b" } })).unwrap();
        job.spec.priority_class_name = Some("high".to_owned());
        let pod = serde_json::to_value(pod(&job)).unwrap();
        assert_eq!(pod["metadata"], json!({ "generateName": "sor-", "namespace": "physics", "labels": { "a": "b" } }));
        assert_eq!((&pod["spec"]["restartPolicy"], &pod["spec"]["priorityClassName"]), (&json!("Never"), &json!("high")));
        assert_eq!(pod["spec"]["containers"][0]["command"], json!(["sor"]));
    }

    #[test]
    fn a_limit_that_nobody_asked_for_is_told() {
        let asked = pod(&job("physics", "sor", &json!(null)));
        assert_eq!(verdict(&asked, &asked), DryRun::Accepted);
        let mut answered = asked.clone();
        answered.spec.as_mut().unwrap().containers[0].resources = serde_json::from_value(json!({ "limits": { "cpu": "1" } })).unwrap();
        assert_eq!(verdict(&asked, &answered), DryRun::Limited(vec!["rank".to_owned()]));
        assert_eq!(verdict(&answered, &answered), DryRun::Accepted);
        assert!(verdict(&asked, &answered).lines()[0].contains("gives a CPU limit to rank"));
    }
}
