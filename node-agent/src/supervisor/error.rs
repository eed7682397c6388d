//! Errors of the supervisor.

use std::{io, path::PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::{supervisor_protocol::ProtocolError, sys::affinity::AffinityError};

/// What ends the supervisor before its ranks do.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// A kernel service that it cannot do without is refused.
    #[error("{operation} failed")]
    Kernel {
        /// The operation.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The standard library's way to the same.
    #[error("{operation} failed")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The ranks' output cannot be opened.
    #[error("cannot open {path:?} for the ranks' output; is its reader there?")]
    Output {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// A rank's log file cannot be opened or written.
    #[error("cannot write the log file {path:?}")]
    Log {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A rank's stub cannot be forked.
    #[error("cannot fork the stub of rank {rank}")]
    Fork {
        /// The rank.
        rank: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A rank cannot run on the CPUs of its slot.
    #[error("a rank cannot be pinned to its CPUs")]
    Affinity(#[from] AffinityError),
    /// What a rank is told does not fit.
    #[error("cannot encode the orders of a stub")]
    Orders(#[source] postcard::Error),
    /// The stub's orders are malformed, or its parent died before it began.
    #[error("the stub has no parent or no orders")]
    Orphaned,
    /// An argument or variable is missing or wrong.
    #[error("{name}: {problem}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The connection to the agent failed; it is made again.
    #[error("the connection to the agent failed")]
    Agent(#[from] ProtocolError),
}

impl SupervisorError {
    pub(super) fn kernel(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Kernel { operation, source }
    }

    pub(super) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}
