//! The summary: a table of the jobs, and what the strobe did.

use crate::local::{
    histogram::Figures,
    report::{JobReport, Report},
};

/// The report for people.
pub(in crate::local) fn summary(report: &Report) -> String {
    let mut lines = vec![jobs(&report.jobs), outcome(report)];
    lines.extend(strobes(report));
    lines.extend(stragglers(report));
    lines.join("\n") + "\n"
}

fn jobs(jobs: &[JobReport]) -> String {
    let mut rows = vec![["JOB", "STATE", "STARTED AFTER", "RAN FOR", "CPU TIME", "RESTARTS", "WHY"].map(str::to_owned)];
    rows.extend(jobs.iter().map(|job| {
        let start = job.submit_to_start_ms.map_or_else(|| "-".to_owned(), |start| format!("{start:.0} ms"));
        let why = if job.state == "Complete" { String::new() } else { job.message.clone() };
        let seconds = |seconds: f64| format!("{seconds:.2} s");
        [job.name.clone(), job.state.clone(), start, seconds(job.run_seconds), seconds(job.cpu_seconds), job.restarts.to_string(), why]
    }));
    if rows.iter().skip(1).all(|row| row[6].is_empty()) {
        rows[0][6].clear();
    }
    table(&rows)
}

fn outcome(report: &Report) -> String {
    let complete = report.jobs.iter().filter(|job| job.state == "Complete").count();
    let of = if complete == report.jobs.len() { String::new() } else { format!(" of {}", report.jobs.len()) };
    let policy = match report.policy {
        "kernel" => "kernel policy (everything thawed)".to_owned(),
        policy => format!("{policy} policy, quantum {} ms", report.quantum_ms),
    };
    let count = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    format!(
        "{complete}{of} {} complete in {:.3} s: {policy}, {}, freezer {}, scheduler {}",
        if report.jobs.len() == 1 { "job" } else { "jobs" },
        report.makespan_seconds,
        count(report.terms, "term"),
        report.freezer,
        report.scheduler,
    )
}

/// Nothing is said of what did not happen: of switches with one occupied row, of skew with one node.
fn strobes(report: &Report) -> Vec<String> {
    let strobes = &report.strobes;
    let nodes = match report.nodes.len() {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes together"),
    };
    let mut lines = vec![format!("strobes  {} on {nodes}: {} late, {} missed", strobes.count, strobes.late, strobes.missed)];
    let mut distribution = |name: &str, figures: Figures, what: &str| {
        if figures.max > 0.0 {
            let Figures { p50, p99, max } = figures;
            lines.push(format!("{name:<7}  p50 {p50:.0} µs, p99 {p99:.0} µs, max {max:.0} µs {what}"));
        }
    };
    distribution("skew", strobes.skew_micros, "between the first and the last node to act");
    distribution("switch", strobes.switch_micros, "from a node's first freeze to its last thaw");
    lines
}

fn stragglers(report: &Report) -> Option<String> {
    let strobes = &report.strobes;
    (strobes.stragglers > 0).then(|| {
        let times = if strobes.stragglers == 1 { "once".to_owned() } else { format!("{} times", strobes.stragglers) };
        let bound = strobes.straggler_bound_micros / 1e3;
        format!(
            "{times} a gang had not stopped {bound} ms after its freeze (a straggler); it stopped later, the next gang did not wait.\n\
             A few are ordinary; many mean that other programs keep these CPUs busy, or ranks that wait inside the kernel."
        )
    })
}

/// Columns as wide as their widest cell, two blanks between.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["A", "LONG"], ["word", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     LONG\nword  x");
    }
}
