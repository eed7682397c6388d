//! A gang's pods are reached by each other, and by nobody else.

use serde_json::json;
use strobe_e2e::cluster::Need;

use crate::Scenario;
use crate::jobs::{Jobs, script, until};

pub(crate) const SCENARIOS: [Scenario; 1] =
    [Scenario::new("strangers-do-not-reach-a-gang", strangers_do_not_reach_a_gang).needs(&[Need::Policy])];

/// How often a stranger tries.
const TRIES: u32 = 5;

fn strangers_do_not_reach_a_gang(jobs: &Jobs) {
    // Only a policy that refuses all else makes the gang's own one matter.
    jobs.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "nobody" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    }));
    jobs.apply(&script("server", "while true; do echo here | nc -l -p 8080; done"));
    jobs.apply(&script("stranger", "exec sleep 3600"));
    jobs.are("Running", &["server", "stranger"]);
    let address = jobs.namespace.run(&["get", "pod", &jobs.pod("server", 0), "--output=jsonpath={.status.podIP}"]).unwrap();
    let reaches = |pod: &str| {
        let answer = jobs.namespace.run(&["exec", pod, "--", "nc", "-w", "5", &address, "8080"]);
        answer.is_ok_and(|said| said == "here\n")
    };
    until("the gang's other pod reaches it", || reaches(&jobs.pod("server", 1)));
    // The server answers one after another: several tries, so that none was merely too early.
    for _ in 0..TRIES {
        assert!(!reaches(&jobs.pod("stranger", 0)), "a pod of another gang reaches it");
        until("the gang's other pod still reaches it", || reaches(&jobs.pod("server", 1)));
    }
}
