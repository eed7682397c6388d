//! The end of a partition. One that is deleted waits for its gangs: they run to their own end, or their jobs are deleted. To end them with
//! it would make one slip of an administrator's the end of everybody's work; whoever wants that deletes the jobs, and is asked for their
//! rights.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use strobe_core::model::Instant;
use strobe_crds::API_VERSION;
use strobe_crds::partition::Partition as Object;

use super::Partition;
use crate::controller::MANAGER;
use crate::limits::LET_GO_AGAIN;
use crate::names::FINALIZER;

impl Partition {
    /// True once it is deleted: it takes no further gang.
    pub(super) fn is_leaving(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Gangs that hold slots, by their jobs.
    pub(super) fn holders(&self) -> Vec<String> {
        let held = self.authority.plan().gangs.iter().filter_map(|planned| self.jobs.get(&planned.run.gang));
        held.map(|job| format!("{}/{}", job.namespace(), job.object.name_any())).collect()
    }

    /// Keeps its object until it may go, and then lets it.
    pub(super) fn look_at_deletion(&mut self, now: Instant) {
        let is_held = self.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        let holds_nothing = self.authority.plan().gangs.is_empty() && self.gangs.is_empty() && !self.has_taints();
        // What nobody has said by then would never be said.
        let may_go = holds_nothing && !self.has_untold_ends();
        let wanted = match (self.is_leaving(), is_held) {
            (false, false) => Some(true),
            (true, true) if may_go => Some(false),
            _ => None,
        };
        if let Some(held) = wanted
            && self.looks.finalized.is_none_or(|again| now >= again)
        {
            self.looks.finalized = Some(now + LET_GO_AGAIN);
            self.finalize(held);
        }
    }

    fn finalize(&self, held: bool) {
        let (client, name, uid) = (self.context.client.clone(), self.object.name_any(), self.object.uid());
        tokio::spawn(async move {
            if let Err(error) = hold(&client, &name, uid.as_deref(), held).await {
                // It is tried again at a later look, if the object is still there.
                tracing::warn!(partition = name, error = &error as &dyn std::error::Error, "a Partition's finalizer is not written");
            }
        });
    }
}

/// Writes the finalizer of a Partition, or takes it away: server-side apply leaves those of others.
///
/// # Errors
/// The API server's; one is that the Partition is gone.
pub(crate) async fn hold(client: &Client, name: &str, uid: Option<&str>, held: bool) -> Result<(), kube::Error> {
    let mut object = json!({ "apiVersion": API_VERSION, "kind": "Partition", "metadata": { "uid": uid } });
    if held {
        object["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    let partitions: Api<Object> = Api::all(client.clone());
    partitions.patch_metadata(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await.map(|_| ())
}
