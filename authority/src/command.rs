//! What the authority wants, in the words of the contract with the agents.

use strobe_core::{
    authority::{AuthorityEffect, JobStatus},
    model::{GangRun, NodeIndex, NodePlacement, TermRecord},
};
use strobe_proto::agent::{LostNodes, authority_message::Message};

/// What a shell of the authority has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Write the record, then tell the authority that it is written. Nothing after it may be done before.
    WriteRecord(TermRecord),
    /// Say something to the agent of a node.
    Say(NodeIndex, Message),
    /// Start a gang's supervisors.
    Launch(GangRun, Vec<NodePlacement>),
    /// A gang's life is over.
    Remove(GangRun),
    /// A job's state has changed.
    Job(JobStatus),
}

impl From<AuthorityEffect> for Command {
    fn from(effect: AuthorityEffect) -> Self {
        match effect {
            AuthorityEffect::WriteRecord(record) => Self::WriteRecord(record),
            AuthorityEffect::Appoint { manager, appointment } => Self::Say(manager.node, Message::Appointment((&appointment).into())),
            AuthorityEffect::Introduce { node, record } => Self::Say(node, Message::Introduction((&record).into())),
            AuthorityEffect::SendPlan { manager, plan } => Self::Say(manager, Message::Plan((&*plan).into())),
            AuthorityEffect::SendLost { manager, nodes } => Self::Say(manager, Message::Lost(LostNodes { nodes: nodes.bits() })),
            AuthorityEffect::Launch { run, placement } => Self::Launch(run, placement),
            AuthorityEffect::Remove { run } => Self::Remove(run),
            AuthorityEffect::State(status) => Self::Job(status),
        }
    }
}
