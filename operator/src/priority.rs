//! The priority of a job: what its class says, or the one that it has without stating any.

use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::ResourceExt as _;
use strobe_crds::parallel_job::{ParallelJob, Reason};

use crate::names::PRIORITY_CLASS;
use crate::refusal::Refusal;

/// What a job's class says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The class of its pods; none where the API server is to choose.
    pub class: Option<String>,
    /// Higher goes first.
    pub value: i32,
}

/// The class that a job states: its own, or else its template's.
#[must_use]
pub fn stated(job: &ParallelJob) -> Option<&str> {
    let of_template = || job.spec.template.spec.as_ref()?.priority_class_name.as_deref();
    job.spec.priority_class_name.as_deref().or_else(of_template)
}

/// The priority of a job, among the classes that there are.
///
/// # Errors
/// The class that it states does not exist.
pub fn priority<Class: AsRef<PriorityClass>>(job: &ParallelJob, classes: &[Class]) -> Result<Priority, Refusal> {
    let named = |name: &str| classes.iter().map(AsRef::as_ref).find(|class| class.name_any() == name);
    let of = |class: &PriorityClass| Priority { class: Some(class.name_any()), value: class.value.unwrap_or(0) };
    if let Some(name) = stated(job) {
        let message = || format!("no PriorityClass is called {name:?}; `kubectl get priorityclasses` lists those that there are");
        return named(name).map(of).ok_or_else(|| Refusal { reason: Reason::PriorityClassNotFound, message: message() });
    }
    let default = || classes.iter().map(AsRef::as_ref).find(|class| class.global_default == Some(true));
    Ok(named(PRIORITY_CLASS).or_else(default).map_or(Priority { class: None, value: 0 }, of))
}

/// The priority that a job was last told, whatever classes there are by now.
#[must_use]
pub fn known(job: &ParallelJob) -> Priority {
    let value = job.status.as_ref().and_then(|status| status.priority).unwrap_or(0);
    Priority { class: stated(job).map(str::to_owned), value }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn class(name: &str, value: i32, is_default: bool) -> Arc<PriorityClass> {
        let object = json!({ "metadata": { "name": name }, "value": value, "globalDefault": is_default });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn job(own: &Value, of_template: &Value) -> ParallelJob {
        serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor" },
            "spec": {
                "partition": "all", "priorityClassName": own,
                "template": { "spec": { "priorityClassName": of_template, "containers": [{ "name": "rank", "command": ["sor"] }] } },
            },
        }))
        .unwrap()
    }

    fn found(job: &ParallelJob, classes: &[Arc<PriorityClass>]) -> (Option<String>, i32) {
        let Priority { class, value } = priority(job, classes).unwrap();
        (class, value)
    }

    #[test]
    fn the_jobs_own_class_goes_before_its_templates_and_any_before_the_defaults() {
        let classes = [class("usual", 3, true), class("strobe-gang", 5, false), class("high", 100, false), class("low", -7, false)];
        let of = |own: Value, of_template: Value| found(&job(&own, &of_template), &classes);
        assert_eq!(of(json!("high"), json!("low")), (Some("high".to_owned()), 100));
        assert_eq!(of(json!(null), json!("low")), (Some("low".to_owned()), -7));
        assert_eq!(of(json!(null), json!(null)), (Some("strobe-gang".to_owned()), 5));
    }

    #[test]
    fn without_a_class_of_ours_the_clusters_default_holds_and_without_that_nothing() {
        let none = job(&json!(null), &json!(null));
        assert_eq!(found(&none, &[class("usual", 3, true)]), (Some("usual".to_owned()), 3));
        assert_eq!(found(&none, &[class("high", 100, false)]), (None, 0));
    }

    #[test]
    fn a_job_keeps_its_priority_when_its_class_goes() {
        let mut job = job(&json!("high"), &json!(null));
        assert_eq!(known(&job), Priority { class: Some("high".to_owned()), value: 0 });
        job.status = Some(serde_json::from_value(json!({ "priority": 100 })).unwrap());
        assert_eq!(known(&job).value, 100);
    }

    #[test]
    fn a_class_that_does_not_exist_is_named() {
        let refusal = priority(&job(&json!("high"), &json!(null)), &[class("usual", 3, true)]).unwrap_err();
        assert_eq!(refusal.reason, Reason::PriorityClassNotFound);
        assert!(refusal.message.starts_with("no PriorityClass is called \"high\";"), "{}", refusal.message);
    }
}
