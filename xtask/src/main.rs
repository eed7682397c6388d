//! `cargo xtask`: the only door to building, checking and testing Strobe. Every recipe that a person or a machine runs is here,
//! so that both run the same thing.

mod artefacts;
mod bench;
mod cgroup;
mod changed;
mod chart;
mod counts;
mod dockerfiles;
mod e2e;
mod enclosure;
mod faults;
mod files;
mod images;
mod interrupts;
mod lab;
mod leak;
mod libraries;
mod licences;
mod limits;
mod lock;
mod messages;
mod mirror;
mod mutants;
mod oci;
mod prepare;
mod process;
mod rdma_vm;
mod room;
mod stage;
mod suite;
mod third_party;
mod tidy;
mod tool;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::workspace::Workspace;

/// Build, check and test Strobe.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand)]
enum Recipe {
    /// Find what demo and tests need and install what is missing
    CheckPrerequisites(prepare::Options),
    /// Build the programs, the static supervisor and the C examples
    Build(artefacts::Options),
    /// Check the results of the C examples against their sequential runs
    CheckExamples,
    /// Build the Dockerfiles of deploy/ without a registry, and look into their images
    CheckDockerfiles(dockerfiles::Options),
    /// Set up what is missing, build, and run two MPI jobs as gangs
    Demo(DemoOptions),
    /// Set up what is missing, build, and run every test that needs no cluster
    Test(suite::TestOptions),
    /// Run the deterministic simulation, or replay one of its traces
    Sim(SimOptions),
    /// Change the core's decisions one by one, and list the changes that no test notices; takes hours
    Mutants(mutants::Options),
    /// Measure on an idle machine, and write docs/benchmarks
    Bench(bench::Options),
    /// Run the fault tests on real processes many times in a row
    Faults(faults::Options),
    /// Check the Helm chart, and write deploy/strobe.yaml from it
    Chart(chart::Options),
    /// Make images of agent, operator and examples without a registry, in target/images
    Images(images::Options),
    /// A real Kubernetes on this machine, from packages alone
    Lab(lab::Options),
    /// What users and administrators do with Strobe, on a real cluster: the laboratory's, or the one of KUBECONFIG
    E2e(e2e::Options),
    /// An emulated machine with soft-RoCE, for what is tried over RDMA
    RdmaVm(rdma_vm::Options),
    /// Install the programs of others that a test runs as gangs
    ThirdParty(third_party::Options),
    /// Check the rules of the code that no compiler checks
    Tidy,
    /// Check format, clippy's lints and the documentation
    Lint,
    /// Check the licences, origins and bans of all dependencies
    Licences(licences::Options),
    /// All that a machine checks before a change is taken
    Ci(suite::CiOptions),
    /// Run a program that ends when its caller does: how recipes start what they must not leave behind
    #[command(hide = true)]
    Enclosed(enclosure::EnterOptions),
}

#[derive(Args)]
struct DemoOptions {
    #[command(flatten)]
    prepare: prepare::Options,
    /// More arguments for `kubectl-strobe local run`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Args)]
struct SimOptions {
    /// Arguments of the simulation: --seeds N, --seed S, --replay FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match run(Options::parse().recipe) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(recipe: Recipe) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match recipe {
        Recipe::CheckPrerequisites(options) => prepare::run(options).map(|_| ExitCode::SUCCESS),
        Recipe::Build(options) => build(&workspace, options),
        Recipe::CheckExamples => check_examples(&workspace),
        Recipe::CheckDockerfiles(options) => dockerfiles::run(&workspace, options),
        Recipe::Demo(options) => demo(&workspace, &options),
        Recipe::Test(options) => suite::test(&workspace, options),
        Recipe::Sim(options) => simulate(&workspace, &options),
        Recipe::Bench(options) => bench::run(&workspace, &options),
        Recipe::Mutants(options) => mutants::run(&workspace, &options).map(|()| ExitCode::SUCCESS),
        Recipe::Faults(options) => faults::run(&workspace, options),
        Recipe::Chart(options) => chart::run(&workspace, &options),
        Recipe::Images(options) => images::run(&workspace, &options),
        Recipe::E2e(options) => e2e::run(&workspace, &options),
        Recipe::Lab(options) => lab::run(&workspace, &options),
        Recipe::RdmaVm(options) => rdma_vm::run(&workspace, options),
        Recipe::ThirdParty(options) => third_party::run(options),
        Recipe::Tidy => tidy::run(&workspace),
        Recipe::Lint => suite::lint(&workspace),
        Recipe::Licences(options) => licences::run(&workspace, options).map(|()| ExitCode::SUCCESS),
        Recipe::Ci(options) => suite::ci(&workspace, options),
        Recipe::Enclosed(options) => enclosure::enter(&options),
    }
}

fn build(workspace: &Workspace, options: artefacts::Options) -> Result<ExitCode> {
    let mpicc = prepare::find_mpicc();
    println!("{}", artefacts::build(workspace, options.profile(), mpicc.as_deref())?);
    Ok(ExitCode::SUCCESS)
}

fn check_examples(workspace: &Workspace) -> Result<ExitCode> {
    let mpicc = prepare::find_mpicc().context("MPICH is missing: run `cargo xtask check-prerequisites`")?;
    process::pass_through(artefacts::check_examples(workspace, &mpicc))
}

fn demo(workspace: &Workspace, options: &DemoOptions) -> Result<ExitCode> {
    let found = prepare::run(options.prepare)?;
    let built = artefacts::build(workspace, artefacts::Profile::Release, Some(&found.mpicc))?;
    let mut command = workspace.command(&built.kubectl_strobe);
    command.args(["local", "run", "examples/two-gangs.yaml"]).args(&options.arguments);
    process::pass_through(command)
}

fn simulate(workspace: &Workspace, options: &SimOptions) -> Result<ExitCode> {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--locked", "--package", "strobe-sim", "--"]).args(&options.arguments);
    process::pass_through(command)
}
