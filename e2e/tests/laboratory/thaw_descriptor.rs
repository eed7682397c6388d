//! Spike c: when the agent dies, the supervisor in the pod thaws its ranks by the descriptor that it was given.

use strobe_e2e::cluster::{GangPod, Namespace, NodePod, WORKERS};

const NODE: &str = WORKERS[0];

/// Of `/proc/1/status`: no capability, no way to gain one, seccomp's filter, an ordinary user.
const UNPRIVILEGED: &str = "Uid:\t65532\t65532\t65532\t65532
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2";

#[test]
fn the_supervisor_thaws_its_ranks_when_the_agent_is_killed() {
    let namespace = Namespace::make("thaw-descriptor").unwrap();
    let agent = NodePod::start(&namespace, "agent", NODE).unwrap();
    let mut gang = GangPod::start(&namespace, &agent, NODE).unwrap();
    gang.release(&gang.uid().unwrap()).unwrap();
    assert_eq!(gang.sh("grep -E '^(Uid|CapPrm|CapEff|NoNewPrivs|Seccomp):' /proc/1/status").unwrap(), UNPRIVILEGED);
    let writable = "find / -name cgroup.freeze 2>/dev/null | while read file; do if [ -w $file ]; then echo $file; fi; done";
    assert_eq!(gang.sh(writable).unwrap(), "", "by its path the pod can write no cgroup's file");

    let directory = gang.fact("directory");
    agent.sh(&format!("echo 1 >{directory}/cgroup.freeze")).unwrap();
    agent.sh_until(&format!("grep frozen {directory}/cgroup.events"), "frozen 1").unwrap();
    assert_eq!(gang.ranks_run().unwrap(), [false, false], "with an agent they stay frozen");

    agent.sh(&format!("kill -9 {}", gang.fact("agent"))).unwrap();
    agent.sh_until(&format!("cat {directory}/cgroup.freeze"), "0").unwrap();
    assert_eq!(gang.ranks_run().unwrap(), [true, true]);
}
