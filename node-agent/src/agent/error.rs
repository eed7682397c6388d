//! Why an agent cannot begin or go on.

use std::io;

use super::{files::FilesError, session::ServeError};
use crate::cgroup::CgroupError;
use crate::strobe_thread::{CommandsFull, StrobeThreadError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent's folder.
    #[error("the agent's folder cannot be used")]
    Files(#[from] FilesError),
    /// The certificate.
    #[error("the agent's certificate cannot be used")]
    Identity(#[from] strobe_fabric::identity::IdentityError),
    /// The fabric's listener.
    #[error("the fabric cannot listen")]
    Bind(#[from] strobe_fabric::tcp::BindError),
    /// The socket of the strobe's datagrams.
    #[error("the datagram socket cannot be made")]
    Datagrams(#[source] io::Error),
    /// The strobe thread.
    #[error("the strobe thread cannot run")]
    StrobeThread(#[from] StrobeThreadError),
    /// The strobe thread takes no commands any more: gangs would no longer follow the plan, so the agent ends and its
    /// supervisors thaw them.
    #[error("the strobe thread does not take its commands")]
    StrobeStuck(#[from] CommandsFull),
    /// The strobe thread has ended: nobody would freeze or thaw gangs, so the agent ends and its supervisors thaw them.
    #[error("the strobe thread has ended")]
    StrobeEnded,
    /// The owner's process cannot be watched.
    #[error("the owner's process cannot be watched")]
    Owner(#[source] io::Error),
    /// The supervisors' socket.
    #[error("the supervisors' socket cannot be served")]
    Supervisors(#[source] io::Error),
    /// The contract.
    #[error("the contract cannot be served")]
    Serve(#[from] ServeError),
    /// The metrics.
    #[error("the metrics cannot be served")]
    Metrics(#[source] io::Error),
    /// The cgroup tree of a cluster's node.
    #[error("gangs in pods cannot be frozen")]
    Cgroups(#[source] CgroupError),
    /// A descriptor cannot be waited for.
    #[error("a descriptor cannot be waited for")]
    Register(#[source] io::Error),
    /// The task that carries blocks.
    #[error("the agent cannot go on without blocks")]
    Blocks(#[from] strobe_fabric::blocks::CarrierEnded),
    /// The fabric's task or the agent's own queue is gone.
    #[error("the fabric has ended")]
    FabricEnded,
}
