//! `logs`, with nodes whose kubelets the test plays.

use serde_json::json;
use strobe_e2e::ask::{Ask, Change};

use super::{Scene, kubelet};

/// What the ranks of a pod of `sor` have written: two ranks a pod, and the supervisor.
fn log(pod: &str) -> String {
    let first = if pod.ends_with('0') { 0 } else { 2 };
    format!("strobe-init: hello\n[{first}] one\n[{}] two\n[{first}+] rest\n", first + 1)
}

/// A job whose pods are on two nodes, both with the same kubelet.
async fn on_two_nodes(namespace: &'static str, state: &str) -> Option<Scene> {
    let scene = Scene::make(namespace).await?;
    let port = kubelet::serve(log).await;
    for name in ["a", "b"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("{namespace}-{name}") } });
        let addresses = json!([{ "type": "InternalIP", "address": "127.0.0.1" }]);
        let status = json!({ "addresses": addresses, "daemonEndpoints": { "kubeletEndpoint": { "Port": port } } });
        scene.add("/api/v1/nodes", &node, &status).await;
    }
    scene.add_job("sor", &json!({ "state": state }), 2).await;
    Some(scene)
}

/// The test's runtime answers as the kubelet meanwhile.
async fn run(scene: Scene, arguments: &'static [&'static str]) -> (Scene, super::Outcome) {
    tokio::task::spawn_blocking(move || {
        let outcome = scene.run(arguments);
        (scene, outcome)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_all_ranks_come_with_their_rank_or_pod_and_of_one_alone_where_that_is_wished() {
    let Some(scene) = on_two_nodes("cli-logs", "Running").await else { return };
    let (scene, all) = run(scene, &["logs", "sor"]).await;
    let expected = [
        "[sor-1-0] strobe-init: hello",
        "[sor.0] one",
        "[sor.1] two",
        "[sor.0+] rest",
        "[sor-1-1] strobe-init: hello",
        "[sor.2] one",
        "[sor.3] two",
        "[sor.2+] rest",
    ];
    assert_eq!(all.lines(), expected);
    let (scene, one) = run(scene, &["logs", "sor", "--rank", "2"]).await;
    assert_eq!(one.lines(), ["[sor.2] one", "[sor.2+] rest"]);
    let (scene, none) = run(scene, &["logs", "sor", "--rank", "4"]).await;
    assert_eq!(none.error(), "error: --rank is 4, but ParallelJob \"sor\" has the ranks 0 to 3");
    scene.add_job("new", &json!({ "state": "Queued" }), 0).await;
    let (_, nothing) = run(scene, &["logs", "new"]).await;
    assert_eq!(nothing.error(), "error: ParallelJob \"new\" has no pods (Queued); `kubectl strobe explain new` says more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_from_life_to_life_until_it_ends() {
    let Some(scene) = on_two_nodes("cli-follow", "Running").await else { return };
    let mut followed = scene.start(&["logs", "sor", "--rank", "3", "--follow"]);
    assert_eq!(followed.line(), "[sor.3] two");
    let job = Ask::read(&format!("{}/sor", scene.jobs())).accepted(&scene.client).await.unwrap();
    let mut later = Ask::read(&scene.path("pods/sor-1-1")).accepted(&scene.client).await.unwrap();
    let labels = later["metadata"]["labels"].clone();
    later["metadata"] = json!({ "name": "sor-2-1", "labels": labels });
    later["metadata"]["labels"]["strobe.dev/incarnation"] = json!("2");
    later["status"] = json!({});
    Ask::create(&scene.path("pods"), &later).accepted(&scene.client).await.unwrap();
    assert_eq!(followed.line(), "[sor.3] two", "of the second life");
    let status = format!("{}/sor/status", scene.jobs());
    assert_eq!(job["status"]["state"], "Running");
    Ask::change(&status, Change::Merge, &json!({ "status": { "state": "Complete" } })).accepted(&scene.client).await.unwrap();
    assert!(followed.lines.next().is_none(), "it ends with the job");
    assert!(followed.child.wait().unwrap().success());
}
