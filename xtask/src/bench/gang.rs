//! `cargo xtask bench gang`: two fine-grained MPI jobs on one machine.

mod cell;
mod document;
mod goals;
mod manifest;
mod report;
mod results;
mod runner;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::machine::Machine;
use super::store::fingerprint;
use super::{DOCUMENTS, processor_time, refuse_load};
use crate::artefacts::{self, Artefacts, Profile};
use crate::leak;
use crate::prepare;
use crate::workspace::Workspace;
use cell::{Cell, Group};
use results::Results;
use runner::Runner;
use store::{Header, Record, Store};

/// Work of each job, in seconds of computation: what the ratios are made of.
const WORK_SECONDS: f64 = 2.0;
/// The same in a quick run, which only shows that the recipe works.
const QUICK_WORK_SECONDS: f64 = 0.3;
/// Rounds of a whole measurement: an interval needs five, and an odd number has a median that was measured.
const ROUNDS: u32 = 7;
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// Rounds, each of which runs every cell once
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Begin anew instead of adding to what was measured before
    #[arg(long)]
    fresh: bool,
    /// One round of short work, to see whether the recipe works: no measurement
    #[arg(long)]
    quick: bool,
    /// Measure although other processes use the CPUs; their share is on record
    #[arg(long)]
    loaded: bool,
    /// Seed of the cells' order
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a run of the recipe measures, and where it keeps it.
struct Plan {
    groups: Vec<Group>,
    rounds: u32,
    work_seconds: f64,
    seed: u64,
    /// Of raw results and what the cells leave.
    folder: PathBuf,
    documents: PathBuf,
    quick: bool,
}

/// Runs the measurement.
///
/// # Errors
/// Something is missing, the machine is not idle, or a run fails.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let plan = Plan::new(workspace, options);
    let found = prepare::run(prepare::Options::default())?;
    let built = artefacts::build(workspace, Profile::Release, Some(&found.mpicc))?;
    refuse_load(&processor_time::busy_processes(|_| false)?, options.loaded || options.quick)?;
    if options.fresh || options.quick {
        Store::remove(&plan.folder)?;
    }
    fs::create_dir_all(&plan.folder).with_context(|| format!("make {}", plan.folder.display()))?;
    let runner = Runner::new(workspace, built.clone(), plan.folder.clone())?;
    let mut store = open(&plan, &runner, &built)?;
    measure(&plan, &runner, &mut store)?;
    conclude(&plan, &store)
}

/// Opens what was measured before, when it was of the same programs in the same way, or begins.
fn open(plan: &Plan, runner: &Runner<'_>, built: &Artefacts) -> Result<Store> {
    let programs = fingerprint([&built.kubectl_strobe, &built.strobe_agent, &built.strobe_init])?;
    if let Some(store) = Store::open(&plan.folder)? {
        let known = &store.header;
        let same = known.programs == programs && known.seed == plan.seed && known.work_seconds == plan.work_seconds;
        if !same {
            bail!("{} is of other programs, another seed or other work: begin anew with --fresh", plan.folder.display());
        }
        println!("going on after {} cells", store.records.len());
        return Ok(store);
    }
    let loops_per_us = runner.calibrate()?;
    let header =
        Header { programs, seed: plan.seed, work_seconds: plan.work_seconds, loops_per_us, machine: Machine::this(), quick: plan.quick };
    Store::create(&plan.folder, header)
}

fn measure(plan: &Plan, runner: &Runner<'_>, store: &mut Store) -> Result<()> {
    let missing = plan.missing(&store.records);
    println!("seed {}, {:.1} loops a microsecond, {} cells to run", plan.seed, store.header.loops_per_us, missing.len());
    let mut guard = leak::Guard::start()?;
    for (done, (round, cell)) in missing.iter().enumerate() {
        let left: f64 = missing[done..].iter().map(|(_, cell)| cell.expected_seconds(plan.work_seconds)).sum();
        print_start(*round, *cell, (done + 1, missing.len()), left);
        let record = runner.run(*cell, *round, &store.header)?;
        println!("    {}", record.line());
        store.add(record)?;
        let left_behind = guard.collect();
        if !left_behind.is_empty() {
            bail!("the run left behind what would disturb the next: {}", left_behind.join(", "));
        }
    }
    Ok(())
}

fn print_start(round: u32, cell: Cell, (number, count): (usize, usize), seconds_left: f64) {
    println!("[{number}/{count}, {:.0} min left] round {}: {cell}", (seconds_left / 60.0).ceil(), round + 1);
}

fn conclude(plan: &Plan, store: &Store) -> Result<ExitCode> {
    let results = Results::of(&store.header, &store.records);
    document::write(&plan.documents, &results, &store.records)?;
    println!("\n{}", document::goals_as_text(&results));
    if plan.quick {
        println!("A QUICK RUN IS NO MEASUREMENT: it only shows that the recipe works. Its documents are in {}.", plan.documents.display());
    } else {
        println!("written: {}/gang.md with its plots and gang.json", plan.documents.display());
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Plan ===

impl Plan {
    fn new(workspace: &Workspace, options: &Options) -> Self {
        let results = workspace.target().join("bench");
        if options.quick {
            let folder = results.join("gang-quick");
            let documents = folder.join("documents");
            return Self {
                groups: cell::quick(),
                rounds: 1,
                work_seconds: QUICK_WORK_SECONDS,
                seed: options.seed,
                folder,
                documents,
                quick: true,
            };
        }
        Self {
            groups: cell::all(),
            rounds: options.rounds,
            work_seconds: WORK_SECONDS,
            seed: options.seed,
            folder: results.join("gang"),
            documents: workspace.root.join(Path::new(DOCUMENTS)),
            quick: false,
        }
    }

    /// What is still to be run, in order.
    fn missing(&self, records: &[Record]) -> Vec<(u32, Cell)> {
        let there = |round: u32, cell: Cell| records.iter().any(|record| record.round == round && record.cell == cell);
        let round = |round: u32| cell::order(self.groups.clone(), self.seed, round).into_iter().map(move |cell| (round, cell));
        (0..self.rounds).flat_map(round).filter(|(round, cell)| !there(*round, *cell)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::store::tests::record;
    use super::*;

    fn plan(rounds: u32) -> Plan {
        let options = Options { rounds, fresh: false, quick: false, loaded: false, seed: 3 };
        Plan::new(&Workspace { root: PathBuf::from("checkout") }, &options)
    }

    #[test]
    fn an_interrupted_measurement_goes_on_where_it_was() {
        let whole = plan(2).missing(&[]);
        assert_eq!(whole.len(), 2 * cell::all().concat().len());
        let records: Vec<Record> = whole[..5].iter().map(|(round, cell)| record(*round, *cell, 2.0)).collect();
        assert_eq!(plan(2).missing(&records), whole[5..]);
    }

    #[test]
    fn more_rounds_add_to_those_that_are_there() {
        let first = plan(1).missing(&[]);
        let records: Vec<Record> = first.iter().map(|(round, cell)| record(*round, *cell, 2.0)).collect();
        assert!(plan(1).missing(&records).is_empty());
        assert!(plan(2).missing(&records).iter().all(|(round, _)| *round == 1));
    }
}
