//! Gangs that fail say how, and do not outlive it.

use serde_json::json;
use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Jobs, rank, script, sleeper, until};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario::new("a-rank-that-fails", a_rank_that_fails),
    Scenario::new("a-rank-that-lacks-memory", a_rank_that_lacks_memory).needs(&[Need::Installation]).alone(),
    Scenario::new("a-deadline-that-is-exceeded", a_deadline_that_is_exceeded),
];

fn a_rank_that_fails(jobs: &Jobs) {
    // The other rank would never end by itself.
    let mut exits = script("exits", "if [ $RANK = 1 ]; then echo gives up; exit 3; fi; exec sleep 3600");
    exits["spec"]["restart"] = json!({ "limit": 1 });
    jobs.apply(&exits);
    jobs.wait("condition=Failed", "exits");
    let of_job = [".state", ".reason", ".incarnation", ".restarts"].map(|field| jobs.field("exits", &format!(".status{field}")));
    assert_eq!(of_job, ["Failed", "RankFailure", "2", "1"]);
    let of_failures = |field: &str| jobs.field("exits", &format!(".status.failures[*].{field}"));
    let failures = ["reason", "incarnation", "rank", "exitStatus"].map(of_failures);
    assert_eq!(failures, ["RankExited RankExited", "1 2", "1 1", "3 3"], "each life has failed in the same way");
    let on = of_failures("node");
    let (before, last) = on.split_once(' ').unwrap();
    let how = format!("rank 1 on node {last} exited with status 3");
    assert_eq!(jobs.condition("exits", "Failed"), ("RankFailure".to_owned(), how.clone()));
    jobs.told("exits", "Restarted", &format!("restart 1 after RankExited on node {before}"));
    jobs.told("exits", "Failed", &format!("RankFailure: {how}"));

    // The pods of the last life stay for those who look for the reason.
    let pod = |what: &str| jobs.namespace.run(&["get", "pod", "exits-2-1", &format!("--output=jsonpath={{{what}}}")]).unwrap();
    assert_eq!(pod(".spec.nodeName"), last);
    jobs.namespace.wait("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=3", "pod/exits-2-1").unwrap();
    assert_eq!(jobs.namespace.run(&["logs", "exits-2-1"]).unwrap(), "gives up\n");
    jobs.namespace.wait("jsonpath={.status.phase}=Failed", "pod/exits-2-0").unwrap();
    assert_eq!(jobs.pods("exits"), "exits-2-0 exits-2-1 ", "those of the life before are gone");
}

fn a_rank_that_lacks_memory(jobs: &Jobs) {
    // It keeps what it has read, since no line ends.
    let begun = "if [ $RANK = 1 ]; then until [ -e /dev/shm/go ]; do sleep 0.1; done; exec tail /dev/zero; fi; exec sleep 3600";
    let mut eats = script("eats", begun);
    rank(&mut eats)["resources"] = json!({ "requests": { "memory": "64Mi" }, "limits": { "memory": "64Mi" } });
    jobs.apply(&eats);
    jobs.are("Running", &["eats"]);
    // The next lives of the agents have to know the container as well as those that began the gang.
    system::kubectl(&["--namespace", system::NAMESPACE, "delete", "pods", "--selector=app.kubernetes.io/name=strobe-agent"]).unwrap();
    system::settle().unwrap();
    jobs.wait("condition=Synchronised", "eats");
    jobs.namespace.run(&["exec", &jobs.pod("eats", 1), "--", "sh", "-c", ": > /dev/shm/go"]).unwrap();
    jobs.wait("condition=Failed", "eats");
    let failure = ["reason", "rank", "signal"].map(|field| jobs.field("eats", &format!(".status.failures[*].{field}")));
    assert_eq!(failure, ["OOMKilled", "1", "9"]);
    let (_, message) = jobs.condition("eats", "Failed");
    assert!(message.ends_with("its container has no more memory"), "{message}");
}

fn a_deadline_that_is_exceeded(jobs: &Jobs) {
    let mut late = sleeper("late");
    late["spec"]["activeDeadlineSeconds"] = json!(8);
    late["spec"]["restart"] = json!({ "limit": 3 });
    jobs.apply(&late);
    jobs.wait("condition=Failed", "late");
    let of_job = [".state", ".reason", ".incarnation", ".restarts"].map(|field| jobs.field("late", &format!(".status{field}")));
    assert_eq!(of_job, ["Failed", "DeadlineExceeded", "1", "0"], "it does not begin again");
    let (reason, message) = jobs.condition("late", "Failed");
    assert_eq!(reason, "DeadlineExceeded");
    jobs.told("late", "Failed", &format!("{reason}: {message}"));
    let alive = || jobs.namespace.run(&["get", "pods", "--field-selector=status.phase=Running", "--output=name"]).unwrap();
    until("its ranks have ended", || alive().is_empty());
}
