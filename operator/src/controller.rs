//! Watches jobs and what they refer to, gives each to the authority of its partition, and writes into its status what is made of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use strobe_core::model::GangState as CoreState;
use strobe_crds::API_VERSION;
use strobe_crds::parallel_job::{GangState, ParallelJob, ParallelJobStatus, Reason};
use strobe_crds::partition::Partition;
use strobe_crds::validate::{self, ValidJob};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::expiry;
use crate::happenings::{Happening, happenings};
use crate::limits::{AGAIN, CHANGED_JOBS, JOBS_AT_A_TIME};
use crate::metrics::Metrics;
use crate::network::{NetworkError, Networks};
use crate::nodes;
use crate::partitions::{Partitions, Submission};
use crate::priority::{self, Priority, priority};
use crate::refusal::{Refusal, Surroundings, refusal};
use crate::status;
use crate::trial::{TrialError, Trials};
use crate::watched::Watched;

/// Who owns what the operator writes, and whom events name.
pub(crate) const MANAGER: &str = "strobe-operator";

/// The value of a job's `managedBy` that is ours, stated.
pub(crate) const OURS: &str = "strobe.dev/operator";

/// A job as it comes from the API server: one that cannot be read is there too, and stops no other.
pub type WatchedJob = DeserializeGuard<ParallelJob>;

/// Why a job's status could not be brought up to date. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server did not say what it would do with the pods.
    #[error("cannot judge the job")]
    Trial(#[from] TrialError),
    /// The API server did not make what the gang's pods reach each other by.
    #[error("cannot settle the job's network")]
    Network(#[from] NetworkError),
    /// The API server did not delete a job that was kept long enough.
    #[error("cannot delete a finished job")]
    Delete(#[source] Box<kube::Error>),
    /// The API server did not take the status.
    #[error("cannot write the status")]
    Write(#[source] Box<kube::Error>),
}

struct Context {
    client: Client,
    recorder: Recorder,
    partitions: Arc<Partitions>,
    watched: Watched,
    trials: Trials,
    networks: Networks,
}

/// What is made of a job.
struct Judgement {
    /// Its priority, where nothing speaks against it.
    verdict: Result<Priority, Refusal>,
    /// When to judge again, changed or not.
    again: Option<Duration>,
}

/// Objects that a job refers to.
struct Dereferenced {
    partition: Option<Arc<Partition>>,
    namespace: Option<Arc<Namespace>>,
    runtime_class: Option<Arc<RuntimeClass>>,
}

/// The jobs that there are, and how they are looked at anew.
pub struct Jobs {
    /// As they are known.
    pub known: Store<WatchedJob>,
    /// What is sent here is looked at.
    pub changed: mpsc::Sender<ObjectRef<WatchedJob>>,
}

/// The jobs that there are, and who looks at them.
pub struct JobController {
    jobs: Controller<WatchedJob>,
    metrics: Metrics,
    changed: mpsc::Receiver<ObjectRef<WatchedJob>>,
}

// === impl Jobs ===

impl Jobs {
    /// Has the jobs looked at for which something holds.
    async fn touch(&self, holds: impl Fn(&ParallelJob) -> bool) {
        for job in those(&self.known, holds) {
            // Whoever looks at them is gone only when this replica leads no more.
            let _nobody_looks = self.changed.send(job).await;
        }
    }
}

// === impl JobController ===

impl JobController {
    /// Begins to watch. What is sent to the other end of `changed` is looked at anew.
    #[must_use]
    pub fn new(client: Client, changed: mpsc::Receiver<ObjectRef<WatchedJob>>, metrics: Metrics) -> Self {
        Self { jobs: Controller::new(Api::all(client), watcher::Config::default()), metrics, changed }
    }

    /// The jobs as they are known here.
    #[must_use]
    pub fn store(&self) -> Store<WatchedJob> {
        self.jobs.store()
    }

    /// Works until `end`; what is being written then is written.
    pub async fn run(
        self,
        client: Client,
        instance: Option<String>,
        partitions: Arc<Partitions>,
        end: impl Future<Output = ()> + Send + Sync + 'static,
    ) {
        let recorder = Recorder::new(client.clone(), Reporter { controller: OURS.to_owned(), instance });
        let (touched, touching) = mpsc::channel(CHANGED_JOBS);
        let watched = Watched::begin(&client, self.jobs.store(), touched);
        let trials = Trials::new(client.clone(), self.jobs.store());
        let networks = Networks::new(client.clone(), self.jobs.store());
        let mut end = Box::pin(end);
        tokio::select! {
            ((), ()) = async { tokio::join!(watched.listed(), partitions.listed()) } => {}
            () = &mut end => return,
        }
        let context = Arc::new(Context { client, recorder, partitions, watched, trials, networks });
        self.jobs
            .with_config(Config::default().concurrency(JOBS_AT_A_TIME))
            .reconcile_on(ReceiverStream::new(self.changed))
            .reconcile_on(ReceiverStream::new(touching))
            .graceful_shutdown_on(end)
            .run(reconcile, |_job, _error, _context| Action::requeue(AGAIN), context)
            .for_each(async |outcome| {
                self.metrics.reconciled(outcome.is_ok());
                if let Err(error) = outcome {
                    tracing::warn!(error = &error as &dyn std::error::Error, "failed, and is tried again");
                }
            })
            .await;
    }
}

/// Tells the authorities which partitions and nodes there are, for as long as the process lives; then the jobs of a partition are looked
/// at anew.
pub async fn follow_partitions(client: Client, partitions: Arc<Partitions>, jobs: Jobs) {
    tokio::join!(nodes::follow(client.clone(), Arc::clone(&partitions)), follow_objects(client, partitions, jobs));
}

async fn follow_objects(client: Client, partitions: Arc<Partitions>, jobs: Jobs) {
    let (cache, writer) = reflector::store();
    let watched = watcher(Api::<DeserializeGuard<Partition>>::all(client), watcher::Config::default());
    let mut changes = std::pin::pin!(reflector::reflector(writer, watched.default_backoff()));
    while let Some(change) = changes.next().await {
        match change {
            // A list that has begun does not have them all.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(watcher::Event::InitDone) => {
                tell_partitions(&cache, &partitions);
                partitions.are_listed();
                jobs.touch(|_| true).await;
            }
            Ok(watcher::Event::Apply(partition) | watcher::Event::Delete(partition)) => {
                tell_partitions(&cache, &partitions);
                let name = partition.name_any();
                jobs.touch(|job| job.spec.partition == name).await;
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "Partitions are not seen for now"),
        }
    }
}

fn tell_partitions(cache: &Store<DeserializeGuard<Partition>>, partitions: &Partitions) {
    let there = cache.state();
    partitions.retain(|uid| there.iter().any(|partition| partition.uid().as_deref() == Some(uid)));
    for partition in there {
        match &partition.0 {
            Ok(readable) => partitions.update(Arc::new(readable.clone())),
            Err(unreadable) => tracing::warn!(partition = partition.name_any(), error = %unreadable, "a Partition cannot be read"),
        }
    }
}

/// The readable jobs for which something holds.
fn those(jobs: &Store<WatchedJob>, holds: impl Fn(&ParallelJob) -> bool) -> Vec<ObjectRef<WatchedJob>> {
    let found = |job: &Arc<WatchedJob>| job.0.as_ref().is_ok_and(&holds).then(|| ObjectRef::from_obj(job.as_ref()));
    jobs.state().iter().filter_map(found).collect()
}

async fn reconcile(job: Arc<WatchedJob>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let job = match &job.0 {
        Ok(job) => job,
        Err(unreadable) => {
            let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
            tracing::warn!(namespace, name, error = %unreadable, "a ParallelJob cannot be read, and is left alone until it changes");
            return Ok(Action::await_change());
        }
    };
    if job.spec.managed_by.as_deref().is_some_and(|manager| manager != OURS) || job.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if job.status.as_ref().and_then(|status| status.state).is_some_and(GangState::is_over) {
        return expire(&context, job).await;
    }
    let Judgement { verdict, again } = judge(&context, job).await?;
    let taken = match (&verdict, validate::parallel_job(job)) {
        (Ok(priority), Ok(valid)) => {
            // Before the pods, which may look for each other by name as soon as they begin.
            let policies = context.watched.policies(&job.namespace().unwrap_or_default());
            let settled = job.spec.suspend || context.networks.settle(job, &policies).await?;
            settled & context.partitions.submit(submission(job, valid, priority))
        }
        // Nothing is known against it: in the queue it keeps its place, and what is remembered of its lives.
        (Err(refusal), _) if refusal.reason == Reason::TrialNotAnswered => true,
        (_, _) => context.partitions.refuse(job),
    };
    // Asked before what it says: an authority may begin in between.
    let begun = context.partitions.has_begun(&job.spec.partition);
    let value = verdict.as_ref().ok().map(|priority| priority.value);
    if let Some(status) = status(&context, job, verdict.err(), begun) {
        let status = ParallelJobStatus { priority: value, ..status };
        if job.status.as_ref() != Some(&status) {
            update_status(&context, job, &status).await?;
        }
    }
    // That a Partition is gone may be heard here before it is known there: then nothing would tell its jobs.
    let goes = context.partitions.partition(&job.spec.partition).is_some_and(|partition| partition.metadata.deletion_timestamp.is_some());
    Ok(if taken && begun && !goes { again.map_or_else(Action::await_change, Action::requeue) } else { Action::requeue(AGAIN) })
}

/// Keeps a finished job for as long as it asks.
async fn expire(context: &Context, job: &ParallelJob) -> Result<Action, ReconcileError> {
    match expiry::left(job, Timestamp::now()) {
        None => Ok(Action::await_change()),
        Some(Duration::ZERO) => {
            expiry::delete(&context.client, job).await.map_err(|error| ReconcileError::Delete(Box::new(error)))?;
            Ok(Action::await_change())
        }
        Some(left) => Ok(Action::requeue(left)),
    }
}

/// What speaks against a job: first what can be told without asking anybody, then what its namespace would do to its pods.
async fn judge(context: &Context, job: &ParallelJob) -> Result<Judgement, ReconcileError> {
    let found = dereference(context, job);
    let waits = has_no_pods(context, job);
    let verdict = match (refusal(job, &found.surroundings()), priority(job, &context.watched.priority_classes())) {
        (Some(refusal), _) => Err(refusal),
        // Its class is gone, but it is in the queue no more.
        (None, Err(_)) if !waits => Ok(priority::known(job)),
        (None, priority) => priority,
    };
    let (Ok(priority), Some(partition)) = (&verdict, found.partition.filter(|_| waits)) else {
        return Ok(Judgement { verdict, again: None });
    };
    let tried = context.trials.outcome(&stating(job, priority), &partition, &context.watched).await?;
    Ok(Judgement { verdict: tried.refusal.map_or(verdict, Err), again: tried.again })
}

/// True while a job waits for slots: by what its authority says, and by what was said of it before that knew it.
fn has_no_pods(context: &Context, job: &ParallelJob) -> bool {
    let said = job.status.as_ref().and_then(|status| status.state);
    let standing = context.partitions.standing(job.metadata.uid.as_deref().unwrap_or_default());
    let waits = standing.is_none_or(|standing| standing.state == CoreState::Queued);
    waits && !job.spec.suspend && said.is_none_or(|state| matches!(state, GangState::Queued | GangState::Suspended))
}

fn submission(job: &ParallelJob, valid: ValidJob, priority: &Priority) -> Submission {
    Submission { job: Arc::new(stating(job, priority)), valid, priority: priority.value }
}

/// The job with the class of its pods stated, whoever chose that.
fn stating(job: &ParallelJob, priority: &Priority) -> ParallelJob {
    let mut stating = job.clone();
    stating.spec.priority_class_name.clone_from(&priority.class);
    stating
}

/// What its partition's authority says of a job, or else what can be said without one. Whoever has slots keeps them, whatever speaks
/// against the job by now. Nothing while an authority that has not begun may know the job from an earlier one, or one that has a manager was
/// not heard about it: it tells when it has looked.
fn status(context: &Context, job: &ParallelJob, refusal: Option<Refusal>, begun: bool) -> Option<ParallelJobStatus> {
    let now = Time(Timestamp::now());
    let standing = context.partitions.standing(job.metadata.uid.as_deref().unwrap_or_default());
    if let Some(standing) = standing.filter(|standing| refusal.is_none() || standing.state != CoreState::Queued) {
        return Some(status::standing(job, &standing, &now));
    }
    let is_looked_at = refusal.is_none() && !job.spec.suspend && context.partitions.has_manager(&job.spec.partition);
    (begun && !is_looked_at).then(|| status::waiting(job, refusal, &now))
}

/// Looks up what the job refers to. What does not exist is not there; that is for others to judge.
fn dereference(context: &Context, job: &ParallelJob) -> Dereferenced {
    Dereferenced {
        partition: context.partitions.partition(&job.spec.partition),
        namespace: context.watched.namespace(job),
        runtime_class: context.watched.runtime_class(job),
    }
}

/// Writes the status, and tells as events what has happened since the one before.
async fn update_status(context: &Context, job: &ParallelJob, status: &ParallelJobStatus) -> Result<(), ReconcileError> {
    let name = job.name_any();
    let jobs: Api<ParallelJob> = Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    // The UID keeps it from a job of the same name that came after this one.
    let object = json!({ "apiVersion": API_VERSION, "kind": "ParallelJob", "metadata": { "uid": job.metadata.uid }, "status": status });
    match jobs.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
        Ok(_) => {}
        // Deleted meanwhile, or replaced by another of its name: that one is looked at by itself.
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return Ok(()),
        Err(error) => return Err(ReconcileError::Write(Box::new(error))),
    }
    for happening in happenings(job.status.as_ref(), status) {
        tell(context, job, happening).await;
    }
    Ok(())
}

/// An event is for people. The status says the same, so that one which is lost is not sent again.
async fn tell(context: &Context, job: &ParallelJob, happening: Happening) {
    let Happening { reason, note, is_normal } = happening;
    let event = Event {
        type_: if is_normal { EventType::Normal } else { EventType::Warning },
        reason,
        note,
        action: "Admit".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &job.object_ref(&())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an event was not taken");
    }
}

// === impl Dereferenced ===

impl Dereferenced {
    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            partition: self.partition.as_deref(),
            namespace: self.namespace.as_deref(),
            runtime_class: self.runtime_class.as_deref(),
        }
    }
}
