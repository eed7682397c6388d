//! What goes into a manager and what comes out.

use std::sync::Arc;

use crate::{
    message::{AnnouncerCommand, AnnouncerReport, PartitionReport, ToManager, ToMember},
    model::{Appointment, Fence, GangRun, NodeIncarnation, NodeIndex, NodeSet, Plan, RecordNumber, Settings},
    primitives::Record,
};

/// What can happen to a manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManagerInput {
    /// The authority appoints this agent.
    Appointed {
        /// The appointment.
        appointment: Appointment,
        /// Times and policy.
        settings: Settings,
    },
    /// The authority has a newer plan.
    Plan(Arc<Plan>),
    /// The nodes that are lost, all of them: gangs on them are ended, and an end does not wait for them. A later set
    /// replaces an earlier one.
    Lost(NodeSet),
    /// A message of a member, over a link whose peer is that node.
    FromMember {
        /// The sender.
        from: NodeIndex,
        /// The message.
        message: ToManager,
    },
    /// A link to a node came up: what was sent to it before may not have arrived.
    LinkUp(NodeIndex),
    /// A report of the strobe thread.
    Announcer(AnnouncerReport),
    /// [`crate::machine::Machine::next_deadline`] is reached.
    Timer,
}

/// What a manager wants done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManagerEffect {
    /// Send to a member, the own node's included.
    Send {
        /// The member's node.
        to: NodeIndex,
        /// The message.
        message: ToMember,
    },
    /// To the strobe thread; order is kept.
    Announcer(AnnouncerCommand),
    /// To the authority; replaces what was reported before.
    Report(PartitionReport),
    /// For telemetry.
    Event(ManagerEvent),
}

/// What an agent's telemetry shows of its manager.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManagerEvent {
    /// The term is established.
    Established(Fence),
    /// The view was raised.
    ViewRaised {
        /// The fence with the new view.
        fence: Fence,
        /// Its members.
        view: Vec<NodeIncarnation>,
    },
    /// A record was numbered.
    Numbered {
        /// Its number.
        number: RecordNumber,
        /// The record.
        record: Arc<Record>,
    },
    /// All supervisors of a gang are up, committed: it is released.
    Released(GangRun),
}
