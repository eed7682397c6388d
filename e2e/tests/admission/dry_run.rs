//! What a pod created with `dryRun=All` shows of the CPU limit that it would get, and of who gave it.

use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask};

use super::{Namespace, add_policy, pod, policies_change};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn limit_range(name: &str, limits: &Value) -> Value {
    let mut of_containers = limits.clone();
    of_containers["type"] = json!("Container");
    json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": name }, "spec": { "limits": [of_containers] } })
}

/// Asks until the server, which hears of its own objects with a delay, sets a limit.
async fn limited(namespace: &Namespace, resources: &[&str]) -> Value {
    let is_limited = |answer: &Answer| {
        let pod = answer.as_ref().unwrap();
        resources.iter().all(|resource| pod["spec"]["containers"][0]["resources"]["limits"].get(resource).is_some())
    };
    namespace.dry_pod(&pod("sor-0")).until(&namespace.client, is_limited).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_injected_cpu_limit_shows_but_its_limit_range_is_not_named() {
    let Some(namespace) = Namespace::make("dry-injected", json!({})).await else { return };
    let before = namespace.dry_pod(&pod("sor-0")).accepted(&namespace.client).await.unwrap();
    assert_eq!(before["spec"]["containers"][0]["resources"], json!({}));
    let range = limit_range("of-the-house", &json!({ "default": { "cpu": "500m" }, "defaultRequest": { "cpu": "100m" } }));
    namespace.add("limitranges", &range).await;
    let after = limited(&namespace, &["cpu"]).await;
    let resources = &after["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({ "limits": { "cpu": "500m" }, "requests": { "cpu": "100m" } }));
    let said = &after["metadata"]["annotations"][ANNOTATION];
    assert_eq!(said, "LimitRanger plugin set: cpu request for container rank; cpu limit for container rank");
    let stored = Ask::read(&namespace.path("pods")).accepted(&namespace.client).await.unwrap();
    assert_eq!(stored["items"], json!([]), "a dry run stores nothing");
}

#[tokio::test]
async fn of_two_limit_ranges_the_annotation_tells_what_one_has_set() {
    let Some(namespace) = Namespace::make("dry-two-ranges", json!({})).await else { return };
    namespace.add("limitranges", &limit_range("of-cpus", &json!({ "default": { "cpu": "500m" } }))).await;
    namespace.add("limitranges", &limit_range("of-memory", &json!({ "default": { "memory": "1Gi" } }))).await;
    let both = limited(&namespace, &["cpu", "memory"]).await;
    let said = both["metadata"]["annotations"][ANNOTATION].as_str().unwrap();
    assert_ne!(said.contains("cpu limit"), said.contains("memory limit"), "the later overwrites the earlier: {said}");
}

#[tokio::test]
async fn a_largest_cpu_limit_is_a_default_one_too() {
    let Some(namespace) = Namespace::make("dry-largest", json!({})).await else { return };
    let stored = namespace.add("limitranges", &limit_range("ceiling", &json!({ "max": { "cpu": "300m" } }))).await;
    assert_eq!(stored["spec"]["limits"][0]["default"], json!({ "cpu": "300m" }), "a range is found by this field");
    assert_eq!(limited(&namespace, &["cpu"]).await["spec"]["containers"][0]["resources"]["limits"], json!({ "cpu": "300m" }));
}

#[tokio::test]
async fn a_limit_that_the_pod_states_is_kept_and_nothing_is_said() {
    let Some(namespace) = Namespace::make("dry-own", json!({})).await else { return };
    namespace.add("limitranges", &limit_range("of-the-house", &json!({ "default": { "cpu": "500m" } }))).await;
    limited(&namespace, &["cpu"]).await;
    let mut own = pod("sor-0");
    own["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "2" }, "requests": { "cpu": "250m" } });
    let kept = namespace.dry_pod(&own).accepted(&namespace.client).await.unwrap();
    assert_eq!(kept["spec"]["containers"][0]["resources"], own["spec"]["containers"][0]["resources"]);
    assert_eq!(kept["metadata"].get("annotations"), None);
}

#[tokio::test]
async fn a_policy_that_sets_a_limit_shows_without_an_annotation() {
    let Some(namespace) = Namespace::make("dry-policy", json!({})).await else { return };
    if !policies_change(&namespace).await {
        return;
    }
    let limit = r#"[JSONPatch{op: "add", path: "/spec/containers/0/resources", value: {"limits": {"cpu": "700m"}}}]"#;
    let mutations = json!([{ "patchType": "JSONPatch", "jsonPatch": { "expression": limit } }]);
    let spec = json!({ "reinvocationPolicy": "Never", "mutations": mutations });
    add_policy(&namespace, "MutatingAdmissionPolicy", "mutatingadmission", spec).await;
    let changed = limited(&namespace, &["cpu"]).await;
    assert_eq!(changed["spec"]["containers"][0]["resources"]["limits"], json!({ "cpu": "700m" }));
    assert_eq!(changed["metadata"].get("annotations"), None);
}
