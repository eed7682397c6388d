//! `cargo xtask bench cluster`: gangs of pods on the laboratory. The measuring itself is in `e2e/src/measure`: this recipe has no client of
//! Kubernetes, and is built before everything else.

mod cell;
mod document;
mod goals;
mod program;
mod record;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::machine::Machine;
use super::processor_time::Watch;
use super::store::fingerprint;
use super::{DOCUMENTS, processor_time, refuse_load};
use crate::artefacts::{self, Profile};
use crate::images;
use crate::lab;
use crate::workspace::Workspace;
use cell::{Cell, Cells};
use program::{Beginning, Program, Work};
use record::{Header, Measured, Record, Store};
use results::Results;

/// Computation of each job, in seconds. The second job starts a good part of a second after the first, which should matter little.
const WORK_SECONDS: f64 = 4.0;
/// The same in a quick run, which only shows that the recipe works.
const QUICK_WORK_SECONDS: f64 = 1.0;
/// Rounds of a whole measurement: the fewest that give an interval.
const ROUNDS: u32 = 5;
/// What stands for the fingerprint of images that nobody has looked at.
const KEPT_IMAGES: &str = "as the nodes had them";

#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// Rounds, each of which runs every cell once
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Begin anew instead of adding to what was measured before
    #[arg(long)]
    fresh: bool,
    /// One round of short work, to see whether the recipe works, also where agents do not switch in real time: no measurement
    #[arg(long)]
    quick: bool,
    /// Measure although other processes use the CPUs; their share is on record
    #[arg(long)]
    loaded: bool,
    /// Take the laboratory and its images as they are: nothing is built for it or given to it
    #[arg(long)]
    keep_images: bool,
    /// Seed of the cells' order
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a run of the recipe measures, and where it keeps it.
struct Plan {
    cells: Cells,
    rounds: u32,
    work_seconds: f64,
    seed: u64,
    quick: bool,
    /// Of raw results.
    folder: PathBuf,
    documents: PathBuf,
}

/// Runs the measurement.
///
/// # Errors
/// The laboratory cannot be made, the machine is not idle, or a cell fails.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let plan = Plan::new(workspace, options);
    let profile = if options.quick { Profile::Debug } else { Profile::Release };
    let program = artefacts::build_measure_cluster(workspace, profile)?;
    let for_pods = artefacts::build_for_pods(workspace)?;
    let images = prepare(workspace, options)?;
    refuse_load(&processor_time::busy_processes(lab::processor::is_inside)?, options.loaded || options.quick)?;
    if options.fresh || options.quick {
        Store::remove(&plan.folder)?;
    }
    fs::create_dir_all(&plan.folder).with_context(|| format!("make {}", plan.folder.display()))?;
    let beginning = Beginning { renew: !options.keep_images, any_scheduler: options.quick };
    let mut program = Program::start(&program, for_pods, beginning)?;
    let mut store = open(&plan, &mut program, images)?;
    measure(&plan, &mut program, &mut store)?;
    program.end()?;
    conclude(&plan, &store)
}

/// Makes the laboratory and gives it images; gives their fingerprint.
fn prepare(workspace: &Workspace, options: &Options) -> Result<String> {
    if options.keep_images {
        return Ok(KEPT_IMAGES.to_owned());
    }
    lab::ensure_up(workspace)?;
    fingerprint(&images::load_for_measurement(workspace)?)
}

/// Opens what was measured before, when it was of the same images in the same way, or begins.
fn open(plan: &Plan, program: &mut Program, images: String) -> Result<Store> {
    if let Some(store) = Store::open(&plan.folder)? {
        let known: &Header = &store.header;
        let same = known.images == images && known.seed == plan.seed && known.work_seconds == plan.work_seconds;
        if !same {
            bail!("{} is of other images, another seed or other work: begin anew with --fresh", plan.folder.display());
        }
        println!("going on after {} cells", store.records.len());
        return Ok(store);
    }
    let Measured::Calibration { loops_per_us } = program.measure(Cell::Calibrate, Work { seconds: 0.0, loops_per_us: 0.0 })? else {
        bail!("the calibration gave something else");
    };
    let header =
        Header { images, seed: plan.seed, work_seconds: plan.work_seconds, loops_per_us, machine: Machine::this(), quick: plan.quick };
    Store::create(&plan.folder, header)
}

fn measure(plan: &Plan, program: &mut Program, store: &mut Store) -> Result<()> {
    let missing = plan.missing(&store.records);
    let work = Work { seconds: plan.work_seconds, loops_per_us: store.header.loops_per_us };
    println!("seed {}, {:.1} loops a microsecond, {} cells to run", plan.seed, work.loops_per_us, missing.len());
    for (done, (round, cell)) in missing.iter().enumerate() {
        let left: f64 = missing[done..].iter().map(|(_, cell)| cell.expected_seconds(plan.work_seconds)).sum();
        println!("[{}/{}, {:.0} min left] round {}: {cell}", done + 1, missing.len(), (left / 60.0).ceil(), round + 1);
        let watch = Watch::start_beside(|| program.ticks())?;
        let measured = program.measure(*cell, work)?;
        let record = Record::new(*round, *cell, measured, watch.noise_beside(program.ticks()?)?)?;
        println!("    {}", record.line());
        store.add(record)?;
    }
    Ok(())
}

fn conclude(plan: &Plan, store: &Store) -> Result<ExitCode> {
    let results = Results::of(&store.header, &store.records);
    document::write(&plan.documents, &results, &store.records)?;
    println!("\n{}", document::goals_as_text(&results));
    if plan.quick {
        println!("A QUICK RUN IS NO MEASUREMENT: it only shows that the recipe works. Its documents are in {}.", plan.documents.display());
    } else {
        println!("written: {}/cluster.md with its plot and cluster.json", plan.documents.display());
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Plan ===

impl Plan {
    fn new(workspace: &Workspace, options: &Options) -> Self {
        let results = workspace.target().join("bench");
        if options.quick {
            let folder = results.join("cluster-quick");
            let documents = folder.join("documents");
            return Self {
                cells: Cells::quick(),
                rounds: 1,
                work_seconds: QUICK_WORK_SECONDS,
                seed: options.seed,
                quick: true,
                folder,
                documents,
            };
        }
        Self {
            cells: Cells::all(),
            rounds: options.rounds,
            work_seconds: WORK_SECONDS,
            seed: options.seed,
            quick: false,
            folder: results.join("cluster"),
            documents: workspace.root.join(Path::new(DOCUMENTS)),
        }
    }

    /// What is still to be run, in order.
    fn missing(&self, records: &[Record]) -> Vec<(u32, Cell)> {
        let there = |round: u32, cell: Cell| records.iter().any(|record| record.round == round && record.cell == cell);
        let round = |round: u32| self.cells.order(self.seed, round).into_iter().map(move |cell| (round, cell));
        (0..self.rounds).flat_map(round).filter(|(round, cell)| !there(*round, *cell)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::results::tests::records;
    use super::*;

    fn plan(rounds: u32) -> Plan {
        let options = Options { rounds, fresh: false, quick: false, loaded: false, keep_images: false, seed: 1 };
        Plan::new(&Workspace { root: PathBuf::from("checkout") }, &options)
    }

    #[test]
    fn an_interrupted_measurement_goes_on_where_it_was() {
        let whole = plan(2).missing(&[]);
        let mut there = records(2);
        there.retain(|record| record.round == 0);
        let left = plan(2).missing(&there);
        assert!(left.iter().all(|(round, _)| *round == 1) && left.len() < whole.len());
        assert!(plan(1).missing(&there).is_empty());
        assert_eq!(whole[..5], plan(1).missing(&[])[..5]);
    }
}
