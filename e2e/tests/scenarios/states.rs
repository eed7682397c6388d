//! What users do with jobs at every point of their lives: pause, resume, suspend and delete them.

use serde_json::{Value, json};

use crate::Scenario;
use crate::jobs::{Jobs, rank, script, sleeper};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario::new("paused-suspended-resumed", paused_suspended_resumed),
    Scenario::new("suspended-and-deleted-in-every-state", suspended_and_deleted_in_every_state),
];

/// Seconds in which a job can be seen ending.
const GRACE: u32 = 8;

/// How a job comes to a state in which it stays for a while.
struct Way {
    state: &'static str,
    make: fn(&str) -> Value,
    /// What of its spec becomes true once it runs.
    wish: Option<&'static str>,
}

/// What waits in the queue is another scenario's: for that the partition has to be full.
const WAYS: [Way; 5] = [
    Way { state: "Placed", make: never_ready, wish: None },
    Way { state: "Launching", make: never_released, wish: None },
    Way { state: "Running", make: sleeper, wish: None },
    Way { state: "Paused", make: sleeper, wish: Some("paused") },
    Way { state: "Terminating", make: stubborn, wish: Some("suspend") },
];

fn paused_suspended_resumed(jobs: &Jobs) {
    jobs.apply(&sleeper("kept"));
    jobs.are("Running", &["kept"]);
    assert_eq!(jobs.pods("kept"), "kept-1-0 kept-1-1 ");

    jobs.change("kept", &json!({ "paused": true }));
    jobs.are("Paused", &["kept"]);
    assert_eq!(jobs.pods("kept"), "kept-1-0 kept-1-1 ", "a paused job keeps its pods");
    jobs.change("kept", &json!({ "paused": false }));
    jobs.are("Running", &["kept"]);

    jobs.change("kept", &json!({ "suspend": true }));
    jobs.are("Suspended", &["kept"]);
    jobs.pods_are_gone("kept");
    jobs.change("kept", &json!({ "suspend": false }));
    jobs.are("Running", &["kept"]);
    assert_eq!(jobs.pods("kept"), "kept-2-0 kept-2-1 ", "its next life has new pods");
    assert_eq!(jobs.field("kept", ".status.restarts"), "0", "that was nobody's failure");
    let warnings = jobs.namespace.run(&["get", "events", "--field-selector=reason=PartitionNotReady", "--output=name"]).unwrap();
    assert_eq!(warnings, "", "the partition has a manager");
}

/// Brings one job to a state, suspends and deletes it there; and deletes another one there at once.
fn suspended_and_deleted_in_every_state(jobs: &Jobs) {
    for way in WAYS {
        let state = way.state.to_lowercase();
        let names = [format!("suspended-{state}"), format!("deleted-{state}")];
        for name in &names {
            jobs.apply(&(way.make)(name));
        }
        for name in &names {
            if let Some(wish) = way.wish {
                jobs.are("Running", &[name]);
                jobs.change(name, &json!({ (wish): true }));
            }
            jobs.are(way.state, &[name]);
        }
        let [suspended, deleted] = &names;
        jobs.change(suspended, &json!({ "suspend": true }));
        jobs.delete(deleted);
        jobs.are("Suspended", &[suspended]);
        jobs.pods_are_gone(suspended);
        assert_eq!(jobs.field(suspended, ".status.restarts"), "0", "{suspended}: that was nobody's failure");
        jobs.delete(suspended);
    }
    // What is deleted leaves no object of its own behind.
    jobs.nothing_is_left();
}

/// Its pods are bound, and what has to be ready before its ranks never is.
fn never_ready(name: &str) -> Value {
    let mut job = sleeper(name);
    let mut first = rank(&mut job).clone();
    first["name"] = json!("first");
    job["spec"]["template"]["spec"]["initContainers"] = json!([first]);
    job
}

/// Its ranks are never released.
fn never_released(name: &str) -> Value {
    let mut job = sleeper(name);
    job["spec"]["paused"] = json!(true);
    job
}

/// Its ranks do not end before they must.
fn stubborn(name: &str) -> Value {
    let mut job = script(name, "trap '' TERM; while true; do sleep 1; done");
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
    job
}
