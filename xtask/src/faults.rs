//! `cargo xtask faults`: the fault tests on real processes, many times in a row. It goes on where an interrupted call ended, as long
//! as the programs are the same; a failure ends the row and its output is kept.

mod distribution;
mod programs;
mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::limits;
use crate::process::{self, Outcome};
use crate::workspace::Workspace;
use distribution::Distribution;
use programs::Programs;
use state::State;

/// Where the tests write how long a gang's end took; see cli/tests/faults.rs.
const TIMES: &str = "STROBE_FAULT_TIMES";

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Rounds that have to pass in a row
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Forget the rounds that have passed
    #[arg(long)]
    anew: bool,
}

/// Where this recipe keeps its things.
struct Folder(PathBuf);

/// How a round ended.
enum Round {
    Passed,
    /// Its output.
    Failed(String),
}

/// Runs the fault tests until they have passed so often in a row, or fail.
///
/// # Errors
/// They cannot be built or started, or the state cannot be kept. A failing test is no error: it is in the exit code.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<ExitCode> {
    let folder = Folder::make(workspace)?;
    let programs = Programs::build(workspace)?;
    let fingerprint = programs.fingerprint()?;
    let mut state = State::load(&folder.state()).filter(|state| !options.anew && state.is_of(&fingerprint));
    if let Some(state) = &state {
        println!("{} rounds have passed before: going on", state.passed);
    }
    let mut state = state.take().unwrap_or_else(|| State::new(fingerprint));
    while state.passed < options.times {
        let began = Instant::now();
        let round = run_round(&programs, &folder)?;
        if let Round::Failed(output) = round {
            return fail(&folder, &state, &output);
        }
        state.pass(folder.take_times()?);
        state.save(&folder.state())?;
        say_progress(&state, options.times, began.elapsed());
    }
    println!("{} rounds in a row passed", state.passed);
    println!("{}", Distribution::new(&state.micros));
    Ok(ExitCode::SUCCESS)
}

fn run_round(programs: &Programs, folder: &Folder) -> Result<Round> {
    folder.take_times()?;
    let mut output = String::new();
    for test in &programs.tests {
        let mut command = Command::new(test);
        command.env(TIMES, folder.times()).env("RUST_BACKTRACE", "1");
        // The tests that failed are told on standard output; what else is said goes to this program's own standard error.
        let outcome = process::watch(command, limits::FAULT_TESTS, |line| {
            output.push_str(line);
            output.push('\n');
        })?;
        match outcome {
            Outcome::Ended(status) if status.success() => {}
            Outcome::Ended(status) => return Ok(Round::Failed(format!("{output}{}: {status}\n", test.display()))),
            Outcome::TimedOut => return Ok(Round::Failed(format!("{output}{}: took too long\n", test.display()))),
        }
    }
    Ok(Round::Passed)
}

/// The row is broken: the next call begins anew.
fn fail(folder: &Folder, state: &State, output: &str) -> Result<ExitCode> {
    let kept = folder.0.join(format!("failure-after-{}.log", state.passed));
    fs::write(&kept, output).with_context(|| format!("write {}", kept.display()))?;
    print!("{output}");
    println!("failed after {} rounds in a row; the output is kept in {}", state.passed, kept.display());
    println!("{}", Distribution::new(&state.micros));
    state.forget().save(&folder.state())?;
    Ok(ExitCode::FAILURE)
}

fn say_progress(state: &State, times: u32, took: Duration) {
    let left = took * times.saturating_sub(state.passed);
    println!("{}/{times} passed in {:.1} s; about {} min left", state.passed, took.as_secs_f64(), left.as_secs().div_ceil(60));
}

// === impl Folder ===

impl Folder {
    fn make(workspace: &Workspace) -> Result<Self> {
        let path = workspace.target().join("faults");
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn times(&self) -> PathBuf {
        self.0.join("times")
    }

    /// The times, in microseconds, that the tests have written since the last call.
    fn take_times(&self) -> Result<Vec<u64>> {
        let text = match fs::read_to_string(self.times()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context("read the tests' times"),
        };
        remove(&self.times())?;
        text.lines().map(|line| line.parse().with_context(|| format!("{line:?} is no time"))).collect()
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}
