//! What a run leaves: the part of `kubectl-strobe`'s report that the benchmark reads, and the distributions in its trace.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::statistics::{Figures, quantile, sorted};

/// Steps of a distribution that is kept: enough for its hundredths, few enough for a file that is checked in.
const STEPS: usize = 100;
/// The track of a node's strobes in a trace.
const STROBES: u64 = 0;

/// The report of one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) jobs: Vec<JobReport>,
    /// From the first submission to the last end.
    pub(super) makespan_seconds: f64,
    /// From the start of the agents to the first established term.
    pub(super) start_up_ms: f64,
    pub(super) strobes: Strobes,
    /// `cgroup` or `signal`.
    #[serde(default)]
    pub(super) freezer: Option<String>,
    /// `fifo` or `other`.
    #[serde(default)]
    pub(super) scheduler: Option<String>,
    pub(super) terms: u64,
    pub(super) nodes: Vec<NodeReport>,
}

/// One job of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobReport {
    pub(super) name: String,
    pub(super) state: String,
    /// From its submission to the first release of its ranks.
    pub(super) submit_to_start_ms: Option<f64>,
    /// From the first release to the end.
    pub(super) run_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) restarts: u32,
}

/// What the strobe did; counts are sums over all nodes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Strobes {
    pub(super) count: u64,
    pub(super) late: u64,
    pub(super) missed: u64,
    pub(super) stragglers: u64,
    pub(super) unsynchronised: u64,
    pub(super) skew_micros: Figures,
    pub(super) switch_micros: Figures,
    /// Largest error bound of a clock estimate.
    pub(super) clock_bound_micros: f64,
}

/// One node of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    pub(super) node: u16,
    pub(super) agent_cpu_seconds: f64,
    /// Largest resident size of its agent.
    pub(super) agent_resident_bytes: u64,
}

/// Distributions of one run at [`STEPS`] + 1 even shares from its least to its largest value, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Distributions {
    /// From the instant at which a node acted to its last thaw, where something changed.
    pub(super) switch_micros: Vec<f64>,
    /// Between the first and the last node to act on an epoch.
    pub(super) skew_micros: Vec<f64>,
    /// From the planned instant to the act of one node: its wait for a CPU is in it, the error of its clock is not.
    pub(super) after_instant_micros: Vec<f64>,
}

/// One event of a trace, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Event {
    ph: String,
    #[serde(default)]
    tid: u64,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Value,
}

/// When the last gang of a trace ended, in microseconds of the monotonic clock. What ran so short that its end was known before its
/// beginning is not in a trace.
///
/// # Errors
/// It is no trace, or has no gang.
pub(super) fn last_end_micros(text: &str) -> Result<f64> {
    let events: Vec<Event> = serde_json::from_str(text).context("read the trace")?;
    let gangs = events.iter().filter(|event| event.ph == "X" && event.tid != STROBES);
    gangs.map(|event| event.ts + event.dur).reduce(f64::max).context("the trace has no gang")
}

// === impl Report ===

impl Report {
    /// From the first release of a job's ranks to the last end of a job, in seconds: launching is not part of it, neither here nor
    /// in the times alone that it is compared with. All jobs of a run are submitted at once.
    ///
    /// # Errors
    /// A job's ranks were never released.
    pub(super) fn span_seconds(&self) -> Result<f64> {
        let starts =
            self.jobs.iter().map(|job| Ok(job.submit_to_start_ms.with_context(|| format!("job {} never started", job.name))? / 1e3));
        let starts: Vec<f64> = starts.collect::<Result<_>>()?;
        let ends = self.jobs.iter().zip(&starts).map(|(job, start)| start + job.run_seconds);
        let span = ends.fold(0.0, f64::max) - starts.iter().copied().fold(f64::INFINITY, f64::min);
        ensure!(span.is_finite() && span > 0.0, "a run of {span} s is no run");
        Ok(span)
    }
}

// === impl Distributions ===

impl Distributions {
    /// Reads them from a trace of Chrome's trace-event format.
    ///
    /// # Errors
    /// It is no such trace.
    pub(super) fn of_trace(text: &str) -> Result<Self> {
        let events: Vec<Event> = serde_json::from_str(text).context("read the trace")?;
        let mut epochs: BTreeMap<(u64, u64), Vec<f64>> = BTreeMap::new();
        let (mut switches, mut lateness) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|event| event.ph == "X" && event.tid == STROBES && event.args["cause"].is_null()) {
            // Switches for another cause have no epoch, and say why instead. An epoch in which nothing was frozen or thawed has no length.
            switches.extend(Some(event.dur).filter(|duration| *duration > 0.0));
            lateness.extend(event.args["afterInstantMicros"].as_f64());
            let number = |name: &str| event.args[name].as_u64().with_context(|| format!("a strobe of the trace has no {name}"));
            epochs.entry((number("term")?, number("epoch")?)).or_default().push(event.ts);
        }
        let skews: Vec<f64> = epochs.values().filter(|instants| instants.len() > 1).map(|instants| spread(instants)).collect();
        Ok(Self { switch_micros: thinned(&switches), skew_micros: thinned(&skews), after_instant_micros: thinned(&lateness) })
    }
}

fn spread(values: &[f64]) -> f64 {
    let values = sorted(values);
    values[values.len() - 1] - values[0]
}

fn thinned(values: &[f64]) -> Vec<f64> {
    let values = sorted(values);
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    (0..=STEPS).filter_map(|step| quantile(&values, step as f64 / STEPS as f64)).map(tenth).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report of jobs that start and run so long, with the given switch cost.
    pub(in super::super) fn report(jobs: &[(f64, f64)], switch_p50: f64) -> Report {
        let job = |(index, (start_ms, run_seconds)): (usize, &(f64, f64))| JobReport {
            name: format!("job-{index}"),
            state: "Complete".to_owned(),
            submit_to_start_ms: Some(*start_ms),
            run_seconds: *run_seconds,
            cpu_seconds: 2.0 * run_seconds,
            restarts: 0,
        };
        Report {
            jobs: jobs.iter().enumerate().map(job).collect(),
            makespan_seconds: jobs.iter().map(|(start, run)| start / 1e3 + run).fold(0.0, f64::max),
            start_up_ms: 30.0,
            strobes: Strobes {
                count: 200,
                late: 1,
                missed: 0,
                stragglers: 0,
                unsynchronised: 0,
                skew_micros: Figures { p50: 10.0, p99: 90.0, max: 200.0 },
                switch_micros: Figures { p50: switch_p50, p99: 250.0, max: 900.0 },
                clock_bound_micros: 40.0,
            },
            freezer: Some("cgroup".to_owned()),
            scheduler: Some("fifo".to_owned()),
            terms: 1,
            nodes: (0..2).map(|node| NodeReport { node, agent_cpu_seconds: 0.05, agent_resident_bytes: 12_000_000 }).collect(),
        }
    }

    #[test]
    fn a_span_begins_with_the_first_release_and_ends_with_the_last_end() {
        let span = report(&[(50.0, 4.0), (60.0, 4.1)], 70.0).span_seconds().unwrap();
        assert!((span - 4.11).abs() < 1e-9, "{span}");
    }

    #[test]
    fn a_job_that_never_started_has_no_span() {
        let mut report = report(&[(50.0, 4.0)], 70.0);
        report.jobs[0].submit_to_start_ms = None;
        assert!(report.span_seconds().is_err());
    }

    #[test]
    fn a_trace_gives_switches_that_changed_something_and_skews_of_whole_epochs() {
        let strobe = |node: u32, epoch: u32, ts: f64, dur: f64| {
            format!(
                r#"{{"name":"row 0","ph":"X","pid":{node},"tid":0,"ts":{ts},"dur":{dur},"args":{{"term":1,"epoch":{epoch},"afterInstantMicros":{node}.5}}}}"#
            )
        };
        let gang = r#"{"name":"grain-a","ph":"X","pid":1,"tid":1,"ts":0,"dur":99999,"args":{"incarnation":1}}"#;
        let name = r#"{"name":"process_name","ph":"M","pid":1,"args":{"name":"node 0"}}"#;
        let events = [strobe(1, 1, 1000.0, 80.0), strobe(2, 1, 1012.5, 60.0), strobe(1, 2, 2000.0, 0.0), name.to_owned(), gang.to_owned()];
        let trace = format!("[{}]", events.join(","));
        assert_eq!(last_end_micros(&trace).unwrap(), 99_999.0);
        let distributions = Distributions::of_trace(&trace).unwrap();
        let ends = |values: &[f64]| (values[0], values[values.len() - 1]);
        assert_eq!(ends(&distributions.switch_micros), (60.0, 80.0));
        assert_eq!(ends(&distributions.skew_micros), (12.5, 12.5));
        assert_eq!(ends(&distributions.after_instant_micros), (1.5, 2.5));
        assert_eq!(distributions.switch_micros.len(), STEPS + 1);
    }

    #[test]
    fn an_empty_trace_has_no_distribution_and_another_file_is_refused() {
        assert_eq!(Distributions::of_trace("[]").unwrap(), Distributions::default());
        assert!(Distributions::of_trace("{}").is_err());
        assert!(last_end_micros("[]").is_err());
    }
}
