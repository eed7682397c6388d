//! Inline volumes of a plugin of our own in restricted pods (docs/spikes/a-inline-csi-volume.md): how the supervisor and its socket come
//! into a gang's pods, and what becomes of them when the plugin is late, restarts or is away.

mod plugin;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strobe_e2e::cluster::Namespace;

use self::plugin::Plugin;

/// How long a pod is watched that shall not go away.
const STAYS: &str = "--timeout=10s";

/// What a pod hears at one of its sockets.
fn ask(pods: &Namespace, pod: &str, socket: &str) -> anyhow::Result<Value> {
    let answer = pods.exec(pod, &["/strobe/csi-driver", "ask", &format!("/strobe/{socket}")])?;
    Ok(serde_json::from_str(&answer)?)
}

fn field(pods: &Namespace, pod: &str, path: &str) -> String {
    pods.run(&["get", "pod", pod, &format!("--output=jsonpath={{{path}}}")]).expect("the pod is there")
}

/// The options of a mount, as a line of mountinfo has them.
fn options(line: &str) -> Vec<&str> {
    line.split(' ').nth(5).expect("a line of mountinfo has options").split(',').collect()
}

/// The options of a pod's own mount of its volume.
fn inside(pods: &Namespace, pod: &str) -> String {
    let mounts = pods.exec(pod, &["cat", "/proc/self/mountinfo"]).expect("the pod runs");
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/strobe")).expect("its volume is mounted");
    options(line).join(",")
}

/// A restricted pod that runs, and its UID.
fn running(plugin: &Plugin, name: &str, attributes: &Value) -> String {
    plugin.pods().apply(&plugin.pod(name, attributes)).expect("a restricted pod is admitted");
    plugin.pods().wait("condition=Ready", &format!("pod/{name}")).expect("it runs");
    field(plugin.pods(), name, ".metadata.uid")
}

#[test]
fn a_restricted_pod_has_a_directory_and_a_socket_of_its_own() {
    let plugin = Plugin::install("own").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    let uids = ["first", "second"].map(|name| running(&plugin, name, &json!({ "purpose": name })));

    let status = pods.exec("first", &["cat", "/proc/self/status"]).unwrap();
    for line in
        ["Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1"]
    {
        assert!(status.lines().any(|found| found == line), "{line}: {status}");
    }

    for (name, uid) in ["first", "second"].iter().zip(&uids) {
        let answer = ask(pods, name, "agent.sock").unwrap();
        let expected = json!({
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/pod.name": name,
            "csi.storage.k8s.io/pod.namespace": pods.name(),
            "csi.storage.k8s.io/pod.uid": uid,
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "purpose": name,
        });
        assert_eq!(answer["publication"], expected);
        assert_eq!((&answer["uid"], &answer["gid"]), (&json!(65534), &json!(65534)));
        let cgroup = answer["cgroup"].as_str().unwrap().replace('_', "-");
        assert!(cgroup.contains(uid), "the peer's process is in the pod's cgroup: {cgroup}");
    }
}

#[test]
fn a_volume_is_read_only_and_gone_with_its_pod() {
    let plugin = Plugin::install("mount").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    let uid = running(&plugin, "mounted", &json!({}));

    let mounts = plugin.mounts(&uid).unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options(&mounts[0]).contains(&option), "{option}: {mounts:?}");
    }
    assert!(inside(pods, "mounted").starts_with("ro,"));

    pods.run(&["delete", "pod", "mounted"]).unwrap();
    assert_eq!(plugin.mounts(&uid).unwrap(), [""; 0], "a pod is gone only when its volume is");
    assert_eq!(plugin.volumes().unwrap(), "");
    let published = plugin.calls("NodePublishVolume").unwrap();
    let unpublished = plugin.calls("NodeUnpublishVolume").unwrap();
    assert_eq!((published.len(), unpublished.len()), (1, 1));
    assert_eq!(published[0]["request"]["volume"], unpublished[0]["request"]["volume"]);
    assert_eq!(published[0]["request"]["readonly"], true);
}

#[test]
fn a_volume_that_a_pod_does_not_declare_read_only_would_be_writable_and_is_refused() {
    let plugin = Plugin::install("writable").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    let mut pod = plugin.pod("accepted", &json!({ "acceptWritable": "yes" }));
    pod["spec"]["volumes"][0]["csi"]["readOnly"] = json!(false);
    pods.apply(&pod).unwrap();
    pods.wait("condition=Ready", "pod/accepted").unwrap();
    let uid = field(pods, "accepted", ".metadata.uid");
    assert!(options(&plugin.mounts(&uid).unwrap()[0]).contains(&"ro"), "the plugin has mounted it read-only");
    assert!(inside(pods, "accepted").starts_with("rw,"), "the container's runtime has not");

    let mut pod = plugin.pod("refused", &json!({}));
    pod["spec"]["volumes"][0]["csi"]["readOnly"] = json!(false);
    pods.apply(&pod).unwrap();
    let message = pods.first_event("involvedObject.name=refused,reason=FailedMount").unwrap();
    assert!(message.contains("must be declared with readOnly: true"), "{message}");
}

#[test]
fn pod_security_looks_at_the_pod_and_not_at_the_driver() {
    let plugin = Plugin::install("security").unwrap();
    let pods = plugin.pods();
    let allowed = plugin.pod("allowed", &json!({}));
    // No label on the CSIDriver says that its volumes are harmless, and none is asked for.
    pods.apply(&allowed).unwrap();

    let mut forbidden = plugin.pod("forbidden", &json!({}));
    forbidden["spec"]["volumes"][0] = json!({ "name": "strobe", "hostPath": { "path": "/run" } });
    let error = pods.apply(&forbidden).unwrap_err().to_string();
    assert!(error.contains(r#"violates PodSecurity "restricted:latest""#), "{error}");
    assert!(error.contains(r#"restricted volume types (volume "strobe" uses restricted volume type "hostPath")"#), "{error}");
}

#[test]
fn a_pod_waits_for_a_late_plugin_and_then_starts_by_itself() {
    let plugin = Plugin::install("late").unwrap();
    let pods = plugin.pods();
    pods.apply(&plugin.pod("early", &json!({}))).unwrap();
    let failed = "involvedObject.name=early,reason=FailedMount";
    let message = pods.first_event(failed).unwrap();
    assert!(message.contains("not found in the list of registered CSI drivers"), "{message}");
    assert_eq!(field(pods, "early", ".status.containerStatuses[0].state.waiting.reason"), "ContainerCreating");

    plugin.start().unwrap();
    let registered = Instant::now();
    pods.wait("condition=Ready", "pod/early").unwrap();
    let later: Duration = registered.elapsed();
    println!("ready {:.1} s after the plugin", later.as_secs_f64());
    assert_eq!(field(pods, "early", ".status.containerStatuses[0].restartCount"), "0");
    ask(pods, "early", "agent.sock").unwrap();
}

#[test]
fn kubelet_waits_for_a_plugin_that_takes_its_time() {
    let plugin = Plugin::install("hold").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    running(&plugin, "held", &json!({ "holdSeconds": "20" }));
    assert_eq!(plugin.calls("Hold").unwrap().len(), 1, "it has asked once");
    let failures = ["get", "events", "--field-selector=involvedObject.name=held,reason=FailedMount", "--output=name"];
    assert_eq!(pods.run(&failures).unwrap(), "");
}

#[test]
fn a_running_pod_keeps_its_volume_and_finds_a_restarted_plugin_at_the_same_path() {
    let plugin = Plugin::install("restart").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    let uid = running(&plugin, "running", &json!({ "bindSocket": "yes" }));
    let first = ask(pods, "running", "agent.sock").unwrap();
    assert_eq!(ask(pods, "running", "bound.sock").unwrap(), first, "both are the same socket");

    plugin.kill().unwrap();
    let second = ask(pods, "running", "agent.sock").unwrap();
    assert_ne!(first["by"], second["by"]);
    assert_eq!(first["publication"], second["publication"]);
    let error = ask(pods, "running", "bound.sock").unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "a socket mounted by itself stays the dead one: {error}");

    plugin.stop().unwrap();
    let error = ask(pods, "running", "agent.sock").unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "the program still starts, nobody listens: {error}");
    plugin.start().unwrap();
    let third = ask(pods, "running", "agent.sock").unwrap();
    assert_ne!(second["by"], third["by"]);
    assert_eq!(field(pods, "running", ".status.containerStatuses[0].restartCount"), "0");

    pods.run(&["delete", "pod", "running"]).unwrap();
    assert_eq!(plugin.mounts(&uid).unwrap(), [""; 0], "what an earlier plugin has mounted");
    assert_eq!(plugin.volumes().unwrap(), "");
}

#[test]
fn a_pod_that_ends_while_the_plugin_is_away_is_gone_when_it_is_back() {
    let plugin = Plugin::install("away").unwrap();
    plugin.start().unwrap();
    let pods = plugin.pods();
    let uid = running(&plugin, "ending", &json!({}));
    plugin.stop().unwrap();

    pods.run(&["delete", "pod", "ending", "--wait=false"]).unwrap();
    pods.wait("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=137", "pod/ending").unwrap();
    let error = pods.run(&["wait", "--for=delete", STAYS, "pod/ending"]).unwrap_err().to_string();
    assert!(error.contains("timed out"), "{error}");
    assert_eq!(plugin.mounts(&uid).unwrap().len(), 1, "what no plugin unmounts");

    plugin.start().unwrap();
    pods.wait("delete", "pod/ending").unwrap();
    assert_eq!(plugin.mounts(&uid).unwrap(), [""; 0]);
    assert_eq!(plugin.volumes().unwrap(), "");
}
