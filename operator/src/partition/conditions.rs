//! The conditions of a partition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use strobe_crds::partition::{PartitionConditionType as Type, PartitionReason as Reason};

use super::{Partition, lives};
use crate::status::{Conditions, cut};

/// Jobs that a message names.
const NAMED: usize = 5;

/// What the conditions are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Nodes that have enrolled, whose agents are reached, and which follow the manager.
    pub(super) nodes: usize,
    pub(super) reached: usize,
    pub(super) members: usize,
    /// The machine manager's node, while there is one.
    pub(super) manager: Option<String>,
    /// Nodes that seem to be off, without proof.
    pub(super) lost: Vec<String>,
    /// True once it is deleted.
    pub(super) leaving: bool,
    /// Jobs whose gangs hold slots.
    pub(super) holders: Vec<String>,
}

impl Partition {
    /// The conditions now, beside those that were told last.
    pub(super) fn conditions(&self, health: &Health) -> Vec<Condition> {
        let told = self.told.as_ref().map(|(status, _)| &status.conditions);
        let mut list = told.or(self.object.status.as_ref().map(|status| &status.conditions)).cloned().unwrap_or_default();
        let mut conditions = Conditions { list: &mut list, generation: self.object.metadata.generation, now: &Time(Timestamp::now()) };
        for (kind, holds, reason, message) in judged(health) {
            conditions.put(kind.to_string(), holds, reason.to_string(), &message);
        }
        list
    }
}

/// The conditions in words.
fn judged(health: &Health) -> Vec<(Type, bool, Reason, String)> {
    let Health { nodes, reached, members, manager, lost, leaving, holders } = health;
    let ready = match manager {
        Some(manager) => (true, Reason::Managed, format!("{members} of {nodes} nodes follow the machine manager on node {manager}")),
        None if *nodes == 0 => (false, Reason::NoNodes, "no agent of a node has enrolled".to_owned()),
        None => (false, Reason::NoManager, format!("there is no machine manager; the agents of {reached} of {nodes} nodes are reached")),
    };
    let answer = if lost.is_empty() {
        (true, Reason::NodesAnswer, "no node is silent for nodeLost without proof that nothing runs there".to_owned())
    } else {
        let names: Vec<&str> = lost.iter().map(String::as_str).collect();
        (false, Reason::NodesSilent, lives::advice(&names))
    };
    let mut judged = vec![(Type::Ready, ready), (Type::NodesAnswer, answer)];
    if *leaving {
        judged.push((Type::Terminating, (true, Reason::GangsHoldSlots, waits_for(holders))));
    }
    judged.into_iter().map(|(kind, (holds, reason, message))| (kind, holds, reason, cut(message))).collect()
}

fn waits_for(holders: &[String]) -> String {
    let (count, named) = (holders.len(), holders.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "));
    let more = if count > NAMED { ", …" } else { "" };
    match count {
        0 => "it takes no further gang, and goes once its taint is gone from its nodes".to_owned(),
        _ => {
            format!("it takes no further gang, and goes when the gangs of {count} jobs have ended: {named}{more}; delete jobs to end them")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(health: &Health) -> Vec<String> {
        judged(health).iter().map(|(kind, holds, reason, message)| format!("{kind}={holds} {reason}: {message}")).collect()
    }

    #[test]
    fn a_partition_says_who_manages_it_or_why_nobody_does() {
        let bare = Health::default();
        let silent = Health { nodes: 4, reached: 1, ..Health::default() };
        let managed = Health { nodes: 4, members: 3, manager: Some("worker".to_owned()), ..Health::default() };
        let ready = |health: &Health| told(health)[0].clone();
        assert_eq!(ready(&bare), "Ready=false NoNodes: no agent of a node has enrolled");
        assert_eq!(ready(&silent), "Ready=false NoManager: there is no machine manager; the agents of 1 of 4 nodes are reached");
        assert_eq!(ready(&managed), "Ready=true Managed: 3 of 4 nodes follow the machine manager on node worker");
    }

    #[test]
    fn it_names_nodes_that_seem_to_be_off_and_what_to_do() {
        let off = Health { lost: vec!["a".to_owned(), "b".to_owned()], ..Health::default() };
        let said = &told(&off)[1];
        assert!(said.starts_with("NodesAnswer=false NodesSilent: neither agent nor kubelet of a, b has answered"), "{said}");
        assert!(said.contains("kubectl taint node a b node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"), "{said}");
    }

    #[test]
    fn one_that_is_deleted_says_what_it_waits_for() {
        assert_eq!(told(&Health::default()).len(), 2);
        let holders: Vec<String> = (0..6).map(|number| format!("physics/job-{number}")).collect();
        let said = told(&Health { leaving: true, holders, ..Health::default() })[2].clone();
        assert!(said.contains("of 6 jobs") && said.contains("physics/job-4, …") && !said.contains("job-5"), "{said}");
    }
}
