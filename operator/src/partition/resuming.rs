//! What an authority must not forget of its gangs, and how the next one goes on with it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use strobe_core::authority::{AuthorityInput, Recollection};
use strobe_core::matrix::Matrix;
use strobe_core::model::{GangId, GangRun, Settings};
use strobe_crds::parallel_job::{GangState, ParallelJob};
use strobe_crds::validate;

use super::Partition;
use super::gangs::Gang;
use super::jobs::Job;
use super::keeper::Change;
use super::kept::{KeptGang, KeptJob};
use super::{answered, pods};
use crate::controller::WatchedJob;
use crate::names::LABEL_PARTITION_UID;
use crate::partitions::Submission;
use crate::resources;

impl Partition {
    /// Keeps what must not be forgotten of the gangs, where it has changed.
    pub(super) fn keep_gangs(&mut self) -> Change {
        let recollections: Vec<Recollection> = self.authority.recollections().collect();
        let rows = self.authority.matrix().map_or(0, Matrix::rows);
        let (jobs, now) = (&self.jobs, Timestamp::now().as_second());
        let (change, ()) = self.keeper.keep(|kept| {
            let before = std::mem::take(&mut kept.gangs);
            let keep = |recollection: Recollection| {
                let job = jobs.get(&recollection.gang)?;
                let same = |known: &&KeptGang| {
                    (known.recollection.gang, known.recollection.incarnation) == (recollection.gang, recollection.incarnation)
                };
                let admitted = before.iter().find(same).map_or(now, |known| known.admitted);
                Some(KeptGang { job: kept_job(&job.object), recollection, admitted })
            };
            kept.gangs = recollections.into_iter().filter_map(keep).collect();
            kept.rows = rows;
        });
        change
    }

    /// Goes on where an earlier authority stood: with its record, in its matrix, with the gangs whose jobs are still there.
    pub(super) async fn resume(&mut self) {
        let kept = self.keeper.kept().clone();
        let settings = strobe_authority::settings(&self.valid);
        let rows = if kept.gangs.is_empty() { settings.rows } else { kept.rows };
        let pods = self.list_pods().await;
        let mut found = Vec::new();
        for gang in kept.gangs {
            found.extend(self.find(&gang.job).await.map(|job| (job, gang)));
        }
        for (submission, gang) in &found {
            self.jobs.insert(gang.recollection.gang, Job::known(submission.clone()));
        }
        let configuration = self.configuration(Settings { rows, ..settings }).map(|configuration| with_room(configuration, &found));
        let first = configuration.into_iter().chain([AuthorityInput::Recovered(kept.term)]);
        let mut inputs: Vec<AuthorityInput> = first.collect();
        inputs.extend(found.into_iter().map(|(submission, gang)| self.recall(gang, &submission, &pods)));
        // All at once: what is kept in between would lack the gangs that are still to come.
        self.step_all(inputs);
        self.evict_incomplete();
        self.configure();
    }

    /// The job of a gang, if it is still there. Asked of the API server: what the controller has listed of jobs may not be whole yet, and
    /// of several that wait for a cache of kube's one alone is woken when it is.
    async fn find(&self, job: &KeptJob) -> Option<Submission> {
        let api: Api<WatchedJob> = Api::namespaced(self.context.client.clone(), &job.namespace);
        let found = answered("read the job of a gang", || api.get_opt(&job.name)).await?;
        let object = found.0.ok().filter(|object| object.uid().as_ref() == Some(&job.uid))?;
        let valid = validate::parallel_job(&object).ok()?;
        // The controller says its priority when it first looks at it; until then nobody is admitted who waits before it.
        Some(Submission { job: Arc::new(object), valid, priority: 0 })
    }

    fn recall(&mut self, kept: KeptGang, submission: &Submission, pods: &[Pod]) -> AuthorityInput {
        let KeptGang { recollection, admitted, .. } = kept;
        let gang = recollection.gang;
        let run = GangRun { gang, incarnation: recollection.incarnation };
        let held = Duration::from_secs(u64::try_from(Timestamp::now().as_second() - admitted).unwrap_or(0));
        if let Some(recalled) = &recollection.run {
            let nodes = self.launches.begin(run, recalled.placement.clone());
            let placed = pods.iter().filter_map(|pod| Some((pods::place(pod, &submission.job, run)?, pod.uid()?)));
            self.gangs.insert(run, Gang::known(nodes, &placed.collect::<Vec<_>>()));
        }
        let specification = super::jobs::specification(gang, 0, submission);
        AuthorityInput::Resume { specification, recollection, held }
    }

    /// The pods of this partition's gangs, however long it takes: without their UIDs agents could not be told of them.
    async fn list_pods(&self) -> Vec<Pod> {
        let api: Api<Pod> = Api::all(self.context.client.clone());
        let labels = format!("{LABEL_PARTITION_UID}={}", self.object.uid().unwrap_or_default());
        let chosen = ListParams::default().labels(&labels);
        answered("list the pods of gangs", || api.list(&chosen)).await.items
    }

    /// True while the status of a job that has ended does not say so: then it is forgotten.
    pub(super) fn has_untold_ends(&self) -> bool {
        self.jobs.keys().any(|gang| self.authority.job(*gang).is_some_and(|status| status.state.is_terminal()))
    }

    /// Forgets jobs that have ended once their status says so.
    pub(super) fn forget_ended(&mut self) {
        let is_told = |job: &Job| {
            let state = job.found(&self.context.jobs).and_then(|found| found.0.as_ref().ok()?.status.as_ref()?.state);
            state.is_some_and(GangState::is_over)
        };
        let ended = |gang: &GangId| self.authority.job(*gang).is_none_or(|status| status.state.is_terminal());
        let gangs: Vec<GangId> = self.jobs.iter().filter(|(gang, job)| ended(gang) && is_told(job)).map(|(gang, _)| *gang).collect();
        gangs.into_iter().for_each(|gang| self.forget(gang));
    }
}

/// A node's memory may have shrunk since gangs were placed there: what they have stays theirs, or they would not be resumed.
fn with_room(mut input: AuthorityInput, found: &[(Submission, KeptGang)]) -> AuthorityInput {
    if let AuthorityInput::Configure(configuration) = &mut input {
        for node in &mut configuration.nodes {
            let stands = |gang: &KeptGang| gang.recollection.run.iter().flat_map(|run| &run.placement).any(|part| part.node == node.node);
            let there = found.iter().filter(|(_, gang)| stands(gang));
            node.memory_bytes = node.memory_bytes.max(there.map(|(submission, _)| resources::memory(&submission.job)).sum());
        }
    }
    input
}

fn kept_job(object: &ParallelJob) -> KeptJob {
    KeptJob { namespace: object.namespace().unwrap_or_default(), name: object.name_any(), uid: object.uid().unwrap_or_default() }
}
