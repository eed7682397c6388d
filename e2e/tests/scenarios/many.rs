//! Many jobs leave nothing behind.

use std::collections::BTreeMap;

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Jobs, script, sleeper};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario::new("twenty-at-once", twenty_at_once).needs(&[Need::NodeShell]).alone().long(),
    Scenario::new("fifty-in-a-row", fifty_in_a_row).needs(&[Need::NodeShell]).alone().long(),
];

/// Events that one life of a job may leave, its pods' own not counted.
const EVENTS_MAX: usize = 12;

fn twenty_at_once(jobs: &Jobs) {
    let names: Vec<String> = (0..20).map(|number| format!("job-{number}")).collect();
    for name in &names {
        jobs.apply(&script(name, "echo done"));
    }
    end(jobs, &names);
}

fn fifty_in_a_row(jobs: &Jobs) {
    let names: Vec<String> = (0..50).map(|number| format!("job-{number}")).collect();
    for name in &names {
        jobs.apply(&script(name, "echo done"));
        jobs.wait("condition=Complete", name);
    }
    end(jobs, &names);
}

fn end(jobs: &Jobs, names: &[String]) {
    for name in names {
        jobs.wait("condition=Complete", name);
    }
    let involved = "--output=jsonpath={range .items[?(@.involvedObject.kind=='ParallelJob')]}{.involvedObject.name}{'\\n'}{end}";
    let mut events = BTreeMap::<String, usize>::new();
    for name in jobs.namespace.run(&["get", "events", involved]).unwrap().lines() {
        *events.entry(name.to_owned()).or_default() += 1;
    }
    assert_eq!(events.len(), names.len(), "every job has events");
    for (name, count) in events {
        assert!(count <= EVENTS_MAX, "{name} has {count} events");
    }
    gangs_are_seen(jobs);
    for name in names {
        jobs.delete(name);
    }
    jobs.nothing_is_left();
    jobs.no_gang_is_on(&system::nodes().unwrap());
}

/// What is looked for at the end is found while a gang is there.
fn gangs_are_seen(jobs: &Jobs) {
    jobs.apply(&sleeper("seen"));
    jobs.are("Running", &["seen"]);
    jobs.is_on_nodes("seen");
    jobs.delete("seen");
}
