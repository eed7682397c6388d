//! Finished jobs go when they have been kept for as long as they ask.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::{Client, ResourceExt as _};
use strobe_crds::parallel_job::{ConditionType, ParallelJob};

/// How long a finished job is still kept; none where that is for ever, or it has not finished.
#[must_use]
pub fn left(job: &ParallelJob, now: Timestamp) -> Option<Duration> {
    let kept = i64::from(job.spec.ttl_seconds_after_finished?);
    let until = finished(job)?.as_second().saturating_add(kept);
    Some(Duration::from_secs(u64::try_from(until - now.as_second()).unwrap_or(0)))
}

/// Deletes a job after its pods, unless it is another of its name by now.
///
/// # Errors
/// The API server did not do it.
pub async fn delete(client: &Client, job: &ParallelJob) -> Result<(), kube::Error> {
    let jobs: Api<ParallelJob> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let this = Preconditions { uid: job.uid(), resource_version: None };
    match jobs.delete(&job.name_any(), &DeleteParams::foreground().preconditions(this)).await {
        Ok(_) => Ok(()),
        // Somebody was faster, and perhaps made another.
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

/// When it finished. One that ended before its authority knew it has no time of completion.
fn finished(job: &ParallelJob) -> Option<Timestamp> {
    let status = job.status.as_ref().filter(|status| status.state.is_some_and(strobe_crds::parallel_job::GangState::is_over))?;
    let over = [ConditionType::Complete, ConditionType::Failed].map(|kind| kind.to_string());
    let condition = || status.conditions.iter().find(|condition| over.contains(&condition.type_) && condition.status == "True");
    let completed = status.completion_time.as_ref().map(|time| time.0);
    completed.or_else(|| condition().map(|condition| condition.last_transition_time.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn left_at_noon(ttl: &Value, status: &Value) -> Option<u64> {
        let job: ParallelJob = serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor" },
            "spec": {
                "partition": "all", "ttlSecondsAfterFinished": ttl,
                "template": { "spec": { "containers": [{ "name": "rank", "command": ["sor"] }] } },
            },
            "status": status,
        }))
        .unwrap();
        left(&job, "2026-01-01T12:00:00Z".parse().unwrap()).map(|left| left.as_secs())
    }

    #[test]
    fn a_job_is_kept_from_its_completion_on() {
        let complete = json!({ "state": "Complete", "completionTime": "2026-01-01T11:59:00Z" });
        assert_eq!(left_at_noon(&json!(100), &complete), Some(40));
        assert_eq!(left_at_noon(&json!(60), &complete), Some(0));
        assert_eq!(left_at_noon(&json!(0), &complete), Some(0));
        assert_eq!(left_at_noon(&json!(null), &complete), None, "for ever");
        assert_eq!(left_at_noon(&json!(0), &json!({ "state": "Running" })), None);
    }

    #[test]
    fn one_without_a_time_of_completion_is_kept_from_its_failure_on() {
        let failed = json!({ "type": "Failed", "status": "True", "reason": "TooManyJobs", "message": "", "lastTransitionTime": "2026-01-01T11:59:30Z" });
        assert_eq!(left_at_noon(&json!(40), &json!({ "state": "Failed", "conditions": [failed] })), Some(10));
        assert_eq!(left_at_noon(&json!(40), &json!({ "state": "Failed" })), None, "nobody knows since when");
    }
}
