//! What runs write: ranks' lines, and the trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    COMPLETED, TWO_NODES, WORK,
    command::{Outcome, PATIENCE, Scratch, job, outcome},
    following::Following,
    number, run,
};

/// Lines of each rank: more bytes than a pipe holds, so that back-pressure is part of the test.
const LINES: usize = 3000;

/// Prints numbered lines of growing length, on one output and then on the other, and waits for a file.
const CHATTER: &str = "x=; i=0; while test $i -lt 3000; do echo \"$i $x\"; i=$((i+1)); \
                       test ${#x} -lt 200 && x=$x$RANK || x=; test $i = 1500 && exec >&2; done; \
                       while ! test -e go; do :; done";

#[test]
fn piped_output_has_whole_lines_no_escape_codes_and_loses_nothing() {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &format!("{}---\n{}", job("left", CHATTER, TWO_NODES), job("right", CHATTER, TWO_NODES)));
    let mut run = Following::start(&scratch, &["jobs.yaml", "--quantum", "5ms"]);
    run.until_lines("the last line of every rank", 4 * LINES);
    scratch.write("go", "");
    let Outcome { code, stdout, stderr } = run.finish();
    assert_eq!(code, COMPLETED, "{stderr}");
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "{stderr}");
    let mut told: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for line in stdout.lines().take_while(|line| !line.starts_with("JOB ")) {
        let (rank, text) = line.split_once("] ").unwrap_or_else(|| panic!("{line:?} has no rank"));
        let (number, filling) = text.split_once(' ').unwrap_or_else(|| panic!("{line:?} is torn"));
        let own = rank.chars().last().unwrap();
        assert!(filling.chars().all(|character| character == own), "{line:?} is torn");
        assert!(told.entry(rank).or_default().insert(number.parse().unwrap()), "{line:?} came twice");
    }
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), ["[left.0", "[left.1", "[right.0", "[right.1"]);
    for (rank, numbers) in told {
        let missing: Vec<usize> = (0..LINES).filter(|number| !numbers.contains(number)).collect();
        assert_eq!(missing, Vec::<usize>::new(), "lines of {rank} are missing: {stderr}");
    }
}

/// Lines of some hundred bytes that, unread, fill the run's own buffers and pipes (at most 217 KiB) and part of what the
/// supervisor may hold (64 KiB and a pipe of 64 KiB): the rank can end, and the supervisor cannot be rid of its output.
const UNREAD_LINES: usize = 2400;

#[test]
fn a_reader_that_pauses_across_the_end_of_a_gang_and_of_the_run_gets_every_line() {
    let scratch = Scratch::new();
    let filling = "x".repeat(90);
    let first = job("first", &format!("i=0; while test $i -lt {UNREAD_LINES}; do echo $i {filling}; i=$((i+1)); done"), "");
    // There is one row: it begins when the first has left the plan on every node.
    let second = job("second", "touch second-runs", "");
    scratch.write("jobs.yaml", &format!("{first}---\n{second}"));
    let mut command = scratch.command(&["jobs.yaml", "--rows", "1", "--logs", "logs"]);
    command.env("STROBE_LOG", "info").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    eventually("the second job runs", || scratch.path("second-runs").exists());
    let agent_log = scratch.path("logs/agent-0.log");
    eventually("the agent is told to leave", || std::fs::read_to_string(&agent_log).is_ok_and(|log| log.contains("the run is over")));
    let Outcome { code, stdout, stderr } = outcome(child);
    assert_eq!(code, COMPLETED, "{stderr}");
    let wanted = |prefix: &str| (0..UNREAD_LINES).map(|number| format!("{prefix}{number} {filling}\n")).collect::<String>();
    let told: String = stdout.lines().filter(|line| line.starts_with("[first.0] ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(told.lines().count(), UNREAD_LINES, "{stderr}");
    assert_eq!(told, wanted("[first.0] "));
    assert_eq!(scratch.read("logs/first-1/rank-0.log"), wanted(""));
}

/// Waits for what files show, which announce themselves to nobody here.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Two jobs on the same CPUs of two nodes, so that rows are switched.
fn traced(policy: &str) -> (Value, Vec<Value>) {
    let scratch = Scratch::new();
    let jobs = [job("left", WORK, TWO_NODES), job("right", WORK, TWO_NODES)];
    let (outcome, report) = run(&scratch, &jobs, &["--quantum", "5ms", "--trace", "trace.json", "--policy", policy]);
    assert_eq!(outcome.code, COMPLETED, "{outcome:?}");
    (report, serde_json::from_str(&scratch.read("trace.json")).unwrap())
}

/// Complete events of a trace: the strobes, or the times that gangs ran.
fn intervals(trace: &[Value], strobes: bool) -> Vec<&Value> {
    trace.iter().filter(|event| event["ph"] == "X" && (event["tid"] == 0) == strobes).collect()
}

#[test]
fn a_trace_has_an_event_for_every_node_and_epoch() {
    let (report, trace) = traced("gang");
    let strobes = intervals(&trace, true);
    for node in [0, 1] {
        // Switches for another cause have no epoch.
        let is_epoch = |event: &&Value| event["pid"] == node + 1 && event["args"].get("cause").is_none();
        let acts: Vec<&Value> = strobes.iter().copied().filter(is_epoch).collect();
        let epochs: BTreeSet<u64> = acts.iter().map(|event| event["args"]["epoch"].as_u64().unwrap()).collect();
        assert_eq!(epochs.len(), acts.len(), "no epoch twice");
        // Strobes that come after the jobs' end may not be told any more.
        assert!(acts.len() as f64 <= number(&report, &format!("/nodes/{node}/strobes")), "{report:#}");
        let missed: u64 = acts.iter().map(|event| event["args"]["missed"].as_u64().unwrap()).sum();
        let spanned = epochs.last().unwrap() - epochs.first().unwrap() + 1;
        assert_eq!(spanned, acts.len() as u64 + missed, "an epoch is left out: {epochs:?}");
    }
    let names: BTreeSet<&str> = intervals(&trace, false).iter().filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["left", "right"]));
    assert!(number(&report, "/strobes/switchMicros/max") > 0.0, "rows were switched: {report:#}");
}

#[test]
fn the_kernel_policy_never_freezes() {
    let (report, trace) = traced("kernel");
    assert_eq!(report["policy"], "kernel");
    // Each gang runs on each node once, from its release to its end.
    let mut runs = BTreeMap::new();
    for event in intervals(&trace, false) {
        *runs.entry((event["name"].to_string(), event["pid"].to_string())).or_insert(0) += 1;
    }
    assert_eq!(runs.values().copied().collect::<Vec<u32>>(), [1; 4], "{runs:?}");
}
