//! Spike d: whether an agent's pod gets the real-time class for its strobe thread, and what it says where it does not.

use strobe_e2e::cluster::{Namespace, NodePod, WORKERS};

/// The budget of a group of the v1 `cpu` hierarchy; `none` where there is no such hierarchy, or no budgets in it.
fn budget(agent: &NodePod<'_>, group: &str) -> String {
    agent.sh(&format!("cat /sys/fs/cgroup/cpu{group}/cpu.rt_runtime_us 2>/dev/null || echo none")).unwrap()
}

#[test]
fn an_agent_is_real_time_wherever_its_node_has_a_budget_and_says_so_where_not() {
    let namespace = Namespace::make("real-time").unwrap();
    let agent = NodePod::start(&namespace, "agent", WORKERS[0]).unwrap();
    let group = agent.sh("sed -n 's/^[0-9]*:[a-z,]*\\bcpu\\b[a-z,]*://p' /proc/self/cgroup").unwrap();
    let (own, node) = (budget(&agent, &group), budget(&agent, "/"));
    let said = agent.step(&["become-fifo"]).unwrap();
    println!("budget of the container's group: {own}; of the node's: {node}\n{said}");
    // A node that is a container has its root group from an outer one, which may have given it no budget.
    let expected = match (own.as_str(), node.as_str()) {
        ("none", _) => "scheduler fifo\nmoved false\npolicy 1\n",
        ("0", "0") => "scheduler other\nreason SCHED_FIFO was refused: the cgroup v1 group /kubepods",
        ("0", _) => "scheduler fifo\nmoved true\npolicy 1\n",
        _ => "scheduler fifo\nmoved false\npolicy 1\n",
    };
    assert!(said.starts_with(expected), "{said}");
    if expected.starts_with("scheduler other") {
        assert!(said.contains("\npolicy 0\n") && said.contains("/sys/fs/cgroup/cpu/cpu.rt_runtime_us is 0"), "{said}");
        assert!(said.contains(&format!(":cpu:{group}\n")), "the thread is where it was, not in the root: {said}");
    }
}
