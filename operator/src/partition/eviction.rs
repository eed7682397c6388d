//! Pods that are taken from a gang: preempted, evicted, deleted by somebody else. One is enough: the whole gang ends, and waits again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource as _, ResourceExt as _};
use strobe_core::authority::AuthorityInput;
use strobe_core::model::{GangRun, GangState, NodeIndex};

use super::Partition;
use super::pods::Seen;

/// The condition by which Kubernetes says that a pod is ended for others' sake.
const DISRUPTION: &str = "DisruptionTarget";

impl Partition {
    /// Looks whether a pod is taken from a gang. Where the agent of its node does not answer it is the node that is in trouble: that is
    /// judged by what is known of the node.
    pub(super) fn look_for_evictions(&mut self, run: GangRun, pods: &[(usize, Arc<Pod>)], before: &Seen) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        let mut taken = None;
        for (index, node) in gang.nodes.iter().enumerate() {
            let Some(uid) = gang.uids.get(node) else { continue };
            let pod = pods.iter().map(|(_, pod)| pod).find(|pod| pod.uid().as_ref() == Some(uid));
            if pod.is_some() {
                gang.shown.insert(*node);
            }
            // One that had ended is of no use to anybody any more.
            let is_gone = pod.is_none() && gang.shown.contains(*node) && !before.ended.contains(&index);
            if is_gone || pod.is_some_and(|pod| is_taken(pod)) {
                taken = taken.or(Some(*node));
            }
        }
        if let Some(node) = taken.filter(|node| self.contacts.agent(*node).is_some()) {
            self.evict(run, node);
        }
    }

    /// Gangs of an earlier authority of which pods are not there: they were taken meanwhile, or never made.
    pub(super) fn evict_incomplete(&mut self) {
        let missing = self.gangs.iter().filter_map(|(run, gang)| {
            let node = gang.nodes.iter().find(|node| !gang.uids.contains_key(node))?;
            Some((*run, *node))
        });
        for (run, node) in missing.collect::<Vec<_>>() {
            self.evict(run, node);
        }
    }

    /// A job that is being deleted takes its pods along: nobody else does.
    fn evict(&mut self, run: GangRun, node: NodeIndex) {
        let job = self.jobs.get(&run.gang);
        if job.is_none_or(|job| job.found(&self.context.jobs).is_some_and(|found| found.meta().deletion_timestamp.is_some())) {
            return;
        }
        let status = self.authority.job(run.gang).filter(|status| status.incarnation == run.incarnation);
        if status.is_some_and(|status| !status.state.is_terminal() && status.state != GangState::Terminating) {
            tracing::info!(%run, node = self.keeper.kept().name(node), "a pod is taken from a gang");
            self.step(AuthorityInput::Evicted { run, node });
        }
    }
}

/// A pod that has not completed, and is being deleted or ended for others' sake.
fn is_taken(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let disrupted = conditions.filter(|condition| condition.type_ == DISRUPTION).any(|condition| condition.status == "True");
    let completed = status.and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    !completed && (disrupted || pod.metadata.deletion_timestamp.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn taken(metadata: &Value, status: &Value) -> bool {
        is_taken(&serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap())
    }

    #[test]
    fn a_pod_is_taken_that_is_deleted_or_disrupted_unless_it_has_completed() {
        let (stays, goes) = (json!({}), json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }));
        let disruption = |status: &str, phase: &str| json!({ "phase": phase, "conditions": [{ "type": "DisruptionTarget", "status": status, "reason": "EvictionByEvictionAPI" }] });
        assert!(!taken(&stays, &json!({ "phase": "Running" })) && taken(&goes, &json!({ "phase": "Running" })));
        assert!(taken(&stays, &disruption("True", "Running")) && taken(&stays, &disruption("True", "Failed")));
        assert!(!taken(&stays, &disruption("False", "Running")));
        assert!(!taken(&goes, &json!({ "phase": "Succeeded" })) && !taken(&stays, &disruption("True", "Succeeded")));
    }
}
