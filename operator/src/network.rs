//! How a gang's pods reach each other: by names, and past policies of their namespace.
//!
//! **Names.** A headless Service of the job's name gives each pod `JOB-INDEX.JOB.NAMESPACE.svc`, from before it is ready: a program may look
//! for its peers as soon as it begins.
//!
//! **Policies.** A NetworkPolicy does two things: it isolates the pods that it selects, and it lets something through to them. Kubernetes
//! adds policies up, so that one of ours that selects pods which are isolated already can only let more through. One that selects pods
//! which nobody isolates would cut whatever reaches them today: a scraper, a dashboard, a port that a user has opened. Therefore a gang has
//! a policy exactly while another one of its namespace selects its pods, for the directions in which that does, and it lets through what
//! comes from and goes to the gang's own pods, nothing else. Where nothing isolates them all is open anyway, and nothing is needed.
//!
//! What has the job's name and is somebody else's stays as it is; the gang runs without.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{NamespaceResourceScope, Selector, SelectorExt as _};
use kube::runtime::reflector::Store;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use strobe_crds::parallel_job::ParallelJob;

use crate::controller::{MANAGER, WatchedJob};
use crate::names::{LABEL_JOB, LABEL_JOB_UID};

/// The Services and policies of jobs, as far as this operator has made them.
pub struct Networks {
    client: Client,
    jobs: Store<WatchedJob>,
    made: Mutex<BTreeMap<String, Directions>>,
}

/// The API server did not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot settle the job's {kind}")]
pub struct NetworkError {
    kind: &'static str,
    #[source]
    source: Box<kube::Error>,
}

/// Where policies isolate pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Directions {
    ingress: bool,
    egress: bool,
}

/// Whose an object of the job's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    This,
    /// A job of that name that is gone: the object will be.
    Earlier,
    Other,
}

// === impl Networks ===

impl Networks {
    /// Networks of the jobs in a cache; who is not there any more is forgotten.
    #[must_use]
    pub fn new(client: Client, jobs: Store<WatchedJob>) -> Self {
        Self { client, jobs, made: Mutex::default() }
    }

    /// Makes a job's Service, and its policy where the namespace's policies ask for one; only what has changed since is asked for.
    /// False when an earlier job's are still there, so that it has to be tried again.
    ///
    /// # Errors
    /// The API server does not do it.
    pub async fn settle(&self, job: &ParallelJob, policies: &[Arc<NetworkPolicy>]) -> Result<bool, NetworkError> {
        let uid = job.uid().unwrap_or_default();
        let wanted = isolated(job, policies);
        let known = self.made().get(&uid).copied();
        if known == Some(wanted) {
            return Ok(true);
        }
        let mut settled = known.is_some() || self.apply::<Service>(job, "Service", &service(job)).await?;
        // One that an earlier operator made may be too much by now.
        if wanted == Directions::default() {
            self.remove_policy(job).await?;
        } else {
            settled &= self.apply::<NetworkPolicy>(job, "NetworkPolicy", &policy(job, wanted)).await?;
        }
        if settled {
            self.keep(uid, wanted);
        }
        Ok(settled)
    }

    async fn apply<K>(&self, job: &ParallelJob, kind: &'static str, object: &Value) -> Result<bool, NetworkError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let name = job.name_any();
        let failed = |source| NetworkError { kind, source: Box::new(source) };
        match owner(job, api.get_opt(&name).await.map_err(failed)?.as_ref()) {
            Owner::Nobody | Owner::This => {}
            Owner::Earlier => return Ok(false),
            Owner::Other => {
                tracing::warn!(kind, name, namespace = job.namespace(), "is not the job's and stays as it is");
                return Ok(true);
            }
        }
        match api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
            Ok(_) => Ok(true),
            // A quota or a policy of the namespace: the gang runs without.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 403 | 422) => {
                tracing::warn!(kind, name, namespace = job.namespace(), message = answer.message, "is not let in");
                Ok(true)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn remove_policy(&self, job: &ParallelJob) -> Result<(), NetworkError> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let failed = |source| NetworkError { kind: "NetworkPolicy", source: Box::new(source) };
        let found = api.get_opt(&job.name_any()).await.map_err(failed)?;
        let Some(ours) = found.filter(|found| owner(job, Some(found)) == Owner::This) else { return Ok(()) };
        let this = DeleteParams::default().preconditions(Preconditions { uid: ours.uid(), resource_version: None });
        match api.delete(&job.name_any(), &this).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn keep(&self, uid: String, made: Directions) {
        let mut known = self.made();
        if known.insert(uid, made).is_none() {
            let there: BTreeSet<String> = self.jobs.state().iter().filter_map(|job| job.uid()).collect();
            known.retain(|uid, _| there.contains(uid));
        }
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<String, Directions>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owner(job: &ParallelJob, found: Option<&impl Resource>) -> Owner {
    let Some(found) = found else { return Owner::Nobody };
    let of_job = found.meta().labels.as_ref().and_then(|labels| labels.get(LABEL_JOB_UID));
    match of_job {
        Some(uid) if job.metadata.uid.as_ref() == Some(uid) => Owner::This,
        Some(_) => Owner::Earlier,
        None => Owner::Other,
    }
}

/// The directions in which the other policies of its namespace isolate a job's pods.
fn isolated(job: &ParallelJob, policies: &[Arc<NetworkPolicy>]) -> Directions {
    let template = job.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    let mut labels = template.unwrap_or_default();
    labels.extend(labels_of(job));
    let selects = |policy: &NetworkPolicy| {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
        // One that cannot be read selects nothing here; the API server lets none in.
        Selector::try_from(selector).is_ok_and(|selector| selector.matches(&labels))
    };
    let others = policies.iter().filter(|policy| !policy.labels().contains_key(LABEL_JOB_UID) && selects(policy));
    let kinds: BTreeSet<&str> =
        others.filter_map(|policy| policy.spec.as_ref()?.policy_types.as_deref()).flatten().map(String::as_str).collect();
    Directions { ingress: kinds.contains("Ingress"), egress: kinds.contains("Egress") }
}

/// What the job's pods have in common.
fn labels_of(job: &ParallelJob) -> BTreeMap<String, String> {
    let pairs = [(LABEL_JOB, job.name_any()), (LABEL_JOB_UID, job.uid().unwrap_or_default())];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

fn metadata(job: &ParallelJob) -> Value {
    json!({ "name": job.name_any(), "labels": labels_of(job), "ownerReferences": job.controller_owner_ref(&()).into_iter().collect::<Vec<_>>() })
}

fn service(job: &ParallelJob) -> Value {
    let selector = json!({ LABEL_JOB_UID: job.uid() });
    let spec = json!({ "clusterIP": "None", "publishNotReadyAddresses": true, "selector": selector });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata(job), "spec": spec })
}

fn policy(job: &ParallelJob, wanted: Directions) -> Value {
    let own = json!({ "matchLabels": { LABEL_JOB_UID: job.uid() } });
    let mut spec = json!({ "podSelector": own, "policyTypes": [] });
    let mut kinds = Vec::new();
    if wanted.ingress {
        kinds.push("Ingress");
        spec["ingress"] = json!([{ "from": [{ "podSelector": own }] }]);
    }
    if wanted.egress {
        kinds.push("Egress");
        spec["egress"] = json!([{ "to": [{ "podSelector": own }] }]);
    }
    spec["policyTypes"] = json!(kinds);
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(job), "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> ParallelJob {
        serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor", "namespace": "physics", "uid": "c0ffee" },
            "spec": { "partition": "all", "template": {
                "metadata": { "labels": { "app": "solver" } }, "spec": { "containers": [{ "name": "rank", "command": ["sor"] }] },
            } },
        }))
        .unwrap()
    }

    fn other(labels: &Value, selector: &Value, kinds: &[&str]) -> Arc<NetworkPolicy> {
        let spec = json!({ "podSelector": selector, "policyTypes": kinds });
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": "other", "labels": labels }, "spec": spec })).unwrap())
    }

    #[test]
    fn a_gang_is_isolated_by_the_policies_that_select_its_pods() {
        let by = |selector: Value, kinds: &[&str]| {
            let Directions { ingress, egress } = isolated(&job(), &[other(&json!({}), &selector, kinds)]);
            (ingress, egress)
        };
        assert_eq!(by(json!({}), &["Ingress"]), (true, false), "of every pod of the namespace");
        assert_eq!(by(json!({ "matchLabels": { "app": "solver" } }), &["Ingress", "Egress"]), (true, true));
        assert_eq!(by(json!({ "matchLabels": { "strobe.dev/job": "sor" } }), &["Egress"]), (false, true));
        assert_eq!(by(json!({ "matchLabels": { "app": "web" } }), &["Ingress"]), (false, false));
    }

    #[test]
    fn a_policy_of_a_gang_isolates_nobody() {
        let ours = other(&json!({ "strobe.dev/job-uid": "c0ffee" }), &json!({}), &["Ingress"]);
        assert_eq!(isolated(&job(), &[ours]), Directions::default());
    }

    #[test]
    fn a_gang_is_let_through_to_itself_in_the_directions_in_which_it_is_isolated() {
        let own = json!({ "podSelector": { "matchLabels": { "strobe.dev/job-uid": "c0ffee" } } });
        let spec = policy(&job(), Directions { ingress: true, egress: false })["spec"].clone();
        assert_eq!((&spec["policyTypes"], &spec["ingress"]), (&json!(["Ingress"]), &json!([{ "from": [own.clone()] }])));
        assert_eq!(spec.get("egress"), None, "without a rule it would be no isolation, with the type it would be a total one");
        let spec = policy(&job(), Directions { ingress: false, egress: true })["spec"].clone();
        assert_eq!((&spec["policyTypes"], &spec["egress"]), (&json!(["Egress"]), &json!([{ "to": [own] }])));
    }

    #[test]
    fn objects_of_the_jobs_name_are_told_apart_by_the_job_that_they_are_of() {
        let of = |labels: &Value| {
            let found: Service = serde_json::from_value(json!({ "metadata": { "name": "sor", "labels": labels } })).unwrap();
            owner(&job(), Some(&found))
        };
        assert_eq!(owner(&job(), None::<&Service>), Owner::Nobody);
        assert_eq!(of(&json!({ "strobe.dev/job-uid": "c0ffee" })), Owner::This);
        assert_eq!(of(&json!({ "strobe.dev/job-uid": "tea" })), Owner::Earlier);
        assert_eq!(of(&json!({})), Owner::Other);
    }
}
