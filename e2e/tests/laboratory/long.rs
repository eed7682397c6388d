//! What takes minutes each: `cargo xtask lab test --all` runs it, and nothing else does.

use strobe_e2e::laboratory::{CONTROL_PLANE, NodePod};

use crate::jobs::{Jobs, job};
use crate::outage::outage;

/// Work that outlasts the outage.
const LONG: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "300000"];

#[test]
fn gangs_run_free_while_manager_and_api_server_are_away_and_are_strobed_after() {
    let jobs = Jobs::make_alone("outage-manager");
    let nodes = jobs.namespace.beside("outage-manager-nodes").unwrap();
    let control_plane = NodePod::start(&nodes, "control-plane", CONTROL_PLANE).unwrap();
    for name in ["first", "second"] {
        jobs.apply(&job(name, &LONG));
    }
    for name in ["first", "second"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    let manager = NodePod::start(&nodes, "manager", &jobs.manager()).unwrap();
    let connects = format!("(exec 3<>/dev/tcp/{CONTROL_PLANE}/6443) 2>/dev/null");
    manager.begin_on_node(&format!("while {connects}; do sleep 0.2; done; pkill -9 -x strobe-agent")).unwrap();
    outage(&control_plane);
    for name in ["first", "second"] {
        jobs.wait("condition=Synchronised", name);
    }
    for name in ["first", "second"] {
        jobs.wait("condition=Complete", name);
        assert_eq!(jobs.field(name, ".status.restarts"), "0", "no rank was lost");
    }
}
