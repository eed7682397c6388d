//! Manifests that the schema takes and the operator refuses: each says why, and none stops another.

use serde_json::{Value, json};
use strobe_e2e::cluster::wait;

use crate::Scenario;
use crate::jobs::{Jobs, rank, sleeper, until};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario::new("bad-input-is-refused-with-its-reason", bad_input_is_refused_with_its_reason),
    Scenario::new("names-that-are-taken", names_that_are_taken),
];

/// Changes a job into one that must be refused.
type Spoil = fn(&mut Value);

const CASES: [(&str, &str, Spoil); 5] = [
    ("nowhere", "PartitionNotFound", |job| job["spec"]["partition"] = json!("no-such-partition")),
    ("too-wide", "ExceedsPartition", |job| job["spec"]["ranksPerNode"] = json!(1000)),
    ("host-network", "HostNetworkRefused", |job| job["spec"]["template"]["spec"]["hostNetwork"] = json!(true)),
    ("endless", "ContainerNeverEnds", |job| {
        let mut second = rank(job).clone();
        second["name"] = json!("second");
        job["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(second);
    }),
    ("accelerated", "AcceleratorsNotShared", |job| rank(job)["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } })),
];

fn bad_input_is_refused_with_its_reason(jobs: &Jobs) {
    for (name, _reason, spoil) in CASES {
        let mut job = sleeper(name);
        spoil(&mut job);
        jobs.apply(&job);
    }
    for (name, reason, _spoil) in CASES {
        jobs.wait(&format!("jsonpath={{.status.reason}}={reason}"), name);
        let (told, message) = jobs.condition(name, "Admitted");
        assert_eq!(told, reason, "{name}: {message}");
        assert!(!message.is_empty(), "{name} is told what would be right");
    }
    jobs.apply(&json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "limits" },
        "spec": { "limits": [{ "type": "Container", "default": { "cpu": "500m" } }] },
    }));
    jobs.apply(&sleeper("limited"));
    jobs.wait("jsonpath={.status.reason}=CPULimitInjected", "limited");
    let message = jobs.field("limited", ".status.message");
    assert!(message.contains("LimitRange \"limits\""), "it names the LimitRange: {message}");
    assert_eq!(jobs.namespace.run(&["get", "pods", "--output=name"]).unwrap(), "", "none of them has pods");
}

/// A pod may have the name of one that a gang is to have: somebody else's, or that of a job of the same name which is being deleted.
fn names_that_are_taken(jobs: &Jobs) {
    let template = sleeper("taken")["spec"]["template"]["spec"].clone();
    jobs.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "taken-1-1" }, "spec": template }));
    let uid = || jobs.namespace.run(&["get", "pod", "taken-1-1", "--output=jsonpath={.metadata.uid}"]).unwrap();
    let others = uid();
    jobs.apply(&sleeper("taken"));
    until("the job says whose name it wants", || {
        jobs.field("taken", ".status.message").contains("pod \"taken-1-1\" exists and is not of this gang")
    });
    assert_eq!(uid(), others, "the pod of somebody else is left alone");
    jobs.namespace.delete("pod/taken-1-1").unwrap();
    jobs.are("Running", &["taken"]);

    jobs.namespace.run(&["delete", "paralleljob", "taken", "--wait=false"]).unwrap();
    jobs.namespace.run(&["wait", "--for=delete", &wait(), "paralleljob/taken"]).unwrap();
    jobs.apply(&sleeper("taken"));
    jobs.are("Running", &["taken"]);
    assert_eq!(
        jobs.field("taken", ".status.incarnation"),
        "1",
        "its pods have waited for those of the job before, and were blamed for nothing"
    );
}
