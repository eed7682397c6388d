//! The summary: a table of the jobs, and what the strobe did.

use crate::local::{
    histogram::Figures,
    report::{JobReport, Report},
};
use crate::terminal::{Piece, table, text};

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
    let rows = rows.into_iter().map(|row| row.map(Piece::plain).into()).collect();
    table(rows).iter().map(text).collect::<Vec<_>>().join("\n")
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
        "{complete}{of} {} complete in {:.3} s\n{policy}, {}, freezer {}, scheduler {}",
        if report.jobs.len() == 1 { "job" } else { "jobs" },
        report.makespan_seconds,
        count(report.terms, "term"),
        report.freezer.unwrap_or("unknown"),
        report.scheduler.unwrap_or("unknown"),
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
    distribution("skew", strobes.skew_micros, "(first node to last)");
    distribution("switch", strobes.switch_micros, "(first freeze to last thaw)");
    lines
}

fn stragglers(report: &Report) -> Option<String> {
    let strobes = &report.strobes;
    (strobes.stragglers > 0).then(|| {
        let times = if strobes.stragglers == 1 { "once".to_owned() } else { format!("{} times", strobes.stragglers) };
        let bound = strobes.straggler_bound_micros / 1e3;
        format!(
            "{times} a gang had not stopped {bound} ms after its freeze (a straggler): the next\n\
             gang did not wait for it. A few are ordinary; many mean that other programs\n\
             keep these CPUs busy, or that ranks wait inside the kernel."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::report::{NodeReport, StrobesReport};

    fn job(name: &str, state: &str) -> JobReport {
        JobReport {
            name: name.to_owned(),
            state: state.to_owned(),
            reason: None,
            message: String::new(),
            submit_to_start_ms: Some(40.2),
            run_seconds: 2.0,
            cpu_seconds: 3.5,
            restarts: 0,
            failures: Vec::new(),
        }
    }

    fn node(node: u16) -> NodeReport {
        NodeReport { node, ..NodeReport::default() }
    }

    /// With a job that failed and a straggler, or without.
    fn report(troubled: bool) -> Report {
        let lost = JobReport {
            message: "node 1 was lost".to_owned(),
            submit_to_start_ms: None,
            run_seconds: 0.0,
            cpu_seconds: 0.0,
            restarts: 1,
            ..job("tsp", "Failed")
        };
        let skew_micros = Figures { p50: 12.4, p99: 80.0, max: 90.0 };
        let stragglers = u64::from(troubled);
        Report {
            policy: "gang",
            quantum_ms: 10.0,
            jobs: std::iter::once(job("sor", "Complete")).chain(troubled.then_some(lost)).collect(),
            makespan_seconds: 2.5,
            strobes: StrobesReport {
                count: 9,
                late: 1,
                stragglers,
                straggler_bound_micros: 1000.0,
                skew_micros,
                ..StrobesReport::default()
            },
            freezer: Some("cgroup"),
            scheduler: Some("fifo"),
            terms: 2,
            nodes: vec![node(0), node(1)],
            ..Report::default()
        }
    }

    #[test]
    fn the_outcome_counts_and_stragglers_are_explained() {
        let text = summary(&report(true));
        assert_eq!(
            text,
            "JOB  STATE     STARTED AFTER  RAN FOR  CPU TIME  RESTARTS  WHY\n\
             sor  Complete  40 ms          2.00 s   3.50 s    0\n\
             tsp  Failed    -              0.00 s   0.00 s    1         node 1 was lost\n\
             1 of 2 jobs complete in 2.500 s\n\
             gang policy, quantum 10 ms, 2 terms, freezer cgroup, scheduler fifo\n\
             strobes  9 on 2 nodes together: 1 late, 0 missed\n\
             skew     p50 12 µs, p99 80 µs, max 90 µs (first node to last)\n\
             once a gang had not stopped 1 ms after its freeze (a straggler): the next\n\
             gang did not wait for it. A few are ordinary; many mean that other programs\n\
             keep these CPUs busy, or that ranks wait inside the kernel.\n"
        );
        let good = summary(&report(false));
        assert!(!good.contains("WHY") && !good.contains("straggler") && good.contains("1 job complete in 2.500 s"), "{good}");
    }
}
