//! A [`Datagram`] as the sealed payload of a fabric datagram: postcard, without allocation either way.
//!
//! The largest one, a strobe with a full schedule, fits one datagram: tested below.

use strobe_core::{message::Datagram, model::Term};
use strobe_fabric::datagram::DATAGRAM_PAYLOAD_BYTES_MAX;
use thiserror::Error;

/// Room for any datagram's payload.
pub type PayloadBuffer = [u8; DATAGRAM_PAYLOAD_BYTES_MAX];

/// Why a payload is no datagram, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The datagram does not fit the buffer.
    #[error("the datagram does not fit a payload")]
    Encode(#[source] postcard::Error),
    /// The payload is no datagram.
    #[error("the payload is no datagram")]
    Decode(#[source] postcard::Error),
    /// The payload goes on behind its datagram.
    #[error("the payload has {0} bytes too many")]
    Trailing(usize),
}

/// Writes a datagram to the start of `buffer`, and returns what was written.
///
/// # Errors
/// [`WireError::Encode`]; no datagram of the core is that large.
pub fn encode<'buffer>(datagram: &Datagram, buffer: &'buffer mut PayloadBuffer) -> Result<&'buffer [u8], WireError> {
    postcard::to_slice(datagram, buffer).map(|written| &*written).map_err(WireError::Encode)
}

/// Reads a datagram.
///
/// # Errors
/// See [`WireError`].
pub fn decode(payload: &[u8]) -> Result<Datagram, WireError> {
    let (datagram, rest) = postcard::take_from_bytes(payload).map_err(WireError::Decode)?;
    if rest.is_empty() { Ok(datagram) } else { Err(WireError::Trailing(rest.len())) }
}

/// The term that a datagram belongs to, and so the link that it takes.
#[must_use]
pub const fn term_of(datagram: &Datagram) -> Term {
    match datagram {
        Datagram::Strobe(strobe) => strobe.fence.term,
        Datagram::Heartbeat(heartbeat) => heartbeat.fence.term,
        Datagram::HeartbeatReply(reply) => reply.fence.term,
        Datagram::ClockProbe(probe) => probe.term,
        Datagram::ClockReply(reply) => reply.term,
    }
}
