//! MPI programs between pods of two nodes, without mpiexec, ssh or names, as pods of a restricted namespace (docs/spikes/f-mpi-between-pods.md).
//! The agent's own PMI server wires them up; in place of supervisors there is a launcher that connects each rank to it.

use serde_json::{Value, json};
use strobe_e2e::cluster::{Namespace, WORKERS};

/// Has the examples, NetPIPE, two versions of MPICH, and the launcher: `cargo xtask lab test` makes it.
const IMAGE: &str = concat!("localhost/strobe/mpi-trial:", env!("CARGO_PKG_VERSION"));

const PORT: u16 = 7000;

/// Seconds that a pod may run: less than a test waits for it, and many times what the programs take.
const DEADLINE: u32 = 60;

/// Where the image has PyPI's MPICH.
const PYPI: [(&str, &str); 1] = [("LD_LIBRARY_PATH", "/opt/mpich")];

/// Correct by its own comparison with a sequential run.
const SOR: [&str; 7] = ["sor", "--rows", "64", "--columns", "64", "--iterations", "100"];

/// Up to eight bytes, ten round trips each, no file of results.
const NETPIPE: [&str; 9] = ["NPmpich2", "-o", "/dev/null", "-u", "8", "-n", "10", "-p", "0"];

/// A gang of one rank on each of two nodes.
struct Gang {
    namespace: Namespace,
}

/// It computes; whether it also ends is a race of Debian's version with itself (ADR 0002), so that nothing is expected of its end.
#[test]
fn debians_mpich_computes_between_two_pods() {
    let gang = Gang::run("mpi-debian", &[], &SOR);
    gang.namespace.wait("jsonpath={.status.containerStatuses[0].state.terminated}", "pod/rank-0").unwrap();
    assert!(gang.logs("rank-0").contains("sor: ok ranks=2"), "{}\n{}", gang.logs("rank-0"), gang.logs("rank-1"));
}

#[test]
fn pypis_mpich_computes_between_two_pods() {
    let show_version = [PYPI[0], ("UCX_LOG_LEVEL", "info")];
    let gang = Gang::run("mpi-pypi", &show_version, &SOR);
    gang.expect_success();
    let said = gang.logs("rank-0");
    assert!(said.contains("sor: ok ranks=2"), "{said}");
    assert!(said.contains("loaded from /opt/mpich/"), "another library than PyPI's: {said}");
}

#[test]
fn netpipe_measures_between_two_pods() {
    let gang = Gang::run("mpi-netpipe", &PYPI, &NETPIPE);
    gang.expect_success();
    assert!(gang.logs("rank-0").contains("8 bytes"), "{}", gang.logs("rank-0"));
}

#[test]
fn the_interface_that_holds_the_pods_address_may_be_named() {
    let gang = Gang::run("mpi-interface", &[PYPI[0], ("UCX_NET_DEVICES", "eth0")], &SOR);
    gang.expect_success();
}

#[test]
fn over_the_loopback_alone_no_pod_reaches_another() {
    let gang = Gang::run("mpi-loopback", &[("UCX_NET_DEVICES", "lo")], &SOR);
    for rank in ["pod/rank-0", "pod/rank-1"] {
        gang.namespace.wait("jsonpath={.status.phase}=Failed", rank).unwrap();
    }
    // The first that notices ends the other, which then has other words.
    let said = [gang.logs("rank-0"), gang.logs("rank-1")].join("\n");
    assert!(said.contains("Destination is unreachable"), "{said}");
}

// === impl Gang ===

impl Gang {
    /// Starts a program as two ranks, in a namespace that refuses what is not restricted.
    fn run(name: &str, environment: &[(&str, &str)], program: &[&str]) -> Self {
        let namespace = Namespace::make(name).unwrap();
        namespace.run(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        let mut server = pod("server", WORKERS[2], &["serve", &format!("0.0.0.0:{PORT}"), "2", "1"], &[]);
        server["spec"]["containers"][0]["readinessProbe"] = json!({ "tcpSocket": { "port": PORT }, "periodSeconds": 1 });
        namespace.apply(&server).unwrap();
        namespace.wait("condition=Ready", "pod/server").unwrap();
        let address = namespace.run(&["get", "pod", "server", "--output=jsonpath={.status.podIP}"]).unwrap();
        let address = format!("{address}:{PORT}");
        for (rank, node) in ["0", "1"].into_iter().zip(WORKERS) {
            let arguments = [&["rank", &address, rank, "2"], program].concat();
            namespace.apply(&pod(&format!("rank-{rank}"), node, &arguments, environment)).unwrap();
        }
        Self { namespace }
    }

    /// Both ranks succeed, and met in barriers of the server that they were given.
    fn expect_success(&self) {
        for pod in ["rank-0", "rank-1", "server"] {
            let waited = self.namespace.wait("jsonpath={.status.phase}=Succeeded", &format!("pod/{pod}"));
            assert!(waited.is_ok(), "{waited:?}\n{}", self.logs(pod));
        }
        let said = self.logs("server");
        let barriers: u32 = said.split_whitespace().next().unwrap().parse().unwrap();
        assert!(barriers > 0, "the ranks never waited for each other: {said}");
    }

    fn logs(&self, pod: &str) -> String {
        self.namespace.run(&["logs", pod]).unwrap()
    }
}

/// A pod of the profile `restricted`, whose root file system cannot be written to either.
fn pod(name: &str, node: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let environment: Vec<_> = environment.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let command = [&["pmi-over-tcp"], arguments].concat();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            "restartPolicy": "Never", "activeDeadlineSeconds": DEADLINE, "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 12345, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "program", "image": IMAGE, "imagePullPolicy": "Never", "env": environment, "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}
