//! What the API server wants of groups of pods, in the version that was tried: `scheduling.k8s.io/v1alpha2`.

use kube::core::Status;
use serde_json::{Value, json};
use strobe_e2e::ask::{Ask, Change};

use super::{Namespace, pod};

impl Namespace {
    fn groups(&self) -> String {
        format!("/apis/scheduling.k8s.io/v1alpha2/namespaces/{}/podgroups", self.name)
    }

    async fn add_group(&self, name: &str, spec: &Value) -> Value {
        Ask::create(&self.groups(), &group(name, spec)).accepted(&self.client).await.unwrap()
    }

    async fn group_is_refused(&self, spec: &Value) -> Box<Status> {
        Ask::create(&self.groups(), &group("sor-1", spec)).refused(&self.client).await.unwrap()
    }
}

fn group(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": { "name": name }, "spec": spec })
}

fn gang(least: i32) -> Value {
    json!({ "schedulingPolicy": { "gang": { "minCount": least } } })
}

#[tokio::test]
async fn a_group_needs_a_policy_and_a_count_and_nothing_else() {
    let Some(namespace) = Namespace::make_with_groups("groups-alone").await else { return };
    let made = namespace.add_group("sor-1", &gang(2)).await;
    assert_eq!(made["spec"]["schedulingPolicy"], json!({ "gang": { "minCount": 2 } }));
    assert_eq!(made["spec"]["podGroupTemplateRef"], Value::Null, "it is of no Workload");
    // It goes after its pods: whoever sees to that takes this away.
    assert_eq!(made["metadata"]["finalizers"], json!(["scheduling.k8s.io/podgroup-protection"]));
    namespace.add_group("alone-1", &gang(1)).await;
    namespace.add_group("of.a.job-1", &gang(5000)).await;
}

#[tokio::test]
async fn a_group_without_a_policy_or_a_count_or_of_a_workload_that_is_not_there_is_refused() {
    let Some(namespace) = Namespace::make_with_groups("groups-refused").await else { return };
    let absent = json!({ "workload": { "workloadName": "none", "podGroupTemplateName": "none" } });
    let mut of_workload = gang(2);
    of_workload["podGroupTemplateRef"] = absent;
    for (spec, code, words) in [
        (json!({}), 422, "must specify one of: `basic`, `gang`"),
        (json!({ "schedulingPolicy": { "gang": { "minCount": 2 }, "basic": {} } }), 422, "must specify exactly one of: `basic`, `gang`"),
        (json!({ "schedulingPolicy": { "gang": {} } }), 422, "spec.schedulingPolicy.gang.minCount: Required value"),
        (gang(-1), 422, "must be greater than or equal to 1"),
        (of_workload, 403, r#"PodGroup rejected: Workload "none" not found"#),
    ] {
        let refused = namespace.group_is_refused(&spec).await;
        assert_eq!(refused.code, code, "{spec}");
        assert!(refused.message.ends_with(words), "{spec}: {}", refused.message);
    }
}

#[tokio::test]
async fn the_count_of_a_group_does_not_change() {
    let Some(namespace) = Namespace::make_with_groups("groups-change").await else { return };
    namespace.add_group("sor-1", &gang(2)).await;
    let change = json!({ "spec": gang(3) });
    let refused = Ask::change(&format!("{}/sor-1", namespace.groups()), Change::Merge, &change).refused(&namespace.client).await.unwrap();
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(refused.message.ends_with("field is immutable"), "{}", refused.message);
}

/// So the operator makes the group first.
#[tokio::test]
async fn a_pod_may_name_a_group_that_is_not_there_and_is_given_none_later() {
    let Some(namespace) = Namespace::make_with_groups("groups-pods").await else { return };
    let in_group = |name: &str, group: Value| {
        let mut pod = pod(name);
        pod["spec"]["schedulingGroup"] = group;
        pod
    };
    let named = json!({ "podGroupName": "absent" });
    assert_eq!(namespace.add("pods", &in_group("sor-0", named.clone())).await["spec"]["schedulingGroup"], named);
    let refused = namespace.dry_pod(&in_group("sor-1", json!({}))).refused(&namespace.client).await.unwrap();
    assert!(refused.code == 422 && refused.message.ends_with("must specify one of: `podGroupName`"), "{}", refused.message);
    namespace.add("pods", &pod("sor-2")).await;
    let later = json!({ "spec": { "schedulingGroup": named } });
    let refused = Ask::change(&namespace.path("pods/sor-2"), Change::Strategic, &later).refused(&namespace.client).await.unwrap();
    assert!(refused.code == 422 && refused.message.contains("pod updates may not change fields other than"), "{}", refused.message);
}

#[tokio::test]
async fn a_priority_class_of_a_group_is_dropped_without_a_gate_of_its_own() {
    let Some(namespace) = Namespace::make_with_groups("groups-priority").await else { return };
    let mut spec = gang(1);
    spec["priorityClassName"] = json!("no-such-class");
    assert_eq!(namespace.add_group("sor-1", &spec).await["spec"].get("priorityClassName"), None);
}
