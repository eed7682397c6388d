//! What a replica does: it stands for election, is the operator for as long as it leads, and stands again when it was the operator.

use std::convert::Infallible;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use strobe_fabric::authority::CertificateAuthority;
use tokio::sync::{mpsc, watch};

use crate::controller::{JobController, Jobs, follow_partitions};
use crate::election::{Election, Times};
use crate::limits::{CHANGED_JOBS, ELECTION_AGAIN, END_TIME_MAX};
use crate::metrics::Metrics;
use crate::names::LABEL_LEADS;
use crate::partition::pod_groups::PodGroups;
use crate::partitions::{self, Partitions};

/// The partitions' authorities, in the replica that leads.
pub type Leading = watch::Receiver<Option<Arc<Partitions>>>;

/// What a replica is to be.
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The operator's namespace.
    pub namespace: String,
    /// What names this replica in events and in the election.
    pub instance: String,
    /// Who signs certificates.
    pub authority: Arc<CertificateAuthority>,
    /// Where it counts.
    pub metrics: Metrics,
    /// Each gang is a group of pods for the scheduler too, where the API server serves them (docs/adr/0013).
    pub pod_groups: bool,
}

/// See the module.
pub struct Replica {
    options: Options,
    leading: watch::Sender<Option<Arc<Partitions>>>,
}

// === impl Replica ===

impl Replica {
    /// One that does not lead yet.
    #[must_use]
    pub fn new(options: Options) -> (Self, Leading) {
        let (leading, seen) = watch::channel(None);
        (Self { options, leading }, seen)
    }

    /// Works until it is asked to end; then it gives the Lease up.
    ///
    /// *Guarantees*: what is the operator's alone ends before another replica may take the Lease. What was sent to the API server by then
    /// may still be taken; what an authority keeps is written only where no other has written it.
    pub async fn run(self, ending: watch::Receiver<bool>) {
        let Options { client, namespace, instance, .. } = &self.options;
        let mut election = Election::new(client.clone(), namespace, instance.clone(), Times::default());
        loop {
            tokio::select! {
                () = election.elected() => {}
                () = asked_to_end(ending.clone()) => return,
            }
            tracing::info!(instance, "this replica leads");
            let lost = tokio::select! {
                lost = election.hold() => Some(lost),
                () = self.lead(ending.clone()) => None,
            };
            self.leading.send_replace(None);
            match lost {
                Some(lost) => tracing::warn!(error = &lost as &dyn std::error::Error, "this replica leads no more"),
                None => return election.resign().await,
            }
        }
    }

    /// Is the operator, until it is asked to end; what is being written then is written.
    async fn lead(&self, ending: watch::Receiver<bool>) {
        let Options { client, namespace, instance, authority, metrics, pod_groups } = &self.options;
        let (changed, changes) = mpsc::channel(CHANGED_JOBS);
        let jobs = JobController::new(client.clone(), changes, metrics.clone());
        let touched = Jobs { known: jobs.store(), changed: changed.clone() };
        let context = partitions::Context {
            client: client.clone(),
            namespace: namespace.clone(),
            authority: Arc::clone(authority),
            jobs: jobs.store(),
            changed,
            pod_groups: pod_groups.then(|| PodGroups::new(client.clone(), instance.clone())),
        };
        let partitions = Arc::new(Partitions::new(context));
        self.leading.send_replace(Some(Arc::clone(&partitions)));
        tokio::select! {
            () = follow_partitions(client.clone(), Arc::clone(&partitions), touched) => {}
            () = jobs.run(client.clone(), Some(instance.clone()), partitions, asked_to_end(ending.clone())) => {}
            () = overdue(ending) => tracing::warn!("what was being written is not waited for any longer"),
            never = self.be_found() => match never {},
        }
    }

    /// Marks this replica's pod as the one that leads, and no other: the Service selects it, so that agents enrol where they can.
    async fn be_found(&self) -> Infallible {
        while let Err(error) = self.mark().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "this replica's pod is not marked as the one that leads");
            tokio::time::sleep(ELECTION_AGAIN).await;
        }
        std::future::pending().await
    }

    async fn mark(&self) -> Result<(), kube::Error> {
        let Options { client, namespace, instance, .. } = &self.options;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let marked = pods.list_metadata(&ListParams::default().labels(LABEL_LEADS)).await?;
        let others = marked.iter().filter_map(|pod| pod.metadata.name.as_deref()).filter(|name| name != instance);
        for (name, value) in others.map(|name| (name, None)).chain([(instance.as_str(), Some("true"))]) {
            let patch = Patch::Merge(json!({ "metadata": { "labels": { LABEL_LEADS: value } } }));
            match pods.patch_metadata(name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                // It is gone; or this process is no pod.
                Err(kube::Error::Api(answer)) if answer.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns some time after the request to end: a controller that has not listed its objects yet does not end by itself.
async fn overdue(ending: watch::Receiver<bool>) {
    asked_to_end(ending).await;
    tokio::time::sleep(END_TIME_MAX).await;
}

/// Returns once it is true.
async fn asked_to_end(mut ending: watch::Receiver<bool>) {
    // Where nobody can ask any more the process ends.
    let _gone = ending.wait_for(|ending| *ending).await;
}
