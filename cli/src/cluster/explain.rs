//! `explain`: why a job waits or is slow, in words and numbers.

mod dry_run;
mod pods;
mod queue;
mod speed;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;
use strobe_crds::names::LABEL_JOB_UID;
use strobe_crds::parallel_job::{GangState, ParallelJob, ParallelJobStatus};
use strobe_crds::{Partition, PartitionNode};

use super::access::{Cluster, Listed, if_allowed};
use super::error::ClusterError;
use super::output::show;
use super::words::{age, count, seconds, size, state};
use crate::arguments::ExplainArguments;
use crate::terminal::{Line, Piece, table};
use dry_run::DryRun;

/// All that could be found out of a job.
struct Facts {
    job: ParallelJob,
    /// None where there is none, or where it may not be read.
    partition: Option<Partition>,
    /// Jobs of the same partition that may be read.
    others: Vec<ParallelJob>,
    /// Nodes of the partition.
    nodes: Vec<PartitionNode>,
    /// Pods of the newest life.
    pods: Vec<Pod>,
    /// Of the job and these pods.
    events: Vec<Event>,
    dry_run: DryRun,
    notes: Vec<String>,
}

/// All that is said of a job: its status as it is, and each side of it in words, a line each.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    namespace: String,
    name: String,
    partition: String,
    status: ParallelJobStatus,
    needs: Vec<String>,
    why: Vec<String>,
    queue: Vec<String>,
    conditions: Vec<String>,
    failures: Vec<String>,
    pods: Vec<String>,
    events: Vec<String>,
    speed: Vec<String>,
    dry_run: Vec<String>,
    not_shown: Vec<String>,
}

/// Finds out, and says it.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &ExplainArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let job = cluster.job(&arguments.job).await?;
    let facts = facts(&cluster, job).await?;
    let explanation = explanation(&facts, Timestamp::now());
    show(arguments.table.output, &explanation, &lines(&facts.job, &explanation), &[])
}

async fn facts(cluster: &Cluster, job: ParallelJob) -> Result<Facts, ClusterError> {
    let all = ListParams::default();
    let mut notes = Vec::new();
    let partition = partition(cluster, &job.spec.partition, &mut notes).await?;
    let others: Listed<ParallelJob> = cluster.as_allowed(&all).await?;
    let nodes: Listed<PartitionNode> = if_allowed(cluster.everywhere(&all).await)?;
    let of_job = ListParams::default().labels(&format!("{LABEL_JOB_UID}={}", job.uid().unwrap_or_default()));
    let found: Listed<Pod> = if_allowed(cluster.here(&of_job).await)?;
    let events: Listed<Event> = if_allowed(cluster.here(&all).await)?;
    notes.extend([others.notes, nodes.notes, found.notes, events.notes].concat());
    let pods: Vec<Pod> = super::gangs::newest(&job, &found.items).into_iter().cloned().collect();
    let about = |event: &Event| {
        let uid = event.regarding.as_ref().and_then(|regarding| regarding.uid.as_ref());
        uid.is_some() && (uid == job.metadata.uid.as_ref() || pods.iter().any(|pod| uid == pod.metadata.uid.as_ref()))
    };
    Ok(Facts {
        partition,
        others: others.items.into_iter().filter(|other| other.spec.partition == job.spec.partition && other.uid() != job.uid()).collect(),
        nodes: nodes.items.into_iter().filter(|node| node.spec.partition == job.spec.partition).collect(),
        events: events.items.into_iter().filter(about).collect(),
        dry_run: dry_run::attempt(cluster, &job).await?,
        pods,
        job,
        notes,
    })
}

async fn partition(cluster: &Cluster, name: &str, notes: &mut Vec<String>) -> Result<Option<Partition>, ClusterError> {
    match cluster.partition(name).await {
        Ok(partition) => Ok(Some(partition)),
        Err(error @ (ClusterError::NotFound { .. } | ClusterError::Forbidden { .. })) => {
            notes.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn explanation(facts: &Facts, now: Timestamp) -> Explanation {
    let job = &facts.job;
    let status = job.status.clone().unwrap_or_default();
    Explanation {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        partition: job.spec.partition.clone(),
        needs: vec![size(job)],
        why: why(job, &status),
        queue: queue::lines(facts, &status),
        conditions: conditions(&status, now),
        failures: failures(&status),
        pods: pods::lines(facts, &status),
        events: pods::events(&facts.events, now),
        speed: speed::lines(facts, &status),
        dry_run: facts.dry_run.lines(),
        not_shown: facts.notes.clone(),
        status,
    }
}

/// A line that says the most, and a section for each side of which there is something to say.
fn lines(job: &ParallelJob, explanation: &Explanation) -> Vec<Line> {
    let sections = [
        ("needs", &explanation.needs),
        ("why", &explanation.why),
        ("queue", &explanation.queue),
        ("conditions", &explanation.conditions),
        ("failures", &explanation.failures),
        ("pods", &explanation.pods),
        ("events", &explanation.events),
        ("speed", &explanation.speed),
        ("dry run", &explanation.dry_run),
        ("not shown", &explanation.not_shown),
    ];
    let rows = sections.into_iter().flat_map(|(title, lines)| {
        let titled = lines.iter().enumerate();
        titled.map(move |(place, line)| vec![Piece::strong(if place == 0 { title } else { "" }), Piece::plain(line)])
    });
    let mut told = vec![headline(job)];
    told.extend(table(rows.collect()));
    told
}

fn headline(job: &ParallelJob) -> Line {
    let place = format!(" (namespace {}, partition {}) is ", job.namespace().unwrap_or_default(), job.spec.partition);
    vec![Piece::strong(job.name_any()), Piece::plain(place), said_state(job)]
}

fn said_state(job: &ParallelJob) -> Piece {
    match job.status.as_ref().and_then(|status| status.state) {
        Some(_) => state(job),
        None => Piece::plain("not looked at yet"),
    }
}

/// Why it is where it is, by its own status and by what its user wishes.
fn why(job: &ParallelJob, status: &ParallelJobStatus) -> Vec<String> {
    let mut why = Vec::new();
    if status.state.is_none() {
        why.push("no operator has said anything of it: does strobe-operator run? (kubectl get pods -n strobe-system)".to_owned());
    }
    why.extend(match (status.reason, status.message.as_deref()) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (Some(reason), None) => Some(reason.to_string()),
        (None, message) => message.map(str::to_owned),
    });
    let over = status.state.is_some_and(GangState::is_over);
    if !over && job.spec.suspend {
        why.push(format!("spec.suspend is true: `kubectl strobe resume {}` ends that", job.name_any()));
    }
    if !over && job.spec.paused {
        why.push(format!("spec.paused is true: `kubectl strobe resume {}` ends that", job.name_any()));
    }
    if status.observed_generation.is_some() && status.observed_generation != job.metadata.generation {
        why.push("it has been changed since, and the operator has not looked at that yet".to_owned());
    }
    why
}

fn conditions(status: &ParallelJobStatus, now: Timestamp) -> Vec<String> {
    let line = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        let since = age(seconds(Some(&condition.last_transition_time), now));
        let message = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
        format!("{} {} for {since} ({}){message}", condition.type_, condition.status, condition.reason)
    };
    status.conditions.iter().map(line).collect()
}

fn failures(status: &ParallelJobStatus) -> Vec<String> {
    let line = |failure: &strobe_crds::parallel_job::JobFailure| {
        let rank = failure.rank.map(|rank| format!(" of rank {rank}"));
        let node = failure.node.as_ref().map(|node| format!(" on {node}"));
        let exit = failure.exit_status.map(|status| format!(", exit status {status}"));
        let signal = failure.signal.map(|signal| format!(", signal {signal}"));
        let parts = [rank, node, exit, signal].into_iter().flatten().collect::<String>();
        format!("life {}: {}{parts}", failure.incarnation, failure.reason)
    };
    let mut lines: Vec<String> = status.failures.iter().map(line).collect();
    if status.restarts > 0 {
        lines.push(format!("restarted {}", count(status.restarts, "time")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fixture::{NOW, job, partition, partition_node, pod};
    use crate::terminal::text;

    fn facts(status: &Value) -> Facts {
        Facts {
            job: job("physics", "sor", status),
            partition: Some(partition("main", &json!({}))),
            others: Vec::new(),
            nodes: Vec::new(),
            pods: Vec::new(),
            events: Vec::new(),
            dry_run: DryRun::Accepted,
            notes: Vec::new(),
        }
    }

    fn told(facts: &Facts) -> Vec<String> {
        lines(&facts.job, &explanation(facts, NOW)).iter().map(text).collect()
    }

    #[test]
    fn a_waiting_job_says_its_place_who_is_before_it_and_what_is_free() {
        let condition = json!({ "type": "Admitted", "status": "False", "reason": "WaitingForSlots", "message": "",
            "lastTransitionTime": "2026-01-01T00:01:00Z" });
        let status = json!({ "state": "Queued", "reason": "WaitingForSlots", "message": "1 node lacks 2 slots", "position": 3,
            "conditions": [condition] });
        let mut waiting = facts(&status);
        waiting.others = vec![
            job("physics", "first", &json!({ "state": "Queued", "position": 1 })),
            job("physics", "later", &json!({ "state": "Queued", "position": 4 })),
            job("physics", "runs", &json!({ "state": "Running" })),
        ];
        let node = |name: &str, state: &str, used: u32| {
            partition_node(name, &json!({ "state": state, "cpuCount": 6, "rows": [{ "usedSlots": used }, { "usedSlots": 2 }] }))
        };
        waiting.nodes = vec![node("a", "Reachable", 4), node("b", "Reachable", 2), node("c", "Lost", 0)];
        assert_eq!(
            told(&waiting),
            [
                "sor (namespace physics, partition main) is Queued",
                "needs       2 nodes with 4 CPUs each (2 ranks of 2 CPUs)",
                "why         WaitingForSlots: 1 node lacks 2 slots",
                "queue       position 3 in partition main",
                "            before it, at 1: physics/first, which needs 2 nodes with 4 CPUs each (2 ranks of 2 CPUs)",
                "            before it: 1 job that you may not read",
                "            of 3 nodes the agents of 2 are reached",
                "            row 0: 1 node with 4 slots free; it needs 2",
                "            row 1: 2 nodes with 4 slots free; it needs 2",
                "conditions  Admitted False for 30s (WaitingForSlots)",
                "dry run     the API server takes a pod of its template",
            ]
        );
    }

    #[test]
    fn a_running_job_says_what_it_makes_of_its_time_and_what_switching_costs() {
        let status =
            json!({ "state": "Running", "share": "50%", "rows": [1], "cpuEfficiency": "20%", "startTime": "2026-01-01T00:01:00Z" });
        let mut running = facts(&status);
        running.pods = vec![pod("sor", 0, Some("a"), &json!({})), pod("sor", 1, Some("b"), &json!({}))];
        let times = |p50: &str, p99: &str| json!({ "p50": p50, "p99": p99, "max": p99 });
        let good = json!({ "strobe": "Strobed", "skew": times("0s", "18us"), "switchCost": times("80us", "300us") });
        let bad = json!({ "strobe": "FreeRunning", "scheduler": "Other", "strobes": 1000, "stragglers": 21,
            "skew": times("20us", "4ms"), "switchCost": times("5ms", "6ms") });
        running.nodes = vec![partition_node("a", &json!({ "figures": good })), partition_node("b", &json!({ "figures": bad }))];
        let told = told(&running);
        let speed = told.iter().skip_while(|line| !line.starts_with("speed")).map(|line| line[9..].trim()).collect::<Vec<_>>();
        assert_eq!(
            speed[..speed.len() - 1],
            [
                "its 1 row is active 50% of the time: gangs of other rows take turns with it",
                "while they are not switched out its ranks use 20% of the time of their CPUs: they wait for the rest, for input and output, or because some compute longer than others",
                "a switch takes 5ms (p50, 10.0% of the quantum of 50ms), p99 6ms on b; a longer quantum of the partition would cost less",
                "b switches up to 4ms (p99) after the first node, 8.0% of the quantum; that is much: ranks that wait for each other do not run together for so long",
                "ranks that wait for each other at least every 500us lose little at the ends of a quantum; for a coarser grain a longer quantum is better",
                "b runs free: its agent does not hear the machine manager, and gangs share its CPUs as the kernel likes",
                "b switches by an ordinary thread, not in real time: late when its CPUs are busy",
                "b: 21 times a gang did not freeze in time, of 1000 strobes",
            ]
        );
    }

    #[test]
    fn what_its_user_wishes_and_what_may_not_be_read_is_said() {
        let mut held = facts(&Value::Null);
        (held.job.spec.suspend, held.job.spec.paused) = (true, true);
        held.notes = vec!["pods: you are not allowed to".to_owned()];
        held.dry_run = DryRun::NotAllowed;
        let told = told(&held);
        assert_eq!(told[0], "sor (namespace physics, partition main) is not looked at yet");
        assert!(told.iter().any(|line| line.ends_with("spec.suspend is true: `kubectl strobe resume sor` ends that")), "{told:?}");
        assert!(told.iter().any(|line| line.ends_with("spec.paused is true: `kubectl strobe resume sor` ends that")), "{told:?}");
        assert_eq!(
            told[told.len() - 2..],
            ["dry run    not tried: you may not create pods in this namespace", "not shown  pods: you are not allowed to",]
        );
    }

    #[test]
    fn a_failed_job_says_what_failed() {
        let failure = json!({ "reason": "RankKilled", "incarnation": 2, "rank": 3, "node": "b", "signal": 9 });
        let status =
            json!({ "state": "Failed", "reason": "RankFailure", "message": "rank 3 was killed", "restarts": 1, "failures": [failure] });
        let told = told(&facts(&status));
        assert_eq!(
            told[2..5],
            [
                "why       RankFailure: rank 3 was killed",
                "failures  life 2: RankKilled of rank 3 on b, signal 9",
                "          restarted 1 time",
            ]
        );
    }
}
