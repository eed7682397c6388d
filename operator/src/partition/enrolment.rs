//! Taking nodes into the partition: each gets its number, and what of it ranks may use.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use strobe_core::model::{CpuIndex, NodeIndex};
use strobe_crds::cpu_list::CpuList;

use super::Partition;
use super::event::Enrolling;
use super::keeper::{Change, Waiting};
use super::kept::KeptNode;
use crate::names::ANNOTATION_CPUS;
use crate::nodes::NodeFacts;
use crate::partitions::{EnrolmentRefused, Place};
use crate::quantity;

/// What a node brings to the partition.
struct Offer {
    address: SocketAddr,
    cpus: Vec<CpuIndex>,
    memory_bytes: u64,
    /// Which life of the machine its agent is in; empty where it does not say.
    boot_id: String,
}

// === impl Partition ===

impl Partition {
    pub(super) fn enrol(&mut self, enrolling: Enrolling) {
        let Enrolling { node, address, cpus, memory_requested, boot_id, answer } = enrolling;
        let memory_bytes = allocatable_memory(&node).saturating_sub(memory_requested);
        let cpus = usable_cpus(cpus, self.valid.cpus.as_ref(), &node);
        let taken = cpus.and_then(|cpus| self.take_in(&node, Offer { address, cpus, memory_bytes, boot_id }));
        match taken {
            Ok((change, place)) => {
                let lost = self.contacts.expect(self.now(), place.node, address);
                self.lose(lost);
                self.keeper.answer(change, Waiting { place, answer });
                self.configure();
            }
            Err(refused) => {
                // An agent that has gone meanwhile hears nothing.
                let _gone = answer.send(Err(refused));
            }
        }
    }

    fn take_in(&mut self, node: &Node, offer: Offer) -> Result<(Change, Place), EnrolmentRefused> {
        let Offer { address, cpus, memory_bytes, boot_id } = offer;
        let reported = NodeFacts::of(node).boot_id;
        let boots = if boot_id.is_empty() { BTreeSet::new() } else { reported.into_iter().chain([boot_id]).collect() };
        let kept = KeptNode {
            index: NodeIndex(0),
            name: node.name_any(),
            uid: node.uid().unwrap_or_default(),
            address,
            cpus: cpus.clone(),
            memory_bytes,
            boots,
        };
        let (change, index) = self.keeper.keep(|known| known.enrol(&kept));
        let index = index.ok_or(EnrolmentRefused::Full)?;
        let settings = strobe_authority::settings(&self.valid);
        Ok((change, Place { partition: self.uid, name: self.valid.name.clone(), node: index, settings, cpus }))
    }
}

/// Of the CPUs that an agent offers those that neither its partition nor its node's annotation leaves out.
fn usable_cpus(offered: Vec<CpuIndex>, partition: Option<&CpuList>, node: &Node) -> Result<Vec<CpuIndex>, EnrolmentRefused> {
    let annotation = node.annotations().get(ANNOTATION_CPUS);
    let annotated = annotation.map(|text| text.parse::<CpuList>().map_err(|_| EnrolmentRefused::BadCpus(text.clone()))).transpose()?;
    let allows = |list: Option<&CpuList>, cpu: CpuIndex| list.is_none_or(|list| list.iter().any(|allowed| allowed == cpu.0));
    let usable: Vec<_> = offered.into_iter().filter(|cpu| allows(partition, *cpu) && allows(annotated.as_ref(), *cpu)).collect();
    if usable.is_empty() { Err(EnrolmentRefused::NoCpus) } else { Ok(usable) }
}

/// Memory that the pods of a node may use, in bytes; 0 where the node does not say.
fn allocatable_memory(node: &Node) -> u64 {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable.and_then(|resources| resources.get("memory")).and_then(quantity::whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_nodes_cpus_are_those_that_agent_partition_and_annotation_have_in_common() {
        let node = |annotation: Option<&str>| {
            let annotations: BTreeMap<&str, &str> = annotation.into_iter().map(|list| (ANNOTATION_CPUS, list)).collect();
            serde_json::from_value::<Node>(serde_json::json!({ "metadata": { "name": "n", "annotations": annotations } })).unwrap()
        };
        let usable = |partition: Option<&str>, annotation: Option<&str>| {
            let list: Option<CpuList> = partition.map(|list| list.parse().unwrap());
            usable_cpus((0..4).map(CpuIndex).collect(), list.as_ref(), &node(annotation))
        };
        let cpus = |numbers: &[u16]| Ok(numbers.iter().copied().map(CpuIndex).collect());
        assert_eq!(usable(None, None), cpus(&[0, 1, 2, 3]));
        assert_eq!(usable(Some("1-9"), Some("0-2")), cpus(&[1, 2]));
        assert_eq!(usable(Some("0"), Some("1")), Err(EnrolmentRefused::NoCpus));
        assert_eq!(usable(None, Some("some")), Err(EnrolmentRefused::BadCpus("some".to_owned())));
    }
}
