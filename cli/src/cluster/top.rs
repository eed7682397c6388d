//! `top`: jobs and nodes by CPU efficiency, skew or switch cost, the worst first.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;
use strobe_crds::duration::Duration;
use strobe_crds::names::LABEL_JOB_UID;
use strobe_crds::parallel_job::{GangState, ParallelJob};
use strobe_crds::partition_node::{NodeFigures, PartitionNode, PartitionNodeStatus};

use super::access::{Cluster, Listed, if_allowed};
use super::error::ClusterError;
use super::output::show;
use super::words::{cell, header, percent, state, state_word};
use super::{gangs, nodes, watching};
use crate::arguments::{TopArguments, TopOrder};
use crate::terminal::{self, Line, Picture, Piece, table};

/// Jobs and nodes, the worst first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Top {
    jobs: Vec<TopJob>,
    nodes: Vec<TopNode>,
    notes: Vec<String>,
}

/// A job that holds slots.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopJob {
    namespace: String,
    name: String,
    state: Option<String>,
    share: Option<String>,
    cpu_efficiency: Option<String>,
    /// Of the worst of its nodes.
    skew_p99: Option<Duration>,
    /// Of the worst of its nodes.
    switch_p99: Option<Duration>,
    restarts: u32,
    #[serde(skip)]
    shown_state: Piece,
}

/// A node of a partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopNode {
    name: String,
    partition: String,
    #[serde(flatten)]
    status: PartitionNodeStatus,
}

/// Shows it once, or for as long as it is looked at.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &TopArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    if arguments.once || arguments.table.output.is_some() || !terminal::is_terminal() {
        let top = read(&cluster, arguments).await?;
        // What is noted stands below the tables.
        return show(arguments.table.output, &top, &top.lines(usize::MAX, usize::MAX), &[]);
    }
    let cluster = cluster.followed();
    watching::watch(&cluster, async || read(&cluster, arguments).await).await
}

async fn read(cluster: &Cluster, arguments: &TopArguments) -> Result<Top, ClusterError> {
    let (all, of_gangs) = (ListParams::default(), ListParams::default().labels(LABEL_JOB_UID));
    let jobs: Listed<ParallelJob> = if arguments.all_namespaces { cluster.everywhere(&all).await? } else { cluster.here(&all).await? };
    let pods: Listed<Pod> =
        if_allowed(if arguments.all_namespaces { cluster.everywhere(&of_gangs).await } else { cluster.here(&of_gangs).await })?;
    let nodes: Listed<PartitionNode> = if_allowed(cluster.everywhere(&all).await)?;
    let notes = [jobs.notes, pods.notes, nodes.notes].concat();
    Ok(Top { notes, ..top(&jobs.items, &pods.items, &nodes.items, arguments.by) })
}

fn top(jobs: &[ParallelJob], pods: &[Pod], nodes: &[PartitionNode], by: TopOrder) -> Top {
    let mut jobs: Vec<TopJob> = jobs.iter().filter(|job| holds_slots(job)).map(|job| top_job(job, pods, nodes)).collect();
    jobs.sort_by_cached_key(|job| {
        let efficiency = percent(job.cpu_efficiency.as_deref());
        (rank(by, efficiency, job.skew_p99, job.switch_p99), job.namespace.clone(), job.name.clone())
    });
    let mut nodes: Vec<TopNode> = nodes.iter().map(top_node).collect();
    nodes.sort_by_cached_key(|node| {
        let figures = node.status.figures.clone().unwrap_or_default();
        let worst = (figures.skew.map(|skew| skew.p99), figures.switch_cost.map(|cost| cost.p99));
        (rank(by, percent(figures.cpu_efficiency.as_deref()), worst.0, worst.1), node.partition.clone(), node.name.clone())
    });
    Top { jobs, nodes, notes: Vec::new() }
}

/// The worst first, and last of all what has no such figure.
fn rank(by: TopOrder, efficiency: Option<f64>, skew: Option<Duration>, switch: Option<Duration>) -> (bool, u64) {
    let longest_first = |time: Option<Duration>| time.map(|time| u64::MAX - u64::try_from(time.to_std().as_nanos()).unwrap_or(u64::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousandths of per cent, not negative")]
    let least_first = efficiency.map(|part| (part.max(0.0) * 1e3) as u64);
    let place = match by {
        TopOrder::Efficiency => least_first,
        TopOrder::Skew => longest_first(skew),
        TopOrder::Switch => longest_first(switch),
    };
    (place.is_none(), place.unwrap_or(0))
}

fn holds_slots(job: &ParallelJob) -> bool {
    let state = job.status.as_ref().and_then(|status| status.state);
    !state.is_none_or(|state| state.is_over() || matches!(state, GangState::Queued | GangState::Suspended))
}

fn top_job(job: &ParallelJob, pods: &[Pod], nodes: &[PartitionNode]) -> TopJob {
    let status = job.status.clone().unwrap_or_default();
    let names: Vec<&str> = gangs::newest(job, pods).into_iter().filter_map(gangs::node).collect();
    let of_gang = nodes.iter().filter(|node| names.contains(&node.name_any().as_str()));
    let figures: Vec<&NodeFigures> = of_gang.filter_map(|node| node.status.as_ref()?.figures.as_ref()).collect();
    TopJob {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        state: state_word(job),
        share: status.share,
        cpu_efficiency: status.cpu_efficiency,
        skew_p99: figures.iter().filter_map(|figures| Some(figures.skew?.p99)).max(),
        switch_p99: figures.iter().filter_map(|figures| Some(figures.switch_cost?.p99)).max(),
        restarts: status.restarts,
        shown_state: state(job),
    }
}

fn top_node(node: &PartitionNode) -> TopNode {
    TopNode { name: node.name_any(), partition: node.spec.partition.clone(), status: node.status.clone().unwrap_or_default() }
}

impl Picture for Top {
    fn lines(&self, _width: usize, height: usize) -> Vec<Line> {
        let mut lines = if self.jobs.is_empty() { vec![vec![Piece::plain("no job holds slots")]] } else { job_lines(&self.jobs) };
        // Where there is too little room both keep some of it.
        let room = height.saturating_sub(1);
        let for_jobs = lines.len().min(room.saturating_sub(self.nodes.len().min(room / 2) + 1));
        lines.truncate(for_jobs.max(1));
        if !self.nodes.is_empty() {
            lines.push(Vec::new());
            lines.extend(node_lines(&self.nodes));
        }
        lines.extend(self.notes.iter().map(|note| vec![Piece::plain(format!("note: {note}"))]));
        lines.truncate(height);
        lines
    }
}

fn time(time: Option<Duration>) -> Piece {
    cell(time.map(|time| time.to_string()).as_deref())
}

fn job_lines(jobs: &[TopJob]) -> Vec<Line> {
    let mut rows = vec![header(&["JOB", "STATE", "SHARE", "CPU-EFF", "SKEW P99", "SWITCH P99", "RESTARTS"])];
    rows.extend(jobs.iter().map(|job| {
        vec![
            Piece::plain(format!("{}/{}", job.namespace, job.name)),
            job.shown_state.clone(),
            cell(job.share.as_deref()),
            cell(job.cpu_efficiency.as_deref()),
            time(job.skew_p99),
            time(job.switch_p99),
            Piece::plain(job.restarts.to_string()),
        ]
    }));
    table(rows)
}

fn node_lines(nodes: &[TopNode]) -> Vec<Line> {
    let names =
        ["NODE", "PARTITION", "STATE", "CPU-EFF", "SKEW P99", "SWITCH P99", "CLOCK ERROR", "LATE", "MISSED", "STRAGGLERS", "AGENT CPU"];
    let mut rows = vec![header(&names)];
    rows.extend(nodes.iter().map(|node| {
        let told = node.status.figures.is_some();
        let figures = node.status.figures.clone().unwrap_or_default();
        let number = |number: u64| cell(told.then(|| number.to_string()).as_deref());
        vec![
            Piece::plain(&node.name),
            Piece::plain(&node.partition),
            nodes::state(&node.status),
            cell(figures.cpu_efficiency.as_deref()),
            time(figures.skew.map(|skew| skew.p99)),
            time(figures.switch_cost.map(|cost| cost.p99)),
            time(figures.clock_error_bound),
            number(figures.late),
            number(figures.missed),
            number(figures.stragglers),
            cell(figures.agent_cpu.as_deref()),
        ]
    }));
    table(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fixture::{job, partition_node, pod};
    use crate::terminal::text;

    fn measured(name: &str, efficiency: &str, skew: &str, switch: &str) -> PartitionNode {
        let times = |p99: &str| json!({ "p50": "1us", "p99": p99, "max": p99 });
        let figures =
            json!({ "cpuEfficiency": efficiency, "skew": times(skew), "switchCost": times(switch), "late": 3, "agentCpu": "1.2%" });
        partition_node(name, &json!({ "state": "Reachable", "figures": figures }))
    }

    fn told(by: TopOrder) -> Top {
        let running = |efficiency: &str| json!({ "state": "Running", "share": "50%", "cpuEfficiency": efficiency });
        let jobs = [
            job("physics", "sor", &running("49%")),
            job("physics", "tsp", &running("20%")),
            job("physics", "waits", &json!({ "state": "Queued" })),
            job("physics", "new", &json!({ "state": "Placed" })),
        ];
        let pods = [pod("sor", 0, Some("a"), &Value::Null), pod("sor", 1, Some("b"), &Value::Null), pod("tsp", 0, Some("a"), &Value::Null)];
        let nodes = [measured("a", "97%", "83us", "1ms"), measured("b", "40%", "900us", "300us"), partition_node("c", &json!({}))];
        top(&jobs, &pods, &nodes, by)
    }

    fn names(top: &Top) -> (Vec<&str>, Vec<&str>) {
        (top.jobs.iter().map(|job| job.name.as_str()).collect(), top.nodes.iter().map(|node| node.name.as_str()).collect())
    }

    #[test]
    fn the_worst_comes_first_and_what_is_not_known_last() {
        assert_eq!(names(&told(TopOrder::Efficiency)), (vec!["tsp", "sor", "new"], vec!["b", "a", "c"]));
        assert_eq!(names(&told(TopOrder::Skew)), (vec!["sor", "tsp", "new"], vec!["b", "a", "c"]));
        assert_eq!(names(&told(TopOrder::Switch)), (vec!["sor", "tsp", "new"], vec!["a", "b", "c"]));
    }

    #[test]
    fn a_job_has_the_worst_figures_of_its_nodes() {
        let lines: Vec<String> = told(TopOrder::Skew).lines(usize::MAX, usize::MAX).iter().map(text).collect();
        assert_eq!(lines[1], "physics/sor  Running  50%    49%      900us     1ms         0");
        assert_eq!(lines[2], "physics/tsp  Running  50%    20%      83us      1ms         0");
        assert_eq!(lines[6], "b     main       Reachable  40%      900us     300us       -            3     0       0           1.2%");
        assert_eq!(lines[8], "c     main       -          -        -         -           -            -     -       -           -");
        assert_eq!(told(TopOrder::Skew).lines(80, 3).len(), 3);
    }
}
