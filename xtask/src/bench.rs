//! `cargo xtask bench`: measurements on an idle machine, and the documents made of them. Never part of a test.

mod cluster;
mod disturbances;
pub(crate) mod first_instruction;
mod gang;
mod goal;
mod machine;
mod page;
mod plot;
mod primitives;
mod processor_time;
mod statistics;
mod store;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::workspace::Workspace;

/// Where the documents of whole measurements go, in the checkout.
const DOCUMENTS: &str = "docs/benchmarks";

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand, Debug)]
enum Benchmark {
    /// Two fine-grained MPI jobs alone, as gangs, and under the kernel's own sharing
    ///
    /// Runs about a quarter of an hour and wants an idle machine. What was measured is kept: run it again to go on after an interrupt.
    Gang(gang::Options),
    /// Gangs of pods on the laboratory: starts, makespans, writes to the API server, what operator and agents need
    ///
    /// Makes the laboratory where it is not up, and gives it release images. Runs less than half an hour and wants an idle machine; what was
    /// measured is kept.
    Cluster(cluster::Options),
    /// The primitives between nodes, beside what the network alone would take: so far a block to one node over TLS
    ///
    /// Runs about a minute and wants an idle machine.
    Primitives(primitives::Options),
}

/// Runs a benchmark.
///
/// # Errors
/// Something is missing, the machine is not idle, or a run fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    match &options.benchmark {
        Benchmark::Gang(options) => gang::run(workspace, options),
        Benchmark::Cluster(options) => cluster::run(workspace, options),
        Benchmark::Primitives(options) => primitives::run(workspace, options),
    }
}

/// A measurement of an unfit machine wastes a quarter of an hour, and its document misleads.
fn refuse_load(busy: &[String], allowed: bool) -> Result<()> {
    for line in busy {
        println!("WARNING: the machine is not idle: {line}");
    }
    if !busy.is_empty() && !allowed {
        bail!("end what else runs, or measure all the same with --loaded");
    }
    Ok(())
}
