//! `cargo xtask faults`: the fault tests on real processes, many times in a row. It goes on where an interrupted call ended, as long
//! as the programs are the same; a failure ends the row and its output is kept. However it ends, nothing of the tests goes on running.

mod distribution;
mod programs;
mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::enclosure::Enclosure;
use crate::interrupts::{self, Interrupts};
use crate::leak::Guard;
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
    Interrupted,
}

/// What a round needs.
struct Runner<'a> {
    programs: &'a Programs,
    folder: &'a Folder,
    enclosure: Enclosure,
    guard: Guard,
    interrupts: Interrupts,
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
    let runner = Runner::new(&programs, &folder)?;
    while state.passed < options.times {
        let began = Instant::now();
        match runner.round()? {
            Round::Passed => {}
            Round::Failed(output) => return fail(&folder, &state, &output),
            Round::Interrupted => {
                println!("interrupted: what the tests had started is ended; the next call goes on after {} rounds", state.passed);
                return Ok(ExitCode::from(interrupts::INTERRUPTED));
            }
        }
        state.pass(folder.take_times()?);
        state.save(&folder.state())?;
        say_progress(&state, options.times, began.elapsed());
    }
    println!("{} rounds in a row passed", state.passed);
    println!("{}", Distribution::new(&state.micros));
    Ok(ExitCode::SUCCESS)
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

// === impl Runner ===

impl<'a> Runner<'a> {
    fn new(programs: &'a Programs, folder: &'a Folder) -> Result<Self> {
        let (guard, interrupts) = (Guard::start()?, Interrupts::catch()?);
        Ok(Self { programs, folder, enclosure: Enclosure::make()?, guard, interrupts })
    }

    fn round(&self) -> Result<Round> {
        self.folder.take_times()?;
        let mut output = String::new();
        for test in &self.programs.tests {
            let mut command = self.enclosure.command(test);
            command.env(TIMES, self.folder.times()).env("RUST_BACKTRACE", "1");
            // The tests that failed are told on standard output; what else is said goes to this program's own standard error.
            let outcome = process::watch_or_interrupt(command, limits::FAULT_TESTS, &self.interrupts, |line| {
                output.push_str(line);
                output.push('\n');
            })?;
            let wrong = match outcome {
                Outcome::Ended(status) if status.success() => self.left_behind(),
                Outcome::Ended(status) => Some(status.to_string()),
                Outcome::TimedOut => Some("took too long".to_owned()),
                Outcome::Interrupted => {
                    // First what nobody is left to end; without cgroups the descendants are all that can be found.
                    self.enclosure.empty();
                    self.guard.end_processes();
                    return Ok(Round::Interrupted);
                }
            };
            if let Some(wrong) = wrong {
                return Ok(Round::Failed(format!("{output}{}: {wrong}\n", test.display())));
            }
        }
        Ok(if self.interrupts.have_come() { Round::Interrupted } else { Round::Passed })
    }

    /// What is still there of a program whose tests have passed; it is ended and removed.
    fn left_behind(&self) -> Option<String> {
        let mut found = self.guard.end_processes();
        found.extend(self.enclosure.empty());
        (!found.is_empty()).then(|| format!("it left behind:\n{}", found.join("\n")))
    }
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
