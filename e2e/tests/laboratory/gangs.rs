//! Gangs of pods, as users meet them: `kubectl apply`, and two parallel jobs share the same nodes in turns.

use serde_json::{Value, json};
use strobe_e2e::laboratory::{Namespace, WORKERS, system};

/// The examples' own programs, over PyPI's MPICH.
const IMAGE: &str = concat!("localhost/strobe/examples:", env!("CARGO_PKG_VERSION"));

/// Some seconds of work each, on a CPU of its own.
const SOR: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "20000"];
const QUICKSORT: [&str; 5] = ["quicksort", "--values", "262144", "--rounds", "100"];

/// A namespace for jobs, which takes nothing that is not restricted.
struct Jobs {
    namespace: Namespace,
}

fn job(name: &str, command: &[&str]) -> Value {
    let security = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
    let container = json!({ "name": "rank", "image": IMAGE, "imagePullPolicy": "Never", "command": command, "securityContext": security });
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name },
        "spec": { "partition": system::PARTITION, "nodes": 2, "template": { "spec": {
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [container],
        } } },
    })
}

#[test]
fn two_mpi_jobs_share_two_nodes_and_both_are_right() {
    let jobs = Jobs::make("gangs-share");
    jobs.apply(&job("sor", &SOR));
    jobs.apply(&job("quicksort", &QUICKSORT));
    for name in ["sor", "quicksort"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    let rows = jobs.namespace.run(&["get", "paralleljobs", "--output=jsonpath={.items[*].status.rows}"]).unwrap();
    let rows: Vec<&str> = rows.split(' ').collect();
    assert!(rows.len() == 2 && rows[0] != rows[1], "two gangs on the same CPUs stand in different rows: {rows:?}");
    jobs.complete(&["sor", "quicksort"]);
}

#[test]
fn jobs_outlive_their_operator_their_manager_and_another_agent() {
    let jobs = Jobs::make("gangs-outlive");
    jobs.apply(&job("sor", &SOR));
    jobs.apply(&job("quicksort", &QUICKSORT));
    for name in ["sor", "quicksort"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    let first = jobs.manager();
    system::kill_operator().unwrap();
    for node in [first.clone(), WORKERS.into_iter().find(|node| *node != first).unwrap().to_owned()] {
        system::kill_agent(&node).unwrap();
    }
    jobs.complete(&["sor", "quicksort"]);
    for name in ["sor", "quicksort"] {
        let restarts = jobs.namespace.run(&["get", &format!("paralleljob/{name}"), "--output=jsonpath={.status.restarts}"]).unwrap();
        assert_eq!(restarts, "0", "no rank was lost");
    }
}

// === impl Jobs ===

impl Jobs {
    fn make(name: &str) -> Self {
        let namespace = Namespace::make(name).unwrap();
        namespace.run(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        system::install().unwrap();
        Self { namespace }
    }

    fn apply(&self, object: &Value) {
        self.namespace.apply(object).unwrap();
    }

    /// Waits until jobs are complete; what they have computed must be right.
    fn complete(&self, names: &[&str]) {
        for name in names {
            self.wait("condition=Complete", name);
            let said = self.namespace.run(&["logs", &format!("{name}-1-0")]).unwrap();
            assert!(said.contains(&format!("{name}: ok ranks=2")), "{said}");
        }
    }

    /// The node of the machine manager.
    fn manager(&self) -> String {
        self.namespace.run(&["get", &format!("partition/{}", system::PARTITION), "--output=jsonpath={.status.manager}"]).unwrap()
    }

    /// Waits for what a job shall come to; where it does not, its pods' and the system's words are shown.
    fn wait(&self, condition: &str, job: &str) {
        if let Err(error) = self.namespace.wait(condition, &format!("paralleljob/{job}")) {
            let pods = self.namespace.run(&["get", "pods", "--output=wide"]).unwrap_or_default();
            let (operator, agents) = (system::said_by("deployment/strobe-operator"), system::said_by("daemonset/strobe-agent"));
            panic!("{job}: {error:#}\n{pods}\n{operator}\n{agents}");
        }
    }
}
