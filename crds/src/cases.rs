//! Objects for tests: for each rule one that breaks it and nothing else, and some that break none. The same ones are put to the rules in
//! Rust, to the rules in CEL, and to a real API server.

use serde_json::{Value, json};

use crate::rules::parallel_job::ParallelJobRule;
use crate::rules::partition::PartitionRule;

/// An object before a change (if the rule is about changes) and after it.
pub struct Case {
    /// None where the object is only made.
    pub old: Option<Value>,
    /// Breaks the rule.
    pub new: Value,
}

/// A partition with this specification.
#[must_use]
pub fn partition_with(spec: &Value) -> Value {
    json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": "main" }, "spec": spec })
}

/// A job that breaks no rule, changed.
#[must_use]
pub fn job_with(change: impl Fn(&mut Value)) -> Value {
    let mut job = json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor" },
        "spec": {
            "partition": "main",
            "nodes": 2,
            "template": { "spec": { "containers": [
                { "name": "ranks", "command": ["/opt/sor"] }, { "name": "logs" },
            ] } },
        },
    });
    change(&mut job);
    job
}

fn created(new: Value) -> Case {
    Case { old: None, new }
}

fn changed(change: impl Fn(&mut Value)) -> Case {
    Case { old: Some(job_with(|_| ())), new: job_with(change) }
}

/// A partition that breaks this rule alone.
#[must_use]
pub fn break_partition(rule: PartitionRule) -> Case {
    let spec = match rule {
        PartitionRule::NameFits => {
            let mut partition = partition_with(&json!({}));
            partition["metadata"]["name"] = json!("main.row");
            return created(partition);
        }
        PartitionRule::QuantumRange => json!({ "quantum": "10001ms" }),
        PartitionRule::LeadRange => json!({ "lead": "99us" }),
        PartitionRule::HeartbeatRange => json!({ "heartbeat": "9ms" }),
        PartitionRule::SuspicionRange => {
            json!({ "suspicion": "301s", "watchdog": "10m", "nodeLost": "10m" })
        }
        PartitionRule::WatchdogRange => json!({ "watchdog": "61m" }),
        PartitionRule::ClockToleranceRange => json!({ "clockTolerance": "9.999us" }),
        PartitionRule::PlacementTimeoutRange => json!({ "placementTimeout": "1h1s" }),
        PartitionRule::NodeLostRange => json!({ "nodeLost": "24h0.001ms" }),
        PartitionRule::SuspicionCoversHeartbeats => json!({ "heartbeat": "1501ms" }),
        PartitionRule::WatchdogAboveSuspicion => json!({ "watchdog": "3s" }),
        PartitionRule::LeadBelowSuspicion => {
            json!({ "lead": "100ms", "suspicion": "100ms", "heartbeat": "50ms" })
        }
        PartitionRule::ClockToleranceWithinQuantum => json!({ "quantum": "1ms", "clockTolerance": "1001us" }),
        PartitionRule::NodeLostAboveSuspicion => json!({ "nodeLost": "3s" }),
        PartitionRule::CpusReadable => json!({ "cpus": "0,3-1" }),
    };
    created(partition_with(&spec))
}

/// A job that breaks this rule alone.
#[must_use]
pub fn break_job(rule: ParallelJobRule) -> Case {
    match rule {
        ParallelJobRule::NameFits => created(job_with(|job| job["metadata"]["name"] = json!("1-sor"))),
        ParallelJobRule::RanksWithinLimit => created(job_with(|job| {
            job["spec"]["nodes"] = json!(65);
            job["spec"]["ranksPerNode"] = json!(1024);
        })),
        ParallelJobRule::CpusWithinLimit => created(job_with(|job| {
            job["spec"]["ranksPerNode"] = json!(32);
            job["spec"]["cpusPerRank"] = json!(33);
        })),
        ParallelJobRule::RankContainerExists => created(job_with(|job| job["spec"]["rankContainer"] = json!("rank"))),
        ParallelJobRule::RankContainerCommand => {
            created(job_with(|job| job["spec"]["template"]["spec"]["containers"][0]["command"] = json!([])))
        }
        ParallelJobRule::RestartHasCause => created(job_with(|job| job["spec"]["restart"] = json!({ "limit": 1, "on": [] }))),
        ParallelJobRule::PartitionImmutable => changed(|job| job["spec"]["partition"] = json!("other")),
        ParallelJobRule::RanksPerNodeImmutable => changed(|job| job["spec"]["ranksPerNode"] = json!(2)),
        ParallelJobRule::CpusPerRankImmutable => changed(|job| job["spec"]["cpusPerRank"] = json!(2)),
        ParallelJobRule::LaunchImmutable => changed(|job| job["spec"]["launch"] = json!({ "protocol": "env" })),
        ParallelJobRule::RankContainerImmutable => changed(|job| job["spec"]["rankContainer"] = json!("ranks")),
        ParallelJobRule::ManagedByImmutable => changed(|job| job["spec"]["managedBy"] = json!("example.com/x")),
        ParallelJobRule::NodesImmutable => changed(|job| job["spec"]["nodes"] = json!(3)),
        ParallelJobRule::TemplateImmutable => {
            changed(|job| job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/opt/tsp"]))
        }
    }
}

/// Partitions that break no rule.
#[must_use]
pub fn good_partitions() -> Vec<Value> {
    let specifications = [
        json!({}),
        json!({ "quantum": "10s", "suspicion": "30s", "watchdog": "31s" }),
        json!({ "quantum": "10s", "suspicion": "30s" }),
        json!({ "quantum": "2ms", "cpus": "0-3,8" }),
        json!({ "heartbeat": "10ms", "suspicion": "20ms", "watchdog": "30ms", "nodeLost": "30ms" }),
    ];
    specifications.iter().map(partition_with).collect()
}
