//! The partitions of the cluster: each has a task of its own, which is its authority. Here is who finds which.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Client, ResourceExt as _};
use strobe_core::model::{CpuIndex, NodeIndex, PartitionUid, Settings};
use strobe_crds::parallel_job::ParallelJob;
use strobe_crds::partition::Partition;
use strobe_crds::selection::claimants;
use strobe_crds::validate::ValidJob;
use strobe_fabric::authority::CertificateAuthority;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::controller::WatchedJob;
use crate::limits::{MANAGER_CHANGE, PARTITION_EVENTS};
use crate::names::ANNOTATION_CPUS;
use crate::nodes::{NodeFacts, Nodes};
use crate::partition::pod_groups::PodGroups;
use crate::partition::{self, Board, Enrolling, Event, shares};
use crate::resources::Resource;
use crate::standing::Standing;

/// What the tasks have in common.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's namespace, where it keeps what must not be forgotten.
    pub namespace: String,
    /// Who signs certificates.
    pub authority: Arc<CertificateAuthority>,
    /// The jobs that there are.
    pub jobs: Cache<WatchedJob>,
    /// Jobs of which there is something new to be said.
    pub changed: mpsc::Sender<ObjectRef<WatchedJob>>,
    /// Gangs are groups of pods for the scheduler too; none where that is not wished for.
    pub(crate) pod_groups: Option<PodGroups>,
}

/// See the module.
pub struct Partitions {
    context: Context,
    tasks: Mutex<BTreeMap<String, Task>>,
    /// What is to be said of jobs, by their UIDs.
    board: Board,
    /// The nodes as they were seen, and what counts of them; none before all have been listed.
    seen: Mutex<Option<Vec<Arc<Node>>>>,
    nodes: watch::Sender<Option<Arc<Nodes>>>,
    /// True once all Partitions have been listed.
    listed: watch::Sender<bool>,
}

/// What the tasks of partitions have in common with each other.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) board: Board,
    pub(crate) nodes: watch::Receiver<Option<Arc<Nodes>>>,
    pub(crate) known: Arc<Known>,
}

/// What is known of a partition beside its object.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// True once its authority has said all that it knows of jobs from an earlier one.
    pub(crate) begun: AtomicBool,
    /// Whether it has a machine manager; set before its status says so.
    pub(crate) managed: Managed,
}

/// Whether there is a machine manager, or was one a moment ago: between two terms there is none, and nobody has to be told.
#[derive(Debug, Default)]
pub(crate) struct Managed {
    now: AtomicBool,
    /// When the last one had gone.
    ended: Mutex<Option<Instant>>,
}

// === impl Managed ===

impl Managed {
    pub(crate) fn set(&self, managed: bool, now: Instant) {
        if self.now.swap(managed, Ordering::AcqRel) && !managed {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
    }

    pub(crate) fn lately(&self, now: Instant) -> bool {
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.load(Ordering::Acquire) || ended.is_some_and(|ended| now < ended + MANAGER_CHANGE)
    }
}

/// A job that nothing speaks against.
#[derive(Clone, Debug)]
pub struct Submission {
    /// It, with the class of its pods stated, whoever chose that.
    pub job: Arc<ParallelJob>,
    /// The same, validated.
    pub valid: ValidJob,
    /// Value of its priority class.
    pub priority: i32,
}

/// A partition's authority; it ends with this value.
struct Task {
    partition: Arc<Partition>,
    events: mpsc::Sender<Event>,
    known: Arc<Known>,
    handle: AbortHandle,
}

/// What a node is in its partition.
#[derive(Clone, Debug)]
pub struct Place {
    /// The partition.
    pub partition: PartitionUid,
    /// Its name.
    pub name: String,
    /// The node's number.
    pub node: NodeIndex,
    /// Times and policy.
    pub settings: Settings,
    /// CPUs that ranks may use.
    pub cpus: Vec<CpuIndex>,
}

/// Why a node takes no part now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentRefused {
    /// Nothing selects it.
    #[error("no Partition selects this node's labels")]
    NoPartition,
    /// A node belongs to one at most.
    #[error("the Partitions {} select this node; a node belongs to one at most", .0.join(", "))]
    SeveralPartitions(Vec<String>),
    /// There is no number left.
    #[error("the Partition has as many nodes as it can have")]
    Full,
    /// Of the CPUs that the agent offers its partition takes none.
    #[error("the Partition's cpus and the node's annotation {ANNOTATION_CPUS} leave none of the CPUs that the node's agent may use")]
    NoCpus,
    /// The annotation is no list.
    #[error("the node's annotation {ANNOTATION_CPUS} is {0:?}; it must be a list such as 0-3,8")]
    BadCpus(String),
    /// What must not be forgotten could not be kept.
    #[error("the Partition's authority cannot take in nodes now")]
    Unavailable,
    /// Numbers are given by the replica that leads alone.
    #[error("this replica of the operator does not lead; another one takes in nodes")]
    NotLeading,
}

// === impl Partitions ===

impl Partitions {
    /// None yet.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            context,
            tasks: Mutex::default(),
            board: Arc::default(),
            seen: Mutex::default(),
            nodes: watch::Sender::new(None),
            listed: watch::Sender::new(false),
        }
    }

    /// All Partitions that there are have been told.
    pub(crate) fn are_listed(&self) {
        self.listed.send_replace(true);
    }

    /// Until all Partitions have been listed once: of one that is not known before, nothing is to be said.
    pub async fn listed(&self) {
        // The sender is this value's.
        drop(self.listed.subscribe().wait_for(|listed| *listed).await);
    }

    /// A partition is there, or has changed.
    pub fn update(&self, partition: Arc<Partition>) {
        let Some(uid) = partition.uid() else { return };
        let mut tasks = self.tasks();
        match tasks.get_mut(&uid) {
            Some(task) => {
                task.partition = Arc::clone(&partition);
                // Where the task takes nothing now it hears with the next change of the object, of which its own status is one.
                let _full = task.events.try_send(Event::Configured(partition));
            }
            None => {
                let (events, queue) = mpsc::channel(PARTITION_EVENTS);
                let known = Arc::new(Known::default());
                let shared = Shared { board: Arc::clone(&self.board), nodes: self.nodes.subscribe(), known: Arc::clone(&known) };
                let running = partition::run(self.context.clone(), Arc::clone(&partition), shared, queue);
                let told = tell_of_pod_groups(self.context.pod_groups.clone(), Arc::clone(&partition));
                let handle = tokio::spawn(async { tokio::join!(running, told) }).abort_handle();
                tasks.insert(uid, Task { partition, events, known, handle });
            }
        }
        drop(tasks);
        self.judge_nodes();
    }

    /// These are the nodes that there are.
    pub fn see_nodes(&self, nodes: Vec<Arc<Node>>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(nodes);
        self.judge_nodes();
    }

    /// Tells the tasks what counts of the nodes, where that has changed.
    fn judge_nodes(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(nodes) = seen.as_ref() else { return };
        let tasks = self.tasks();
        let judged = |node: &Arc<Node>| {
            let partition = select(node, tasks.values().map(|task| &*task.partition)).ok();
            (node.name_any(), NodeFacts { partition, ..NodeFacts::of(node) })
        };
        let judged: Nodes = nodes.iter().map(judged).collect();
        self.nodes.send_if_modified(|known| {
            let differs = known.as_deref() != Some(&judged);
            if differs {
                *known = Some(Arc::new(judged));
            }
            differs
        });
    }

    /// Partitions are gone: all but these.
    pub fn retain(&self, uids: impl Fn(&str) -> bool) {
        self.tasks().retain(|uid, task| {
            let stays = uids(uid);
            if !stays {
                tracing::info!(partition = task.partition.name_any(), "a Partition is gone");
            }
            stays
        });
        self.judge_nodes();
    }

    /// Gives a partition's authority a job that nothing speaks against. False when it takes nothing now.
    pub fn submit(&self, submission: Submission) -> bool {
        self.say(&submission.valid.partition.clone(), Event::Job(Box::new(submission)))
    }

    /// Tells a partition's authority that something speaks against a job. False when it takes nothing now; no partition wants it.
    pub fn refuse(&self, job: &ParallelJob) -> bool {
        self.partition(&job.spec.partition).is_none() || self.say(&job.spec.partition, Event::Refused(Arc::new(job.clone())))
    }

    /// The partition of that name.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<Arc<Partition>> {
        self.task(name, |task| Arc::clone(&task.partition))
    }

    /// Whether the partition of that name has a machine manager or had one a moment ago, by its authority or by what an earlier one has said. The object alone will
    /// not do: whoever has read there that it has one may apply a job before the object's change is seen here.
    #[must_use]
    pub fn has_manager(&self, name: &str) -> bool {
        let said = |task: &Task| task.partition.status.as_ref().is_some_and(|status| status.manager.is_some());
        self.task(name, |task| task.known.managed.lately(Instant::now()) || said(task)).unwrap_or(false)
    }

    /// False while the authority of the partition of that name has not said yet what it knows of its jobs. Nothing is to be expected where
    /// there is no such partition.
    #[must_use]
    pub fn has_begun(&self, name: &str) -> bool {
        self.task(name, |task| task.known.begun.load(Ordering::Acquire)).unwrap_or(true)
    }

    fn task<T>(&self, name: &str, look: impl Fn(&Task) -> T) -> Option<T> {
        self.tasks().values().find(|task| task.partition.name_any() == name).map(look)
    }

    fn say(&self, name: &str, event: Event) -> bool {
        self.task(name, |task| task.events.clone()).is_some_and(|events| events.try_send(event).is_ok())
    }

    /// What the authority says of a job; none when it does not know it.
    #[must_use]
    pub fn standing(&self, job_uid: &str) -> Option<Standing> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).get(job_uid).cloned()
    }

    /// The state of each job that can be read and has one, as its status says it.
    pub(crate) fn states_of_jobs(&self) -> Vec<String> {
        let state = |job: &Arc<WatchedJob>| {
            let state = job.0.as_ref().ok()?.status.as_ref()?.state?;
            serde_json::to_value(state).ok()?.as_str().map(str::to_owned)
        };
        self.context.jobs.state().iter().filter_map(state).collect()
    }

    /// Takes a node into the partition that selects it.
    ///
    /// # Errors
    /// See [`EnrolmentRefused`].
    pub async fn enrol(&self, node: Node, address: SocketAddr, cpus: Vec<CpuIndex>, boot_id: String) -> Result<Place, EnrolmentRefused> {
        let events = self.of_node(&node)?;
        let (answer, answered) = oneshot::channel();
        let requested = shares::requested(&self.context.client, &node.name_any(), Resource::Memory).await;
        let memory_requested = requested.map_err(|error| {
            tracing::warn!(node = node.name_any(), error = &error as &dyn std::error::Error, "what its pods request is not known");
            EnrolmentRefused::Unavailable
        })?;
        let event = Event::Enrol(Box::new(Enrolling { node, address, cpus, memory_requested, boot_id, answer }));
        events.send(event).await.map_err(|_| EnrolmentRefused::Unavailable)?;
        answered.await.unwrap_or(Err(EnrolmentRefused::Unavailable))
    }

    fn of_node(&self, node: &Node) -> Result<mpsc::Sender<Event>, EnrolmentRefused> {
        let tasks = self.tasks();
        let found = select(node, tasks.values().map(|task| &*task.partition))?;
        let task = tasks.values().find(|task| task.partition.name_any() == found).ok_or(EnrolmentRefused::NoPartition)?;
        Ok(task.events.clone())
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Says of a partition what becomes of the wish for groups of pods, where there is one.
async fn tell_of_pod_groups(wished: Option<PodGroups>, partition: Arc<Partition>) {
    if let Some(pod_groups) = wished {
        pod_groups.tell(&partition).await;
    }
}

/// The name of the partition that a node belongs to.
fn select<'a>(node: &Node, partitions: impl Iterator<Item = &'a Partition>) -> Result<String, EnrolmentRefused> {
    match claimants(node, partitions).as_slice() {
        [] => Err(EnrolmentRefused::NoPartition),
        [one] => Ok(one.name_any()),
        several => Err(EnrolmentRefused::SeveralPartitions(several.iter().map(|partition| partition.name_any()).collect())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn partition(name: &str, selector: &Value) -> Partition {
        serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": name }, "spec": { "nodeSelector": selector },
        }))
        .unwrap()
    }

    #[test]
    fn a_manager_that_was_there_a_moment_ago_is_not_missed_yet() {
        let (managed, begin) = (Managed::default(), Instant::now());
        let lately = |seconds: u64| managed.lately(begin + Duration::from_secs(seconds));
        managed.set(false, begin);
        assert!(!lately(0), "there was none");
        managed.set(true, begin);
        assert!(lately(3600));
        managed.set(false, begin + Duration::from_secs(10));
        managed.set(false, begin + Duration::from_secs(14));
        assert_eq!([14, 15].map(lately), [true, false]);
    }

    fn node(labels: &Value) -> Node {
        serde_json::from_value(json!({ "metadata": { "name": "n", "labels": labels } })).unwrap()
    }

    #[test]
    fn a_node_belongs_to_one_partition() {
        let partitions = [partition("a", &json!({ "x": "1" })), partition("b", &json!({ "y": "2" }))];
        let both = node(&json!({ "x": "1", "y": "2" }));
        let expected = EnrolmentRefused::SeveralPartitions(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(select(&both, partitions.iter()), Err(expected));
        assert_eq!(select(&node(&json!({ "x": "1" })), partitions.iter()), Ok("a".to_owned()));
        assert_eq!(select(&node(&json!({})), partitions.iter()), Err(EnrolmentRefused::NoPartition));
    }
}
