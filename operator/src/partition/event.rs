//! What happens to a partition.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use strobe_authority::SessionEvent;
use strobe_core::authority::PlacementFailure;
use strobe_core::model::{CpuIndex, GangRun, NodeIndex, NodeSet, TermRecord};
use strobe_crds::parallel_job::ParallelJob;
use strobe_crds::partition::Partition;
use tokio::sync::oneshot;

use super::kept::{StoreError, Version};
use super::making::{Made, MakeError};
use crate::nodes::NodeFacts;
use crate::partitions::{EnrolmentRefused, Place, Submission};

/// See the module.
pub(crate) enum Event {
    /// Of a session with an agent.
    Session(SessionEvent),
    /// Its object has changed.
    Configured(Arc<Partition>),
    /// An agent asks what its node is here.
    Enrol(Box<Enrolling>),
    /// A job that nothing speaks against is there, or has changed.
    Job(Box<Submission>),
    /// Something speaks against a job.
    Refused(Arc<ParallelJob>),
    /// What must not be forgotten was written, with this record, or not.
    Written(Result<(Version, Option<TermRecord>), StoreError>),
    /// The pods of a gang were made, with these UIDs, or not.
    Made(GangRun, Result<Made, MakeError>),
    /// The pods of a gang that did not all come to their nodes are deleted.
    GivenUp(GangRun, GivenUp),
    /// What the API server has of a silent node; none where it has no such node.
    Node(NodeIndex, Option<NodeFacts>),
    /// Something has changed of some pod.
    Pods,
}

/// A placement that came to nothing.
#[derive(Clone, Copy)]
pub(crate) struct GivenUp {
    /// Why.
    pub(crate) failure: PlacementFailure,
    /// Where it did.
    pub(crate) blamed: NodeSet,
    /// Nodes to which no pod of it was ever bound.
    pub(crate) empty: NodeSet,
}

/// An agent that asks.
pub(crate) struct Enrolling {
    /// Its node, as the API server has it.
    pub(crate) node: Node,
    /// Where it will serve.
    pub(crate) address: SocketAddr,
    /// The CPUs that it may give.
    pub(crate) cpus: Vec<CpuIndex>,
    /// Memory that its pods of no gang request, in bytes.
    pub(crate) memory_requested: u64,
    /// Which life of the machine it is in; empty where it does not say.
    pub(crate) boot_id: String,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Result<Place, EnrolmentRefused>>,
}

impl From<SessionEvent> for Event {
    fn from(event: SessionEvent) -> Self {
        Self::Session(event)
    }
}
