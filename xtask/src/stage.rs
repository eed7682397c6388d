//! A recipe's stages: each with a time limit, its tests counted, and nothing of it left running.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::counts::Counts;
use crate::leak;
use crate::process::{self, Outcome};

/// One named step: commands that run one after the other until one fails.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// For all of its commands together.
    pub(crate) limit: Duration,
    pub(crate) commands: Vec<Command>,
    pub(crate) failure: OnFailure,
}

/// What a failed stage means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// They run: one run shows all that is wrong.
    Continue,
    /// They need it: they do not run.
    Stop,
}

/// Whether a recipe that ran no test at all may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tests {
    Expected,
    NotExpected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    TimedOut,
    NotRun,
}

struct Report {
    name: &'static str,
    verdict: Verdict,
    elapsed: Duration,
    counts: Counts,
}

/// Runs the stages in order and prints the summary, whose last line is the tests' counts.
///
/// # Errors
/// This process cannot become the guardian of its stages' orphans. A failing stage is no error: it is in the exit code.
pub(crate) fn run_all(stages: Vec<Stage>, tests: Tests) -> Result<ExitCode> {
    let mut guard = leak::Guard::start()?;
    let mut reports = Vec::new();
    let mut stopped = false;
    for stage in stages {
        let report = if stopped { not_run(&stage) } else { run(stage, &mut guard, &mut stopped) };
        reports.push(report);
    }
    Ok(conclude(&reports, tests))
}

fn not_run(stage: &Stage) -> Report {
    Report { name: stage.name, verdict: Verdict::NotRun, elapsed: Duration::ZERO, counts: Counts::default() }
}

fn run(stage: Stage, guard: &mut leak::Guard, stopped: &mut bool) -> Report {
    let title = stage.name;
    println!("\n=== {title}");
    let start = Instant::now();
    let mut counts = Counts::default();
    let mut verdict = run_commands(stage.commands, start + stage.limit, &mut counts);
    for left in guard.collect() {
        println!("LEFT BEHIND by stage {title}: {left}");
        if verdict == Verdict::Passed {
            verdict = Verdict::Failed;
        }
    }
    *stopped = verdict != Verdict::Passed && stage.failure == OnFailure::Stop;
    Report { name: stage.name, verdict, elapsed: start.elapsed(), counts }
}

fn run_commands(commands: Vec<Command>, deadline: Instant, counts: &mut Counts) -> Verdict {
    for command in commands {
        let shown = process::shown(&command);
        println!("$ {shown}");
        let outcome = process::watch(command, deadline.saturating_duration_since(Instant::now()), |line| {
            println!("{line}");
            *counts += Counts::of_line(line).unwrap_or_default();
        });
        match outcome {
            Ok(Outcome::Ended(status)) if status.success() => {}
            Ok(Outcome::Ended(status)) => {
                println!("{shown}: {status}");
                return Verdict::Failed;
            }
            // Stages are not told of interrupts.
            Ok(Outcome::TimedOut | Outcome::Interrupted) => {
                println!("{shown}: ended, because the stage's time was over");
                return Verdict::TimedOut;
            }
            Err(error) => {
                println!("{shown}: {error:#}");
                return Verdict::Failed;
            }
        }
    }
    Verdict::Passed
}

fn conclude(reports: &[Report], tests: Tests) -> ExitCode {
    let total = total(reports);
    println!("\n=== summary");
    for report in reports {
        println!("{:<16} {:<10} {:>8.1} s", report.name, report.verdict.word(), report.elapsed.as_secs_f64());
    }
    let no_test = tests == Tests::Expected && total.ran() == 0;
    if no_test {
        println!("no test ran: that proves nothing, so it counts as a failure");
    }
    println!("{total}");
    let passed = !no_test && reports.iter().all(|report| report.verdict == Verdict::Passed);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All tests; a stage that failed without a failed test of its own counts as one, so that the closing line never reads like a success.
fn total(reports: &[Report]) -> Counts {
    let mut total = Counts::default();
    for report in reports {
        total += report.counts;
        let unsaid = matches!(report.verdict, Verdict::Failed | Verdict::TimedOut) && report.counts.failed == 0;
        total.failed += u64::from(unsaid);
    }
    total
}

// === impl Verdict ===

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED OUT",
            Self::NotRun => "not run",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::shell;

    fn report(verdict: Verdict, passed: u64, failed: u64) -> Report {
        Report { name: "stage", verdict, elapsed: Duration::ZERO, counts: Counts { passed, failed, skipped: 0 } }
    }

    #[test]
    fn a_failed_stage_without_failed_tests_counts_as_one() {
        let reports = [report(Verdict::Passed, 5, 0), report(Verdict::Failed, 0, 0), report(Verdict::TimedOut, 2, 0)];
        assert_eq!(total(&reports), Counts { passed: 7, failed: 2, skipped: 0 });
    }

    #[test]
    fn failed_tests_are_not_counted_twice() {
        assert_eq!(total(&[report(Verdict::Failed, 1, 3)]).failed, 3);
    }

    #[test]
    fn no_test_at_all_is_a_failure_where_tests_are_expected() {
        let code = |tests| format!("{:?}", conclude(&[report(Verdict::Passed, 0, 0)], tests));
        assert_eq!(code(Tests::Expected), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(code(Tests::NotExpected), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn a_stage_that_was_not_run_fails_the_recipe() {
        let reports = [report(Verdict::Passed, 1, 0), report(Verdict::NotRun, 0, 0)];
        assert_eq!(format!("{:?}", conclude(&reports, Tests::Expected)), format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn commands_stop_at_the_first_failure_and_tests_are_counted() {
        let mut counts = Counts::default();
        let result = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out'; exit 101";
        let commands = vec![shell(result), shell("echo 'test result: ok. 9 passed; 0 failed; 0 ignored'")];
        let verdict = run_commands(commands, Instant::now() + Duration::from_secs(30), &mut counts);
        assert_eq!((verdict, counts), (Verdict::Failed, Counts { passed: 2, failed: 1, skipped: 0 }));
    }

    #[test]
    fn the_limit_is_for_all_commands_together() {
        let commands = vec![shell("sleep 600"), shell("sleep 600")];
        let verdict = run_commands(commands, Instant::now() + Duration::from_millis(100), &mut Counts::default());
        assert_eq!(verdict, Verdict::TimedOut);
    }
}
