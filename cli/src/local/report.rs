//! The report of a run: what it was, what became of its jobs, and what was measured.

use std::time::Duration;

use serde::Serialize;
use strobe_authority::{Explanation, JobReason};
use strobe_core::model::{GangState, Instant, Policy, Settings};
use strobe_crds::parallel_job::FailureReason;

use super::{
    histogram::Figures,
    jobs::{Job, Jobs},
    statistics::{NodeStatistics, Statistics},
};

/// The report. Times carry their unit in their name.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The partition's name.
    pub partition: String,
    /// `gang` or `kernel`.
    pub policy: &'static str,
    /// Rows of the matrix.
    pub rows: u8,
    /// The quantum.
    pub quantum_ms: f64,
    /// The jobs, in the order of the files.
    pub jobs: Vec<JobReport>,
    /// From the first submission to the last end; 0 when nothing has ended.
    pub makespan_seconds: f64,
    /// From the start of the agents to the first established term.
    pub start_up_ms: f64,
    /// Strobes, over all nodes.
    pub strobes: StrobesReport,
    /// `cgroup`, or `signal` when a node stops its gangs by signals; none when no agent has said it.
    pub freezer: Option<&'static str>,
    /// `fifo`, or `other` when a node's strobe thread has no real-time priority; none when no agent has said it.
    pub scheduler: Option<&'static str>,
    /// Terms that were appointed.
    pub terms: u64,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
    /// True when the user ended the run.
    pub interrupted: bool,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobReport {
    /// Its name.
    pub name: String,
    /// Its last state.
    pub state: String,
    /// Why, in a word of the custom resources; none when there is nothing to say.
    pub reason: Option<JobReason>,
    /// Why, for people.
    pub message: String,
    /// From its submission to the first release of its ranks; absent when they were never released.
    pub submit_to_start_ms: Option<f64>,
    /// From the first release to the end.
    pub run_seconds: f64,
    /// CPU time of its ranks, over all nodes and restarts.
    pub cpu_seconds: f64,
    /// How often it was run again.
    pub restarts: u32,
    /// Why lives of its gang ended badly, the first ones.
    pub failures: Vec<FailureReport>,
}

/// Why a life of a gang ended badly.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailureReport {
    /// Which life, from 1.
    pub incarnation: u32,
    /// In a word of the custom resources.
    pub reason: Option<JobReason>,
    /// For people.
    pub message: String,
}

/// What the strobe did. Counts are sums over all nodes; the distributions are over epochs and over switches.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StrobesReport {
    /// Epochs that nodes acted on, each counted once for each node.
    pub count: u64,
    /// The same, each counted once.
    pub epochs: u64,
    /// Acted on late.
    pub late: u64,
    /// Superseded before they were acted on.
    pub missed: u64,
    /// Gangs that did not freeze within the bound.
    pub stragglers: u64,
    /// How long a gang that freezes is waited for.
    pub straggler_bound_micros: f64,
    /// Acted on at receipt, for want of a good clock estimate.
    pub unsynchronised: u64,
    /// Watchdogs that expired.
    pub watchdog_expiries: u64,
    /// Samples that were lost: the distributions are without them.
    pub samples_dropped: u64,
    /// Between the first and the last node to act on an epoch.
    pub skew_micros: Figures,
    /// Between the first and the last node to have thawed its gang.
    pub completion_skew_micros: Figures,
    /// From the act to the last thaw, where something changed.
    pub switch_micros: Figures,
    /// Largest error bound of a clock estimate.
    pub clock_bound_micros: f64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    /// The node.
    pub node: u16,
    /// Its CPUs.
    pub cpus: Vec<u16>,
    /// Lives of its agent.
    pub agent_lives: u64,
    /// CPU time of its agent.
    pub agent_cpu_seconds: f64,
    /// Largest resident size of its agent.
    pub agent_resident_bytes: u64,
    /// `fifo` or `other`; none when its agent has never said it.
    pub scheduler: Option<String>,
    /// `cgroup` or `signal`; none when its agent has never said it.
    pub freezer: Option<String>,
    /// Epochs that it acted on.
    pub strobes: u64,
    /// Late ones.
    pub late: u64,
    /// Superseded ones.
    pub missed: u64,
    /// Gangs that did not freeze in time.
    pub stragglers: u64,
    /// Largest error bound of its clock estimate.
    pub clock_bound_micros: f64,
}

/// What a report is made of, beside jobs and measurements.
#[derive(Debug, Clone)]
pub(super) struct RunFacts<'a> {
    /// The partition's name.
    pub partition: &'a str,
    /// Its settings.
    pub settings: &'a Settings,
    /// CPUs of each node.
    pub cpus: Vec<Vec<u16>>,
    /// The newest term.
    pub terms: u64,
    /// How long the first term took.
    pub start_up: Duration,
    /// The user ended the run.
    pub interrupted: bool,
    /// What was left was killed.
    pub cut_off: bool,
    /// The instant of the report.
    pub now: Instant,
}

impl Report {
    /// Puts a report together.
    pub(super) fn new(facts: &RunFacts<'_>, jobs: &Jobs, statistics: &Statistics) -> Self {
        let nodes = statistics.nodes().iter().zip(&facts.cpus).map(|((node, known), cpus)| node_report(node.0, known, cpus));
        Self {
            partition: facts.partition.to_owned(),
            policy: match facts.settings.policy {
                Policy::Gang => "gang",
                Policy::Kernel => "kernel",
            },
            rows: facts.settings.rows,
            quantum_ms: milliseconds(facts.settings.quantum),
            jobs: jobs.iter().map(|job| job_report(job, facts)).collect(),
            makespan_seconds: makespan(jobs, facts).as_secs_f64(),
            start_up_ms: milliseconds(facts.start_up),
            strobes: strobes(facts.settings, statistics),
            freezer: everywhere(statistics, |node| &node.freezer, ["cgroup", "signal"]),
            scheduler: everywhere(statistics, |node| &node.scheduler, ["fifo", "other"]),
            terms: facts.terms,
            nodes: nodes.collect(),
            interrupted: facts.interrupted,
        }
    }
}

/// The good word when all nodes that have said one say it, the other when one does not, and none when none has.
fn everywhere(
    statistics: &Statistics,
    word: fn(&NodeStatistics) -> &Option<String>,
    [good, other]: [&'static str; 2],
) -> Option<&'static str> {
    let mut said = statistics.nodes().values().filter_map(|node| word(node).as_deref()).peekable();
    said.peek()?;
    Some(if said.all(|word| word == good) { good } else { other })
}

fn job_report(job: &Job, facts: &RunFacts<'_>) -> JobReport {
    let killed = facts.cut_off && !job.state.is_terminal() && job.state != GangState::Suspended;
    let (state, explanation) = if killed { (GangState::Failed, killed_explanation()) } else { (job.state, job.explanation()) };
    let to_start = job.released.zip(job.submitted).map(|(released, submitted)| milliseconds(released.since(submitted)));
    JobReport {
        name: job.name.clone(),
        state: format!("{state:?}"),
        reason: explanation.reason,
        message: explanation.message,
        submit_to_start_ms: to_start,
        run_seconds: job.released.map_or(0.0, |released| job.ended.unwrap_or(facts.now).since(released).as_secs_f64()),
        cpu_seconds: job.cpu_seconds(),
        restarts: job.restarts,
        failures: job.failures().map(|(incarnation, why)| failure_report(incarnation.0, why)).collect(),
    }
}

/// Nobody could say how it ended.
fn killed_explanation() -> Explanation {
    Explanation { reason: Some(FailureReason::Cancelled.into()), message: "it was killed with the run".to_owned() }
}

fn failure_report(incarnation: u32, why: Explanation) -> FailureReport {
    FailureReport { incarnation, reason: why.reason, message: why.message }
}

fn makespan(jobs: &Jobs, facts: &RunFacts<'_>) -> Duration {
    let first = jobs.iter().filter_map(|job| job.submitted).min();
    let last = if facts.cut_off { Some(facts.now) } else { jobs.iter().filter_map(|job| job.ended).max() };
    first.zip(last).map_or(Duration::ZERO, |(first, last)| last.since(first))
}

fn strobes(settings: &Settings, statistics: &Statistics) -> StrobesReport {
    let counters = statistics.counters();
    let nodes = statistics.nodes().values();
    StrobesReport {
        count: counters.strobes,
        epochs: statistics.skew().epochs(),
        late: counters.late,
        missed: counters.missed,
        stragglers: counters.stragglers,
        straggler_bound_micros: settings.straggler_bound().as_secs_f64() * 1e6,
        unsynchronised: counters.unsynchronised,
        watchdog_expiries: counters.watchdog_expiries,
        samples_dropped: nodes.map(|node| node.samples_dropped).sum(),
        skew_micros: statistics.skew().begin().figures(),
        completion_skew_micros: statistics.skew().end().figures(),
        switch_micros: statistics.switch().figures(),
        clock_bound_micros: statistics.clock_bound_micros(),
    }
}

fn node_report(node: u16, known: &NodeStatistics, cpus: &[u16]) -> NodeReport {
    let counters = known.counters();
    NodeReport {
        node,
        cpus: cpus.to_vec(),
        agent_lives: known.agent.0,
        agent_cpu_seconds: known.cpu_seconds(),
        agent_resident_bytes: known.resident_bytes,
        scheduler: known.scheduler.clone(),
        freezer: known.freezer.clone(),
        strobes: counters.strobes,
        late: counters.late,
        missed: counters.missed,
        stragglers: counters.stragglers,
        clock_bound_micros: micros(known.clock_bound),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_killed_with_the_run_has_failed_and_what_had_ended_has_not() {
        let job = |name: &str| {
            let job = serde_json::json!({
                "apiVersion": strobe_crds::API_VERSION, "kind": "ParallelJob", "metadata": { "name": name },
                "spec": { "partition": "p", "template": { "spec": { "containers": [{ "name": "r", "command": ["a"] }] } } },
            });
            strobe_crds::validate::parallel_job(&serde_json::from_value(job).unwrap()).unwrap()
        };
        let mut jobs = Jobs::new([job("ended"), job("running"), job("asleep")].iter());
        for (gang, state) in [(1, GangState::Complete), (2, GangState::Running), (3, GangState::Suspended)] {
            jobs.get_mut(strobe_core::model::GangId(gang)).unwrap().state = state;
        }
        let told = |cut_off| {
            let settings = Settings::default();
            let facts = RunFacts {
                partition: "local",
                settings: &settings,
                cpus: vec![vec![0]],
                terms: 1,
                start_up: Duration::ZERO,
                interrupted: true,
                cut_off,
                now: Instant::from_nanoseconds(1),
            };
            let report = Report::new(&facts, &jobs, &Statistics::new(1));
            report.jobs.into_iter().map(|job| (job.state, job.reason)).collect::<Vec<_>>()
        };
        let pair = |state: &str, reason| (state.to_owned(), reason);
        let killed = Some(FailureReason::Cancelled.into());
        assert_eq!(told(true), [pair("Complete", None), pair("Failed", killed), pair("Suspended", None)]);
        assert_eq!(told(false)[1], pair("Running", None));
    }

    #[test]
    fn a_report_has_the_fields_that_others_read() {
        let settings = Settings::default();
        let now = Instant::from_nanoseconds(1);
        let facts = RunFacts {
            partition: "local",
            settings: &settings,
            cpus: vec![vec![0]],
            terms: 2,
            start_up: Duration::from_millis(30),
            interrupted: false,
            cut_off: false,
            now,
        };
        let report = serde_json::to_value(Report::new(&facts, &Jobs::default(), &Statistics::new(1))).unwrap();
        for path in [
            "/jobs",
            "/makespanSeconds",
            "/strobes/count",
            "/strobes/late",
            "/strobes/missed",
            "/strobes/stragglers",
            "/strobes/skewMicros/p50",
            "/strobes/skewMicros/p99",
            "/strobes/skewMicros/max",
            "/strobes/switchMicros/p50",
            "/strobes/switchMicros/p99",
            "/strobes/switchMicros/max",
            "/strobes/clockBoundMicros",
            "/freezer",
            "/scheduler",
            "/terms",
            "/nodes/0/agentCpuSeconds",
            "/nodes/0/agentResidentBytes",
        ] {
            assert!(report.pointer(path).is_some(), "{path} in {report:#}");
        }
        assert_eq!(report["terms"], 2);
        for path in ["/freezer", "/scheduler", "/nodes/0/freezer", "/nodes/0/scheduler"] {
            assert!(report.pointer(path).is_some_and(serde_json::Value::is_null), "no agent has said it: {path} in {report:#}");
        }
    }
}
