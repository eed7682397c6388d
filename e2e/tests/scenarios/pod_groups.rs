//! Gangs as groups of pods for kube-scheduler: an option of the chart, which a cluster that does not serve them ignores and says so.

use serde_json::{Value, json};
use strobe_e2e::cluster::{Need, system, wait};

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, job, sleeper, until};

pub(crate) const SCENARIOS: [Scenario; 1] = [Scenario::new("pod-groups", a_gang_is_a_group_of_pods).needs(&[Need::Installation]).alone()];

const LONG: [&str; 5] = ["grain", "--grain-us", "5000", "--seconds", "10"];

fn a_gang_is_a_group_of_pods(jobs: &Jobs) {
    system::upgrade(&["podGroups=true"]).unwrap();
    let _off = Afterwards(|| system::upgrade(&[]));
    until("an operator with the option leads, and none without", leads_with_option);
    if system::kubectl(&["get", "--raw", "/apis/scheduling.k8s.io/v1alpha2"]).is_err() {
        until("the Partition is told that there are none", || is_told(jobs));
        jobs.apply(&job("without", &LONG));
        return jobs.complete(&["without"]);
    }

    jobs.apply(&job("sor", &LONG));
    jobs.are("Running", &["sor"]);
    let group = group(jobs, "sor-1");
    assert_eq!(group["spec"]["schedulingPolicy"], json!({ "gang": { "minCount": 2 } }));
    assert_eq!((named(jobs, "sor", 1), jobs.nodes("sor").len()), ("sor-1 sor-1".to_owned(), 2));
    jobs.complete(&["sor"]);
    is_gone(jobs, "sor-1");

    // The next life has one of its own, and none is left when the job is deleted in the middle of it.
    jobs.apply(&sleeper("taken"));
    jobs.are("Running", &["taken"]);
    jobs.namespace.run(&["delete", "pod", "taken-1-0", "--wait=false"]).unwrap();
    jobs.wait("jsonpath={.status.incarnation}=2", "taken");
    jobs.are("Running", &["taken"]);
    is_gone(jobs, "taken-1");
    assert_eq!(named(jobs, "taken", 2), "taken-2 taken-2");
    jobs.delete("taken");
    is_gone(jobs, "taken-2");

    one_pod_without_a_node_holds_the_other(jobs);
}

/// The job is told of that pod, not that the others wait for their group.
fn one_pod_without_a_node_holds_the_other(jobs: &Jobs) {
    let mut narrow = sleeper("narrow");
    let only = system::nodes().unwrap().remove(0);
    narrow["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": only });
    jobs.apply(&narrow);
    until("the pod is told that has no node", || {
        jobs.field("narrow", ".status.message").contains("didn't match Pod's node affinity/selector")
    });
    assert_eq!(jobs.nodes("narrow"), [""; 0], "none of its pods is bound");
    jobs.delete("narrow");
}

fn leads_with_option() -> bool {
    let leads = ["--namespace", system::NAMESPACE, "get", "pods", "--selector=strobe.dev/leads=true"];
    let arguments = r"--output=jsonpath={range .items[*]}{.spec.containers[0].args}{'\n'}{end}";
    let leading = system::kubectl(&[&leads[..], &[arguments]].concat()).unwrap();
    !leading.is_empty() && leading.lines().all(|arguments| arguments.contains("--pod-groups"))
}

fn is_told(jobs: &Jobs) -> bool {
    let events = ["get", "events", "--namespace=default", "--field-selector=reason=PodGroupsIgnored", "--output=name"];
    !jobs.namespace.run(&events).unwrap().is_empty()
}

fn group(jobs: &Jobs, name: &str) -> Value {
    serde_json::from_str(&jobs.namespace.run(&["get", "podgroup", name, "--output=json"]).unwrap()).unwrap()
}

/// The groups that the pods of a life of a job's gang name.
fn named(jobs: &Jobs, job: &str, life: u32) -> String {
    let groups = "--output=jsonpath={.items[*].spec.schedulingGroup.podGroupName}";
    let selector = format!("--selector=strobe.dev/job={job},strobe.dev/incarnation={life}");
    jobs.namespace.run(&["get", "pods", &selector, groups]).unwrap()
}

fn is_gone(jobs: &Jobs, name: &str) {
    jobs.namespace.run(&["wait", "--for=delete", &wait(), &format!("podgroup/{name}")]).unwrap();
}
