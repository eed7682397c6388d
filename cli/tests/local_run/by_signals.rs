//! A run of a user who may use no cgroup: gangs are stopped by signals.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    COMPLETED, TWO_NODES, WORK,
    command::{PATIENCE, Scratch, job},
    following::Following,
    number, text,
};

/// Time between two looks at what nothing announces.
const LOOK: Duration = Duration::from_millis(2);

/// Computes, in the rank's own process and in a child that it waits for, and goes on until the test says that it may complete.
fn busy() -> String {
    format!("{WORK}; ({WORK}); echo begun; while test ! -e finish; do :; done")
}

/// Node 1's agent in its present life: its number is in the run's folder, empty for a moment while the next life's is written.
fn agent(scratch: &Scratch) -> Option<Pid> {
    let folder: PathBuf = fs::read_dir(scratch.runs()).unwrap().next()?.unwrap().path();
    Pid::from_raw(fs::read_to_string(folder.join("agent-1")).ok()?.split_whitespace().next()?.parse().ok()?)
}

#[test]
fn without_cgroups_gangs_outlive_their_agent_and_their_cpu_time_is_counted() {
    let scratch = Scratch::new();
    let jobs = ["first", "second"].map(|name| job(name, &busy(), TWO_NODES));
    scratch.write("jobs.yaml", &jobs.join("---\n"));
    let mut run = Following::start(&scratch, &["jobs.yaml", "--report", "report.json", "--cgroup", "/no/such/cgroup"]);
    run.until(&["[first.0] begun", "[first.1] begun", "[second.0] begun", "[second.1] begun"]);
    let killed = agent(&scratch).unwrap();
    kill_process(killed, Signal::KILL).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while agent(&scratch).is_none_or(|agent| agent == killed) {
        assert!(Instant::now() < deadline, "the node has no agent again");
        std::thread::sleep(LOOK);
    }
    scratch.write("finish", "");
    let outcome = run.finish();
    assert_eq!(outcome.code, COMPLETED, "{outcome:?}");
    assert!(outcome.stderr.contains("gangs are stopped by signals"), "{outcome:?}");
    let report: Value = serde_json::from_str(&scratch.read("report.json")).unwrap();
    assert_eq!((text(&report, "/freezer"), number(&report, "/nodes/1/agentLives")), ("signal", 2.0), "{report:#}");
    for job in ["/jobs/0", "/jobs/1"] {
        assert_eq!((text(&report, &format!("{job}/state")), number(&report, &format!("{job}/restarts"))), ("Complete", 0.0), "{report:#}");
        assert!(number(&report, &format!("{job}/cpuSeconds")) > 0.0, "{report:#}");
    }
    scratch.assert_nothing_left();
}
