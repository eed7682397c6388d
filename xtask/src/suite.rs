//! The recipes that are made of stages: `test`, `lint` and `ci`.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::artefacts;
use crate::changed::{self, Part, Scope};
use crate::lab;
use crate::limits;
use crate::stage::{OnFailure, Stage, Tests, run_all};
use crate::third_party;
use crate::workspace::Workspace;

/// The crates whose tests take an API server: the one that starts it, and all that use it. Tests of others take none.
const API_SERVER_TESTS: [&str; 3] = ["strobe-cli", "strobe-e2e", "strobe-operator"];

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TestOptions {
    /// Only the tests inside the crates' sources, and few seeds of the simulation
    #[arg(long)]
    quick: bool,
    /// Fail, with the commands printed, instead of installing what is missing
    #[arg(long)]
    no_install: bool,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct CiOptions {
    /// Only the crates that the work tree changes against HEAD, and all that depend on them
    #[arg(long)]
    changed: bool,
}

/// Makes the stages' commands.
struct Recipes<'a> {
    workspace: &'a Workspace,
    /// This program, by the path that it was started from: a build may replace the file meanwhile.
    xtask: OsString,
    scope: Scope,
    /// A test that has to leave something out fails.
    complete: bool,
}

/// Sets up, builds and runs every test that needs no cluster.
///
/// # Errors
/// See [`run_all`].
pub(crate) fn test(workspace: &Workspace, options: TestOptions) -> Result<ExitCode> {
    let recipes = Recipes::new(workspace, Scope::Everything)?;
    let prepare = if options.no_install { recipes.prepare(&["--no-install"]) } else { recipes.prepare(&[]) };
    let tests: &[&str] = if options.quick { &["--lib", "--bins"] } else { &[] };
    let seeds = if options.quick { limits::QUICK_SEEDS } else { limits::SIMULATION_SEEDS };
    let third_party = if options.no_install { recipes.third_party(&["--no-install"]) } else { recipes.third_party(&[]) };
    let mut stages = vec![prepare, third_party];
    if !options.quick {
        stages.push(recipes.kubernetes());
    }
    stages.extend([recipes.build(), recipes.tests(tests), recipes.examples(), recipes.simulation(seeds)]);
    run_all(stages, Tests::Expected)
}

/// Format, clippy and documentation.
///
/// # Errors
/// See [`run_all`].
pub(crate) fn lint(workspace: &Workspace) -> Result<ExitCode> {
    let recipes = Recipes::new(workspace, Scope::Everything)?;
    run_all(vec![recipes.format(), recipes.clippy(), recipes.documentation()], Tests::NotExpected)
}

/// All checks, of everything or of what has changed.
///
/// # Errors
/// No git checkout with `--changed`; else see [`run_all`].
pub(crate) fn ci(workspace: &Workspace, options: CiOptions) -> Result<ExitCode> {
    let scope = if options.changed { changed::find(workspace)? } else { Scope::Everything };
    let recipes = Recipes { complete: true, ..Recipes::new(workspace, scope)? };
    match &recipes.scope {
        Scope::Everything => run_all(recipes.everything(), Tests::Expected),
        Scope::Part(part) => {
            let tests = if part.packages.is_empty() { Tests::NotExpected } else { Tests::Expected };
            run_all(recipes.part(part), tests)
        }
    }
}

// === impl Recipes ===

impl<'a> Recipes<'a> {
    fn new(workspace: &'a Workspace, scope: Scope) -> Result<Self> {
        let xtask = env::current_exe().context("the path of this program")?.into_os_string();
        Ok(Self { workspace, xtask, scope, complete: false })
    }

    /// The format first, for it is told in seconds. Tidy runs a program that the tests have built.
    fn everything(&self) -> Vec<Stage> {
        vec![
            self.prepare(&[]),
            self.third_party(&[]),
            self.format(),
            self.kubernetes(),
            self.chart(),
            self.build(),
            self.tests(&[]),
            self.laboratory_programs(),
            self.laboratory(),
            self.scenarios(),
            self.tidy(),
            self.examples(),
            self.simulation(limits::CAMPAIGN_SEEDS),
            self.clippy(),
            self.documentation(),
            self.licences(),
        ]
    }

    fn part(&self, part: &Part) -> Vec<Stage> {
        let mut stages = vec![self.format(), self.tidy()];
        if part.laboratory {
            stages.push(self.laboratory_programs());
        }
        if part.chart || API_SERVER_TESTS.iter().any(|name| part.packages.contains(*name)) {
            stages.push(self.kubernetes());
        }
        if part.chart {
            stages.push(self.chart());
        }
        if part.examples || !part.packages.is_empty() {
            stages.extend([self.prepare(&[]), self.third_party(&[]), self.build()]);
        }
        if part.examples {
            stages.push(self.examples());
        }
        if part.packages.contains("strobe-sim") {
            stages.push(self.simulation(limits::QUICK_SEEDS));
        }
        if !part.packages.is_empty() {
            stages.extend([self.tests(&[]), self.clippy(), self.documentation()]);
        }
        stages
    }

    fn prepare(&self, more: &[&str]) -> Stage {
        let mut command = self.xtask(&["check-prerequisites", "--with-third-party"]);
        command.args(more);
        Stage { name: "prepare", limit: limits::PREPARE, commands: vec![command], failure: OnFailure::Stop }
    }

    /// Without what it installs the tests say what they leave out.
    fn third_party(&self, more: &[&str]) -> Stage {
        let mut command = self.xtask(&["third-party"]);
        command.args(more);
        stage("third-party", limits::PREPARE, vec![command])
    }

    /// What the tests of the API server take. Without it they say what they leave out.
    fn kubernetes(&self) -> Stage {
        let mut command = self.xtask(&["lab", "build", "--api-server"]);
        if !self.complete {
            command.arg("--optional");
        }
        stage("kubernetes", limits::KUBERNETES, vec![command])
    }

    fn chart(&self) -> Stage {
        stage("chart", limits::CHECK, vec![self.xtask(&["chart", "--check"])])
    }

    fn laboratory_programs(&self) -> Stage {
        stage("lab programs", limits::CHECK, vec![self.xtask(&["lab", "check"])])
    }

    /// A cluster, the tests of it, and nothing left of it: what a stage has begun ends with it.
    fn laboratory(&self) -> Stage {
        stage("laboratory", limits::LABORATORY, vec![self.xtask(&["lab", "test"])])
    }

    /// In the laboratory, whatever other cluster the caller has.
    fn scenarios(&self) -> Stage {
        let mut command = self.xtask(&["e2e"]);
        command.env_remove("KUBECONFIG");
        stage("e2e", limits::E2E, vec![command])
    }

    fn build(&self) -> Stage {
        Stage { name: "build", limit: limits::BUILD, commands: vec![self.xtask(&["build"])], failure: OnFailure::Stop }
    }

    fn tests(&self, which: &[&str]) -> Stage {
        let mut command = self.cargo(&["test", "--locked", "--no-fail-fast"]);
        command.args(self.packages()).args(which).env("RUST_BACKTRACE", "1");
        // What runs everywhere else: cargo replaces the one beside kubectl-strobe by a dynamic one.
        command.env("STROBE_INIT", artefacts::static_supervisor(self.workspace, artefacts::Profile::Debug));
        // Without a cache folder the tests say what they leave out.
        if let Ok(folder) = third_party::folder() {
            command.env(third_party::MPI4PY, folder);
        }
        if let Ok(folders) = lab::api_server_folders() {
            command.env(lab::KUBERNETES, folders);
        }
        if self.complete {
            command.env("STROBE_NO_SKIP", "1");
        }
        stage("tests", limits::TESTS, vec![command])
    }

    fn examples(&self) -> Stage {
        stage("examples", limits::CHECK, vec![self.xtask(&["check-examples"])])
    }

    fn simulation(&self, seeds: u32) -> Stage {
        stage("simulation", limits::SIMULATION, vec![self.xtask(&["sim", "--seeds", &seeds.to_string()])])
    }

    fn format(&self) -> Stage {
        stage("format", limits::CHECK, vec![self.cargo(&["fmt", "--all", "--", "--check"])])
    }

    fn tidy(&self) -> Stage {
        stage("tidy", limits::CHECK, vec![self.xtask(&["tidy"])])
    }

    fn clippy(&self) -> Stage {
        let mut command = self.cargo(&["clippy", "--locked", "--all-targets"]);
        command.args(self.packages()).args(self.laboratory_features()).args(["--", "-D", "warnings"]);
        stage("clippy", limits::LINT, vec![command])
    }

    fn documentation(&self) -> Stage {
        let mut command = self.cargo(&["doc", "--locked", "--no-deps"]);
        command.args(self.packages()).env("RUSTDOCFLAGS", "-D warnings");
        stage("documentation", limits::LINT, vec![command])
    }

    fn licences(&self) -> Stage {
        stage("licences", limits::LICENCES, vec![self.xtask(&["licences"])])
    }

    fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.command(&self.xtask);
        command.args(arguments);
        command
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.cargo();
        command.args(arguments);
        command
    }

    /// What makes clippy see the tests of the cluster too, and what they put into pods.
    fn laboratory_features(&self) -> Vec<String> {
        let selected = |package: &&str| match &self.scope {
            Scope::Everything => true,
            Scope::Part(part) => part.packages.contains(*package),
        };
        ["strobe-e2e", "strobe-node-agent"].into_iter().filter(selected).map(|package| format!("--features={package}/laboratory")).collect()
    }

    /// Cargo's selection of packages.
    fn packages(&self) -> Vec<&str> {
        match &self.scope {
            Scope::Everything => vec!["--workspace"],
            Scope::Part(part) => part.packages.iter().flat_map(|package| ["--package", package]).collect(),
        }
    }
}

fn stage(name: &'static str, limit: std::time::Duration, commands: Vec<Command>) -> Stage {
    Stage { name, limit, commands, failure: OnFailure::Continue }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the stages that check a part.
    fn stages(packages: &[&str], part: &Part) -> Vec<&'static str> {
        let workspace = Workspace::find().unwrap();
        let part = Part { packages: packages.iter().map(|&name| name.to_owned()).collect(), ..part.clone() };
        let recipes = Recipes { complete: true, ..Recipes::new(&workspace, Scope::Part(part.clone())).unwrap() };
        recipes.part(&part).iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn whoever_takes_an_api_server_in_tests_is_known() {
        let metadata = Workspace::find().unwrap().metadata().unwrap();
        let starts_it = |name: &str| name == "strobe-e2e";
        let takes_it =
            metadata.packages.iter().filter(|one| starts_it(&one.name) || one.dependencies.iter().any(|other| starts_it(&other.name)));
        let mut names: Vec<_> = takes_it.map(|package| package.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, API_SERVER_TESTS);
    }

    #[test]
    fn kubernetes_is_built_before_tests_that_take_it_and_for_no_others() {
        for package in API_SERVER_TESTS {
            let stages = stages(&[package], &Part::default());
            let place = |name: &str| stages.iter().position(|stage| *stage == name);
            assert!(place("kubernetes").unwrap() < place("tests").unwrap(), "{package}: {stages:?}");
        }
        assert!(!stages(&["strobe-core"], &Part::default()).contains(&"kubernetes"));
    }

    #[test]
    fn the_chart_and_the_laboratorys_programs_are_checked_where_they_change() {
        assert_eq!(stages(&[], &Part::default()), ["format", "tidy"]);
        assert_eq!(stages(&[], &Part { chart: true, ..Part::default() }), ["format", "tidy", "kubernetes", "chart"]);
        assert_eq!(stages(&[], &Part { laboratory: true, ..Part::default() }), ["format", "tidy", "lab programs"]);
    }
}
