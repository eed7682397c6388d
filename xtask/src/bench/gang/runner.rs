//! Running one cell: its manifest, `kubectl-strobe local run`, and what that leaves.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cell::{Cell, Job};
use super::manifest::{self, NODES, Work};
use super::report::{Distributions, Report, last_end_micros};
use super::store::{Header, Record};
use crate::artefacts::Artefacts;
use crate::bench::first_instruction;
use crate::bench::processor_time::Watch;
use crate::bench::statistics::median;
use crate::process::{self, Outcome};
use crate::workspace::Workspace;

/// Runs of the calibration; their median counts.
const CALIBRATIONS: usize = 3;
/// Computation of each of them, in seconds: the grain program calibrates itself before it.
const CALIBRATION_SECONDS: f64 = 0.05;
/// How many times longer than expected a run may take, plus [`MARGIN`]. Past it the recipe ends it and fails: on a machine with ten
/// other busy processes a rank waits for its peer for a scheduler's slice in every iteration, which is slow, but no fault.
const PATIENCE: f64 = 10.0;
const MARGIN: Duration = Duration::from_secs(120);

/// See the module.
pub(super) struct Runner<'a> {
    workspace: &'a Workspace,
    built: Artefacts,
    first_instruction: PathBuf,
    grain: PathBuf,
    folder: PathBuf,
}

/// The files of one run.
struct Files {
    manifest: PathBuf,
    report: PathBuf,
    trace: PathBuf,
    messages: PathBuf,
}

/// What one run gave.
struct Run {
    report: Report,
    /// What the ranks wrote.
    lines: Vec<String>,
}

impl<'a> Runner<'a> {
    /// Builds the large static program into `folder`.
    ///
    /// # Errors
    /// It does not compile, or the examples are missing.
    pub(super) fn new(workspace: &'a Workspace, built: Artefacts, folder: PathBuf) -> Result<Self> {
        let grain = built.examples.as_ref().context("the examples were not built: MPICH is missing")?.join("grain");
        let first_instruction = first_instruction::build(workspace, &folder)?;
        Ok(Self { workspace, built, first_instruction, grain, folder })
    }

    /// How many loops this CPU computes in a microsecond.
    ///
    /// # Errors
    /// A run fails, or does not say it.
    pub(super) fn calibrate(&self) -> Result<f64> {
        let cell = Cell::Alone { grain_us: 100, job: Job::A };
        let files = self.files("calibration");
        let manifest = manifest::of(cell, self.work(CALIBRATION_SECONDS, None));
        let mut found = Vec::new();
        for _ in 0..CALIBRATIONS {
            let run = self.execute(&files, &manifest, cell.expected_seconds(CALIBRATION_SECONDS), Trace::Off)?;
            found.push(
                run.lines.iter().find_map(|line| number_after(line, "loops_per_us=")).context("grain does not say its loops_per_us")?,
            );
        }
        median(&found).context("there was a calibration")
    }

    /// Runs a cell.
    ///
    /// # Errors
    /// The run fails or leaves no report. What it said is in the folder.
    pub(super) fn run(&self, cell: Cell, round: u32, header: &Header) -> Result<Record> {
        let files = self.files(&cell.file_stem());
        let manifest = manifest::of(cell, self.work(header.work_seconds, Some(header.loops_per_us)));
        let trace = if matches!(cell, Cell::Traced { .. } | Cell::Start { .. }) { Trace::On } else { Trace::Off };
        let watch = Watch::start()?;
        let run = self.execute(&files, &manifest, cell.expected_seconds(header.work_seconds), trace)?;
        let noise = watch.noise()?;
        run.report.span_seconds()?;
        let (mut distributions, mut first_instruction_ms) = (None, None);
        match cell {
            Cell::Traced { .. } => distributions = Some(Distributions::of_trace(&files.read_trace()?)?),
            Cell::Start { .. } => first_instruction_ms = Some(run.first_instruction_ms(&files.read_trace()?)?),
            Cell::Alone { .. } | Cell::Together { .. } | Cell::Rest { .. } => {}
        }
        Ok(Record { round, cell, distributions, first_instruction_ms, report: run.report, noise })
    }

    fn work(&self, seconds: f64, loops_per_us: Option<f64>) -> Work<'_> {
        Work { grain: &self.grain, first_instruction: &self.first_instruction, seconds, loops_per_us }
    }

    fn files(&self, stem: &str) -> Files {
        let file = |end: &str| self.folder.join(format!("{stem}.{end}"));
        Files { manifest: file("yaml"), report: file("report.json"), trace: file("trace.json"), messages: file("messages.txt") }
    }

    fn execute(&self, files: &Files, manifest: &str, expected_seconds: f64, trace: Trace) -> Result<Run> {
        fs::write(&files.manifest, manifest).with_context(|| format!("write {}", files.manifest.display()))?;
        let command = self.command(files, trace)?;
        let limit = Duration::from_secs_f64(PATIENCE * expected_seconds) + MARGIN;
        let mut lines = Vec::new();
        let outcome = process::watch(command, limit, |line| lines.push(line.to_owned()))?;
        match outcome {
            Outcome::Ended(status) if status.success() => {}
            Outcome::Ended(status) => bail!("{status}: {}, see {}", lines.join("; "), files.messages.display()),
            Outcome::TimedOut | Outcome::Interrupted => bail!("no end after {limit:?}, see {}", files.messages.display()),
        }
        let text = fs::read_to_string(&files.report).with_context(|| format!("read {}", files.report.display()))?;
        let report = serde_json::from_str(&text).with_context(|| format!("read {}", files.report.display()))?;
        Ok(Run { report, lines })
    }

    fn command(&self, files: &Files, trace: Trace) -> Result<Command> {
        let messages = File::create(&files.messages).with_context(|| format!("make {}", files.messages.display()))?;
        let mut command = self.workspace.command(&self.built.kubectl_strobe);
        command.args(["local", "run"]).arg(&files.manifest).arg("--report").arg(&files.report);
        command.args(["--nodes", &NODES.to_string(), "--cpus-per-node", "1"]).stderr(messages);
        if trace == Trace::On {
            command.arg("--trace").arg(&files.trace);
        }
        Ok(command)
    }
}

/// Whether every switch is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    On,
    Off,
}

// === impl Files ===

impl Files {
    fn read_trace(&self) -> Result<String> {
        fs::read_to_string(&self.trace).with_context(|| format!("read {}", self.trace.display()))
    }
}

// === impl Run ===

impl Run {
    /// From the submission to the first instruction of the first rank, in milliseconds. The ranks say when that was; the submission
    /// is as long before the end, which the trace has, as the report says that the whole took. All read one clock.
    fn first_instruction_ms(&self, trace: &str) -> Result<f64> {
        let instants = self.lines.iter().filter_map(|line| number_after(line, "first_instruction_ns="));
        let first_ns = instants.fold(f64::INFINITY, f64::min);
        ensure!(first_ns.is_finite(), "no rank said when it began");
        let submission_ms = last_end_micros(trace)? / 1e3 - self.report.makespan_seconds * 1e3;
        Ok(first_ns / 1e6 - submission_ms)
    }
}

/// The number that stands after `name` in a line.
fn number_after(line: &str, name: &str) -> Option<f64> {
    line.split_once(name)?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn numbers_are_found_in_the_ranks_lines() {
        assert_eq!(number_after("[grain-a.0] grain: loops_per_us=740.602", "loops_per_us="), Some(740.602));
        assert_eq!(number_after("[start.1] first_instruction_ns=12 ballast=1", "first_instruction_ns="), Some(12.0));
        assert_eq!(number_after("nothing", "loops_per_us="), None);
    }

    #[test]
    fn the_first_rank_counts_from_the_submission() {
        let line = |milliseconds: i64| format!("[start.0] first_instruction_ns={} ballast=1", 5_000_000_000 + milliseconds * 1_000_000);
        // Submitted at 5.000 s, released 50 ms later, ended at 5.650 s.
        let run = Run { report: report(&[(50.0, 0.6)], 70.0), lines: vec![line(58), line(56)] };
        let trace = r#"[{"name":"start","ph":"X","pid":1,"tid":1,"ts":5055000.0,"dur":595000.0,"args":{"incarnation":1}}]"#;
        assert!((run.first_instruction_ms(trace).unwrap() - 56.0).abs() < 1e-6);
        let silent = Run { lines: Vec::new(), ..run };
        assert!(silent.first_instruction_ms(trace).is_err());
    }
}
