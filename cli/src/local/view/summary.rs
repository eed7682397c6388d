//! The summary: a table of the jobs and a few lines on the strobe.

use std::fmt::Write;

use crate::local::report::Report;

/// The report for people.
pub(in crate::local) fn summary(report: &Report) -> String {
    let mut rows = vec![["JOB", "STATE", "START", "RUN", "CPU", "RESTARTS", "REASON"].map(str::to_owned)];
    rows.extend(report.jobs.iter().map(|job| {
        let start = job.submit_to_start_ms.map_or_else(|| "-".to_owned(), |start| format!("{start:.1}ms"));
        let reason = if job.message.is_empty() { job.reason.clone() } else { format!("{}: {}", job.reason, job.message) };
        let seconds = |seconds: f64| format!("{seconds:.2}s");
        [job.name.clone(), job.state.clone(), start, seconds(job.run_seconds), seconds(job.cpu_seconds), job.restarts.to_string(), reason]
    }));
    let mut text = table(&rows);
    let strobes = &report.strobes;
    let (skew, switch) = (strobes.skew_micros, strobes.switch_micros);
    let _to_a_string = write!(
        text,
        "makespan {:.3} s · {} policy, quantum {} ms, {} freezer, {} scheduler, {} term{}\n\
         strobes {} on {} nodes: {} late, {} missed, {} stragglers · skew p50 {:.0} p99 {:.0} µs · switch p50 {:.0} p99 {:.0} µs\n",
        report.makespan_seconds,
        report.policy,
        report.quantum_ms,
        report.freezer,
        report.scheduler,
        report.terms,
        if report.terms == 1 { "" } else { "s" },
        strobes.count,
        report.nodes.len(),
        strobes.late,
        strobes.missed,
        strobes.stragglers,
        skew.p50,
        skew.p99,
        switch.p50,
        switch.p99,
    );
    text
}

/// Columns as wide as their widest cell, two blanks between.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["A", "LONG"], ["word", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     LONG\nword  x\n");
    }
}
