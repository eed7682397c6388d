//! The laboratory is a cluster: nodes are ready, pods run, are reached from another node, and have names.

use serde_json::{Value, json};
use strobe_e2e::cluster::{Namespace, SHELL_IMAGE, WORKERS};

/// A pod on one worker that runs a shell script.
fn pod(name: &str, node: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "shell", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script] }],
        },
    })
}

#[test]
fn one_control_plane_and_three_workers_are_ready() {
    let namespace = Namespace::make("smoke-nodes").unwrap();
    let nodes: Value = serde_json::from_str(&namespace.run(&["get", "nodes", "--output=json"]).unwrap()).unwrap();
    let nodes = nodes["items"].as_array().unwrap();
    let is_ready = |node: &&Value| {
        node["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let mut ready: Vec<_> = nodes.iter().filter(is_ready).map(|node| node["metadata"]["name"].as_str().unwrap()).collect();
    ready.sort_unstable();
    assert_eq!(ready, [&["strobe-control-plane"][..], &WORKERS].concat());
}

#[test]
fn a_pod_reaches_another_node_by_the_name_of_a_service() {
    let namespace = Namespace::make("smoke-pods").unwrap();
    namespace.apply(&pod("server", WORKERS[0], "while true; do echo here is $(hostname) | nc -l -p 8080; done")).unwrap();
    namespace.apply(&pod("client", WORKERS[1], "sleep 3600")).unwrap();
    let ports = json!([{ "port": 80, "targetPort": 8080 }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "server" },
        "spec": { "selector": { "app": "server" }, "ports": ports },
    });
    namespace.apply(&service).unwrap();
    namespace.wait("condition=Ready", "pod/server").unwrap();
    namespace.wait("condition=Ready", "pod/client").unwrap();
    let address = namespace.run(&["get", "service", "server", "--output=jsonpath={.spec.clusterIP}"]).unwrap();
    let found = namespace.exec("client", &["nslookup", "server.smoke-pods.svc.cluster.local"]).unwrap();
    assert!(found.contains(&address), "{found}");
    assert_eq!(namespace.exec("client", &["nc", &address, "80"]).unwrap(), "here is server\n");
}

#[test]
fn a_pod_that_fails_says_so_and_keeps_its_output() {
    let namespace = Namespace::make("smoke-failure").unwrap();
    let mut failing = pod("failing", WORKERS[2], "echo last words; exit 3");
    failing["spec"]["restartPolicy"] = json!("Never");
    namespace.apply(&failing).unwrap();
    namespace.wait("jsonpath={.status.phase}=Failed", "pod/failing").unwrap();
    assert_eq!(namespace.run(&["logs", "failing"]).unwrap(), "last words\n");
    let code = "--output=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    assert_eq!(namespace.run(&["get", "pod", "failing", code]).unwrap(), "3");
}
