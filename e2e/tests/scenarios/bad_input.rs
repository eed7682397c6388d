//! Manifests that the schema takes and the operator refuses: each says why, and none stops another.

use serde_json::{Value, json};

use crate::Scenario;
use crate::jobs::{Jobs, rank, sleeper};

pub(crate) const SCENARIOS: [Scenario; 1] = [Scenario::new("bad-input-is-refused-with-its-reason", bad_input_is_refused_with_its_reason)];

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
