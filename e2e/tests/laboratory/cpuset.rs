//! Spike e: an agent sets the CPUs of a container from outside, and the node's services leave them so: those that are written on cgroup v1,
//! those that systemd is told of on v2.

use std::time::{Duration, Instant};

use serde_json::json;
use strobe_e2e::cluster::{Namespace, NodePod, SHELL_IMAGE, WORKERS};

const NODE: &str = WORKERS[0];

/// How often a kubelet says that it lives, and by default looks whether the CPUs of containers are as it wants them: 10 seconds.
const PERIODS: usize = 2;

/// A kubelet that says nothing for so long is none.
const PATIENCE: Duration = Duration::from_secs(120);

/// Changes the request of the pod in place and waits until kubelet has had the runtime update the container.
fn resize(namespace: &Namespace, milli_cpus: u32) {
    let patch =
        json!({ "spec": { "containers": [{ "name": "shell", "resources": { "requests": { "cpu": format!("{milli_cpus}m") } } }] } });
    namespace.run(&["patch", "pod", "target", "--subresource=resize", "--patch", &patch.to_string()]).unwrap();
    namespace.wait(&format!("jsonpath={{.status.containerStatuses[0].resources.requests.cpu}}={milli_cpus}m"), "pod/target").unwrap();
}

/// Waits until kubelet has said several times that it lives.
fn await_periods(namespace: &Namespace) {
    let ask = ["get", "lease", "--namespace=kube-node-lease", NODE, "--output=jsonpath={.spec.renewTime}"];
    for _ in 0..PERIODS {
        let (before, deadline) = (namespace.run(&ask).unwrap(), Instant::now() + PATIENCE);
        while namespace.run(&ask).unwrap() == before {
            assert!(Instant::now() < deadline, "kubelet says nothing for {PATIENCE:?}");
        }
    }
}

/// A pod with a container that may be resized.
fn start_target(namespace: &Namespace) {
    let target = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "target" },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": NODE },
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "shell", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                "resources": { "requests": { "cpu": "50m" } },
            }],
        },
    });
    namespace.apply(&target).unwrap();
    namespace.wait("condition=Ready", "pod/target").unwrap();
}

/// The CPUs of what runs in it, and of what starts.
fn lists(namespace: &Namespace) -> String {
    namespace.exec("target", &["sh", "-c", "grep -h Cpus_allowed_list /proc/1/status /proc/self/status"]).unwrap()
}

/// What both are on the first CPU.
const FIRST: &str = "Cpus_allowed_list:\t0\nCpus_allowed_list:\t0\n";

#[test]
fn cpus_that_are_set_from_outside_stay() {
    let namespace = Namespace::make_alone("cpuset-outside").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    start_target(&namespace);
    let before = lists(&namespace);

    // The v1 hierarchy of its own, or the one tree of v2, where systemd undoes the write (docs/spikes/e-cpuset-from-outside.md).
    let find = "sed -n 's/^[0-9]*:cpuset:/cpuset/p; s/^0:://p' /proc/1/cgroup | head -n 1";
    let group = namespace.exec("target", &["sh", "-c", find]).unwrap();
    let file = format!("/sys/fs/cgroup/{}/cpuset.cpus", group.trim());
    agent.sh(&format!("echo 0 >{file}")).unwrap();
    assert_ne!(before, FIRST, "a machine with one CPU shows nothing");
    assert_eq!(lists(&namespace), FIRST, "of what runs, and of what starts");

    let is_left = |after: &str| {
        assert_eq!(agent.sh(&format!("cat {file}")).unwrap(), "0", "after {after}");
        assert_eq!(lists(&namespace), FIRST, "after {after}");
    };
    resize(&namespace, 80);
    is_left("an update of the container");
    await_periods(&namespace);
    is_left("kubelet's period");
    agent.reload_services().unwrap();
    is_left("a reload of services");
    agent.restart_kubelet().unwrap();
    await_periods(&namespace);
    is_left("a restart of kubelet");
    resize(&namespace, 110);
    is_left("an update of the container by the new kubelet");
}

/// What systemd knows it writes wherever it owns the tree, which is on cgroup v2.
#[test]
fn systemd_keeps_the_cpus_that_it_is_told() {
    let namespace = Namespace::make_alone("cpuset-systemd").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    start_target(&namespace);
    let container = namespace.run(&["get", "pod", "target", "--output=jsonpath={.status.containerStatuses[0].containerID}"]).unwrap();
    let unit = format!("cri-containerd-{}.scope", container.strip_prefix("containerd://").unwrap());
    let known = || agent.on_node(&format!("systemctl show --property=AllowedCPUs --value {unit}")).unwrap();
    let is_v2 = agent.sh("[ ! -e /sys/fs/cgroup/cgroup.controllers ] || echo yes").unwrap() == "yes";
    assert_eq!(known(), "");

    agent.step(&["confine", &unit, "0"]).unwrap();
    let is_left = |after: &str| {
        assert_eq!(known(), "0", "after {after}");
        if is_v2 {
            assert_eq!(lists(&namespace), FIRST, "after {after}");
        }
    };
    is_left("it was told");
    resize(&namespace, 80);
    is_left("an update of the container");
    agent.reload_services().unwrap();
    is_left("a reload of services");
    let refused = agent.step(&["confine", "nobody.scope", "0"]).unwrap_err();
    assert!(format!("{refused:#}").contains("systemd does not take the CPUs of nobody.scope"), "{refused:#}");
}
