//! What users do with jobs at every point of their lives: pause, resume, suspend and delete them, and wait for their turn.

use serde_json::{Value, json};
use strobe_e2e::laboratory::SHELL_IMAGE;

use crate::jobs::{Jobs, job};

/// A job that does nothing for an hour, and needs no MPI.
fn sleeper(name: &str) -> Value {
    let mut sleeper = job(name, &["sleep", "3600"]);
    sleeper["spec"]["template"]["spec"]["containers"][0]["image"] = json!(SHELL_IMAGE);
    sleeper["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    sleeper
}

/// Changes a job's spec.
fn change(jobs: &Jobs, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    jobs.namespace.run(&["patch", "paralleljob", name, "--type=merge", "--patch", &patch]).unwrap();
}

fn is_in(jobs: &Jobs, state: &str, name: &str) {
    jobs.wait(&format!("jsonpath={{.status.state}}={state}"), name);
}

/// Deletes a job; its pods go with it.
fn delete(jobs: &Jobs, name: &str) {
    jobs.namespace.delete(&format!("paralleljob/{name}")).unwrap();
    jobs.namespace.run(&["wait", "--for=delete", "--timeout=120s", "pod", &format!("--selector=strobe.dev/job={name}")]).unwrap();
}

#[test]
fn a_job_is_paused_resumed_suspended_and_deleted_in_every_state() {
    let jobs = Jobs::make("lives-states");
    jobs.apply(&sleeper("kept"));
    is_in(&jobs, "Running", "kept");
    let pods = || jobs.namespace.run(&["get", "pods", "--selector=strobe.dev/job=kept", "--output=name"]).unwrap();
    assert_eq!(pods(), "pod/kept-1-0\npod/kept-1-1\n");

    change(&jobs, "kept", &json!({ "paused": true }));
    is_in(&jobs, "Paused", "kept");
    assert_eq!(pods(), "pod/kept-1-0\npod/kept-1-1\n", "a paused job keeps its pods");
    change(&jobs, "kept", &json!({ "paused": false }));
    is_in(&jobs, "Running", "kept");

    change(&jobs, "kept", &json!({ "suspend": true }));
    is_in(&jobs, "Suspended", "kept");
    jobs.namespace.run(&["wait", "--for=delete", "--timeout=120s", "pod", "--selector=strobe.dev/job=kept"]).unwrap();
    change(&jobs, "kept", &json!({ "suspend": false }));
    is_in(&jobs, "Running", "kept");
    assert_eq!(pods(), "pod/kept-2-0\npod/kept-2-1\n", "its next life has new pods");
    assert_eq!(jobs.field("kept", ".status.restarts"), "0", "that was nobody's failure");
    delete(&jobs, "kept");

    jobs.apply(&sleeper("paused"));
    is_in(&jobs, "Running", "paused");
    change(&jobs, "paused", &json!({ "paused": true }));
    is_in(&jobs, "Paused", "paused");
    delete(&jobs, "paused");

    let mut suspended = sleeper("suspended");
    suspended["spec"]["suspend"] = json!(true);
    jobs.apply(&suspended);
    is_in(&jobs, "Suspended", "suspended");
    delete(&jobs, "suspended");
}

#[test]
fn a_gang_that_does_not_fit_waits_for_its_turn_and_starts_when_one_ends() {
    let jobs = Jobs::make_alone("lives-queue");
    // Each takes one slot of every row on the workers that have one CPU.
    let names: Vec<String> = (0..ROWS).map(|number| format!("row-{number}")).collect();
    for name in &names {
        jobs.apply(&all_nodes(name));
        is_in(&jobs, "Running", name);
    }
    jobs.apply(&all_nodes("waiting"));
    jobs.wait("jsonpath={.status.position}=1", "waiting");
    assert_eq!(jobs.field("waiting", ".status.state"), "Queued");
    assert_eq!(jobs.field("waiting", ".status.reason"), "WaitingForSlots");
    assert_eq!(jobs.namespace.run(&["get", "pods", "--selector=strobe.dev/job=waiting", "--output=name"]).unwrap(), "", "nothing is held");
    delete(&jobs, "waiting");

    jobs.apply(&all_nodes("next"));
    jobs.wait("jsonpath={.status.position}=1", "next");
    delete(&jobs, &names[1]);
    is_in(&jobs, "Running", "next");
    for name in names.iter().map(String::as_str).filter(|name| *name != names[1]).chain(["next"]) {
        delete(&jobs, name);
    }
}

/// Rows of the partition of the tests.
const ROWS: usize = 4;

/// A job over all workers.
fn all_nodes(name: &str) -> Value {
    let mut job = sleeper(name);
    job["spec"]["nodes"] = json!(3);
    job
}

#[test]
fn people_look_into_a_gang_while_it_takes_turns() {
    let jobs = Jobs::make("lives-looking");
    jobs.apply(&sleeper("first"));
    let mut talking = sleeper("second");
    talking["spec"]["template"]["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "number=0; while [ $number -lt 300 ]; do number=$((number+1)); echo line $number; sleep 0.1; done"]);
    jobs.apply(&talking);
    is_in(&jobs, "Running", "first");
    is_in(&jobs, "Running", "second");
    let seen = jobs.namespace.run(&["exec", "first-1-0", "--", "sh", "-c", "echo seen from inside"]).unwrap();
    assert_eq!(seen, "seen from inside\n");
    let followed = jobs.namespace.run(&["logs", "--follow", "second-1-1"]).unwrap();
    let lines: Vec<&str> = followed.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(lines.len(), 300, "{followed}");
    assert!(lines[299].ends_with("line 300"), "{}", lines[299]);
    jobs.wait("condition=Complete", "second");
}
