//! What local mode cannot honour in a manifest that a cluster would.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::Serialize;
use serde_json::Value;

use crate::parallel_job::ParallelJob;

/// Fields of a pod that local mode uses.
const POD_FIELDS: [&str; 2] = ["containers", "terminationGracePeriodSeconds"];

/// Fields of the rank container that local mode uses.
const CONTAINER_FIELDS: [&str; 5] = ["name", "command", "args", "env", "workingDir"];

/// Paths of the fields of a job that are set but have no effect in local mode; said once as a warning.
#[must_use]
pub fn fields_not_used(job: &ParallelJob) -> Vec<String> {
    let mut paths = Vec::new();
    let spec = &job.spec;
    for (field, is_set) in [
        ("spec.priorityClassName", spec.priority_class_name.is_some()),
        ("spec.ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.is_some()),
        ("spec.managedBy", spec.managed_by.is_some()),
    ] {
        paths.extend(is_set.then(|| field.to_owned()));
    }
    if let Some(pod) = &spec.template.spec {
        note_pod(job, pod, &mut paths);
    }
    paths
}

fn note_pod(job: &ParallelJob, pod: &PodSpec, paths: &mut Vec<String>) {
    paths.extend(set_fields(pod, &POD_FIELDS).map(|field| format!("spec.template.spec.{field}")));
    let ranks = job.spec.find_rank_container();
    for (index, container) in pod.containers.iter().enumerate() {
        let path = format!("spec.template.spec.containers[{index}]");
        if ranks.is_some_and(|(place, _)| place == index) {
            note_rank_container(container, &path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn note_rank_container(container: &Container, path: &str, paths: &mut Vec<String>) {
    paths.extend(set_fields(container, &CONTAINER_FIELDS).map(|field| format!("{path}.{field}")));
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if variable.value_from.is_some() {
            paths.push(format!("{path}.env[{index}].valueFrom"));
        }
    }
}

/// Names of the fields that are set and not among those used.
fn set_fields(value: &impl Serialize, used: &'static [&str]) -> impl Iterator<Item = String> {
    let fields = match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    fields.into_iter().map(|(name, _)| name).filter(move |name| !used.contains(&name.as_str()))
}
