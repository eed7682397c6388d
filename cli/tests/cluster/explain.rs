//! `explain`.

use serde_json::{Value, json};
use strobe_e2e::ask::{Ask, Change};

use super::Scene;

/// A job that waits for its image, before which another stands.
async fn waiting(namespace: &'static str) -> Option<Scene> {
    let scene = Scene::make(namespace).await?;
    scene.add_partition().await;
    let queued =
        |position: u32| json!({ "state": "Queued", "reason": "WaitingForSlots", "message": "row 0 lacks 2 slots", "position": position });
    scene.add_job("first", &queued(1), 0).await;
    scene.add_job("sor", &queued(2), 0).await;
    Some(scene)
}

#[tokio::test]
async fn a_waiting_job_is_explained_with_its_place_its_pods_events_and_a_dry_run() {
    let Some(scene) = waiting("cli-explain").await else { return };
    let job = Ask::read(&format!("{}/sor", scene.jobs())).accepted(&scene.client).await.unwrap();
    scene.add_pod(&job, 0).await;
    let waits = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } });
    let container = json!({ "name": "rank", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": waits });
    let status = json!({ "status": { "containerStatuses": [container] } });
    Ask::change(&scene.path("pods/sor-1-0/status"), Change::Merge, &status).accepted(&scene.client).await.unwrap();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "sor.1" }, "type": "Warning", "reason": "WaitingForSlots",
        "note": "no row is free", "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Admit", "reportingController": "strobe.dev/operator",
        "reportingInstance": "one",
        "regarding": { "kind": "ParallelJob", "name": "sor", "namespace": "cli-explain", "uid": job["metadata"]["uid"] },
    });
    let events = "/apis/events.k8s.io/v1/namespaces/cli-explain/events";
    scene.add(events, &event, &Value::Null).await;
    let told = scene.run(&["explain", "sor"]);
    let lines = told.lines();
    assert_eq!(lines[0], "sor (namespace cli-explain, partition cli-explain) is Queued");
    let needs = "2 nodes with 2 CPUs each (2 ranks of 1 CPU)";
    for line in [
        "why      WaitingForSlots: row 0 lacks 2 slots",
        "queue    position 2 in partition cli-explain",
        &format!("         before it, at 1: cli-explain/first, which needs {needs}"),
        "pods     1 of 2 pods exist",
        "         sor-1-0 on cli-explain-a: container rank ErrImagePull: no such image",
        "dry run  the API server takes a pod of its template",
    ] {
        assert!(lines.contains(&line), "{line:?} in {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.ends_with("ago, ParallelJob sor: WaitingForSlots: no row is free")), "{lines:#?}");
    let told: Value = serde_json::from_str(&scene.run(&["explain", "sor", "-o", "json"]).stdout).unwrap();
    assert_eq!((&told["name"], &told["status"]["position"], &told["failures"]), (&json!("sor"), &json!(2), &json!([])));
    assert_eq!(told["queue"][0], json!("position 2 in partition cli-explain"));
    assert!(scene.run(&["explain", "sor", "-o", "yaml"]).stdout.contains("dryRun:"));
}

#[tokio::test]
async fn a_refusal_of_its_pods_is_told_in_the_servers_words() {
    let Some(scene) = waiting("cli-refusal").await else { return };
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    Ask::change("/api/v1/namespaces/cli-refusal", Change::Merge, &labels).accepted(&scene.client).await.unwrap();
    let told = scene.run(&["explain", "sor"]);
    let dry_run = told.lines().into_iter().find(|line| line.starts_with("dry run")).unwrap().to_owned();
    assert!(dry_run.contains("the API server refuses a pod of its template") && dry_run.contains("violates PodSecurity"), "{dry_run}");
}

#[tokio::test]
async fn a_limit_that_the_namespace_adds_is_told() {
    let Some(scene) = waiting("cli-limit").await else { return };
    let limits = json!([{ "type": "Container", "default": { "cpu": "1" } }]);
    let range = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "each" }, "spec": { "limits": limits } });
    scene.add(&scene.path("limitranges"), &range, &Value::Null).await;
    // The server's own view of limits follows by a moment.
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "p" }, "spec": { "containers": [{ "name": "c", "image": "any" }] } });
    let is_limited = |answer: &strobe_e2e::ask::Answer| {
        answer.as_ref().is_ok_and(|pod| !pod["spec"]["containers"][0]["resources"]["limits"]["cpu"].is_null())
    };
    Ask::create(&scene.path("pods"), &pod).dry().until(&scene.client, is_limited).await.unwrap().unwrap();
    let told = scene.run(&["explain", "sor"]);
    assert!(told.lines().iter().any(|line| line.contains("gives a CPU limit to rank")), "{told:?}");
}

#[tokio::test]
async fn what_may_not_be_read_or_tried_is_said_and_the_rest_shown() {
    let Some(scene) = waiting("cli-explain-rights").await else { return };
    let user = scene.user("looks", super::LOOK_AT_JOBS).await;
    let told = scene.run_as(&user, &["explain", "sor"]);
    let lines = told.lines();
    assert!(lines.iter().any(|line| line.ends_with("not tried: you may not create pods in this namespace")), "{lines:#?}");
    for what in ["Partition \"cli-explain-rights\"", "partitionnodes", "pods of namespace", "events of namespace"] {
        assert!(lines.iter().any(|line| line.contains(what) && line.contains("you are not allowed to")), "{what}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("before it, at 1: cli-explain-rights/first")), "{lines:#?}");
}
