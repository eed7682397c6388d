//! What a process gives its agent beside the bootstrap document.

use std::path::PathBuf;

use tokio::net::TcpListener;

use super::mailbox::{Inbox, Mailbox, mailbox};
use crate::health::Health;

/// Where an agent listens; 0 is any port that is free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    /// The fabric: frames by TCP, the strobe's datagrams by UDP.
    pub fabric: u16,
    /// Where the process serves health and metrics; of a cluster's agent.
    pub health: u16,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// How the rest of the process reaches the agent.
    pub mailbox: Mailbox,
    /// What it takes from.
    pub inbox: Inbox,
    /// Where it listens.
    pub ports: Ports,
    /// Where it serves its authority, which a cluster's has to know before it enrols; any port where there is none.
    pub session: Option<TcpListener>,
    /// The node that it is of; none in local mode, where it is its gangs' supervisors' parent and in no cluster.
    pub node: Option<ClusterNode>,
}

/// What an agent has of its node in a cluster.
#[derive(Debug)]
pub(crate) struct ClusterNode {
    /// Where it says how it is.
    pub health: Health,
    /// kubelet's folder.
    pub kubelet: PathBuf,
}

// === impl Surroundings ===

impl Surroundings {
    /// On a machine of one's own.
    pub(super) fn of_local_mode() -> Self {
        let (mailbox, inbox) = mailbox();
        Self { mailbox, inbox, ports: Ports::default(), session: None, node: None }
    }
}
