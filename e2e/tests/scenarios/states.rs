//! What users do with jobs at every point of their lives: pause, resume, suspend and delete them.

use serde_json::json;

use crate::Scenario;
use crate::jobs::{Jobs, sleeper};

pub(crate) const SCENARIOS: [Scenario; 2] =
    [Scenario::new("paused-suspended-resumed", paused_suspended_resumed), Scenario::new("deleted-in-every-state", deleted_in_every_state)];

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

fn deleted_in_every_state(jobs: &Jobs) {
    let mut paused = sleeper("paused");
    paused["spec"]["paused"] = json!(true);
    let mut suspended = sleeper("suspended");
    suspended["spec"]["suspend"] = json!(true);
    for job in [&sleeper("placed"), &sleeper("running"), &paused, &suspended] {
        jobs.apply(job);
    }
    jobs.wait("condition=Admitted", "placed");
    jobs.delete("placed");
    jobs.are("Running", &["running"]);
    // Its ranks were never released.
    jobs.wait("jsonpath={.status.reason}=Paused", "paused");
    jobs.are("Suspended", &["suspended"]);
    for name in ["running", "paused", "suspended"] {
        jobs.delete(name);
    }
    // What is deleted leaves no object of its own behind.
    jobs.nothing_is_left();
}
