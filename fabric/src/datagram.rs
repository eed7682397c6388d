//! Datagrams for the strobe thread: fixed-size, sealed, without allocation and without an async runtime.
//!
//! Layout, little-endian: `version u8, reserved u8 = 0, sender u16, key u32, term u64, sequence u64`, then the sealed
//! payload and a tag of 16 bytes. The header is authenticated with it. Sealed by ChaCha20-Poly1305 (RFC 8439) with one
//! key a direction, exported from the TLS session of the link (RFC 8446, section 7.5); the nonce is the exported
//! 12 bytes XOR the sequence number, as TLS 1.3 makes its own.

mod counters;
mod keys;
mod replay;
mod ring;
mod socket;

use thiserror::Error;

use crate::limits::DATAGRAM_BYTES_MAX;

pub use counters::DatagramCounters;
pub(crate) use keys::EXPORTER_LABEL;
pub use keys::{DatagramKeys, KeyMaterial};
pub use ring::{KeyRing, KeyRingFull};
pub use socket::{DatagramSendError, DatagramSocket, ReceiveError, Received};

/// Bytes before the sealed payload.
pub const DATAGRAM_HEADER_BYTES: usize = 24;

/// Bytes of the tag behind it.
pub const DATAGRAM_TAG_BYTES: usize = 16;

/// Bytes of payload that one datagram carries at most.
pub const DATAGRAM_PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - DATAGRAM_HEADER_BYTES - DATAGRAM_TAG_BYTES;

/// A buffer for one datagram: the payload stands at [`DATAGRAM_HEADER_BYTES`], header and tag are written around it.
pub type DatagramBuffer = [u8; DATAGRAM_BYTES_MAX];

const DATAGRAM_VERSION: u8 = 1;

/// Why a received datagram was refused. Each kind has its counter in [`DatagramCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// Shorter than header and tag.
    #[error("datagram of {0} bytes: truncated")]
    Truncated(usize),
    /// Longer than [`DATAGRAM_BYTES_MAX`].
    #[error("datagram of more than {DATAGRAM_BYTES_MAX} bytes")]
    Oversized,
    /// Another version, or reserved bits set.
    #[error("datagram of version {0}")]
    WrongVersion(u8),
    /// No key for this sender, term and life of the link: too early, too late, or a stranger.
    #[error("no key for the datagram's sender and term")]
    UnknownKey,
    /// The seal does not fit: forged or damaged.
    #[error("the datagram's seal is broken")]
    Refused,
    /// Received before, or older than the replay window.
    #[error("datagram {0} was received before, or is too old")]
    Replayed(u64),
}

/// Why a payload was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// See [`DATAGRAM_PAYLOAD_BYTES_MAX`].
    #[error("payload of {0} bytes, at most {DATAGRAM_PAYLOAD_BYTES_MAX}")]
    Oversized(usize),
    /// No key for that peer in that term.
    #[error("no key for the peer and term")]
    UnknownKey,
    /// Every sequence number of the key is used up.
    #[error("the key is worn out")]
    WornOut,
}
