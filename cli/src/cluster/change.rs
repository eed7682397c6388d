//! `pause`, `resume` and `suspend`: what the user wishes of a job.

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use strobe_crds::parallel_job::{GangState, ParallelJob};

use super::access::Cluster;
use super::error::ClusterError;
use super::words::state_word;
use crate::arguments::JobArguments;

/// Who owns the changed fields.
const MANAGER: &str = "kubectl-strobe";

/// A wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Hold its ranks.
    Pause,
    /// Let it go on.
    Resume,
    /// Give up its slots.
    Suspend,
}

/// What follows from a wish.
#[derive(Debug, PartialEq)]
struct Change {
    /// What is changed; none where all is as wished.
    spec: Option<Value>,
    /// What is said.
    said: String,
}

/// Carries out a wish, and says what it means.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(wish: Wish, arguments: &JobArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let name = &arguments.job;
    let job = cluster.job(name).await?;
    if job.status.as_ref().and_then(|status| status.state).is_some_and(GangState::is_over) {
        return Err(ClusterError::Over { name: name.clone(), state: state_word(&job).unwrap_or_default(), verb: wish.participle() });
    }
    let Change { spec, said } = change(wish, &job);
    if let Some(spec) = spec {
        // The UID keeps it from another job of the name that came meanwhile.
        let patch = json!({ "metadata": { "uid": job.metadata.uid }, "spec": spec });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let jobs: Api<ParallelJob> = Api::namespaced(cluster.client(), &cluster.namespace);
        let changed = jobs.patch(name, &parameters, &Patch::Merge(patch)).await;
        changed.map_err(|error| cluster.failed(format!("ParallelJob {name:?} in namespace {:?}", cluster.namespace), error))?;
    }
    crate::terminal::print(&[vec![crate::terminal::Piece::plain(format!("{name}: {said}"))]]).map_err(ClusterError::Write)
}

fn change(wish: Wish, job: &ParallelJob) -> Change {
    let (paused, suspended) = (job.spec.paused, job.spec.suspend);
    let (spec, said) = match (wish, paused, suspended) {
        (Wish::Pause, true, false) => (None, "it is paused already"),
        (Wish::Pause, true, true) => (None, "it is paused already, and suspended: nothing of it runs"),
        (Wish::Pause, false, true) => {
            (Some(json!({ "paused": true })), "paused; it is suspended too, and is held from its first instruction on when that ends")
        }
        (Wish::Pause, false, false) => {
            (Some(json!({ "paused": true })), "paused; its ranks keep their memory and their row until `kubectl strobe resume`")
        }
        (Wish::Resume, false, false) => (None, "it is neither paused nor suspended"),
        (Wish::Resume, true, false) => (Some(json!({ "paused": false })), "resumed; its ranks go on where they were"),
        (Wish::Resume, false, true) => {
            (Some(json!({ "suspend": false })), "resumed; its suspension has ended, and it begins anew when it has slots")
        }
        (Wish::Resume, true, true) => (
            Some(json!({ "paused": false, "suspend": false })),
            "resumed; it was paused and suspended, both have ended, and it begins anew when it has slots",
        ),
        (Wish::Suspend, _, true) => (None, "it is suspended already"),
        (Wish::Suspend, _, false) => (
            Some(json!({ "suspend": true })),
            "suspended; its pods end and its row is free, and it begins anew after `kubectl strobe resume`",
        ),
    };
    Change { spec, said: said.to_owned() }
}

impl Wish {
    const fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Suspend => "suspended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::job;

    fn of(wish: Wish, paused: bool, suspend: bool) -> Change {
        let mut job = job("physics", "sor", &json!(null));
        (job.spec.paused, job.spec.suspend) = (paused, suspend);
        change(wish, &job)
    }

    #[test]
    fn a_wish_changes_what_is_not_yet_so_and_nothing_else() {
        assert_eq!(of(Wish::Pause, false, false).spec, Some(json!({ "paused": true })));
        assert_eq!(of(Wish::Suspend, true, false).spec, Some(json!({ "suspend": true })));
        assert_eq!(of(Wish::Resume, true, false).spec, Some(json!({ "paused": false })));
        assert_eq!(of(Wish::Resume, true, true).spec, Some(json!({ "paused": false, "suspend": false })));
        for (wish, paused, suspend) in
            [(Wish::Pause, true, false), (Wish::Pause, true, true), (Wish::Resume, false, false), (Wish::Suspend, false, true)]
        {
            assert_eq!(of(wish, paused, suspend).spec, None, "{wish:?}");
        }
    }

    #[test]
    fn what_resuming_ends_is_said() {
        assert!(of(Wish::Resume, false, true).said.contains("suspension has ended"));
        assert!(of(Wish::Resume, true, false).said.contains("go on where they were"));
        assert!(of(Wish::Resume, true, true).said.contains("both have ended"));
    }
}
