//! Jobs of the examples' programs, as the tests of gangs apply them.

use serde_json::{Value, json};
use strobe_e2e::laboratory::{Namespace, system};

/// The examples' own programs, over PyPI's MPICH.
const IMAGE: &str = concat!("localhost/strobe/examples:", env!("CARGO_PKG_VERSION"));

/// Some seconds of work each, on a CPU of its own.
pub(crate) const SOR: [&str; 7] = ["sor", "--rows", "256", "--columns", "256", "--iterations", "20000"];
pub(crate) const QUICKSORT: [&str; 5] = ["quicksort", "--values", "262144", "--rounds", "100"];

/// A namespace for jobs, which takes nothing that is not restricted.
pub(crate) struct Jobs {
    pub(crate) namespace: Namespace,
}

/// A job of two nodes.
pub(crate) fn job(name: &str, command: &[&str]) -> Value {
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

// === impl Jobs ===

impl Jobs {
    pub(crate) fn make(name: &str) -> Self {
        Self::make_in(Namespace::make(name).unwrap())
    }

    /// In a test that others must not run beside.
    pub(crate) fn make_alone(name: &str) -> Self {
        Self::make_in(Namespace::make_alone(name).unwrap())
    }

    fn make_in(namespace: Namespace) -> Self {
        namespace.run(&["label", "namespace", namespace.name(), "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        system::install().unwrap();
        Self { namespace }
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.namespace.apply(object).unwrap();
    }

    /// Waits until jobs are complete; what they have computed must be right.
    pub(crate) fn complete(&self, names: &[&str]) {
        for name in names {
            self.wait("condition=Complete", name);
            let said = self.namespace.run(&["logs", &format!("{name}-1-0")]).unwrap();
            assert!(said.contains(&format!("{name}: ok ranks=2")), "{said}");
        }
    }

    /// A field of a job.
    pub(crate) fn field(&self, name: &str, path: &str) -> String {
        self.namespace.run(&["get", &format!("paralleljob/{name}"), &format!("--output=jsonpath={{{path}}}")]).unwrap()
    }

    /// The node of the machine manager.
    pub(crate) fn manager(&self) -> String {
        self.namespace.run(&["get", &format!("partition/{}", system::PARTITION), "--output=jsonpath={.status.manager}"]).unwrap()
    }

    /// Waits for what a job shall come to; where it does not, its pods' and the system's words are shown.
    pub(crate) fn wait(&self, condition: &str, job: &str) {
        if let Err(error) = self.namespace.wait(condition, &format!("paralleljob/{job}")) {
            let pods = self.namespace.run(&["get", "pods", "--output=wide"]).unwrap_or_default();
            let (operator, agents) = (system::said_by(system::OPERATOR), system::said_by(system::AGENT));
            panic!("{job}: {error:#}\n{pods}\n{operator}\n{agents}");
        }
    }
}
