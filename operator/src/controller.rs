//! Watches jobs and what they refer to, and writes into each job's status what is made of it.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use strobe_crds::API_VERSION;
use strobe_crds::parallel_job::{ParallelJob, ParallelJobStatus, Reason};
use strobe_crds::partition::Partition;
use tokio::signal::unix::{SignalKind, signal};

use crate::limits::{AGAIN, JOBS_AT_A_TIME};
use crate::refusal::{Surroundings, refusal};
use crate::status;

/// Who owns what the operator writes, and whom events name.
const MANAGER: &str = "strobe-operator";

/// The value of a job's `managedBy` that is ours, stated.
const OURS: &str = "strobe.dev/operator";

/// A job as it comes from the API server: one that cannot be read is there too, and stops no other.
type Watched = DeserializeGuard<ParallelJob>;

/// Why a job's status could not be brought up to date. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server did not tell what the job refers to.
    #[error("cannot read {what}")]
    Read {
        /// Kind and name.
        what: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not take the status.
    #[error("cannot write the status")]
    Write(#[source] Box<kube::Error>),
}

struct Context {
    client: Client,
    recorder: Recorder,
}

/// Objects that a job refers to.
struct Dereferenced {
    partition: Option<Partition>,
    namespace: Option<Namespace>,
    runtime_class: Option<RuntimeClass>,
}

/// Works until a signal asks for the end; what is being written then is written.
///
/// # Errors
/// Signals cannot be waited for.
pub async fn run(client: Client, instance: Option<String>) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let end = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let recorder = Recorder::new(client.clone(), Reporter { controller: OURS.to_owned(), instance });
    let context = Arc::new(Context { client: client.clone(), recorder });
    let jobs = Controller::<Watched>::new(Api::all(client.clone()), watcher::Config::default());
    let (of_partition, of_namespace) = (jobs.store(), jobs.store());
    jobs.with_config(Config::default().concurrency(JOBS_AT_A_TIME))
        .watches(Api::<DeserializeGuard<Partition>>::all(client.clone()), watcher::Config::default(), move |partition| {
            let name = partition.name_any();
            those(&of_partition, |job| job.spec.partition == name)
        })
        .watches(Api::<Namespace>::all(client), watcher::Config::default(), move |namespace| {
            let name = namespace.name_any();
            those(&of_namespace, |job| job.metadata.namespace.as_deref() == Some(&name))
        })
        .graceful_shutdown_on(end)
        .run(reconcile, |_job, _error, _context| Action::requeue(AGAIN), context)
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed, and is tried again");
            }
        })
        .await;
    Ok(())
}

/// The readable jobs for which something holds.
fn those(jobs: &Store<Watched>, holds: impl Fn(&ParallelJob) -> bool) -> Vec<ObjectRef<Watched>> {
    let found = |job: &Arc<Watched>| job.0.as_ref().is_ok_and(&holds).then(|| ObjectRef::from_obj(job.as_ref()));
    jobs.state().iter().filter_map(found).collect()
}

async fn reconcile(job: Arc<Watched>, context: Arc<Context>) -> Result<Action, ReconcileError> {
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
    let found = dereference(&context.client, job).await?;
    let refusal = refusal(job, &found.surroundings());
    let status = status::waiting(job, refusal, &Time(Timestamp::now()));
    if job.status.as_ref() != Some(&status) {
        update_status(&context, job, &status).await?;
    }
    Ok(Action::await_change())
}

/// Reads what the job refers to. What does not exist is not there; that is for others to judge.
async fn dereference(client: &Client, job: &ParallelJob) -> Result<Dereferenced, ReconcileError> {
    let partition: Option<DeserializeGuard<Partition>> = read(client, "Partition", Some(&job.spec.partition)).await?;
    let runtime_class = job.spec.template.spec.as_ref().and_then(|pod| pod.runtime_class_name.as_deref());
    Ok(Dereferenced {
        partition: partition.and_then(|partition| partition.0.ok()),
        namespace: read(client, "Namespace", job.metadata.namespace.as_deref()).await?,
        runtime_class: read(client, "RuntimeClass", runtime_class).await?,
    })
}

/// Reads an object that belongs to no namespace, if one is named.
async fn read<K>(client: &Client, kind: &str, name: Option<&str>) -> Result<Option<K>, ReconcileError>
where
    K: kube::Resource<Scope = kube::core::ClusterResourceScope, DynamicType: Default> + Clone + Debug + DeserializeOwned,
{
    let Some(name) = name else { return Ok(None) };
    let failed = |source| ReconcileError::Read { what: format!("{kind} {name:?}"), source: Box::new(source) };
    Api::all(client.clone()).get_opt(name).await.map_err(failed)
}

/// Writes the status, and tells it as an event where the reason is another than before.
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
    if job.status.as_ref().and_then(|before| before.reason) != status.reason {
        tell(context, job, status).await;
    }
    Ok(())
}

/// An event is for people. The status says the same, so that one which is lost is not sent again.
async fn tell(context: &Context, job: &ParallelJob, status: &ParallelJobStatus) {
    let Some(reason) = status.reason else { return };
    let wished = reason == Reason::SuspendRequested;
    let event = Event {
        type_: if wished { EventType::Normal } else { EventType::Warning },
        reason: reason.to_string(),
        note: status.message.clone(),
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
        Surroundings { partition: self.partition.as_ref(), namespace: self.namespace.as_ref(), runtime_class: self.runtime_class.as_ref() }
    }
}
