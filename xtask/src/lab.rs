//! `cargo xtask lab`: a real Kubernetes on this machine, from packages alone. What it is made of and why is in
//! docs/adr/0011-laboratory.md; how it is used, in CONTRIBUTING.

mod build;
mod go;
mod programs;
mod step;
mod store;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use build::api_server_folders;

/// Tells the tests where the programs of Kubernetes are.
pub(crate) const KUBERNETES: &str = "STROBE_KUBERNETES";

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand, Debug)]
enum Recipe {
    /// Build what the laboratory is made of, and keep it in the cache
    Build(build::Options),
}

/// Runs one of the laboratory's recipes.
///
/// # Errors
/// Those of the recipe.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match &options.recipe {
        Recipe::Build(options) => build::run(options).map(|()| ExitCode::SUCCESS),
    }
}
