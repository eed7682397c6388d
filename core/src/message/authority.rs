//! What a manager tells the authority: its whole state, each time anew, so that nothing is lost with a lost report.

use serde::{Deserialize, Serialize};

use crate::{
    model::{Fence, GangRun, MatrixVersion, NodeIncarnation, NodeIndex, Term},
    primitives::GangPhase,
};

/// The state of a partition as its manager knows it. Sent on change; a later one replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The manager's fence.
    pub fence: Fence,
    /// Number of the report in the term, growing.
    pub sequence: u64,
    /// True once the manager has sealed enough and completed the prefix.
    pub established: bool,
    /// True while the manager holds the lease. Without it nothing is strobed and nothing numbered.
    pub leads: bool,
    /// A higher term that a member has promised, when that kept this term from being established.
    pub refused_by: Option<Term>,
    /// Members of the view.
    pub view: Vec<NodeIncarnation>,
    /// Generation of global memory: a higher one began empty.
    pub generation: u64,
    /// The newest plan that every member of the view holds.
    pub plan: MatrixVersion,
    /// The gangs of that plan.
    pub gangs: Vec<GangReport>,
}

/// One gang in a report.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GangReport {
    /// The gang's life.
    pub run: GangRun,
    /// Where it stands.
    pub phase: GangPhase,
    /// True while it is held by a pause.
    pub held: bool,
    /// Nodes whose supervisor is up.
    pub nodes_up: u16,
    /// Nodes of the gang that are not in the view.
    pub nodes_absent: Vec<NodeIndex>,
}
