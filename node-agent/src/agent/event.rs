//! What happens to an agent, beside the fabric's deliveries and the strobe thread's reports.

use std::sync::Arc;

use strobe_core::{
    model::{Appointment, GangRun, NodeSet, Plan, TermRecord},
    primitives::Cell,
};
use strobe_proto::agent::{AgentMessage, FileStaging, Launch, StageFile};
use tokio::sync::{mpsc, oneshot};

use super::{LeavingReason, addresses::AddressBook, calls::Call, supervisors::SupervisorEvent};
use crate::cgroup::PodUid;

/// See the module.
#[derive(Debug)]
pub(super) enum Event {
    /// The authority has opened a session; what the agent says goes there.
    SessionOpened(mpsc::Sender<AgentMessage>),
    /// Where the other agents are.
    Addresses(AddressBook),
    /// This agent is appointed.
    Appointed(Box<Appointment>),
    /// The newest term.
    Introduced(Box<TermRecord>),
    /// A newer plan, for the manager.
    Plan(Arc<Plan>),
    /// The nodes that are lost, for the manager.
    Lost(NodeSet),
    /// Start a gang's supervisor here.
    Launch(Box<Launch>),
    /// The gang's life is known to be over everywhere.
    Remove(GangRun),
    /// Give a file to the stores of nodes.
    StageFile(StageFile),
    /// How far a file is that this node gives.
    Staging(FileStaging),
    /// A task of this process calls a primitive.
    Call(Box<Call>),
    /// A task of this process stores into a cell of this node.
    Store(Cell, u64),
    /// End every gang and the agent.
    Shutdown,
    /// A supervisor's connection.
    Supervisor(SupervisorEvent),
    /// A supervisor that this life of the agent started has ended, or could not be started.
    SupervisorEnded(GangRun),
    /// A supervisor whose ranks are gone had its time to end.
    SupervisorOverdue(GangRun),
    /// A gang that was asked to end has had its grace.
    GraceOver(GangRun),
    /// No process of the gang is left here and its rank cgroup is removed; its CPU time, in seconds.
    GangGone {
        /// The gang's life.
        run: GangRun,
        /// CPU seconds of its ranks here, when they could be read.
        cpu_seconds: f64,
    },
    /// The owner of the run has ended.
    OwnerEnded,
    /// Somebody waits until a gang has a part in this pod.
    PodAwaited {
        /// The pod.
        pod: PodUid,
        /// Who waits; closed when they wait no more.
        answer: oneshot::Sender<()>,
    },
    /// Leave, and let the gangs run on under their supervisors.
    Leave(LeavingReason),
}
