//! The authority's record of terms.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NodeIncarnation, NodeSet, PartitionUid, Plan, Term};

/// Who commands a partition: written before it is sent, one record a partition (section 3 of the design).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TermRecord {
    /// The partition.
    pub partition: PartitionUid,
    /// The newest term.
    pub term: Term,
    /// Its manager.
    pub manager: NodeIncarnation,
    /// Its members, the manager included, sorted by node.
    pub members: Vec<NodeIncarnation>,
    /// The newest term that was established; none before the first.
    pub established: Option<EstablishedTerm>,
    /// The terms appointed since, none of them established, oldest first; the newest term itself is not among them.
    pub since: Vec<EstablishedTerm>,
}

/// The members of one term, as a seal must know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EstablishedTerm {
    /// The term.
    pub term: Term,
    /// Its members.
    pub members: NodeSet,
}

/// What the authority sends to the manager that it appoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Appointment {
    /// The record, as written.
    pub record: TermRecord,
    /// Nodes proven dead, the lost ones included: they count for the right to command, not for memory.
    pub dead: NodeSet,
    /// Those of them that are lost: their gangs are ended.
    pub lost: NodeSet,
    /// The newest plan.
    pub plan: Arc<Plan>,
}

impl TermRecord {
    /// The members as a set of nodes.
    #[must_use]
    pub fn member_nodes(&self) -> NodeSet {
        self.members.iter().map(|member| member.node).collect()
    }

    /// True when a manager that has sealed `sealed` may command: at least half of the established term's members and of
    /// those of every term appointed since, nodes proven `dead` counted as sealed.
    #[must_use]
    pub fn may_command(&self, sealed: NodeSet, dead: NodeSet) -> bool {
        let counted = sealed.union(dead);
        self.established.iter().chain(&self.since).all(|earlier| 2 * earlier.members.intersection(counted).len() >= earlier.members.len())
    }

    /// True when `answering` are more than half of the members of this record.
    #[must_use]
    pub fn is_majority(&self, answering: NodeSet) -> bool {
        let members = self.member_nodes();
        2 * members.intersection(answering).len() > members.len()
    }
}
