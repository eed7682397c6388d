//! `cargo xtask rdma-vm`: an emulated machine whose kernel has soft-RoCE, one device a network namespace, for what is tried over RDMA
//! where there is no such hardware. How it is used and what it proves is in docs/rdma-vm.md.

mod check;
mod cluster;
mod control_plane;
mod emulator;
mod files;
mod image;
mod machine;
mod monitor;
mod nodes;
mod perftest;
mod room;
mod shell;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::lab::drive::Deed;
use crate::workspace::Workspace;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand, Debug)]
enum Recipe {
    /// Make the machine's kernel and disk, and keep them in the cache
    Build(image::Options),
    /// Start the machine, from its snapshot where one is saved; one that is up stays as it is
    Up(machine::UpOptions),
    /// Prove RDMA between three nodes: network namespaces with one device each, and perftest between them
    Check,
    /// Build the fabric's trial of verbs, and run it between two nodes
    Verbs(verbs::Options),
    /// Run a command in the machine, with this recipe's input, output and exit status; a shell without one
    Run(RunOptions),
    /// Copy files and folders into the machine
    Put(PutOptions),
    /// Make a cluster of kind in the machine, on cgroup v2 alone, or find it as it is, and give its nodes the images that are built now
    Cluster,
    /// Do to a node of that cluster what a test needs
    #[command(hide = true, subcommand)]
    Drive(Deed),
    /// The state of the running machine, memory included, from which it is started from then on
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// End the machine; only a snapshot is kept of it
    Down,
}

#[derive(Args, Debug)]
struct RunOptions {
    /// The program and its arguments, as they are: for a shell's syntax, `sh -c '…'`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Args, Debug)]
struct PutOptions {
    /// Files and folders here
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// A folder in the machine, or for one file also its new name
    destination: String,
}

#[derive(Subcommand, Debug)]
enum Snapshot {
    /// Save it, in the place of an earlier one
    Save,
    /// Forget it
    Delete,
}

/// Runs one of the machine's recipes.
///
/// # Errors
/// Those of the recipe. What a command in the machine ended with is in the exit code.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<ExitCode> {
    match options.recipe {
        Recipe::Build(options) => build(workspace, &options),
        Recipe::Up(options) => machine::up(workspace, &options).map(|()| ExitCode::SUCCESS),
        Recipe::Check => check::run(),
        Recipe::Verbs(options) => verbs::run(workspace, &options),
        Recipe::Run(options) => shell::Shell::of_this_user()?.pass_through(&options.command),
        Recipe::Put(options) => shell::Shell::of_this_user()?.put(&options.sources, &options.destination),
        Recipe::Cluster => cluster::make(workspace),
        Recipe::Drive(deed) => cluster::drive(workspace, &deed).map(|()| ExitCode::SUCCESS),
        Recipe::Snapshot(Snapshot::Save) => machine::save().map(|()| ExitCode::SUCCESS),
        Recipe::Snapshot(Snapshot::Delete) => machine::delete_snapshot().map(|()| ExitCode::SUCCESS),
        Recipe::Down => machine::down().map(|()| ExitCode::SUCCESS),
    }
}

fn build(workspace: &Workspace, options: &image::Options) -> Result<ExitCode> {
    println!("the image: {}", image::build(workspace, options)?);
    Ok(ExitCode::SUCCESS)
}
