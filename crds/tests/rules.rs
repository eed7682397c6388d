//! Every rule exists twice, in CEL and in Rust: each is broken once, and both must name it and nothing else.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use kube::CustomResourceExt;
use serde_json::{Value, json};
use strobe_crds::cases::{break_job, break_partition, good_partitions, job_with, partition_with};
use strobe_crds::rules::parallel_job::{self, ParallelJobRule};
use strobe_crds::rules::partition::{self, PartitionRule};
use strobe_crds::rules::{CelRule, Violation};
use strobe_crds::{ParallelJob, Partition};

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
    for partition in good_partitions() {
        let (object, new) = stored::<Partition>(&partition);
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
