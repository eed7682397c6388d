//! `cargo xtask bench primitives`: the primitives between nodes, beside what the network alone would take. So far of XFER: a block to one node over
//! TLS.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::goal::{Bound, Goal, Unit};
use super::machine::Machine;
use super::page::{self, row};
use super::processor_time::Watch;
use super::statistics::Summary;
use super::{DOCUMENTS, processor_time, refuse_load};
use crate::workspace::Workspace;

/// The command that makes the document anew.
const COMMAND: &str = "cargo xtask bench primitives";
/// Least speed of a block to one node, of that of a bare stream.
const XFER_GOAL: f64 = 0.9;
/// The goal is of blocks of at least this size, in bytes: a smaller one rides with its record.
const XFER_GOAL_FROM: u64 = 1 << 20;
/// Seed of the intervals.
const SEED: u64 = 1;

#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// Rounds, each of which measures every size in both ways
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// One round, to see whether the recipe works: no measurement
    #[arg(long)]
    quick: bool,
    /// Measure although other processes use the CPUs; their share is on record
    #[arg(long)]
    loaded: bool,
}

/// One size in one round, as the program tells it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    round: u32,
    bytes: u64,
    block_seconds: f64,
    stream_seconds: f64,
}

/// One size over all rounds.
struct Size {
    bytes: u64,
    block_seconds: Summary,
    stream_seconds: Summary,
    /// Speed of the block over that of the stream.
    ratio: Summary,
}

/// Runs the measurement.
///
/// # Errors
/// The machine is not idle, or the program fails.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    refuse_load(&processor_time::busy_processes(|_| false)?, options.loaded || options.quick)?;
    let rounds = if options.quick { 1 } else { options.rounds };
    // Nobody builds while it is measured.
    cargo_bench(workspace, &["--no-run"])?;
    let watch = Watch::start()?;
    let records = records(&cargo_bench(workspace, &["--", &format!("--rounds={rounds}")])?)?;
    let noise = watch.noise()?;
    let sizes = sizes(&records);
    let goals = goals(&sizes);
    let folder = if options.quick { workspace.target().join("bench/primitives-quick") } else { workspace.root.join(Path::new(DOCUMENTS)) };
    let machine = Machine::this();
    let head =
        json!({ "command": COMMAND, "rounds": rounds, "machine": machine, "goals": goals.iter().map(Goal::value).collect::<Vec<_>>() });
    let files = [
        ("primitives.md".to_owned(), markdown(rounds, &sizes, &goals, &machine, noise.during_percent())),
        ("primitives.json".to_owned(), page::raw(&head, &records)?),
    ];
    page::write(&folder, &files)?;
    println!("{}", goals.iter().map(Goal::line).collect::<Vec<_>>().join("\n"));
    println!(
        "{}written: {}/primitives.md and primitives.json",
        if options.quick { "A QUICK RUN IS NO MEASUREMENT. " } else { "" },
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn cargo_bench(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    let mut cargo = workspace.command("cargo");
    cargo.args(["bench", "--quiet", "--locked", "-p", "strobe-fabric", "--bench", "blocks"]).args(arguments);
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "the measurement has failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn records(text: &str) -> Result<Vec<Record>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let records: Vec<Record> = lines.map(serde_json::from_str).collect::<Result<_, _>>().context("read what the program tells")?;
    ensure!(!records.is_empty(), "the program has told nothing: {text:?}");
    Ok(records)
}

fn sizes(records: &[Record]) -> Vec<Size> {
    let mut bytes: Vec<u64> = records.iter().map(|record| record.bytes).collect();
    bytes.sort_unstable();
    bytes.dedup();
    let summary = |bytes: u64, value: &dyn Fn(&Record) -> f64| {
        let values: Vec<f64> = records.iter().filter(|record| record.bytes == bytes).map(value).collect();
        Summary::of(&values, SEED).expect("each size has a record")
    };
    let size = |bytes| Size {
        bytes,
        block_seconds: summary(bytes, &|record| record.block_seconds),
        stream_seconds: summary(bytes, &|record| record.stream_seconds),
        ratio: summary(bytes, &|record| record.stream_seconds / record.block_seconds),
    };
    bytes.into_iter().map(size).collect()
}

fn goals(sizes: &[Size]) -> Vec<Goal> {
    let large = sizes.iter().filter(|size| size.bytes >= XFER_GOAL_FROM);
    let goal = |size: &Size| Goal {
        name: format!("block of {} to one node, speed over that of a bare TLS stream", named(size.bytes)),
        bound: Bound::AtLeast(XFER_GOAL),
        unit: Unit::Ratio,
        measured: Some(size.ratio),
    };
    large.map(goal).collect()
}

fn markdown(rounds: u32, sizes: &[Size], goals: &[Goal], machine: &Machine, others_percent: f64) -> String {
    let mut text = format!(
        "# The primitives between nodes\n\n\
        Made by `{COMMAND}` ({rounds} rounds); do not edit. Raw results: `primitives.json`, beside this page.\n\n\
        A block of bytes from one node to another over the bulk lane, from the bytes in the caller's memory to the word that the other node holds \
        all of it, both digests included; beside it the same bytes over a bare TLS stream of the same certificates into memory that is there \
        already. Both in one process over the loopback interface, in turns; medians over the rounds with a bootstrap 95 % interval in brackets. \
        What the order adds, one round trip to stage and one to number, is not in it.\n\n{}\n\
        ## A block to one node\n\n| bytes | block, MB/s | bare stream, MB/s | block over stream |\n|---|---|---|---|\n",
        page::goals(goals),
    );
    for size in sizes {
        let speed = |seconds: &Summary| {
            let speed = |seconds: f64| size.bytes as f64 / seconds / 1e6;
            format!("{:.0} [{:.0}, {:.0}]", speed(seconds.median), speed(seconds.high), speed(seconds.low))
        };
        row(&mut text, &[named(size.bytes), speed(&size.block_seconds), speed(&size.stream_seconds), Unit::Ratio.interval(&size.ratio)]);
    }
    let _always = writeln!(text, "\n## Machine\n\nOthers used {others_percent:.1} % of its CPUs meanwhile.\n\n| what | value |\n|---|---|");
    for (what, value) in machine.rows() {
        row(&mut text, &[what.to_owned(), value]);
    }
    text
}

fn named(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goal::Verdict;

    fn told() -> String {
        let line = |round: u32, bytes: u64, block: f64| {
            format!("{{\"round\":{round},\"bytes\":{bytes},\"blockSeconds\":{block:e},\"streamSeconds\":1e-1}}\n")
        };
        (1..=5).flat_map(|round| [line(round, 4096, 0.2), line(round, 1 << 20, 0.1), line(round, 64 << 20, 0.125)]).collect()
    }

    #[test]
    fn what_the_program_tells_is_judged_by_size() {
        let sizes = sizes(&records(&told()).unwrap());
        assert_eq!(
            sizes.iter().map(|size| (size.bytes, size.ratio.median)).collect::<Vec<_>>(),
            [(4096, 0.5), (1 << 20, 1.0), (64 << 20, 0.8)]
        );
        let verdicts: Vec<Verdict> = goals(&sizes).iter().map(Goal::verdict).collect();
        assert_eq!(verdicts, [Verdict::Met, Verdict::NotMet], "4 KiB is no goal");
        assert!(records("nothing").is_err());
    }

    #[test]
    fn the_page_has_a_row_for_each_size() {
        let sizes = sizes(&records(&told()).unwrap());
        let page = markdown(5, &sizes, &goals(&sizes), &Machine::default(), 0.0);
        assert!(page.contains("| 4 KiB | 0 [0, 0] | 0 [0, 0] | 0.5000 [0.5000, 0.5000] |"), "{page}");
        assert!(page.contains("| 64 MiB | 537 [537, 537] | 671 [671, 671] | 0.8000 [0.8000, 0.8000] |"), "{page}");
        assert!(page::tests::columns(&page).iter().all(|table| table.windows(2).all(|rows| rows[0] == rows[1])), "{page}");
    }
}
