//! The cluster as the cells find it: Strobe installed, one namespace for the jobs, and a partition of its own, for as long as it is measured, of
//! the workers with a CPU each and with the quantum that a cell wants.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt as _;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::cell::ROWS;
use super::time::now;
use crate::ask::Ask;
use crate::cluster::{Namespace, NodePod, WORKERS, system};

/// The workers whose ranks have a CPU each. The third one, which shares both CPUs with them, is of the partition only where a cell says so.
pub(super) const PAIR: [&str; 2] = [WORKERS[0], WORKERS[1]];

/// The namespace of the jobs, and that of the pods that look at the nodes.
const NAMESPACE: &str = "measure";
const NODES: &str = "measure-nodes";

/// The partition that is measured, and the label of its nodes: they come back to the partition that they were in when it is gone.
pub(super) const PARTITION: &str = "measure";
const LABEL: &str = "strobe.dev/measure";

/// The quantum at which nothing else is asked for: the default.
pub(super) const QUANTUM_MS: u32 = 50;

/// How long jobs may take until they are where they are wanted. Many times what they take on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often nodes are looked at while agents begin anew.
const PERIOD: Duration = Duration::from_millis(500);

/// The namespaces of a measurement; the cluster is for nobody else while this lives.
pub struct Place {
    nodes: Namespace,
    namespace: Namespace,
}

/// See the module.
pub struct Setting<'a> {
    place: &'a Place,
    /// On each worker of the pair.
    pair: [NodePod<'a>; 2],
    runtime: Runtime,
    client: Client,
    /// Whether agents without the real-time class are measured too.
    any_scheduler: bool,
}

/// What was seen of a job; nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When it was about to be given to the API server.
    pub(super) submitted: i128,
    /// When a watch told that it runs.
    pub(super) running: i128,
}

/// Takes away what a measurement has made, also one that was cut off. Agents go back to their partition as they find it gone.
///
/// # Errors
/// kubectl fails.
pub fn restore() -> Result<()> {
    label(&WORKERS, "-")?;
    system::kubectl(&["delete", "partition", PARTITION, "--ignore-not-found", "--wait=false"]).map(drop)
}

/// Gives nodes the label, or takes it away (`-`).
fn label(nodes: &[&str], change: &str) -> Result<()> {
    let change = format!("{LABEL}{change}");
    system::kubectl(&[&["label", "--overwrite", "nodes"], nodes, &[change.as_str()]].concat()).map(drop)
}

/// The nodes that have the label, by their names.
fn labelled() -> Result<Vec<String>> {
    let names = system::kubectl(&["get", "nodes", &format!("--selector={LABEL}"), "--output=jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// All agents begin anew, at once: those that a change makes leave are started again by kubelet, each in its own time.
fn renew_agents() -> Result<()> {
    let agents = "--selector=app.kubernetes.io/name=strobe-agent";
    in_system(&["delete", "pods", "--wait=true", "--timeout=120s", agents])?;
    in_system(&["rollout", "status", "--timeout=240s", system::AGENT]).map(drop)
}

/// kubectl where operator and agents live.
pub(super) fn in_system(arguments: &[&str]) -> Result<String> {
    system::kubectl(&[&["--namespace", system::NAMESPACE], arguments].concat())
}

/// What kubectl tells of something, as JSON.
fn told(what: &[&str]) -> Result<Value> {
    let text = system::kubectl(&[&["get", "--output=json"], what].concat())?;
    serde_json::from_str(&text).with_context(|| format!("read what kubectl tells of {}", what.join(" ")))
}

// === impl Place ===

impl Place {
    /// Waits until nobody else uses the cluster, and makes the namespaces.
    ///
    /// # Errors
    /// No cluster is named, or it does not answer.
    pub fn make() -> Result<Self> {
        let namespace = Namespace::make_alone(NAMESPACE)?;
        Ok(Self { nodes: namespace.beside(NODES)?, namespace })
    }
}

// === impl Setting ===

impl<'a> Setting<'a> {
    /// Installs Strobe where it is not, makes the partition, and looks whether its agents are fit to be measured. `renew`: operator and
    /// agents begin anew first, as where the nodes have been given other images.
    ///
    /// # Errors
    /// Something does not become ready, or the agents do not switch in real time and that is not allowed.
    pub fn begin(place: &'a Place, renew: bool, any_scheduler: bool) -> Result<Self> {
        if in_system(&["get", system::AGENT]).is_err() {
            system::upgrade(&[])?;
        } else if renew {
            in_system(&["rollout", "restart", system::OPERATOR])?;
            in_system(&["rollout", "status", "--timeout=240s", system::OPERATOR])?;
            // A measurement that was cut off by force has left a partition that fits: nothing else would renew them.
            renew_agents()?;
        }
        let runtime = Runtime::new().context("start the client's runtime")?;
        let client = runtime.block_on(place.namespace.client())?;
        let pair = [NodePod::start(&place.nodes, "first", PAIR[0])?, NodePod::start(&place.nodes, "second", PAIR[1])?];
        let setting = Self { place, pair, runtime, client, any_scheduler };
        setting.configure(&PAIR, ROWS, QUANTUM_MS)?;
        Ok(setting)
    }

    /// Takes the partition away, and waits until the agents have begun anew without it.
    ///
    /// # Errors
    /// They do not come back.
    pub fn end(self) -> Result<()> {
        label(&WORKERS, "-")?;
        system::kubectl(&["delete", "partition", PARTITION, "--wait=true", "--timeout=120s"])?;
        renew_agents()
    }

    /// The namespace of the jobs.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.place.namespace
    }

    /// The pod on a worker of the pair.
    pub(super) fn on(&self, node: &str) -> Result<&NodePod<'a>> {
        let found = PAIR.iter().position(|known| *known == node).with_context(|| format!("node {node} is none of the pair"))?;
        Ok(&self.pair[found])
    }

    /// What a path of the API server holds, as text.
    pub(super) fn read(&self, path: &str) -> Result<String> {
        let request = Request::get(path).body(Vec::new()).context("make a request")?;
        self.runtime.block_on(self.client.request_text(request)).with_context(|| format!("read {path}"))
    }

    /// The partition gets these nodes, rows and quantum, unless it has them.
    ///
    /// # Errors
    /// Its agents do not come to be strobed, or not in real time where that is asked for.
    pub(super) fn configure(&self, nodes: &[&str], rows: u8, quantum_ms: u32) -> Result<()> {
        let wanted = partition(rows, quantum_ms);
        let known = told(&["partition", "--ignore-not-found", PARTITION]).unwrap_or_default();
        let fits = ["rows", "quantum"].iter().all(|field| known["spec"][field] == wanted["spec"][field]);
        if fits && labelled()? == nodes {
            return Ok(());
        }
        let before = self.lives()?;
        label(&WORKERS, "-")?;
        label(nodes, "=true")?;
        self.namespace().apply(&wanted)?;
        renew_agents()?;
        self.await_nodes(nodes, &before)
    }

    /// Which life of each node's agent is known.
    fn lives(&self) -> Result<BTreeMap<String, u64>> {
        let life = |node: &Value| Some((node["metadata"]["name"].as_str()?.to_owned(), node["status"]["incarnation"].as_u64()?));
        Ok(all_nodes()?.iter().filter_map(life).collect())
    }

    /// The partition's nodes as the operator tells of them.
    pub(super) fn nodes(&self) -> Result<Vec<Value>> {
        Ok(all_nodes()?.into_iter().filter(|node| node["spec"]["partition"] == PARTITION).collect())
    }

    /// Waits until the agents of these nodes are strobed, in other lives than before.
    fn await_nodes(&self, names: &[&str], before: &BTreeMap<String, u64>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut nodes = self.nodes()?;
            nodes.retain(|node| node["metadata"]["name"].as_str().is_some_and(|name| names.contains(&name)));
            if nodes.len() == names.len() && nodes.iter().all(|node| is_strobed(node, before)) {
                return nodes.iter().try_for_each(|node| self.check_scheduler(node));
            }
            if Instant::now() >= deadline {
                bail!("the agents are not all strobed after {PATIENCE:?}: {}\n{}", json!(nodes), system::said_by(system::AGENT));
            }
            std::thread::sleep(PERIOD);
        }
    }

    fn check_scheduler(&self, node: &Value) -> Result<()> {
        let (name, figures) = (&node["metadata"]["name"], &node["status"]["figures"]);
        let fit = figures["scheduler"] == "Fifo" && figures["freezer"] == "Cgroup";
        ensure!(
            fit || self.any_scheduler,
            "the agent of {name} switches with scheduler {} and freezer {}: only Fifo and Cgroup are measured. Nodes that are containers on \
             cgroup v1 need a real-time budget from outside, before their agents begin",
            figures["scheduler"],
            figures["freezer"]
        );
        Ok(())
    }

    /// Gives jobs to the API server at once and waits until each has come to what is wanted of its status.
    ///
    /// # Errors
    /// One is refused, fails, or does not come there in time.
    pub(super) fn submit(&self, jobs: &[Value], wanted: impl Fn(&Value) -> bool) -> Result<BTreeMap<String, Seen>> {
        let work = async { tokio::time::timeout(PATIENCE, self.submitted(jobs, wanted)).await };
        self.runtime.block_on(work).with_context(|| format!("jobs are not where they should be after {PATIENCE:?}"))?
    }

    async fn submitted(&self, jobs: &[Value], wanted: impl Fn(&Value) -> bool) -> Result<BTreeMap<String, Seen>> {
        let collection = format!("/apis/strobe.dev/v1alpha1/namespaces/{NAMESPACE}/paralleljobs");
        let list = Ask::read(&collection).accepted(&self.client).await?;
        let version = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
        let watch =
            Request::get(format!("{collection}?watch=true&resourceVersion={version}")).body(Vec::new()).context("make a request")?;
        let events = self.client.request_events::<Value>(watch).await.context("watch the jobs")?;
        let mut seen = BTreeMap::new();
        for job in jobs {
            let name = job["metadata"]["name"].as_str().context("a job has a name")?.to_owned();
            seen.insert(name, Seen { submitted: now(), running: 0 });
            Ask::create(&collection, job).accepted(&self.client).await?;
        }
        let mut waiting = jobs.len();
        let mut there: BTreeMap<String, ()> = BTreeMap::new();
        let mut events = std::pin::pin!(events);
        while waiting > 0 {
            let event = events.try_next().await.context("watch the jobs")?.context("the watch has ended")?;
            let (WatchEvent::Added(job) | WatchEvent::Modified(job)) = event else { continue };
            let Some(name) = job["metadata"]["name"].as_str().filter(|name| seen.contains_key(*name)) else { continue };
            note(&job, seen.get_mut(name).context("it is one of these")?)?;
            if wanted(&job["status"]) && there.insert(name.to_owned(), ()).is_none() {
                waiting -= 1;
            }
        }
        Ok(seen)
    }

    /// Removes all jobs and waits until none of their pods is left.
    ///
    /// # Errors
    /// Some are left after a while.
    pub(super) fn clear(&self) -> Result<()> {
        let wait = "--timeout=240s";
        self.namespace().run(&["delete", "paralleljobs,jobs,pods", "--all", "--wait=true", wait])?;
        if !self.namespace().run(&["get", "pods", "--output=name"])?.is_empty() {
            self.namespace().run(&["wait", "--for=delete", wait, "pods", "--all"])?;
        }
        Ok(())
    }
}

/// The nodes of all partitions.
fn all_nodes() -> Result<Vec<Value>> {
    let mut nodes = told(&["partitionnodes"])?["items"].take();
    nodes.as_array_mut().map(std::mem::take).context("a list has items")
}

fn partition(rows: u8, quantum_ms: u32) -> Value {
    json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": PARTITION },
        "spec": { "nodeSelector": { LABEL: "true" }, "rows": rows, "quantum": format!("{quantum_ms}ms"), "dedicated": false },
    })
}

fn note(job: &Value, seen: &mut Seen) -> Result<()> {
    let status = &job["status"];
    if status["state"] == "Running" && seen.running == 0 {
        seen.running = now();
    }
    ensure!(status["state"] != "Failed", "job {} failed: {}", job["metadata"]["name"], status["message"]);
    Ok(())
}

/// Whether a node's agent is a member that is strobed, in another life than the one before.
fn is_strobed(node: &Value, before: &BTreeMap<String, u64>) -> bool {
    let status = &node["status"];
    let earlier = node["metadata"]["name"].as_str().and_then(|name| before.get(name));
    let begun_anew = status["incarnation"].as_u64().is_some_and(|life| earlier.is_none_or(|earlier| life > *earlier));
    begun_anew && status["member"] == true && status["figures"]["strobe"] == "Strobed"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_life_of_an_agent_has_taken_another_quantum() {
        let node = |life: u64, strobe: &str| json!({ "metadata": { "name": "one" }, "status": { "incarnation": life, "member": true, "figures": { "strobe": strobe } } });
        let before = BTreeMap::from([("one".to_owned(), 7)]);
        assert!(is_strobed(&node(8, "Strobed"), &before));
        assert!(!is_strobed(&node(7, "Strobed"), &before), "the life that leaves");
        assert!(!is_strobed(&node(8, "Unsealed"), &before));
        assert!(is_strobed(&node(7, "Strobed"), &BTreeMap::new()));
    }

    #[test]
    fn the_first_word_that_a_job_runs_counts_and_a_failure_ends_the_cell() {
        let mut seen = Seen::default();
        note(&json!({ "status": { "state": "Running" } }), &mut seen).unwrap();
        let first = seen.running;
        note(&json!({ "status": { "state": "Running" } }), &mut seen).unwrap();
        assert!(first > 0 && seen.running == first);
        assert!(note(&json!({ "status": { "state": "Failed", "message": "why" } }), &mut seen).is_err());
    }
}
