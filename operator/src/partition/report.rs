//! The status of the partition itself.

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use strobe_core::authority::TermPhase;
use strobe_core::model::{NodeIncarnation, TermRecord};
use strobe_crds::API_VERSION;
use strobe_crds::partition::{Partition as Object, PartitionStatus, RowStatus};

use super::Partition;
use super::conditions::Health;
use crate::controller::MANAGER;
use crate::limits::SAID_AGAIN;

impl Partition {
    /// Writes the status where it has changed, at most once a second.
    pub(super) fn report(&mut self) {
        let (status, now) = (self.status(), self.now());
        self.known.managed.set(status.manager.is_some(), std::time::Instant::now());
        if self.told.as_ref().is_some_and(|(told, at)| *told == status || now < *at + SAID_AGAIN) {
            return;
        }
        self.told = Some((status.clone(), now));
        let (client, name, uid) = (self.context.client.clone(), self.object.name_any(), self.object.uid());
        tokio::spawn(async move {
            let object = json!({ "apiVersion": API_VERSION, "kind": "Partition", "metadata": { "uid": uid }, "status": status });
            let partitions: Api<Object> = Api::all(client);
            if let Err(error) = partitions.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
                // The next change writes it all.
                tracing::warn!(partition = name, error = &error as &dyn std::error::Error, "a Partition's status is not written");
            }
        });
    }

    /// The record of the term whose manager leads; none while there is no manager.
    pub(super) fn leading(&self) -> Option<&TermRecord> {
        let established = matches!(self.authority.term_phase(), TermPhase::Confirming | TermPhase::Established);
        self.authority.term_record().filter(|_| established)
    }

    /// Members of the manager's view; none while there is no manager.
    pub(super) fn members(&self) -> &[NodeIncarnation] {
        let view = self.heard.as_ref().filter(|_| self.leading().is_some()).map(|report| report.view.as_slice());
        view.unwrap_or_default()
    }

    fn status(&self) -> PartitionStatus {
        let nodes = self.keeper.kept().nodes.len();
        let (record, members) = (self.leading(), self.members().len());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let manager = record.map(|record| self.keeper.kept().name(record.manager.node));
        let health = Health {
            nodes,
            reached: self.contacts.reached().len(),
            members,
            manager: manager.clone(),
            lost: self.lost_without_proof(),
            leaving: self.is_leaving(),
            holders: self.holders(),
        };
        PartitionStatus {
            observed_generation: self.object.metadata.generation,
            ready: Some(format!("{members}/{nodes}")),
            nodes: count(nodes),
            members: count(members),
            gangs: count(self.authority.plan().gangs.len()),
            manager,
            term: record.map_or(0, |record| record.term.0),
            rows: self.rows(),
            conditions: self.conditions(&health),
        }
    }

    /// What each row holds.
    fn rows(&self) -> Vec<RowStatus> {
        let slots: usize = self.keeper.kept().nodes.iter().map(|node| node.cpus.len()).sum();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let row = |row: u8| {
            let gangs = || self.authority.plan().gangs.iter().filter(move |gang| gang.rows.iter().any(|held| held.0 == row));
            let used = gangs().flat_map(|gang| &gang.placement).map(|part| part.cpus.len()).sum();
            RowStatus { gangs: count(gangs().count()), used_slots: count(used), slots: count(slots) }
        };
        (0..self.valid.rows).map(row).collect()
    }
}
