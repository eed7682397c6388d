//! The document of a measurement: ratios first, then the other goals, the distributions, the noise and the machine.

mod pictures;

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::cell::{QUANTA_MS, Sharing};
use super::goals;
use super::results::{Quantum, Ratio, Results, at_shares};
use super::store::Record;
use crate::bench::goal::{Goal, Unit};
use crate::bench::page::{self, row};

/// The command that makes the document anew.
const COMMAND: &str = "cargo xtask bench gang --fresh";
/// The columns of a distribution.
const SHARES: [f64; 5] = [0.1, 0.5, 0.9, 0.99, 1.0];
const SHARE_NAMES: &str = "p10 | p50 | p90 | p99 | max";

/// Writes the document, its plots and the raw results.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(folder: &Path, results: &Results<'_>, records: &[Record]) -> Result<()> {
    let mut files = vec![("gang.md".to_owned(), markdown(results)), ("gang.json".to_owned(), raw(results, records)?)];
    files.extend(pictures::all(results).into_iter().map(|(name, plot)| (name.to_owned(), plot.svg())));
    page::write(folder, &files)
}

/// The goals, for a terminal.
pub(super) fn goals_as_text(results: &Results<'_>) -> String {
    goals::all(results).iter().map(Goal::line).collect::<Vec<_>>().join("\n")
}

fn raw(results: &Results<'_>, records: &[Record]) -> Result<String> {
    let goals: Vec<Value> = goals::all(results).iter().map(Goal::value).collect();
    page::raw(&json!({ "command": COMMAND, "measurement": results.header, "goals": goals }), records)
}

fn markdown(results: &Results<'_>) -> String {
    let mut page = String::new();
    for section in [introduction, goals_section, ratios_section, strobes_section, noise_section, machine_section] {
        page.push_str(&section(results));
        page.push('\n');
    }
    page.trim_end().to_owned() + "\n"
}

fn introduction(results: &Results<'_>) -> String {
    let warning = if results.header.quick { "\n**A quick run with short work: this is no measurement.**\n" } else { "" };
    format!(
        "# Two fine-grained MPI jobs on two CPUs\n{warning}\n\
        Made by `{COMMAND}` ({} rounds, seed {}); do not edit. How it is measured and how to read it: [README](README.md). \
        Raw results: `gang.json`, beside this page.\n\n\
        `grain` computes for 100 µs or 1 ms, waits for all ranks, and repeats: two jobs of two ranks on two nodes of one CPU each, \
        {} s of computation a job, the same work in every cell. Values are medians over the rounds with a bootstrap 95 % interval in brackets.\n",
        results.rounds, results.header.seed, results.header.work_seconds,
    )
}

fn goals_section(results: &Results<'_>) -> String {
    page::goals(&goals::all(results))
}

fn ratios_section(results: &Results<'_>) -> String {
    let mut text = "## Time together over the sum of the times alone\n\n![ratio over quantum](gang-ratio.svg)\n\n\
        Times run from the first release of a job's ranks to the last end, so that launching is in none of them; the last column runs from \
        the first submission, with one launch above and two below the line.\n\n\
        | grain | sharing | ratio | least | largest | from submission |\n|---|---|---|---|---|---|\n"
        .to_owned();
    results.ratios.iter().for_each(|ratio| row(&mut text, &ratio_cells(ratio)));
    text.push_str("\nAlone:\n\n| grain | seconds | least | largest | first job over second |\n|---|---|---|---|---|\n");
    for alone in &results.alone {
        let seconds = &alone.seconds;
        let [least, largest] = [seconds.minimum, seconds.maximum].map(|value| format!("{value:.4}"));
        let equal = Unit::Ratio.interval(&alone.first_over_second);
        row(&mut text, &[format!("{} µs", alone.grain_us), Unit::Ratio.interval(seconds), least, largest, equal]);
    }
    text.push_str("\nThe last column compares two jobs that do the same: a difference smaller than its interval says nothing.\n");
    text
}

fn ratio_cells(ratio: &Ratio) -> [String; 6] {
    let sharing = match ratio.sharing {
        Sharing::Kernel => "kernel".to_owned(),
        Sharing::GangAtMs(quantum) => format!("gangs, {quantum} ms"),
    };
    let of_runs = &ratio.of_runs;
    [
        format!("{} µs", ratio.grain_us),
        sharing,
        Unit::Ratio.interval(of_runs),
        format!("{:.4}", of_runs.minimum),
        format!("{:.4}", of_runs.maximum),
        Unit::Ratio.interval(&ratio.of_makespans),
    ]
}

fn strobes_section(results: &Results<'_>) -> String {
    let mut text = "## Strobes\n\n![switch cost](gang-switch.svg)\n\n![skew](gang-skew.svg)\n\n\
        *Switch cost*: from the instant at which a node acts to its last thaw, where something changed. *Skew*: between the two nodes' acts of one epoch.\n\n\
        Of the timed runs, both grains, in µs; medians over the runs:\n\n\
        | quantum | switch p50 | switch p99 | skew p50 | skew p99 | strobes | late | missed | stragglers | unsynchronised | clock error at most |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    results.quanta.iter().for_each(|quantum| row(&mut text, &quantum_cells(quantum)));
    text.push_str("\nOf the traced runs (shorter, apart from the timed ones), in µs:\n\n");
    let _always = writeln!(text, "| what | quantum | {SHARE_NAMES} |\n|---|---|---|---|---|---|---|");
    for quantum in &results.quanta {
        let traced = &quantum.traced;
        let kinds = [
            ("switch cost", &traced.switch_micros),
            ("skew", &traced.skew_micros),
            ("act after planned instant", &traced.after_instant_micros),
        ];
        for (name, values) in kinds {
            let Some(at) = at_shares(values, SHARES) else { continue };
            let cells = [name.to_owned(), format!("{} ms", quantum.quantum_ms)];
            row(&mut text, &[&cells[..], &at.map(|value| format!("{value:.1}"))[..]].concat());
        }
    }
    text.push_str("\n*Act after planned instant* is one node's own: its wait for a CPU is in it, the error of its clock is not.\n");
    text
}

fn quantum_cells(quantum: &Quantum) -> Vec<String> {
    let distributions = [quantum.switch_p50, quantum.switch_p99, quantum.skew_p50, quantum.skew_p99]
        .map(|summary| format!("{:.1} [{:.1}, {:.1}]", summary.median, summary.low, summary.high));
    let counts = &quantum.counts;
    let numbers = [counts.strobes, counts.late, counts.missed, counts.stragglers, counts.unsynchronised].map(|count| count.to_string());
    let ends = [format!("{} ms", quantum.quantum_ms)];
    [&ends[..], &distributions[..], &numbers[..], &[format!("{:.1}", quantum.clock_bound_micros)][..]].concat()
}

fn noise_section(results: &Results<'_>) -> String {
    let mut text = results.disturbances.section("not the benchmark's", "cells ran");
    let missing: Vec<String> = QUANTA_MS
        .iter()
        .filter(|quantum| results.quanta.iter().all(|known| known.quantum_ms != **quantum))
        .map(|quantum| format!("{quantum} ms"))
        .collect();
    if !missing.is_empty() {
        let _always = writeln!(text, "\nNot measured: {}.", missing.join(", "));
    }
    text
}

fn machine_section(results: &Results<'_>) -> String {
    let mut text = "## Machine\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in results.header.machine.rows() {
        row(&mut text, &[name.to_owned(), value]);
    }
    results.disturbances.add_rows(&mut text, results.header.loops_per_us);
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::results::tests::records;
    use super::super::store::tests::header;
    use super::*;
    use crate::bench::page::tests::columns;

    #[test]
    fn every_table_is_rectangular() {
        let (header, records) = (header(), records(5));
        let page = markdown(&Results::of(&header, &records));
        let tables = columns(&page);
        assert_eq!(tables.len(), 6, "{page}");
        assert!(tables.iter().all(|rows| rows.len() > 2 && rows.iter().all(|count| *count == rows[0])), "{page}");
    }

    #[test]
    fn goals_come_first_and_a_quick_run_says_what_it_is() {
        let (mut header, records) = (header(), records(5));
        let page = markdown(&Results::of(&header, &records));
        assert!(page.find("## Goals") < page.find("## Strobes"));
        assert!(page.contains("| 1.0100 [1.0100, 1.0100] | NOT met |") && !page.contains("no measurement"), "{page}");
        header.quick = true;
        assert!(markdown(&Results::of(&header, &records)).contains("no measurement"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let (header, records) = (header(), records(1));
        let few: Vec<Record> = records.into_iter().filter(|record| record.cell.file_stem().ends_with("gang-10ms")).collect();
        let page = markdown(&Results::of(&header, &few));
        assert!(page.contains("Not measured: 100 ms, 50 ms, 5 ms, 2 ms."), "{page}");
        assert!(page.contains("not measured (too few rounds)"));
    }

    #[test]
    fn all_files_are_written_and_the_raw_results_are_json() {
        let folder = tempfile::tempdir().unwrap();
        let (header, records) = (header(), records(2));
        write(folder.path(), &Results::of(&header, &records), &records).unwrap();
        let raw: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("gang.json")).unwrap()).unwrap();
        assert_eq!(raw["records"].as_array().map(Vec::len), Some(records.len()));
        assert_eq!(raw["head"]["measurement"]["seed"], 1);
        let page = fs::read_to_string(folder.path().join("gang.md")).unwrap();
        for picture in ["gang-ratio.svg", "gang-switch.svg", "gang-skew.svg"] {
            assert!(page.contains(picture) && folder.path().join(picture).is_file(), "{picture}");
        }
    }
}
