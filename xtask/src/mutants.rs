//! Mutation tests of the core, module by module: which change of a decision would no test notice?
//!
//! It takes hours, so it is no part of `ci`. A module that was interrupted goes on where it ended.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::limits::{MUTANT_SECONDS_ALL, MUTANT_SECONDS_CORE};
use crate::process;
use crate::tool;
use crate::workspace::Workspace;

/// Another version makes other mutants, and the list of survivors is about one version's.
const VERSION: &str = "27.1.0";

/// Whose tests are asked, one after the other, each about what those before let through: most mutants are caught by the core's own
/// integration tests, which are built and run in a fraction of the time.
const PASSES: [Pass; 2] = [
    Pass { packages: "strobe-core", selection: &["--test", "*"], seconds: MUTANT_SECONDS_CORE },
    // Without the exploration of a small world, which takes a minute.
    Pass { packages: "strobe-core,strobe-sim", selection: &["--lib", "--test", "simulation"], seconds: MUTANT_SECONDS_ALL },
];

/// Tests that are asked about mutants.
struct Pass {
    packages: &'static str,
    /// Arguments of `cargo test` that choose among the packages' tests.
    selection: &'static [&'static str],
    /// How long they may take.
    seconds: u32,
}

/// With these exit codes cargo-mutants says that it has done its work: mutants were missed, or the tests of some took too long.
const WORK_DONE: [i32; 2] = [2, 3];

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Modules of the core, such as matrix; all of them, one after the other, when left out
    modules: Vec<String>,
    /// Forget what earlier runs have found
    #[arg(long)]
    fresh: bool,
    /// Mutants that are built and tested at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// Runs the mutants of each module that no earlier run has caught.
///
/// # Errors
/// No such module, cargo-mutants cannot be built or run, or a mutant survives.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let known = modules(&workspace.root.join("core/src"))?;
    let unknown: Vec<_> = options.modules.iter().filter(|module| !known.contains(module)).collect();
    ensure!(unknown.is_empty(), "the core has no module {unknown:?}; it has {known:?}");
    let mutants = tool::built(workspace, "cargo-mutants", VERSION)?;
    let chosen = if options.modules.is_empty() { &known } else { &options.modules };
    let mut survivors = Vec::new();
    for module in chosen {
        let found = workspace.target().join("mutants").join(module);
        if options.fresh && found.exists() {
            fs::remove_dir_all(&found).with_context(|| format!("remove {}", found.display()))?;
        }
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        for pass in &PASSES {
            attempt(command(workspace, &mutants, module, pass, &found, options.jobs))?;
            count_late_as_caught(&found)?;
        }
        survivors.extend(missed(&found)?);
    }
    ensure!(survivors.is_empty(), "{} mutants survive; docs/mutants.md says which may:\n{}", survivors.len(), survivors.join("\n"));
    Ok(())
}

fn attempt(mut command: Command) -> Result<()> {
    println!("$ {}", process::shown(&command));
    let status = command.status().context("start cargo-mutants")?;
    let done = status.success() || status.code().is_some_and(|code| WORK_DONE.contains(&code));
    ensure!(done, "cargo-mutants: {status}");
    Ok(())
}

fn command(workspace: &Workspace, mutants: &Path, module: &str, pass: &Pass, found: &Path, jobs: u16) -> Command {
    let mut command = workspace.command(mutants);
    command.args(["mutants", "--package", "strobe-core", "--iterate", "--no-shuffle", "--colors", "never"]);
    for pattern in [format!("core/src/{module}.rs"), format!("core/src/{module}/**")] {
        command.arg("--file").arg(pattern);
    }
    command.args(["--test-package", pass.packages]).arg("--jobs").arg(jobs.to_string());
    command.arg("--timeout").arg(pass.seconds.to_string()).arg("--output").arg(found);
    command.args(pass.selection.iter().map(|argument| format!("--cargo-arg={argument}")));
    // Nobody debugs a mutant. With a little optimisation the core's tests run five times as fast, and it builds in the same time.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    // The workspace's profile asks for more of the core, which is built once a mutant here.
    command.args(["--cargo-arg=--config", "--cargo-arg=profile.dev.package.strobe-core.opt-level=1"]);
    command
}

/// Spares the next pass the mutants whose tests have hung: cargo-mutants tries all again that it has not noted as caught.
fn count_late_as_caught(found: &Path) -> Result<()> {
    let (late, caught) = (found.join("mutants.out/timeout.txt"), found.join("mutants.out/caught.txt"));
    let text = fs::read_to_string(&late).with_context(|| format!("read {}", late.display()))?;
    if !text.is_empty() {
        println!("these count as caught, for their tests were not done in time:\n{}", text.trim_end());
    }
    let mut notes = File::options().append(true).open(&caught).with_context(|| format!("open {}", caught.display()))?;
    notes.write_all(text.as_bytes()).with_context(|| format!("write {}", caught.display()))
}

/// The mutants of a module that no test has noticed.
fn missed(found: &Path) -> Result<Vec<String>> {
    let list = found.join("mutants.out/missed.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The modules of a crate: its files but the root, its limits and what has no decisions.
fn modules(source: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(source).with_context(|| format!("read {}", source.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("read {}", source.display()))?.file_name();
        let module = name.to_str().and_then(|name| name.strip_suffix(".rs"));
        found.extend(module.filter(|module| !["lib", "limits"].contains(module)).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_whose_tests_hang_counts_as_caught() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("mutants.out");
        fs::create_dir(&notes).unwrap();
        fs::write(notes.join("caught.txt"), "one\n").unwrap();
        fs::write(notes.join("timeout.txt"), "two\n").unwrap();
        count_late_as_caught(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(notes.join("caught.txt")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn modules_are_the_files_beside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["lib.rs", "limits.rs", "node.rs", "matrix.rs", "notes.txt"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(modules(folder.path()).unwrap(), ["matrix", "node"]);
    }
}
