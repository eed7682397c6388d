//! Jobs that do not fit wait in order.

use serde_json::{Value, json};

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, sleeper};

pub(crate) const SCENARIOS: [Scenario; 1] = [Scenario::new("queue-in-the-order-of-priority", queue_in_the_order_of_priority).alone()];

/// Rows of the partition of the tests.
const ROWS: usize = 4;

/// A job over all workers.
fn all_nodes(jobs: &Jobs, name: &str) -> Value {
    let nodes = jobs.namespace.run(&["get", "partitionnodes", "--output=name"]).unwrap().lines().count();
    let mut job = sleeper(name);
    job["spec"]["nodes"] = json!(nodes);
    job
}

fn queue_in_the_order_of_priority(jobs: &Jobs) {
    let names: Vec<String> = (0..ROWS).map(|number| format!("row-{number}")).collect();
    for name in &names {
        jobs.apply(&all_nodes(jobs, name));
        jobs.are("Running", &[name]);
    }
    jobs.apply(&all_nodes(jobs, "first"));
    jobs.wait("jsonpath={.status.position}=1", "first");
    assert_eq!(jobs.field("first", ".status.state"), "Queued");
    assert_eq!(jobs.field("first", ".status.reason"), "WaitingForSlots");
    assert_eq!(jobs.pods("first"), "", "nothing is held");

    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": "strobe-e2e-urgent" },
        "value": 1000, "preemptionPolicy": "Never", "description": "Of Strobe's tests.",
    });
    jobs.apply(&class);
    let _gone = Afterwards(|| jobs.namespace.run(&["delete", "priorityclass", "strobe-e2e-urgent"]).map(drop));
    let mut urgent = all_nodes(jobs, "urgent");
    urgent["spec"]["priorityClassName"] = json!("strobe-e2e-urgent");
    jobs.apply(&urgent);
    jobs.wait("jsonpath={.status.position}=1", "urgent");
    jobs.wait("jsonpath={.status.position}=2", "first");

    jobs.delete(&names[1]);
    jobs.are("Running", &["urgent"]);
    jobs.wait("jsonpath={.status.position}=1", "first");
    assert_eq!(jobs.field("first", ".status.state"), "Queued");
    jobs.delete(&names[2]);
    jobs.are("Running", &["first"]);
    for name in [names[0].as_str(), &names[3], "urgent", "first"] {
        jobs.delete(name);
    }
}
