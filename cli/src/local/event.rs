//! What happens to a run, from its agents and its ranks' output.

use std::process::ExitStatus;

use strobe_core::model::{GangId, GangRun, NodeIncarnation, NodeIndex};
use strobe_proto::{agent::AgentMessage, bootstrap::Listening};

use super::{
    agent_process::AgentStartError,
    session::{SessionError, SessionId},
};

/// See the module.
#[derive(Debug)]
pub(super) enum Event {
    /// An agent says where it listens.
    Listening(NodeIncarnation, Listening),
    /// An agent did not begin; its process is gone.
    NotStarted(NodeIncarnation, AgentStartError),
    /// An agent's process has ended.
    Exited(NodeIncarnation, std::io::Result<ExitStatus>),
    /// An agent says something.
    Message(SessionId, Box<AgentMessage>),
    /// A session is over.
    SessionOver(SessionId, SessionError),
    /// The first rank of a gang says how far it is, in percent.
    Progress(GangId, u8),
    /// The last line of a gang's ranks on a node was read.
    OutputEnded(GangRun, NodeIndex),
}
