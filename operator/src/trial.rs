//! What a job's namespace would do to its pods, before it has any: one is made with `dryRun=All`, and compared with what was sent
//! (docs/adr/0013).
//!
//! A job is tried again when it has changed; when what may decide about it has changed (the namespace's labels, LimitRanges, what its
//! quotas demand, the partition), but not within [`TRIAL_AGAIN`]; and one that was refused also without any change, after
//! [`TRIAL_AGAIN`] first and then twice as long each time up to [`TRIAL_AGAIN_MOST`], since policies and the use of a quota are not
//! watched, nor is a webhook that does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{LimitRange, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, PostParams};
use kube::core::Status;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};
use strobe_core::model::{GangId, GangIncarnation, GangRun};
use strobe_crds::parallel_job::{ParallelJob, Reason};
use strobe_crds::partition::Partition;

use crate::controller::WatchedJob;
use crate::limits::{TRIAL_AGAIN, TRIAL_AGAIN_MOST};
use crate::partition::pod;
use crate::refusal::Refusal;
use crate::resources;
use crate::watched::Watched;

/// The jobs that were tried.
pub struct Trials {
    client: Client,
    jobs: Store<WatchedJob>,
    verdicts: Mutex<BTreeMap<String, Verdict>>,
}

/// What came out of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why the job is not admitted, if it is not.
    pub refusal: Option<Refusal>,
    /// When to look at it again, changed or not.
    pub again: Option<Duration>,
}

/// The API server did not say what it would do with a pod.
#[derive(Debug, thiserror::Error)]
#[error("cannot try a pod")]
pub struct TrialError(#[source] Box<kube::Error>);

/// What a verdict depends on, as far as it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    generation: Option<i64>,
    circumstances: u64,
}

#[derive(Clone, Debug)]
struct Verdict {
    look: Look,
    at: Instant,
    refusal: Option<Refusal>,
    /// Refusals in a row of the same look.
    refusals: u32,
}

/// What to do about a job that was tried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    In(Duration),
    Never,
}

// === impl Trials ===

impl Trials {
    /// Trials of the jobs in a cache; who is not there any more is forgotten.
    #[must_use]
    pub fn new(client: Client, jobs: Store<WatchedJob>) -> Self {
        Self { client, jobs, verdicts: Mutex::default() }
    }

    /// Whether a job's pods would be let in as they are. The job states the class of its pods.
    ///
    /// # Errors
    /// The API server does not say; nothing is known of the job then.
    pub async fn outcome(&self, job: &ParallelJob, partition: &Partition, watched: &Watched) -> Result<Outcome, TrialError> {
        let uid = job.uid().unwrap_or_default();
        let look = Look { generation: job.metadata.generation, circumstances: circumstances(job, partition, watched) };
        let known = self.verdicts().get(&uid).cloned();
        match known.as_ref().map_or(Due::Now, |verdict| verdict.due(look, Instant::now())) {
            Due::Now => {}
            Due::In(time) => return Ok(Outcome { refusal: known.and_then(|verdict| verdict.refusal), again: Some(time) }),
            Due::Never => return Ok(Outcome::default()),
        }
        let refusal = self.attempt(job, partition, watched).await?;
        let before = known.filter(|verdict| verdict.look == look).map_or(0, |verdict| verdict.refusals);
        let refusals = if refusal.is_some() { before.saturating_add(1) } else { 0 };
        let again = refusal.is_some().then(|| back_off(refusals));
        self.keep(uid, Verdict { look, at: Instant::now(), refusal: refusal.clone(), refusals });
        Ok(Outcome { refusal, again })
    }

    async fn attempt(&self, job: &ParallelJob, partition: &Partition, watched: &Watched) -> Result<Option<Refusal>, TrialError> {
        let namespace = job.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let sent = pod_of(job, partition);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        match pods.create(&dry, &sent).await {
            Ok(answered) => Ok(injected(job, &sent, &answered).map(|limit| limited(job, limit, &watched.limit_ranges(&namespace)))),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(kube::Error::Api(status)) if is_forbidden(&status) => {
                Ok(Some(Refusal { reason: Reason::PodForbidden, message: status.message }))
            }
            // A webhook that the server asks is down or slow, or the server is in trouble itself: whose pods it would take is not known.
            Err(kube::Error::Api(status)) if status.code >= 500 => {
                Ok(Some(Refusal { reason: Reason::TrialNotAnswered, message: status.message }))
            }
            Err(error) => Err(TrialError(Box::new(error))),
        }
    }

    fn keep(&self, uid: String, verdict: Verdict) {
        let mut verdicts = self.verdicts();
        if verdicts.insert(uid, verdict).is_none() {
            let there: BTreeSet<String> = self.jobs.state().iter().filter_map(|job| job.uid()).collect();
            verdicts.retain(|uid, _| there.contains(uid));
        }
    }

    fn verdicts(&self) -> MutexGuard<'_, BTreeMap<String, Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Verdict ===

impl Verdict {
    fn due(&self, look: Look, now: Instant) -> Due {
        let wait = match &self.refusal {
            _ if look.generation != self.look.generation => return Due::Now,
            _ if look.circumstances != self.look.circumstances => TRIAL_AGAIN,
            None => return Due::Never,
            Some(_) => back_off(self.refusals),
        };
        match wait.saturating_sub(now.saturating_duration_since(self.at)) {
            Duration::ZERO => Due::Now,
            left => Due::In(left),
        }
    }
}

/// Whether an answer says that a pod is not wanted, now or ever. A 403 that names no pod is the operator's own lack of rights.
pub(crate) fn is_forbidden(status: &Status) -> bool {
    let names_it = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    match status.code {
        403 => names_it,
        404 | 422 => true,
        _ => false,
    }
}

/// How long a refused job waits.
fn back_off(refusals: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(refusals.saturating_sub(1));
    TRIAL_AGAIN.saturating_mul(doubled).min(TRIAL_AGAIN_MOST)
}

/// What may decide about a pod, as one number.
fn circumstances(job: &ParallelJob, partition: &Partition, watched: &Watched) -> u64 {
    let namespace = job.namespace().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (partition.uid(), partition.spec.rows, &job.spec.priority_class_name).hash(&mut hasher);
    watched.namespace(job).map(|namespace| namespace.labels().clone()).hash(&mut hasher);
    for range in watched.limit_ranges(&namespace) {
        (range.uid(), format!("{:?}", range.spec)).hash(&mut hasher);
    }
    for quota in watched.quotas(&namespace) {
        (quota.uid(), format!("{:?}", quota.spec)).hash(&mut hasher);
    }
    hasher.finish()
}

/// The first pod of a life that never is, without a node, asking for as much CPU as it ever may.
fn pod_of(job: &ParallelJob, partition: &Partition) -> Pod {
    let slots = u64::from(job.spec.ranks_per_node) * u64::from(job.spec.cpus_per_rank);
    let rows = partition.spec.rows.max(1);
    let cpu = resources::cpu_at_most(slots, rows.into());
    let run = GangRun { gang: GangId(0), incarnation: GangIncarnation(0) };
    let partition_uid = partition.uid().unwrap_or_default();
    pod::pod(job, &pod::Place { run, index: 0, node: None, partition_uid: &partition_uid, cpu, rows, is_grouped: false })
}

/// The CPU limit that the ranks' container was given by others.
fn injected<'a>(job: &ParallelJob, sent: &Pod, answered: &'a Pod) -> Option<&'a Quantity> {
    let (_, ranks) = job.spec.find_rank_container()?;
    let limit = |pod: &'a Pod| {
        let container = pod.spec.as_ref()?.containers.iter().find(|container| container.name == ranks.name)?;
        container.resources.as_ref()?.limits.as_ref()?.get("cpu")
    };
    let own = sent.spec.iter().flat_map(|spec| &spec.containers).find(|container| container.name == ranks.name);
    limit(answered).filter(|_| own.and_then(resources::cpu_limit).is_none())
}

/// Why a job is refused whose ranks would be limited, and by whom: every range whose default it is, for an answer names none.
fn limited<Range: AsRef<LimitRange>>(job: &ParallelJob, limit: &Quantity, ranges: &[Range]) -> Refusal {
    let sets = |range: &LimitRange| {
        let items = range.spec.iter().flat_map(|spec| &spec.limits).filter(|item| item.type_ == "Container");
        items.filter_map(|item| item.default.as_ref()?.get("cpu")).any(|default| default == limit)
    };
    let names: Vec<String> =
        ranges.iter().map(AsRef::as_ref).filter(|range| sets(range)).map(|range| format!("{:?}", range.name_any())).collect();
    let who = match names.as_slice() {
        [] => "a policy or webhook".to_owned(),
        [one] => format!("LimitRange {one}"),
        several => format!("each of the LimitRanges {}", several.join(", ")),
    };
    let least = resources::cpu_need(job).div_ceil(1000);
    let message = format!(
        "{who} gives the ranks' container a CPU limit of {}, and the kernel stops ranks that come to their limit: leave it out, or state in the template limits.cpu of at least {least}",
        limit.0
    );
    Refusal { reason: Reason::CpuLimitInjected, message }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    const LOOK: Look = Look { generation: Some(1), circumstances: 7 };

    fn verdict(refusals: u32) -> Verdict {
        let refusal = (refusals > 0).then(|| Refusal { reason: Reason::PodForbidden, message: "not today".to_owned() });
        Verdict { look: LOOK, at: Instant::now(), refusal, refusals }
    }

    fn after(verdict: &Verdict, look: Look, seconds: u64) -> Due {
        verdict.due(look, verdict.at + Duration::from_secs(seconds))
    }

    #[test]
    fn a_job_that_was_let_in_is_tried_again_when_something_has_changed() {
        let accepted = verdict(0);
        assert_eq!(after(&accepted, LOOK, 100_000), Due::Never);
        assert_eq!(after(&accepted, Look { generation: Some(2), ..LOOK }, 0), Due::Now);
        let elsewhere = Look { circumstances: 8, ..LOOK };
        assert_eq!(after(&accepted, elsewhere, 4), Due::In(Duration::from_secs(6)), "however often a quota is changed");
        assert_eq!(after(&accepted, elsewhere, 10), Due::Now);
    }

    #[test]
    fn a_refused_job_is_tried_again_ever_more_rarely() {
        let waits = |refusals: u32| after(&verdict(refusals), LOOK, 0);
        let seconds = |seconds: u64| Due::In(Duration::from_secs(seconds));
        assert_eq!([1, 2, 3].map(waits), [10, 20, 40].map(seconds));
        assert_eq!([7, 40, u32::MAX].map(waits), [600; 3].map(seconds));
        assert_eq!(after(&verdict(9), LOOK, 600), Due::Now);
        assert_eq!(after(&verdict(9), Look { circumstances: 8, ..LOOK }, 10), Due::Now, "a change is worth another look");
    }

    #[test]
    fn who_sets_the_limit_is_named_where_it_is_known() {
        let range = |name: &str, kind: &str, cpu: &str| {
            let spec = json!({ "limits": [{ "type": kind, "default": { "cpu": cpu } }] });
            Arc::new(serde_json::from_value::<LimitRange>(json!({ "metadata": { "name": name }, "spec": spec })).unwrap())
        };
        let job: ParallelJob = serde_json::from_value(job()).unwrap();
        let said = |ranges: &[Arc<LimitRange>]| limited(&job, &Quantity("500m".to_owned()), ranges).message;
        let (house, guest) = (range("house", "Container", "500m"), range("guest", "Container", "500m"));
        assert!(said(&[range("pods", "Pod", "500m"), Arc::clone(&house)]).starts_with("LimitRange \"house\" gives"));
        assert!(said(&[house, guest]).starts_with("each of the LimitRanges \"house\", \"guest\" gives"));
        let unknown = said(&[range("other", "Container", "1")]);
        assert!(unknown.starts_with("a policy or webhook gives") && unknown.ends_with("limits.cpu of at least 4"), "{unknown}");
    }

    fn job() -> Value {
        json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor" },
            "spec": {
                "partition": "all", "ranksPerNode": 2, "cpusPerRank": 2,
                "template": { "spec": { "containers": [{ "name": "rank", "command": ["sor"] }] } },
            },
        })
    }

    #[test]
    fn refusals_are_told_apart_by_code_and_by_whom_they_name() {
        let status =
            |code: u16, name: &str| serde_json::from_value::<Status>(json!({ "code": code, "details": { "name": name } })).unwrap();
        assert_eq!([(403, "sor-0-0"), (422, ""), (404, "")].map(|(code, name)| is_forbidden(&status(code, name))), [true; 3]);
        assert_eq!([(403, ""), (429, "sor-0-0"), (500, "")].map(|(code, name)| is_forbidden(&status(code, name))), [false; 3]);
    }
}
