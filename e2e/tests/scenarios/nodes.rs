//! Nodes that administrators cordon, drain or switch off.

use anyhow::Result;
use serde_json::json;
use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, rank, sleeper, until};
use crate::sharing::frozen;

pub(crate) const SCENARIOS: [Scenario; 5] = [
    Scenario::new("pods-that-are-not-bound-go", pods_that_are_not_bound_go),
    Scenario::new("one-pod-that-is-not-bound-goes-with-the-other", one_pod_that_is_not_bound).needs(&[Need::NodeShell]).alone(),
    Scenario::new("cordon", cordon).alone(),
    Scenario::new("drain", drain).alone(),
    Scenario::new("power-off", power_off).needs(&[Need::NodeShell, Need::NodePower]).alone(),
];

/// Lets nodes take pods again, which they may do already.
fn uncordon(jobs: &Jobs, nodes: &[String]) -> Result<()> {
    nodes.iter().try_for_each(|node| jobs.namespace.run(&["uncordon", node]).map(drop))
}

/// kube-scheduler finds no node for them, for a reason that the plan does not know.
fn pods_that_are_not_bound_go(jobs: &Jobs) {
    let mut unbound = sleeper("unbound");
    rank(&mut unbound)["resources"] = json!({ "requests": { "example.com/nothing": "1" }, "limits": { "example.com/nothing": "1" } });
    jobs.apply(&unbound);
    jobs.wait("jsonpath={.status.reason}=PlacementTimeout", "unbound");
    let (reason, message) = jobs.condition("unbound", "Placed");
    assert_eq!(reason, "PlacementTimeout");
    assert!(message.contains("Insufficient example.com/nothing"), "kube-scheduler's words: {message}");
    jobs.pods_are_gone("unbound");
    assert_eq!(jobs.field("unbound", ".status.restarts"), "0");
}

/// Of a gang of two one pod starts, and kube-scheduler keeps the other from its node for a taint, which the plan does not know.
fn one_pod_that_is_not_bound(jobs: &Jobs) {
    let nodes = system::nodes().unwrap();
    let (open, closed) = (&nodes[0], &nodes[1]);
    let _as_before = Afterwards(|| system::change_partition(&json!({ "placementTimeout": "20s" })));
    system::change_partition(&json!({ "placementTimeout": "10s" })).unwrap();
    let _uncordoned = Afterwards(|| uncordon(jobs, &nodes[2..]));
    for node in &nodes[2..] {
        jobs.namespace.run(&["cordon", node]).unwrap();
    }
    let untaint = || jobs.namespace.run(&["taint", "node", closed, "strobe.dev/e2e-closed-"]);
    let _untainted = Afterwards(|| {
        // It is not tainted any more where the scenario has passed.
        let _none = untaint();
        Ok(())
    });
    jobs.namespace.run(&["taint", "node", closed, "strobe.dev/e2e-closed=:NoSchedule"]).unwrap();

    jobs.apply(&sleeper("half"));
    let phases = || jobs.namespace.run(&["get", "pods", "--sort-by=.status.phase", "--output=jsonpath={.items[*].status.phase}"]).unwrap();
    until("one of its two pods has started", || phases() == "Pending Running");
    assert!(jobs.gangs_on(open).contains("~csi/strobe"), "it has its volume on {open}");
    jobs.wait("jsonpath={.status.reason}=PlacementTimeout", "half");
    let (reason, message) = jobs.condition("half", "Placed");
    assert_eq!(reason, "PlacementTimeout");
    assert!(message.contains("untolerated taint"), "kube-scheduler's words: {message}");
    jobs.pods_are_gone("half");
    jobs.no_gang_is_on(&nodes[..1]);
    until("it holds no slot", || system::gangs().unwrap() == 0);
    jobs.are("Queued", &["half"]);

    untaint().unwrap();
    jobs.are("Running", &["half"]);
    let mut on = jobs.nodes("half");
    on.sort_unstable();
    assert_eq!(on, nodes[..2]);
    assert_eq!(jobs.field("half", ".status.restarts"), "0", "that was nobody's failure");
}

fn cordon(jobs: &Jobs) {
    let nodes = system::nodes().unwrap();
    let _uncordoned = Afterwards(|| uncordon(jobs, &nodes));
    for node in &nodes[1..] {
        jobs.namespace.run(&["cordon", node]).unwrap();
    }
    jobs.apply(&sleeper("two"));
    jobs.wait("jsonpath={.status.position}=1", "two");
    let (reason, message) = jobs.condition("two", "Admitted");
    assert_eq!((reason.as_str(), jobs.pods("two")), ("WaitingForSlots", String::new()), "{message}");
    uncordon(jobs, &nodes[1..2]).unwrap();
    jobs.are("Running", &["two"]);
    // A gang that runs stays where it is.
    jobs.namespace.run(&["cordon", &nodes[0]]).unwrap();
    assert_eq!(jobs.pods("two"), "two-1-0 two-1-1 ");
    let mut on = jobs.nodes("two");
    on.sort_unstable();
    assert_eq!(on, nodes[..2]);
}

fn drain(jobs: &Jobs) {
    jobs.apply(&sleeper("moved"));
    jobs.are("Running", &["moved"]);
    let left = jobs.nodes("moved").swap_remove(0);
    let _uncordoned = Afterwards(|| uncordon(jobs, std::slice::from_ref(&left)));
    jobs.namespace
        .run(&["drain", &left, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=strobe.dev/job=moved", "--timeout=120s"])
        .unwrap();
    jobs.wait("jsonpath={.status.incarnation}=2", "moved");
    jobs.are("Running", &["moved"]);
    assert_eq!([jobs.field("moved", ".status.restarts"), jobs.field("moved", ".status.preemptions")], ["0", "1"]);
    assert!(!jobs.nodes("moved").contains(&left), "it does not come back to {left}");
}

fn power_off(jobs: &Jobs) {
    let mut moved = sleeper("moved");
    moved["spec"]["restart"] = json!({ "limit": 1, "on": ["NodeLost"] });
    jobs.apply(&moved);
    jobs.are("Running", &["moved"]);
    let lost = jobs.nodes("moved").swap_remove(0);
    // A second time changes nothing.
    let untaint = || jobs.namespace.run(&["taint", "node", &lost, "node.kubernetes.io/out-of-service-"]);
    let _untainted = Afterwards(|| {
        // It may not have been tainted yet, or not any more.
        let _none = untaint();
        Ok(())
    });
    let _powered = Afterwards(|| jobs.driver.power_on(&lost));
    jobs.driver.power_off(&lost).unwrap();
    // Nobody knows whether its ranks still run, until an administrator says so.
    jobs.namespace.wait("condition=NodesAnswer=False", &format!("partition/{}", system::PARTITION)).unwrap();
    jobs.namespace.run(&["taint", "node", &lost, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"]).unwrap();
    jobs.wait("jsonpath={.status.incarnation}=2", "moved");
    jobs.are("Running", &["moved"]);
    assert_eq!(jobs.field("moved", ".status.restarts"), "1");
    assert!(!jobs.nodes("moved").contains(&lost), "it runs elsewhere");

    jobs.driver.power_on(&lost).unwrap();
    jobs.namespace.wait("condition=Ready", &format!("node/{lost}")).unwrap();
    untaint().unwrap();
    system::settle().unwrap();
    jobs.namespace.wait("condition=NodesAnswer=True", &format!("partition/{}", system::PARTITION)).unwrap();
    let on_lost = format!("--field-selector=spec.nodeName={lost}");
    until("the pod of the lost life is gone", || jobs.namespace.run(&["get", "pods", "--output=name", &on_lost]).unwrap().is_empty());
    assert_eq!(frozen(jobs, &lost), "", "the node is clean");
    // It takes gangs again.
    let mut everywhere = sleeper("everywhere");
    everywhere["spec"]["nodes"] = json!(system::nodes().unwrap().len());
    jobs.apply(&everywhere);
    jobs.are("Running", &["everywhere"]);
}
