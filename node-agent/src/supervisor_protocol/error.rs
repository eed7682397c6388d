//! Errors of the protocol between agent and supervisor.

use rustix::io::Errno;
use thiserror::Error;

/// Why a message could not be sent, received or understood.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// The message does not fit into [`super::limits::MESSAGE_BYTES`].
    #[error("message of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the message, as far as it was seen.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// More waits to be sent than [`super::limits::QUEUED_BYTES`]: the peer does not read.
    #[error("the peer does not read: {bytes} bytes wait to be sent")]
    PeerDoesNotRead {
        /// Bytes that wait, the refused message included.
        bytes: usize,
    },
    /// A message carried more descriptors than [`super::limits::DESCRIPTORS`].
    #[error("message carries {descriptors} descriptors, over the limit of {limit}")]
    TooManyDescriptors {
        /// Descriptors of the message.
        descriptors: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are no message of this protocol.
    #[error("not a message of this protocol")]
    Malformed(#[source] postcard::Error),
    /// The message could not be encoded.
    #[error("cannot encode the message")]
    Encode(#[source] postcard::Error),
    /// A packet had no header or was cut by the kernel.
    #[error("packet of {bytes} bytes is empty or cut")]
    BadPacket {
        /// Bytes of the packet.
        bytes: usize,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The kernel refused an operation on the socket.
    #[error("{operation} on the supervisor's socket failed")]
    Socket {
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
}

impl ProtocolError {
    /// True when the peer has sent what nobody sends who speaks the protocol.
    pub(crate) const fn is_nonsense(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::TooManyDescriptors { .. } | Self::Malformed(_) | Self::BadPacket { .. } => true,
            Self::PeerDoesNotRead { .. } | Self::Encode(_) | Self::Closed | Self::Socket { .. } => false,
        }
    }

    pub(super) fn socket(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Socket { operation, source }
    }
}
