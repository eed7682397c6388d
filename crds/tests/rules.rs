//! Every rule exists twice, in CEL and in Rust: each is broken once, and both must name it and nothing else.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use kube::CustomResourceExt;
use serde_json::{Value, json};
use strobe_crds::rules::parallel_job::{self, ParallelJobRule};
use strobe_crds::rules::partition::{self, PartitionRule};
use strobe_crds::rules::{CelRule, Violation};
use strobe_crds::{ParallelJob, Partition};

/// An object before a change (if the rule is about changes) and after it.
struct Case {
    old: Option<Value>,
    new: Value,
}

fn partition_with(spec: &Value) -> Value {
    json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": "main" }, "spec": spec })
}

fn job_with(change: impl Fn(&mut Value)) -> Value {
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

fn break_partition(rule: PartitionRule) -> Case {
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

fn break_job(rule: ParallelJobRule) -> Case {
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

/// The object as the API server stores it, defaults filled in.
fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &Value) -> (T, Value) {
    let object: T = serde_json::from_value(value.clone()).unwrap();
    let value = serde_json::to_value(&object).unwrap();
    (object, value)
}

/// Messages of the CEL rules of a kind that an object breaks.
fn evaluate_cel<T: CustomResourceExt>(new: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(T::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match kube_cel::Validator::new().validate(schema, new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn names(violations: &[Violation]) -> Vec<&'static str> {
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn each_rule_of_a_partition_is_kept_by_both() {
    for rule in PartitionRule::ALL {
        let (object, new) = stored::<Partition>(&break_partition(*rule).new);
        assert_eq!(names(&partition::violations(&object)), [rule.name()], "in Rust");
        assert_eq!(evaluate_cel::<Partition>(&new, None), [rule.cel().message], "{} in CEL", rule.name());
    }
}

#[test]
fn each_rule_of_a_job_is_kept_by_both() {
    for rule in ParallelJobRule::ALL {
        let case = break_job(*rule);
        let (object, new) = stored::<ParallelJob>(&case.new);
        let old = case.old.as_ref().map(stored::<ParallelJob>);
        let (old_object, old) = old.map_or((None, None), |(object, value)| (Some(object), Some(value)));
        assert_eq!(names(&parallel_job::violations(&object, old_object.as_ref())), [rule.name()], "in Rust");
        let messages = evaluate_cel::<ParallelJob>(&new, old.as_ref());
        assert_eq!(messages, [rule.cel().message], "{} in CEL", rule.name());
    }
}

#[test]
fn what_breaks_no_rule_is_taken_by_both() {
    for spec in [
        json!({}),
        json!({ "quantum": "10s", "suspicion": "30s", "watchdog": "31s" }),
        json!({ "quantum": "10s", "suspicion": "30s" }),
        json!({ "quantum": "2ms", "cpus": "0-3,8" }),
        json!({ "heartbeat": "10ms", "suspicion": "20ms", "watchdog": "30ms", "nodeLost": "30ms" }),
    ] {
        let (object, new) = stored::<Partition>(&partition_with(&spec));
        assert_eq!(names(&partition::violations(&object)), Vec::<&str>::new(), "{new}");
        assert_eq!(evaluate_cel::<Partition>(&new, None), Vec::<String>::new(), "{new}");
    }
    let (object, new) = stored::<ParallelJob>(&job_with(|job| job["spec"]["rankContainer"] = json!("ranks")));
    assert_eq!(names(&parallel_job::violations(&object, Some(&object))), Vec::<&str>::new());
    assert_eq!(evaluate_cel::<ParallelJob>(&new, Some(&new)), Vec::<String>::new());
}

#[test]
fn a_time_of_nothing_is_refused_by_both_with_the_range() {
    let (object, new) = stored::<Partition>(&partition_with(&json!({ "clockTolerance": "0s" })));
    let rule = PartitionRule::ClockToleranceRange;
    assert_eq!(names(&partition::violations(&object)), [rule.name()], "in Rust");
    assert_eq!(evaluate_cel::<Partition>(&new, None), [rule.cel().message], "in CEL");
}

#[test]
fn nodes_and_template_may_change_only_at_rest() {
    let at = |suspend: bool, pods: u32| {
        move |job: &mut Value| {
            job["spec"]["suspend"] = json!(suspend);
            job["status"] = json!({ "pods": pods });
        }
    };
    for (suspend, pods, refused) in [(true, 0, 0), (true, 1, 2), (false, 0, 2)] {
        let (old_object, old) = stored::<ParallelJob>(&job_with(at(suspend, pods)));
        let (object, new) = stored::<ParallelJob>(&job_with(|job| {
            at(suspend, pods)(job);
            job["spec"]["nodes"] = json!(4);
            job["spec"]["template"]["spec"]["containers"][1]["image"] = json!("other");
        }));
        assert_eq!(parallel_job::violations(&object, Some(&old_object)).len(), refused);
        assert_eq!(evaluate_cel::<ParallelJob>(&new, Some(&old)).len(), refused);
    }
}

#[test]
fn the_crds_hold_every_rule_and_no_other() {
    let partition: Vec<CelRule> = PartitionRule::ALL.iter().map(|rule| rule.cel()).collect();
    let job: Vec<CelRule> = ParallelJobRule::ALL.iter().map(|rule| rule.cel()).collect();
    for (crd, rules) in [(Partition::crd(), partition), (ParallelJob::crd(), job)] {
        let mut stated: Vec<String> = rules.into_iter().map(|rule| rule.expression).collect();
        let mut found = Vec::new();
        collect_rules(&serde_json::to_value(crd).unwrap(), &mut found);
        stated.sort();
        found.sort();
        assert_eq!(found, stated);
    }
}

fn collect_rules(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                found.push(rule["rule"].as_str().unwrap().to_owned());
            }
            fields.values().for_each(|field| collect_rules(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_rules(item, found)),
        _ => {}
    }
}
