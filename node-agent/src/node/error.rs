//! Why a node's agent cannot begin or go on.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    agent::{AgentError, FilesError, ServeError},
    csi::PluginError,
    sys::affinity::AffinityError,
};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Health and metrics.
    #[error("health and metrics cannot be served at {address}")]
    Health {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The volume plugin.
    #[error("the volume plugin cannot be served")]
    Plugin(#[from] PluginError),
    /// The authority's sessions.
    #[error("the authority cannot be served")]
    Session(#[from] ServeError),
    /// The node's CPUs.
    #[error("the CPUs of the node cannot be learnt")]
    Cpus(#[from] AffinityError),
    /// The own key.
    #[error("no key and no request for a certificate can be made")]
    Key(#[from] rcgen::Error),
    /// The node's folder.
    #[error("the number of this agent's lives cannot be kept")]
    Incarnation(#[from] FilesError),
    /// The file holds no number: a life must be greater than every earlier one.
    #[error("{path} holds no number; it may be removed when the clock of the node is right")]
    BadIncarnation {
        /// The file.
        path: PathBuf,
    },
    /// The supervisor is looked for beside this program.
    #[error("this program's own folder is not known")]
    Program(#[source] io::Error),
    /// The runtime of a life.
    #[error("the agent has no runtime")]
    Runtime(#[source] io::Error),
    /// Signals.
    #[error("the process cannot hear of its end")]
    Signal(#[source] io::Error),
    /// The agent.
    #[error("the agent cannot go on")]
    Agent(#[from] AgentError),
}
