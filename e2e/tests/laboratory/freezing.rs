//! Spike b: an agent takes the ranks of an ordinary pod into a rank cgroup in the container's own, and freezes them there.

use strobe_e2e::cluster::{GangPod, Namespace, NodePod, WORKERS};

const NODE: &str = WORKERS[0];

/// Whether the pod is ready and its container was never restarted.
fn is_well(namespace: &Namespace) -> bool {
    let condition = "{.status.conditions[?(@.type=='Ready')].status} {.status.containerStatuses[0].restartCount}";
    namespace.run(&["get", "pod", GangPod::NAME, &format!("--output=jsonpath={condition}")]).unwrap() == "True 0"
}

/// Commands the ranks frozen and waits until they are.
fn freeze(gang: &GangPod<'_>) {
    let directory = gang.fact("directory");
    gang.agent().sh(&format!("echo 1 >{directory}/cgroup.freeze")).unwrap();
    gang.agent().sh_until(&format!("grep frozen {directory}/cgroup.events"), "frozen 1").unwrap();
}

fn thaw(gang: &GangPod<'_>) {
    gang.agent().sh(&format!("echo 0 >{}/cgroup.freeze", gang.fact("directory"))).unwrap();
}

#[test]
fn the_ranks_of_a_container_freeze_while_the_rest_of_it_runs_on() {
    let namespace = Namespace::make("freezing-ranks").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    let mut gang = GangPod::start(&namespace, &agent, NODE).unwrap();
    gang.release(&gang.uid().unwrap()).unwrap();
    assert_eq!(gang.fact("cgroup"), format!("{}/strobe-ranks", gang.fact("container")));
    assert_eq!(gang.ranks_run().unwrap(), [true, true]);

    freeze(&gang);
    assert_eq!(gang.ranks_run().unwrap(), [false, false]);
    assert!(is_well(&namespace));
    thaw(&gang);
    assert_eq!(gang.ranks_run().unwrap(), [true, true]);

    for looking in ["spinning", "sleeping"] {
        let spans = agent.step(&["measure", gang.fact("cgroup"), "1000", "--looking", looking]).unwrap();
        println!("from the command to frozen, {looking}: {}", spans.trim());
    }

    freeze(&gang);
    namespace.delete(&format!("pod/{}", GangPod::NAME)).unwrap();
    let left = format!("test -e {}/.. && echo there || echo gone", gang.fact("directory"));
    agent.sh_until(&left, "gone").unwrap();
    agent.sh_until(&format!("test -e /proc/{} && echo there || echo gone", gang.fact("rank 0")), "gone").unwrap();
}

#[test]
fn frozen_ranks_stay_frozen_while_the_node_s_services_restart() {
    let namespace = Namespace::make_alone("freezing-restarts").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    let mut gang = GangPod::start(&namespace, &agent, NODE).unwrap();
    gang.release(&gang.uid().unwrap()).unwrap();
    let ranks = format!("cat {}/cgroup.procs", gang.fact("directory"));
    let before = agent.sh(&ranks).unwrap();

    freeze(&gang);
    agent.reload_services().unwrap();
    assert_eq!(gang.ranks_run().unwrap(), [false, false]);
    agent.restart_kubelet().unwrap();
    assert_eq!(gang.ranks_run().unwrap(), [false, false]);
    assert_eq!(agent.sh(&ranks).unwrap(), before);
    assert!(is_well(&namespace));
    thaw(&gang);
    assert_eq!(gang.ranks_run().unwrap(), [true, true]);
}

#[test]
fn an_agent_refuses_the_supervisor_of_another_pod() {
    let namespace = Namespace::make("freezing-stranger").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    let mut gang = GangPod::start(&namespace, &agent, NODE).unwrap();
    let other = namespace.run(&["get", "pod", "agent", "--output=jsonpath={.metadata.uid}"]).unwrap();
    let refused = gang.release(&other).unwrap_err().to_string();
    assert!(refused.contains(&format!("is outside pod {other}")), "{refused}");
    gang.release(&gang.uid().unwrap()).unwrap();
    assert_eq!(gang.ranks_run().unwrap(), [true, true]);
}
