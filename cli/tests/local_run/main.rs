//! Real runs: agents, supervisors, ranks. Nothing here is about time: a busy machine makes these tests slow, not wrong.

#![allow(clippy::unwrap_used, reason = "what a test relies on fails the test")]

mod by_signals;
#[path = "../support/command.rs"]
mod command;
mod examples;
mod following;
mod interrupts;
mod outputs;
mod staging;
mod terminal;

use command::{Outcome, Scratch, job};
use serde_json::Value;

const COMPLETED: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const INTERRUPTED: Option<i32> = Some(130);

/// Two nodes of one rank each, that know who they are.
const TWO_NODES: &str = "nodes: 2\nlaunch: {protocol: env}";

/// What a shell does to keep its CPU busy for a while, some hundred milliseconds.
const WORK: &str = "i=0; while test $i -lt 100000; do i=$((i+1)); done";

/// Writes the jobs, runs them with a report, and gives both.
fn run(scratch: &Scratch, jobs: &[String], arguments: &[&str]) -> (Outcome, Value) {
    scratch.write("jobs.yaml", &jobs.join("---\n"));
    let outcome = scratch.run(&[&["jobs.yaml", "--report", "report.json"], arguments].concat());
    let report = scratch.read("report.json");
    let report = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report:?} after {outcome:?}"));
    (outcome, report)
}

fn text<'a>(report: &'a Value, pointer: &str) -> &'a str {
    report.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {report:#}"))
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} of {report:#}"))
}

#[test]
fn a_job_completes_and_the_report_tells_of_it() {
    let scratch = Scratch::new();
    let (outcome, report) = run(&scratch, &[job("hello", "echo I am $RANK of $WORLD_SIZE", TWO_NODES)], &[]);
    assert_eq!(outcome.code, COMPLETED, "{outcome:?}");
    for line in ["[hello.0] I am 0 of 2", "[hello.1] I am 1 of 2"] {
        assert!(outcome.stdout.lines().any(|told| told == line), "{outcome:?}");
    }
    assert!(outcome.stdout.contains("1 job complete in "), "{outcome:?}");
    assert_eq!((text(&report, "/jobs/0/name"), text(&report, "/jobs/0/state")), ("hello", "Complete"));
    for pointer in ["/jobs/0/submitToStartMs", "/jobs/0/runSeconds", "/makespanSeconds", "/strobes/count", "/terms"] {
        assert!(number(&report, pointer) > 0.0, "{pointer} of {report:#}");
    }
    for pointer in ["/jobs/0/cpuSeconds", "/jobs/0/restarts", "/strobes/late", "/strobes/missed", "/strobes/stragglers"] {
        assert!(number(&report, pointer) >= 0.0, "{pointer} of {report:#}");
    }
    assert!(["cgroup", "signal"].contains(&text(&report, "/freezer")) && ["fifo", "other"].contains(&text(&report, "/scheduler")));
    scratch.assert_nothing_left();
}

#[test]
fn a_failed_rank_is_named_and_its_log_is_kept() {
    let scratch = Scratch::new();
    let script = "echo $RANK is here; test $RANK = 1 && exit 3; while :; do :; done";
    let (outcome, report) = run(&scratch, &[job("bad", script, TWO_NODES)], &["--logs", "logs"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    let why = "rank 1 on node 1 exited with status 3";
    assert_eq!(
        (text(&report, "/jobs/0/state"), text(&report, "/jobs/0/reason"), text(&report, "/jobs/0/message")),
        ("Failed", "RankExited", why)
    );
    assert!(outcome.stdout.contains(why) && outcome.stderr.contains(&format!("bad: Failed, {why}")), "{outcome:?}");
    assert_eq!(scratch.read("logs/bad-1/rank-1.log"), "1 is here\n");
    assert!(outcome.stderr.contains("note: the logs are in "), "{outcome:?}");
    scratch.assert_nothing_left();
}

#[test]
fn a_rank_that_aborts_is_named_with_its_code_and_its_words() {
    let scratch = Scratch::new();
    // Only bash writes to descriptors of more than one digit.
    let abort = r#"exec bash -c 'printf "cmd=abort exitcode=42 message=no convergence\n" >&$PMI_FD; exit 1'"#;
    let script = format!("test $RANK = 1 && {abort}; while :; do :; done");
    let (outcome, report) = run(&scratch, &[job("bad", &script, "nodes: 2\nlaunch: {protocol: pmi1}")], &[]);
    let why = "rank 1 on node 1 called MPI_Abort with exit code 42: no convergence";
    assert_eq!((outcome.code, text(&report, "/jobs/0/reason"), text(&report, "/jobs/0/message")), (FAILED, "Aborted", why), "{report:#}");
    assert!(outcome.stderr.contains(&format!("bad: Failed, {why}")), "{outcome:?}");
}

#[test]
fn a_program_that_cannot_be_executed_says_why() {
    let scratch = Scratch::new();
    scratch.write("script", "#!/no/such/interpreter\n");
    std::fs::set_permissions(scratch.path("script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let manifest = job("odd", "", "").replace("[/bin/sh, -c, \"\"]", "[./script]");
    let (outcome, report) = run(&scratch, &[manifest], &[]);
    assert_eq!((outcome.code, text(&report, "/jobs/0/reason")), (FAILED, "ProgramNotStarted"), "{report:#}");
    assert!(text(&report, "/jobs/0/message").contains("No such file or directory"), "{report:#}");
}

#[test]
fn a_job_is_run_again_up_to_its_limit() {
    let scratch = Scratch::new();
    let restart = "restart: {limit: 2, on: [RankFailure]}";
    // The second succeeds in its second life.
    let jobs = [job("never", "exit 4", restart), job("later", "test -e tried && exit 0; touch tried; exit 5", restart)];
    let (outcome, report) = run(&scratch, &jobs, &[]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert_eq!((text(&report, "/jobs/0/state"), number(&report, "/jobs/0/restarts")), ("Failed", 2.0));
    assert_eq!((text(&report, "/jobs/1/state"), number(&report, "/jobs/1/restarts")), ("Complete", 1.0));
    let lives: Vec<&Value> = report["jobs"][0]["failures"].as_array().unwrap().iter().map(|failure| &failure["incarnation"]).collect();
    assert_eq!(lives, [1, 2, 3]);
    assert_eq!(text(&report, "/jobs/1/failures/0/message"), "rank 0 on node 0 exited with status 5");
    assert!(outcome.stderr.contains("later: Restarting, for the 1st time"), "{outcome:?}");
}

#[test]
fn a_deadline_ends_a_job() {
    let scratch = Scratch::new();
    let (outcome, report) = run(&scratch, &[job("long", "while :; do :; done", "activeDeadlineSeconds: 1")], &[]);
    assert_eq!((outcome.code, text(&report, "/jobs/0/reason")), (FAILED, "DeadlineExceeded"), "{report:#}");
}

#[test]
fn with_one_row_jobs_run_one_after_the_other_in_their_order() {
    let scratch = Scratch::new();
    let first = job("first", &format!("{WORK}; touch first-is-over"), "");
    let second = job("second", "test -e first-is-over", "");
    let (outcome, report) = run(&scratch, &[first, second], &["--rows", "1"]);
    assert_eq!((outcome.code, text(&report, "/jobs/1/state")), (COMPLETED, "Complete"), "{report:#}");
}

#[test]
fn what_local_mode_cannot_honour_is_said_once_and_held_jobs_do_not_start() {
    let scratch = Scratch::new();
    let jobs = [
        job("asleep", "touch asleep", "suspend: true"),
        job("held", "touch held", "paused: true"),
        job("one", "true", "priorityClassName: high"),
        job("two", "true", "priorityClassName: high"),
    ];
    let (outcome, report) = run(&scratch, &jobs, &[]);
    assert_eq!(outcome.code, COMPLETED, "{outcome:?}");
    let states: Vec<&str> = (0..4).map(|place| text(&report, &format!("/jobs/{place}/state"))).collect();
    assert_eq!(states, ["Suspended", "Suspended", "Complete", "Complete"]);
    assert!(!scratch.path("asleep").exists() && !scratch.path("held").exists());
    let warnings: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "warning: local mode does not start what spec.paused holds, for nothing would resume it: ParallelJob \"held\" (jobs.yaml, document 2)",
            "warning: local mode does not use spec.priorityClassName: \
             ParallelJob \"one\" (jobs.yaml, document 3), ParallelJob \"two\" (jobs.yaml, document 4)",
        ]
    );
}

#[test]
fn the_report_is_printed_as_json_or_yaml_alone() {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &job("hello", "echo hello", ""));
    for format in ["json", "yaml"] {
        let outcome = scratch.run(&["jobs.yaml", "-o", format]);
        let report: Value = match format {
            "json" => serde_json::from_str(&outcome.stdout).unwrap(),
            _ => serde_saphyr::from_str(&outcome.stdout).unwrap(),
        };
        assert_eq!((outcome.code, text(&report, "/jobs/0/state")), (COMPLETED, "Complete"), "{outcome:?}");
        assert!(outcome.stderr.lines().any(|line| line == "[hello.0] hello"), "ranks' lines are not lost: {outcome:?}");
    }
}
