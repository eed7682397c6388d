//! Jobs as the scenarios apply them, and what is asked of them.

use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use strobe_e2e::cluster::{Driver, Namespace, SHELL_IMAGE, patience, system, wait};

/// The examples' own programs, over PyPI's MPICH.
const EXAMPLES: &str = "examples";

/// How often it asks.
const PERIOD: Duration = Duration::from_millis(200);

/// A namespace for jobs, which takes nothing that is not restricted.
pub(crate) struct Jobs {
    pub(crate) namespace: Namespace,
    pub(crate) driver: Driver,
}

/// Done when it goes, whether the scenario has failed or not: others need the cluster too.
pub(crate) struct Afterwards<Deed: Fn() -> Result<()>>(pub(crate) Deed);

/// An image of the project.
pub(crate) fn image(name: &str) -> String {
    let registry = env::var("STROBE_IMAGES").unwrap_or_else(|_| "localhost/strobe".to_owned());
    format!("{registry}/{name}:{}", env!("CARGO_PKG_VERSION"))
}

/// An image with a shell.
pub(crate) fn shell_image() -> String {
    env::var("STROBE_SHELL_IMAGE").unwrap_or_else(|_| SHELL_IMAGE.to_owned())
}

/// A job of two nodes.
pub(crate) fn job(name: &str, command: &[&str]) -> Value {
    let security = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
    let image = image(EXAMPLES);
    let container =
        json!({ "name": "rank", "image": image, "imagePullPolicy": "IfNotPresent", "command": command, "securityContext": security });
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name },
        "spec": { "partition": system::PARTITION, "nodes": 2, "template": { "spec": {
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [container],
        } } },
    })
}

/// A job of a shell's script, which needs no MPI.
pub(crate) fn script(name: &str, script: &str) -> Value {
    let mut job = job(name, &["sh", "-c", script]);
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let container = rank(&mut job);
    container["image"] = json!(shell_image());
    job
}

/// A job that does nothing for an hour.
pub(crate) fn sleeper(name: &str) -> Value {
    script(name, "exec sleep 3600")
}

/// The ranks' container of a job.
pub(crate) fn rank(job: &mut Value) -> &mut Value {
    &mut job["spec"]["template"]["spec"]["containers"][0]
}

/// Asks until it holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + patience();
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in {:?}", patience());
        std::thread::sleep(PERIOD);
    }
}

impl<Deed: Fn() -> Result<()>> Drop for Afterwards<Deed> {
    fn drop(&mut self) {
        // A panic here would end all scenarios.
        if let Err(error) = (self.0)() {
            eprintln!("the cluster is not as it was: {error:#}");
        }
    }
}

/// Seconds since 1970 of times as Kubernetes writes them.
pub(crate) fn seconds<'a>(times: impl IntoIterator<Item = &'a str>) -> Vec<f64> {
    let list: Vec<&str> = times.into_iter().collect();
    let mut date = Command::new("date");
    date.args(["--utc", "+%s.%N", "--file=-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut date = date.spawn().unwrap();
    date.stdin.take().unwrap().write_all(list.join("\n").as_bytes()).unwrap();
    let said = date.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    let seconds: Vec<f64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(seconds.len(), list.len(), "{said}");
    seconds
}

// === impl Jobs ===

impl Jobs {
    pub(crate) fn make(name: &str, alone: bool, driver: Driver) -> Self {
        let namespace = if alone { Namespace::make_alone(name) } else { Namespace::make(name) }.unwrap();
        namespace.run(&["label", "namespace", namespace.name(), "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
        system::install().unwrap();
        until("the partition shows its nodes", || system::shows_its_nodes().unwrap());
        if alone {
            // The namespaces of those that ran before go by themselves.
            until("no gang of another scenario is left", || system::gangs().unwrap() == 0);
        }
        Self { namespace, driver }
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.namespace.apply(object).unwrap();
    }

    /// Changes a job's spec.
    pub(crate) fn change(&self, name: &str, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.namespace.run(&["patch", "paralleljob", name, "--type=merge", "--patch", &patch]).unwrap();
    }

    /// Deletes a job; its pods go with it.
    pub(crate) fn delete(&self, name: &str) {
        self.namespace.delete(&format!("paralleljob/{name}")).unwrap();
        self.pods_are_gone(name);
    }

    /// Waits until a job has no pod.
    pub(crate) fn pods_are_gone(&self, name: &str) {
        self.namespace.run(&["wait", "--for=delete", &wait(), "pod", &format!("--selector=strobe.dev/job={name}")]).unwrap();
    }

    /// Waits until no object is left that jobs had: the garbage collector takes them.
    pub(crate) fn nothing_is_left(&self) {
        let left = || self.namespace.run(&["get", "pods,services,networkpolicies", "--output=name"]).unwrap();
        until("what jobs had is gone", || left().is_empty());
    }

    /// What gangs have on a node while they are there: cgroups of ranks, and mounts of their pods' volumes.
    pub(crate) fn gangs_on(&self, node: &str) -> String {
        let cgroups = "find /sys/fs/cgroup -type d -name 'gang-*'";
        let mounts = r"grep -E '/kubernetes\.io~(csi|empty-dir)/strobe' /proc/self/mounts";
        self.driver.shell(node, &format!("{{ {cgroups}; {mounts}; }} || true")).unwrap()
    }

    /// A running job has its ranks' cgroup and its volume on each of its nodes: [`Jobs::gangs_on`] sees what is looked for. Gives the nodes.
    pub(crate) fn is_on_nodes(&self, name: &str) -> Vec<String> {
        let nodes = self.nodes(name);
        for node in &nodes {
            let found = self.gangs_on(node);
            assert!(found.contains("/gang-") && found.contains("~csi/strobe"), "the cgroup and the volume of {name} on {node}: {found:?}");
        }
        nodes
    }

    /// Waits until no gang has anything on nodes: kubelet still tidies up after pods that are gone.
    pub(crate) fn no_gang_is_on(&self, nodes: &[String]) {
        for node in nodes {
            until(&format!("no gang has anything on {node}"), || self.gangs_on(node).is_empty());
        }
    }

    /// The names of a job's pods, with a space after each.
    pub(crate) fn pods(&self, name: &str) -> String {
        let names = r"--output=jsonpath={range .items[*]}{.metadata.name}{' '}{end}";
        self.namespace.run(&["get", "pods", &format!("--selector=strobe.dev/job={name}"), names]).unwrap()
    }

    /// The name of a pod of a job's life of now. It need not be the first: one whose pods could not be bound in time is followed by
    /// another, on other nodes, and neither the job nor the scenario has failed.
    pub(crate) fn pod(&self, name: &str, index: usize) -> String {
        format!("{name}-{}-{index}", self.field(name, ".status.incarnation"))
    }

    /// Nodes of a job's pods.
    pub(crate) fn nodes(&self, name: &str) -> Vec<String> {
        let nodes = "--output=jsonpath={.items[*].spec.nodeName}";
        let nodes = self.namespace.run(&["get", "pods", &format!("--selector=strobe.dev/job={name}"), nodes]).unwrap();
        nodes.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until jobs are complete; what they have computed must be right.
    pub(crate) fn complete(&self, names: &[&str]) {
        for name in names {
            self.wait("condition=Complete", name);
            let said = self.namespace.run(&["logs", &self.pod(name, 0)]).unwrap();
            assert!(said.contains(": ok ranks=2"), "{said}");
        }
    }

    /// A field of a job.
    pub(crate) fn field(&self, name: &str, path: &str) -> String {
        self.namespace.run(&["get", &format!("paralleljob/{name}"), &format!("--output=jsonpath={{{path}}}")]).unwrap()
    }

    /// Reason and message of a job's condition.
    pub(crate) fn condition(&self, name: &str, kind: &str) -> (String, String) {
        let of = |what| self.field(name, &format!(".status.conditions[?(@.type=='{kind}')].{what}"));
        (of("reason"), of("message"))
    }

    /// Waits until jobs are in a state.
    pub(crate) fn are(&self, state: &str, names: &[&str]) {
        for name in names {
            self.wait(&format!("jsonpath={{.status.state}}={state}"), name);
        }
    }

    /// Waits until people are told this of a job.
    pub(crate) fn told(&self, name: &str, reason: &str, note: &str) {
        let of_job = format!("--field-selector=involvedObject.kind=ParallelJob,involvedObject.name={name},reason={reason}");
        let notes = || self.namespace.run(&["get", "events", &of_job, "--output=jsonpath={.items[*].message}"]).unwrap();
        until(&format!("{reason} is told of {name}: {note:?}"), || notes() == note);
    }

    /// Waits for what a job shall come to.
    pub(crate) fn wait(&self, condition: &str, job: &str) {
        if let Err(error) = self.namespace.wait(condition, &format!("paralleljob/{job}")) {
            panic!("{job}: {error:#}");
        }
    }
}
