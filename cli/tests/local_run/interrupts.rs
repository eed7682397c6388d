//! The user ends a run.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    INTERRUPTED, TWO_NODES,
    command::{Scratch, job},
    following::Following,
    text,
};

/// Says that it is up, and says goodbye when it is asked to end.
const POLITE: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do :; done";

/// Cannot be asked.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do :; done";

fn report(scratch: &Scratch) -> Value {
    serde_json::from_str(&scratch.read("report.json")).unwrap()
}

/// Both jobs on the same CPUs: at any instant one of them is frozen.
fn interrupted_by(signal: Signal) {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &format!("{}---\n{}", job("polite", POLITE, TWO_NODES), job("stubborn", STUBBORN, TWO_NODES)));
    let mut run = Following::start(&scratch, &["jobs.yaml", "--report", "report.json"]);
    run.until(&["[polite.0] up", "[polite.1] up", "[stubborn.0] up", "[stubborn.1] up"]);
    run.signal(signal);
    let outcome = run.finish();
    assert_eq!(outcome.code, INTERRUPTED, "{outcome:?}");
    for line in ["[polite.0] bye", "[polite.1] bye"] {
        assert!(outcome.stdout.lines().any(|told| told == line), "a gang has its grace: {outcome:?}");
    }
    assert!(outcome.stderr.contains("interrupted: ending every gang; interrupt again to kill them at once"), "{outcome:?}");
    let report = report(&scratch);
    assert_eq!(
        (&report["interrupted"], text(&report, "/jobs/0/reason"), text(&report, "/jobs/1/reason")),
        (&true.into(), "Cancelled", "Cancelled")
    );
    scratch.assert_nothing_left();
}

#[test]
fn an_interrupt_ends_every_gang_with_its_grace_and_leaves_nothing() {
    interrupted_by(Signal::INT);
}

#[test]
fn so_does_a_request_to_terminate() {
    interrupted_by(Signal::TERM);
}

#[test]
fn a_second_interrupt_ends_at_once_what_would_not_end() {
    let scratch = Scratch::new();
    // An hour of grace that is not waited for.
    let patient = job("stubborn", STUBBORN, TWO_NODES).replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 3600");
    scratch.write("jobs.yaml", &format!("{}---\n{patient}", job("polite", POLITE, TWO_NODES)));
    let mut run = Following::start(&scratch, &["jobs.yaml", "--report", "report.json"]);
    run.until(&["[polite.0] up", "[polite.1] up", "[stubborn.0] up", "[stubborn.1] up"]);
    run.signal(Signal::INT);
    run.until(&["[polite.0] bye", "[polite.1] bye"]);
    run.signal(Signal::INT);
    let outcome = run.finish();
    assert_eq!(outcome.code, INTERRUPTED, "{outcome:?}");
    let report = report(&scratch);
    assert_eq!((text(&report, "/jobs/1/state"), text(&report, "/jobs/1/reason")), ("Failed", "Cancelled"), "{report:#}");
    assert_eq!(text(&report, "/jobs/1/message"), "it was killed with the run");
    scratch.assert_nothing_left();
}
