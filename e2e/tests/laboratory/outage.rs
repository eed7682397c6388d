//! The API server is away while gangs run: strobes need it for nothing.

use std::time::{Duration, Instant};

use strobe_e2e::laboratory::{CONTROL_PLANE, NodePod, system};

use crate::jobs::{Jobs, job};

/// Where kubelet takes the API server's pod from, and where it does not.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const ASIDE: &str = "/etc/kubernetes/kube-apiserver.yaml.aside";

/// Says on the node when the outage has begun and when it has ended, as kubelet writes times: they are in order as texts too.
const SAID: &str = "/run/strobe-outage";

/// How long the API server stays away, in seconds.
const AWAY: u32 = 60;

/// The longest wait for the API server to go or to come back; reached by a failing test only.
const PATIENCE: Duration = Duration::from_secs(180);

/// Work for some twenty seconds, two gangs on the same CPUs.
const SHORT: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "60000"];

/// Whether the API server answers.
fn answers() -> bool {
    system::kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"]).is_ok()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} in {PATIENCE:?}");
    }
}

/// Takes the API server away for a while, and returns when it is back.
pub(crate) fn outage(control_plane: &NodePod<'_>) {
    let script = format!(
        "mv {MANIFEST} {ASIDE}; while pidof -q kube-apiserver; do sleep 0.2; done; \
         date --utc +%FT%TZ >{SAID}; sleep {AWAY}; date --utc +%FT%TZ >>{SAID}; mv {ASIDE} {MANIFEST}"
    );
    control_plane.begin_on_node(&script).unwrap();
    wait_until("the API server goes", || !answers());
    wait_until("the API server comes back", answers);
}

/// Begin and end of the outage.
fn said(control_plane: &NodePod<'_>) -> (String, String) {
    let text = control_plane.on_node(&format!("cat {SAID}")).unwrap();
    let (begun, ended) = text.split_once('\n').unwrap();
    (begun.to_owned(), ended.to_owned())
}

/// When the last line of a pod was said.
fn last_word(jobs: &Jobs, pod: &str) -> String {
    let line = jobs.namespace.run(&["logs", "--timestamps", "--tail=1", pod]).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn gangs_take_turns_and_end_while_the_api_server_is_away() {
    let jobs = Jobs::make_alone("outage");
    let nodes = jobs.namespace.beside("outage-nodes").unwrap();
    let control_plane = NodePod::start(&nodes, "control-plane", CONTROL_PLANE).unwrap();
    for name in ["first", "second"] {
        jobs.apply(&job(name, &SHORT));
    }
    for name in ["first", "second"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    outage(&control_plane);
    let (begun, ended) = said(&control_plane);
    for name in ["first", "second"] {
        jobs.wait("condition=Complete", name);
        assert_eq!(jobs.field(name, ".status.restarts"), "0");
        let last = last_word(&jobs, &format!("{name}-1-0"));
        assert!(begun <= last && last < ended, "{name} ended at {last}, in the outage from {begun} to {ended}");
    }
}
