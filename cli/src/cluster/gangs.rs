//! Gangs and their pods: which pods are of which job's newest life, and on which nodes they are or will be.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use strobe_crds::ParallelJob;
use strobe_crds::names::{LABEL_INCARNATION, LABEL_INDEX, LABEL_JOB_UID};

/// The life of a gang that a pod is of.
pub(super) fn incarnation(pod: &Pod) -> Option<u64> {
    pod.labels().get(LABEL_INCARNATION)?.parse().ok()
}

/// A pod's place in its gang.
pub(super) fn index(pod: &Pod) -> Option<u32> {
    pod.labels().get(LABEL_INDEX)?.parse().ok()
}

/// The pods of the newest life of a job's gang that has any, in the order of their ranks.
pub(super) fn newest<'a>(job: &ParallelJob, pods: &'a [Pod]) -> Vec<&'a Pod> {
    let is_ours =
        |pod: &&Pod| pod.metadata.namespace == job.metadata.namespace && pod.labels().get(LABEL_JOB_UID) == job.metadata.uid.as_ref();
    let ours: Vec<&Pod> = pods.iter().filter(is_ours).collect();
    let life = ours.iter().filter_map(|pod| incarnation(pod)).max();
    let mut newest: Vec<&Pod> = ours.into_iter().filter(|pod| life.is_some() && incarnation(pod) == life).collect();
    newest.sort_by_key(|pod| (index(pod), pod.name_any()));
    newest
}

/// The node of a pod: where it runs, or where it is to run.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let planned = || {
        let required = spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        fields.find(|field| field.key == "metadata.name")?.values.as_ref()?.first().map(String::as_str)
    };
    spec.node_name.as_deref().or_else(planned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{job, pod};

    #[test]
    fn the_newest_life_counts_in_the_order_of_its_ranks() {
        let later = |index| {
            let mut pod = pod("sor", index, Some("a"), &json!({}));
            pod.labels_mut().insert(LABEL_INCARNATION.to_owned(), "10".to_owned());
            pod.metadata.name = Some(format!("sor-10-{index}"));
            pod
        };
        let pods = [pod("sor", 0, None, &json!({})), later(10), later(9), pod("tsp", 0, None, &json!({}))];
        let newest = newest(&job("physics", "sor", &json!(null)), &pods);
        assert_eq!(newest.iter().map(|pod| pod.name_any()).collect::<Vec<_>>(), ["sor-10-9", "sor-10-10"]);
        assert_eq!(super::newest(&job("elsewhere", "sor", &json!(null)), &pods), Vec::<&Pod>::new());
    }

    #[test]
    fn a_pod_that_is_not_bound_has_its_planned_node() {
        let mut waiting = pod("sor", 0, None, &json!({}));
        assert_eq!(node(&waiting), None);
        let required = json!({ "nodeSelectorTerms": [{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["b"] }] }] });
        let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
        waiting.spec.as_mut().unwrap().affinity = serde_json::from_value(affinity).unwrap();
        assert_eq!(node(&waiting), Some("b"));
        waiting.spec.as_mut().unwrap().node_name = Some("c".to_owned());
        assert_eq!(node(&waiting), Some("c"));
    }
}
