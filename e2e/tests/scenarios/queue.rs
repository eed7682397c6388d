//! Jobs that do not fit wait in order.

use serde_json::{Value, json};
use strobe_e2e::cluster::system;

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, script};

pub(crate) const SCENARIOS: [Scenario; 1] = [Scenario::new("queue-in-the-order-of-priority", queue_in_the_order_of_priority).alone()];

/// Rows of the partition of the tests.
const ROWS: usize = 4;

/// A file in the memory that the ranks of a pod share. Their work is done when it is there.
const FINISHED: &str = "/dev/shm/finished";

/// A job over all workers, which holds a whole row until it is told to end.
fn all_nodes(name: &str) -> Value {
    let mut job = script(name, &format!("until [ -e {FINISHED} ]; do sleep 0.2; done"));
    job["spec"]["nodes"] = json!(system::nodes().unwrap().len());
    job
}

/// Ends the ranks of a job of [`all_nodes`], as if their work were done.
fn finish(jobs: &Jobs, name: &str) {
    for pod in jobs.pods(name).split_whitespace() {
        jobs.namespace.exec(pod, &["sh", "-c", &format!(": >{FINISHED}")]).unwrap();
    }
    jobs.wait("condition=Complete", name);
}

fn queue_in_the_order_of_priority(jobs: &Jobs) {
    let names: Vec<String> = (0..ROWS).map(|number| format!("row-{number}")).collect();
    for name in &names {
        jobs.apply(&all_nodes(name));
        jobs.are("Running", &[name]);
    }
    jobs.apply(&all_nodes("first"));
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
    let mut urgent = all_nodes("urgent");
    urgent["spec"]["priorityClassName"] = json!("strobe-e2e-urgent");
    jobs.apply(&urgent);
    jobs.wait("jsonpath={.status.position}=1", "urgent");
    jobs.wait("jsonpath={.status.position}=2", "first");

    // Who waits may leave the queue, for a while or for good.
    jobs.change("first", &json!({ "suspend": true }));
    jobs.are("Suspended", &["first"]);
    jobs.change("first", &json!({ "suspend": false }));
    jobs.wait("jsonpath={.status.position}=2", "first");
    jobs.apply(&all_nodes("withdrawn"));
    jobs.wait("jsonpath={.status.position}=3", "withdrawn");
    jobs.delete("withdrawn");

    finish(jobs, &names[1]);
    jobs.are("Running", &["urgent"]);
    jobs.wait("jsonpath={.status.position}=1", "first");
    assert_eq!(jobs.field("first", ".status.state"), "Queued");
    jobs.delete(&names[2]);
    jobs.are("Running", &["first"]);
    for name in [names[0].as_str(), &names[1], &names[3], "urgent", "first"] {
        jobs.delete(name);
    }
}
