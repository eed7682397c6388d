//! The document of a measurement: goals first, then starts, ratios, strobes, what Strobe costs the cluster, the noise and the machine.

mod pictures;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::cell::Cell;
use super::goals;
use super::record::{Record, Requests, Watched, sum};
use super::results::{Pending, Quantum, Results, Sharing, Used, at};
use crate::bench::goal::{Goal, Unit};
use crate::bench::page::{self, row};
use crate::bench::statistics::Summary;

/// The command that makes the document anew.
const COMMAND: &str = "cargo xtask bench cluster --fresh";
/// Kinds of requests that are named of jobs that wait.
const NAMED_REQUESTS: usize = 12;
/// What every cluster writes by itself, and often: leases of nodes and of controllers.
const LEASES: &str = "leases.coordination.k8s.io";

/// Writes the document, its plot and the raw results.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(folder: &Path, results: &Results<'_>, records: &[Record]) -> Result<()> {
    let mut files = vec![("cluster.md".to_owned(), markdown(results)), ("cluster.json".to_owned(), raw(results, records)?)];
    files.push((pictures::START.to_owned(), pictures::start(&results.starts).svg()));
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
    let sections = [introduction, goals_section, starts, ratios, strobes, writes, usage, pending, noise, machine];
    let texts: Vec<String> = sections.map(|section| section(results)).into_iter().filter(|text| !text.is_empty()).collect();
    texts.join("\n")
}

fn introduction(results: &Results<'_>) -> String {
    let warning = if results.header.quick { "\n**A quick run with short work: this is no measurement.**\n" } else { "" };
    format!(
        "# Gangs of pods on a cluster\n{warning}\n\
        Made by `{COMMAND}` ({} rounds, seed {}); do not edit. How it is measured and how to read it: [README](README.md). \
        Raw results: `cluster.json`, beside this page.\n\n\
        The cluster is the [laboratory](../laboratory.md): a control plane and three workers on one machine, so that their clocks are one clock and \
        all of Kubernetes takes its CPU time from the CPUs of the ranks. Gangs have two nodes, the first two workers, whose ranks have one CPU each; \
        the third worker takes none, but where that is said. `grain` computes for 5 ms or 100 µs, waits for the other rank, and repeats: {} s of \
        computation a job, over PyPI's MPICH between pods. Values are medians over the rounds with a bootstrap 95 % interval in brackets.\n",
        results.rounds, results.header.seed, results.header.work_seconds,
    )
}

fn goals_section(results: &Results<'_>) -> String {
    page::goals(&goals::all(results))
}

fn starts(results: &Results<'_>) -> String {
    let starts = &results.starts;
    let mut text = format!(
        "## From submission to the first instruction\n\n![starts]({})\n\n\
        A gang of a static program of 12 MB, {} times, one after the other. Containers' starts are those that their runtime tells, to the nanosecond; \
        ranks print the time of their first instruction. In ms:\n\n\
        | from | to | p50 | p90 | p99 | max |\n|---|---|---|---|---|---|\n",
        pictures::START,
        starts.ours.len(),
    );
    let rows = [
        ("submission", "last container's start (Kubernetes and Strobe's operator)", &starts.container),
        ("submission", "first rank's first instruction", &starts.first_instruction),
        ("submission", "a watch tells `Running`", &starts.running),
        ("last container's start", "first rank's first instruction: **ours**", &starts.ours),
        ("last container's start", "last rank's first instruction", &starts.ours_last_rank),
    ];
    for (from, to, values) in rows {
        let figures = [0.5, 0.9, 0.99, 1.0].map(|share| at(values, share).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")));
        row(&mut text, &[&[from.to_owned(), to.to_owned()][..], &figures[..]].concat());
    }
    text
}

fn ratios(results: &Results<'_>) -> String {
    let mut text = "## Time together over the sum of the times alone\n\n\
        A job's time runs from the start of its last rank to the end of its last iteration, both jobs' from the first start to the last end: launching is in \
        none of them. *At once*: the part of the time together in which both ran.\n\n\
        | grain | sharing | ratio | alone, both | together | at once |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for ratio in &results.ratios {
        let sharing = match ratio.sharing {
            Sharing::GangAtMs(quantum_ms) => format!("gangs, {quantum_ms} ms"),
            Sharing::Plain => "plain Jobs".to_owned(),
        };
        let seconds = |summary: &Summary| format!("{:.3} s", summary.median);
        let overlap = format!("{:.0} %", 100.0 * ratio.overlap.median);
        let cells = [
            format!("{} µs", ratio.grain_us),
            sharing,
            Unit::Ratio.interval(&ratio.ratio),
            seconds(&ratio.alone),
            seconds(&ratio.together),
            overlap,
        ];
        row(&mut text, &cells);
    }
    if let Some(plain) = &results.plain_over_gangs {
        text.push_str(&format!(
            "\nThe fine pair as plain Jobs took {} times as long as the same pair as gangs.\n",
            Unit::Ratio.interval(plain)
        ));
    }
    text.push_str(
        "\nPlain Jobs are Kubernetes' own, one for each rank, on the same workers. Each rank is kept on the CPU that gangs have there \
        (`sched_setaffinity` before it becomes the program) and asks for the same CPU time as the others, so that only the sharing differs: the kernel's \
        instead of turns.\n",
    );
    text
}

fn strobes(results: &Results<'_>) -> String {
    let mut text = "## Strobes\n\nAs `PartitionNode`s tell them, of the two workers after each pair of gangs: agents begin anew with each quantum, and \
        tell of the last half to whole minute, in two digits. Skew counts from the first of the two. In µs; medians over nodes and rounds:\n\n\
        | quantum | switch p50 | switch p99 | skew p50 | skew p99 | clock error at most | strobes | late | missed | stragglers | unsynchronised |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    results.quanta.iter().for_each(|quantum| row(&mut text, &quantum_cells(quantum)));
    text
}

fn quantum_cells(quantum: &Quantum) -> Vec<String> {
    let interval = |summary: &Option<Summary>| {
        summary.as_ref().map_or_else(|| "-".to_owned(), |known| format!("{:.0} [{:.0}, {:.0}]", known.median, known.low, known.high))
    };
    let distributions = [&quantum.switch_p50, &quantum.switch_p99, &quantum.skew_p50, &quantum.skew_p99].map(interval);
    let counts = quantum.counts.map(|count| count.to_string());
    [&[format!("{} ms", quantum.quantum_ms)][..], &distributions[..], &[format!("{:.0}", quantum.clock_bound)][..], &counts[..]].concat()
}

fn writes(results: &Results<'_>) -> String {
    let mut text = format!(
        "## Writes to the API server in a gang's life\n\nOf one gang of two nodes, from its submission until it is deleted and its pods are gone, and of as \
        much time without a gang; medians of {} lives, counted by the API server (`apiserver_request_total`), which does not say who asks. Of a pod kubelet \
        writes the status, kube-scheduler the binding, and the endpoint controllers what follows from the job's Service. Leases are left out.\n\n\
        | request | in the life | at rest |\n|---|---|---|\n",
        results.lives,
    );
    let named: BTreeMap<&String, &[f64; 2]> = results.writes.iter().filter(|(name, _)| !name.contains(LEASES)).collect();
    for (name, counts) in &named {
        row(&mut text, &[format!("`{name}`"), format!("{:.0}", counts[0]), format!("{:.0}", counts[1])]);
    }
    let sum = |of: usize| named.values().map(|counts| counts[of]).sum::<f64>();
    row(&mut text, &["**together**".to_owned(), format!("{:.0}", sum(0)), format!("{:.0}", sum(1))]);
    text
}

fn usage(results: &Results<'_>) -> String {
    let mut text = "## What operator and agents need\n\nBy the nodes' kubelets: CPU time of the containers over the time that is watched, in percent of one CPU, and \
        their working set at its end. The busiest and the largest agent of the four.\n\n\
        | while | operator that leads | the other operator | agent |\n|---|---|---|---|\n"
        .to_owned();
    for (cell, watched) in &results.watched {
        row(&mut text, &usage_cells(&told(*cell), watched));
    }
    for pending in &results.pending {
        row(&mut text, &usage_cells("four gangs fill all rows", pending.full));
        row(&mut text, &usage_cells(&format!("the same, and {} jobs wait", pending.jobs), pending.waiting));
    }
    text.push_str("\nThe ranks of these gangs sleep. Of the 20 gangs ten have two nodes and ten have one; all three workers are in use.\n");
    text
}

fn told(cell: Cell) -> String {
    match cell {
        Cell::Load { gangs, .. } => format!("{gangs} gangs take turns"),
        _ => "there is no gang".to_owned(),
    }
}

fn usage_cells(name: &str, watched: &Watched) -> [String; 4] {
    let text = |used: Used| {
        let percent = used.percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2} %"));
        format!("{percent}, {:.1} MB", used.megabytes)
    };
    [name.to_owned(), text(watched.leader()), text(watched.other_operators()), text(watched.agents())]
}

fn pending(results: &Results<'_>) -> String {
    results.pending.iter().map(pending_section).collect::<Vec<_>>().join("\n")
}

fn pending_section(pending: &Pending<'_>) -> String {
    let jobs = f64::from(pending.jobs);
    let rate = |watched: &Watched| sum(&watched.requests) / watched.seconds;
    let mut text = format!(
        "## Requests of {} jobs that wait\n\nAll requests that the API server answered, reads included, whoever asked: {:.1} a second while four gangs fill all \
        rows, {:.1} a second while the jobs wait too. From the first of them until all wait {:.1} s pass, with {:.1} requests a job.\n\n\
        | request | as they come, a job | while they wait, a second | before, a second |\n|---|---|---|---|\n",
        pending.jobs,
        rate(pending.full),
        rate(pending.waiting),
        pending.queueing.seconds,
        sum(&pending.queueing.requests) / jobs,
    );
    for (name, count) in most(&pending.queueing.requests) {
        let a_second = |watched: &Watched| format!("{:.2}", watched.requests.get(name).copied().unwrap_or_default() / watched.seconds);
        row(&mut text, &[format!("`{name}`"), format!("{:.2}", count / jobs), a_second(pending.waiting), a_second(pending.full)]);
    }
    text
}

/// The requests that were most, in order.
fn most(requests: &Requests) -> Vec<(&String, f64)> {
    let mut named: Vec<(&String, f64)> = requests.iter().map(|(name, count)| (name, *count)).collect();
    named.sort_by(|left, right| right.1.total_cmp(&left.1));
    named.truncate(NAMED_REQUESTS);
    named
}

fn noise(results: &Results<'_>) -> String {
    results.disturbances.section("neither the benchmark's nor the cluster's", "agents switched")
}

fn machine(results: &Results<'_>) -> String {
    let mut text = "## Machine\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in results.header.machine.rows() {
        // Ranks use the images' MPI library.
        if name != "MPICH" {
            row(&mut text, &[name.to_owned(), value]);
        }
    }
    row(&mut text, &["images".to_owned(), results.header.images.clone()]);
    results.disturbances.add_rows(&mut text, results.header.loops_per_us);
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::record::tests::header;
    use super::super::results::tests::records;
    use super::*;
    use crate::bench::page::tests::columns;

    #[test]
    fn every_table_is_rectangular_and_there() {
        let (header, records) = (header(), records(5));
        let page = markdown(&Results::of(&header, &records));
        let tables = columns(&page);
        assert_eq!(tables.len(), 8, "{page}");
        assert!(tables.iter().all(|rows| rows.len() > 2 && rows.iter().all(|count| *count == rows[0])), "{page}");
    }

    #[test]
    fn leases_are_no_writes_of_a_gang_and_sums_leave_them_out_too() {
        let (header, mut records) = (header(), records(1));
        for record in &mut records {
            if let super::super::record::Measured::Life { life, .. } = &mut record.measured {
                life.insert(format!("PUT {LEASES}"), 9.0);
                life.remove("PUT leases");
            }
        }
        let page = markdown(&Results::of(&header, &records));
        assert!(page.contains("| **together** | 2 | 10 |") && !page.contains(LEASES), "{page}");
    }

    #[test]
    fn a_quick_run_says_what_it_is_and_what_was_not_measured_is_left_out() {
        let mut header = header();
        header.quick = true;
        let page = markdown(&Results::of(&header, &[]));
        assert!(page.contains("this is no measurement") && page.contains("not measured (too few rounds)"), "{page}");
        assert!(!page.contains("jobs that wait") && !page.contains("NaN"), "{page}");
    }

    #[test]
    fn the_requests_that_were_most_come_first_and_are_not_too_many() {
        let requests: Requests = (0..40).map(|number| (format!("GET {number}"), f64::from(number))).collect();
        let named = most(&requests);
        assert_eq!((named.len(), named[0].1, named[11].1), (NAMED_REQUESTS, 39.0, 28.0));
    }

    #[test]
    fn all_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (header, records) = (header(), records(2));
        write(folder.path(), &Results::of(&header, &records), &records).unwrap();
        let raw: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("cluster.json")).unwrap()).unwrap();
        assert_eq!(raw["records"].as_array().map(Vec::len), Some(records.len()));
        let page = fs::read_to_string(folder.path().join("cluster.md")).unwrap();
        assert!(page.contains(pictures::START) && folder.path().join(pictures::START).is_file());
    }
}
