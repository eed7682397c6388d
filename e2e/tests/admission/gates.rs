//! Scheduling gates: what may be changed while a pod has one, and how ours goes without touching another's.

use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask, Change};

use super::{Namespace, add_policy, pod, policies_change};

const OURS: &str = "strobe.dev/gang";
/// No gates.
const NONE: [&str; 0] = [];
const OTHER: &str = "example.com/quota";
const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// Changes of a pod with a gate, and the end of the first line of what is said of those that are refused.
const CHANGES: [(&str, Change, &str, Option<&str>); 16] = [
    (
        "a requirement more",
        Change::Operations,
        r#"[{"op":"add","path":"TERMS/0/matchExpressions/-","value":{"key":"a","operator":"Exists"}}]"#,
        None,
    ),
    ("a term more", Change::Operations, r#"[{"op":"add","path":"TERMS/-","value":{"matchExpressions":[]}}]"#, Some(FIXED_TERMS)),
    ("a term less", Change::Operations, r#"[{"op":"remove","path":"TERMS/0"}]"#, Some(FIXED_TERMS)),
    ("another node", Change::Operations, r#"[{"op":"replace","path":"TERMS/0/matchFields/0/values/0","value":"b"}]"#, Some(ONLY_MORE)),
    ("a requirement less", Change::Operations, r#"[{"op":"remove","path":"TERMS/0/matchExpressions/0"}]"#, Some(ONLY_MORE)),
    ("a label more", Change::Merge, r#"{"spec":{"nodeSelector":{"disk":"fast"}}}"#, None),
    ("another label", Change::Merge, r#"{"spec":{"nodeSelector":{"kubernetes.io/os":"other"}}}"#, Some("(no mutations or deletions)")),
    ("a label less", Change::Merge, r#"{"spec":{"nodeSelector":null}}"#, Some("(no mutations or deletions)")),
    (
        "a preference",
        Change::Merge,
        r#"{"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"preference":{"matchExpressions":[]}}]}}}}"#,
        None,
    ),
    (
        "a distance of pods",
        Change::Merge,
        r#"{"spec":{"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone"}]}}}}"#,
        Some(FIXED),
    ),
    ("a toleration more", Change::Merge, r#"{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}"#, None),
    ("an image", Change::Strategic, r#"{"spec":{"containers":[{"name":"rank","image":"other"}]}}"#, None),
    ("a variable", Change::Strategic, r#"{"spec":{"containers":[{"name":"rank","env":[{"name":"A","value":"b"}]}]}}"#, Some(FIXED)),
    ("a request", Change::Strategic, r#"{"spec":{"containers":[{"name":"rank","resources":{"requests":{"memory":"1Gi"}}}]}}"#, Some(FIXED)),
    ("the node itself", Change::Merge, r#"{"spec":{"nodeName":"a"}}"#, Some(FIXED)),
    (
        "a gate more",
        Change::Strategic,
        r#"{"spec":{"schedulingGates":[{"name":"example.com/late"}]}}"#,
        Some("only deletion is allowed, but found new scheduling gate 'example.com/late'"),
    ),
];

const FIXED_TERMS: &str = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
const ONLY_MORE: &str = "only additions are allowed (no mutations or deletions)";
const FIXED: &str = "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A pod pinned to a node, with gates.
fn gated(name: &str, gates: &[&str]) -> Value {
    let mut pod = pod(name);
    let term = |key: &str| {
        json!({
            "matchExpressions": [{ "key": key, "operator": "Exists" }],
            "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }],
        })
    };
    let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term("x"), term("y")] } });
    pod["spec"]["affinity"] = json!({ "nodeAffinity": required });
    pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    pod["spec"]["schedulingGates"] = gates.iter().map(|gate| json!({ "name": gate })).collect();
    pod
}

fn without_ours() -> Value {
    json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": OURS }] } })
}

fn gates(pod: &Value) -> Vec<&str> {
    pod["spec"]["schedulingGates"].as_array().into_iter().flatten().map(|gate| gate["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn while_gated_a_pod_is_only_narrowed() {
    let Some(namespace) = Namespace::make("gates-changes", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[OURS])).await;
    for (what, how, change, refused) in CHANGES {
        let change = serde_json::from_str(&change.replace("TERMS", TERMS)).unwrap();
        let answer = Ask::change(&namespace.path("pods/sor-0"), how, &change).dry().answer(&namespace.client).await.unwrap();
        match (answer, refused) {
            (Ok(_), None) => {}
            (Err(status), Some(end)) => {
                assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{what}");
                assert!(status.message.lines().next().unwrap().ends_with(end), "{what}: {}", status.message);
            }
            (answer, _) => panic!("{what}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_gated_pod_that_requires_no_node_may_be_told_one_later() {
    let Some(namespace) = Namespace::make("gates-later", json!({})).await else { return };
    let mut unplanned = gated("sor-0", &[OURS]);
    let affinity = unplanned["spec"]["affinity"].take();
    namespace.add("pods", &unplanned).await;
    let plan = Ask::change(&namespace.path("pods/sor-0"), Change::Merge, &json!({ "spec": { "affinity": affinity } }));
    assert_eq!(plan.accepted(&namespace.client).await.unwrap()["spec"]["affinity"], affinity);
}

#[tokio::test]
async fn without_a_gate_not_even_that() {
    let Some(namespace) = Namespace::make("gates-none", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[])).await;
    for (what, how, change, _) in &CHANGES[..6] {
        let change = serde_json::from_str(&change.replace("TERMS", TERMS)).unwrap();
        let status = Ask::change(&namespace.path("pods/sor-0"), *how, &change).dry().refused(&namespace.client).await.unwrap();
        assert!(status.message.lines().next().unwrap().ends_with(FIXED), "{what}: {}", status.message);
    }
}

#[tokio::test]
async fn a_strategic_patch_takes_our_gate_only_and_as_often_as_one_likes() {
    let Some(namespace) = Namespace::make("gates-strategic", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[OTHER, OURS])).await;
    let ask = Ask::change(&namespace.path("pods/sor-0"), Change::Strategic, &without_ours());
    let once = ask.accepted(&namespace.client).await.unwrap();
    assert_eq!(gates(&once), [OTHER]);
    let twice = ask.accepted(&namespace.client).await.unwrap();
    assert_eq!(once, twice, "the second changes nothing, not even the version");
}

#[tokio::test]
async fn a_patch_with_the_uid_spares_a_later_pod_of_the_same_name() {
    let Some(namespace) = Namespace::make("gates-uid", json!({})).await else { return };
    let earlier = namespace.add("pods", &gated("sor-0", &[OURS])).await;
    Ask::delete(&namespace.path("pods/sor-0")).accepted(&namespace.client).await.unwrap();
    let later = namespace.add("pods", &gated("sor-0", &[OURS])).await;
    let patch_of = |pod: &Value| {
        let mut change = without_ours();
        change["metadata"] = json!({ "uid": pod["metadata"]["uid"] });
        Ask::change(&namespace.path("pods/sor-0"), Change::Strategic, &change)
    };
    let status = patch_of(&earlier).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.contains("metadata.uid: Invalid value"), "{}", status.message);
    assert!(status.details.unwrap().causes.iter().all(|cause| cause.field == "metadata.uid"));
    assert_eq!(gates(&patch_of(&later).accepted(&namespace.client).await.unwrap()), NONE);
}

#[tokio::test]
async fn operations_with_a_test_need_the_gates_place_and_do_not_say_what_failed() {
    let Some(namespace) = Namespace::make("gates-operations", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[OURS, OTHER])).await;
    let place = "/spec/schedulingGates/0";
    let operations = json!([{ "op": "test", "path": format!("{place}/name"), "value": OURS }, { "op": "remove", "path": place }]);
    let ask = Ask::change(&namespace.path("pods/sor-0"), Change::Operations, &operations);
    assert_eq!(gates(&ask.accepted(&namespace.client).await.unwrap()), [OTHER]);
    let status = ask.refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.message, "the server rejected our request due to an error in our request");
    let left = Ask::read(&namespace.path("pods/sor-0")).accepted(&namespace.client).await.unwrap();
    assert_eq!(gates(&left), [OTHER], "the test held the other gate");
}

#[tokio::test]
async fn a_merge_patch_opens_another_controllers_gate() {
    let Some(namespace) = Namespace::make("gates-merge", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[OURS, OTHER])).await;
    let ask = Ask::change(&namespace.path("pods/sor-0"), Change::Merge, &json!({ "spec": { "schedulingGates": null } }));
    assert_eq!(gates(&ask.accepted(&namespace.client).await.unwrap()), NONE);
}

/// The other gate comes as it would in a cluster: by admission, while the pod is made. Nobody owns it then.
#[tokio::test]
async fn applying_without_our_gate_opens_another_controllers_too_or_none() {
    let Some(namespace) = Namespace::make("gates-apply", json!({})).await else { return };
    if !policies_change(&namespace).await {
        return;
    }
    let gate = format!(r#"Object{{spec: Object.spec{{schedulingGates: [Object.spec.schedulingGates{{name: "{OTHER}"}}]}}}}"#);
    let mutations = json!([{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": gate } }]);
    let spec = json!({ "reinvocationPolicy": "Never", "mutations": mutations });
    add_policy(&namespace, "MutatingAdmissionPolicy", "mutatingadmission", spec).await;
    let is_added = |answer: &Answer| gates(answer.as_ref().unwrap()) == [OTHER];
    namespace.dry_pod(&pod("any")).until(&namespace.client, is_added).await.unwrap().unwrap();

    let path = namespace.path("pods/applied");
    let apply = |gates: &[&str]| Ask::change(&path, Change::Apply, &gated("applied", gates));
    assert_eq!(gates(&apply(&[OURS]).accepted(&namespace.client).await.unwrap()), [OURS, OTHER]);
    assert_eq!(gates(&apply(&[]).accepted(&namespace.client).await.unwrap()), NONE);

    namespace.add("pods", &gated("created", &[OURS])).await;
    let applied = Ask::change(&namespace.path("pods/created"), Change::Apply, &gated("created", &[]));
    let applied = applied.accepted(&namespace.client).await.unwrap();
    assert_eq!(gates(&applied), [OURS, OTHER], "who creates by POST does not own the gate as one who applies");
    let ungated = Ask::change(&namespace.path("pods/created"), Change::Strategic, &without_ours());
    assert_eq!(gates(&ungated.accepted(&namespace.client).await.unwrap()), [OTHER]);
}

#[tokio::test]
async fn a_gated_pod_is_not_bound_to_a_node_by_anybody() {
    let Some(namespace) = Namespace::make("gates-binding", json!({})).await else { return };
    namespace.add("pods", &gated("sor-0", &[OURS])).await;
    let target = json!({ "kind": "Node", "name": "a" });
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "sor-0" }, "target": target });
    let status = Ask::create(&namespace.path("pods/sor-0/binding"), &binding).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(status.message.ends_with("pod sor-0 has non-empty .spec.schedulingGates"), "{}", status.message);
    let mut named = gated("sor-1", &[OURS]);
    named["spec"]["nodeName"] = json!("a");
    let status = namespace.dry_pod(&named).refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.ends_with("cannot be set until all schedulingGates have been cleared"), "{}", status.message);
}

/// Nothing is said of it: whether groups of pods are served is to be asked for beforehand.
#[tokio::test]
async fn where_groups_of_pods_are_not_served_a_pods_group_is_dropped_in_silence() {
    let Some(namespace) = Namespace::make("gates-group", json!({})).await else { return };
    let served = Ask::read("/apis/scheduling.k8s.io/v1alpha2").refused(&namespace.client).await.unwrap();
    assert_eq!(served.code, 404);
    let mut grouped = gated("sor-0", &[OURS]);
    grouped["spec"]["schedulingGroup"] = json!({ "podGroupName": "sor" });
    assert_eq!(namespace.add("pods", &grouped).await["spec"].get("schedulingGroup"), None);
}
