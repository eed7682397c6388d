//! `strobe-sim`: the deterministic simulation as a command. `cargo xtask sim` calls it.

mod progress;

use std::{fs, panic, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use strobe_sim::{
    Outcome,
    campaign::{self, Failure, Summary, Until},
    limits::{NODES_MAX, TRACE_LINES_PRINTED},
    mutations::Mutation,
    scenario::{Breadth, Options, Scenario, ScenarioError},
    simulate,
};

use progress::Progress;

/// Simulate authority, manager and nodes under faults that are drawn from seeds, and check the invariants at every step.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim", version)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 200, conflicts_with = "replay")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, conflicts_with = "replay")]
    seed: u64,
    /// Run the scenario in this file instead
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Nodes of every partition, instead of a number drawn from the seed
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)), conflicts_with = "replay")]
    nodes: Option<u16>,
    /// How wide a world the seeds draw
    #[arg(long, value_enum, default_value_t, conflicts_with = "replay")]
    breadth: Breadth,
    /// Put a bug in, to see that it is found
    #[arg(long, value_name = "BUG", conflicts_with = "replay")]
    mutation: Option<Mutation>,
    /// Print the whole trace of a run that fails or is replayed, not only its end, and draw it
    #[arg(long)]
    trace: bool,
    /// Where the scenarios of failing seeds are written, and sequence diagrams
    #[arg(long, value_name = "FOLDER", default_value = "target/sim")]
    failures: PathBuf,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no scenario")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the scenario of {path} cannot be run")]
    Scenario {
        path: PathBuf,
        #[source]
        source: ScenarioError,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.replay {
        Some(path) => replay(path, &arguments),
        None => search(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {}", with_sources(&error));
        ExitCode::from(2)
    })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

// === many seeds ===

fn search(arguments: &Arguments) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let options = Options { nodes: arguments.nodes, mutation: arguments.mutation, breadth: arguments.breadth };
    // A machine that panics breaks the invariant `no panic`, and is told of there.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let progress = Progress::new(arguments.seeds);
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.seeds);
    let summary = campaign::run(seeds, options, Until::End, |so_far| progress.show(so_far));
    progress.finish();
    panic::set_hook(usual);
    println!("{}", in_figures(&summary, begun));
    for failure in &summary.failures {
        tell_failure(arguments, options, failure)?;
    }
    let Some(first) = summary.failures.first() else { return Ok(ExitCode::SUCCESS) };
    let outcome = simulate(&Scenario::of_seed(first.seed, options), true);
    draw(&outcome, &arguments.failures.join(format!("seed-{}.svg", first.seed)))?;
    print_trace(&outcome, arguments.trace);
    Ok(ExitCode::FAILURE)
}

fn in_figures(summary: &Summary, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64().max(1e-9);
    let counted = &summary.counters;
    format!(
        "{} of {} seeds failed; {} events, {} terms, {} faults, {} records applied, {} blocks put ({} absent), {} operations \
         explained (in {} runs by all orders), {} epochs in {:.0} s of virtual time; \
         {seconds:.1} s, {:.0} seeds/s",
        summary.failed,
        summary.seeds,
        counted.events,
        counted.terms,
        counted.faults,
        counted.records,
        counted.blocks,
        counted.absent,
        counted.operations,
        counted.histories_tried,
        counted.epochs,
        counted.nanoseconds as f64 / 1e9,
        summary.seeds as f64 / seconds,
    )
}

/// Writes the scenario down, and says how to run it again.
fn tell_failure(arguments: &Arguments, options: Options, failure: &Failure) -> Result<(), Error> {
    let path = arguments.failures.join(format!("seed-{}.json", failure.seed));
    let written = |source| Error::Write { path: path.clone(), source };
    fs::create_dir_all(&arguments.failures).map_err(written)?;
    let scenario = Scenario::of_seed(failure.seed, options);
    let text = serde_json::to_string_pretty(&scenario).expect("a scenario has only named fields");
    fs::write(&path, text + "\n").map_err(written)?;
    println!("seed {} ({} nodes) broke {}", failure.seed, scenario.nodes, failure.violation);
    println!("  again: cargo xtask sim --replay {}", path.display());
    Ok(())
}

// === one scenario ===

fn replay(path: &PathBuf, arguments: &Arguments) -> Result<ExitCode, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let scenario: Scenario = serde_json::from_str(&text).map_err(|source| Error::Parse { path: path.clone(), source })?;
    let scenario = scenario.validated().map_err(|source| Error::Scenario { path: path.clone(), source })?;
    let outcome = simulate(&scenario, true);
    if outcome.violation.is_some() || arguments.trace {
        let drawing = path.file_stem().map(PathBuf::from).unwrap_or_default().with_extension("svg");
        draw(&outcome, &arguments.failures.join(drawing))?;
        print_trace(&outcome, arguments.trace);
    }
    println!(
        "{} events, {} ms of virtual time, trace {:016x}",
        outcome.counters.events,
        outcome.counters.nanoseconds / 1_000_000,
        outcome.trace
    );
    match outcome.violation {
        Some(violation) => {
            println!("broke {violation}");
            Ok(ExitCode::FAILURE)
        }
        None => {
            println!("every invariant held, and everything came to rest");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes the sequence diagram of a run.
fn draw(outcome: &Outcome, path: &PathBuf) -> Result<(), Error> {
    let Some(diagram) = &outcome.diagram else { return Ok(()) };
    let written = |source| Error::Write { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(written)?;
    }
    fs::write(path, diagram).map_err(written)?;
    println!("  drawn: {}", path.display());
    Ok(())
}

fn print_trace(outcome: &Outcome, whole: bool) {
    let first = if whole { 0 } else { outcome.lines.len().saturating_sub(TRACE_LINES_PRINTED) };
    for line in &outcome.lines[first..] {
        println!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_bug_has_a_name() {
        for mutation in Mutation::ALL {
            let name = mutation.to_possible_value().expect("no bug is hidden").get_name().to_owned();
            let arguments = Arguments::try_parse_from(["sim", "--mutation", &name]).unwrap();
            assert_eq!(arguments.mutation, Some(mutation));
        }
    }
}
