//! Bugs that are put between a machine and the world: the exploration has to find each. None of it can be reached from production code.

use strobe_core::{
    manager::ManagerInput,
    message::ToManager,
    model::{NodeIndex, Term},
};

use crate::state::{NODES, index_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A seal's answer lacks the records that are held and not applied: the longest prefix is not the longest.
    RecordsForgotten,
    /// A record counts as held by all as soon as the manager's own node holds it.
    StableBeforeReceipts,
    /// A life that has lost its memory passes for one that knows what was committed.
    WitnessForged,
    /// A node's cell is said to compare, whatever it holds.
    ComparedUnseen,
}

impl Bug {
    /// Alters what a manager is given; what it is given besides is returned.
    pub(crate) fn alter(self, input: &mut ManagerInput) -> Vec<ManagerInput> {
        let ManagerInput::FromMember { from, message } = input else { return Vec::new() };
        match (self, message) {
            (Self::RecordsForgotten, ToManager::Sealed(answer)) => {
                answer.holding.iter_mut().for_each(|holding| holding.records.clear());
            }
            (Self::WitnessForged, ToManager::Sealed(answer)) => answer.knows_from = Term(1),
            (Self::ComparedUnseen, ToManager::Compared { truth, .. }) => *truth = true,
            (Self::StableBeforeReceipts, message @ ToManager::Held { .. }) if *from == NodeIndex(0) => {
                let others = (1..NODES).map(index_of);
                return others.map(|from| ManagerInput::FromMember { from, message: message.clone() }).collect();
            }
            _ => {}
        }
        Vec::new()
    }
}
