//! What happens to a run, from its agents and its ranks' output.

use std::process::ExitStatus;

use strobe_authority::SessionEvent;
use strobe_core::model::{GangId, GangRun, NodeIncarnation, NodeIndex};
use strobe_proto::bootstrap::Listening;

use super::agent_process::AgentStartError;

/// See the module.
#[derive(Debug)]
pub(super) enum Event {
    /// An agent says where it listens.
    Listening(NodeIncarnation, Listening),
    /// An agent did not begin; its process is gone.
    NotStarted(NodeIncarnation, AgentStartError),
    /// An agent's process has ended.
    Exited(NodeIncarnation, std::io::Result<ExitStatus>),
    /// Of a session with an agent.
    Session(SessionEvent),
    /// The first rank of a gang says how far it is, in percent.
    Progress(GangId, u8),
    /// The last line of a gang's ranks on a node was read.
    OutputEnded(GangRun, NodeIndex),
}

impl From<SessionEvent> for Event {
    fn from(event: SessionEvent) -> Self {
        Self::Session(event)
    }
}
