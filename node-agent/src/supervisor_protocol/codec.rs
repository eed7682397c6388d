//! Messages to bytes and back, bounded.

use serde::{Serialize, de::DeserializeOwned};

use super::{error::ProtocolError, limits::MESSAGE_BYTES};

/// Encodes a message.
///
/// # Errors
/// [`ProtocolError::TooLong`] past [`MESSAGE_BYTES`], [`ProtocolError::Encode`] if postcard refuses it.
pub fn encode<Message: Serialize>(message: &Message) -> Result<Vec<u8>, ProtocolError> {
    let bytes = postcard::to_stdvec(message).map_err(ProtocolError::Encode)?;
    check_length(bytes.len())?;
    Ok(bytes)
}

/// Decodes a whole message; bytes left over make it malformed.
///
/// # Errors
/// [`ProtocolError::TooLong`] past [`MESSAGE_BYTES`], [`ProtocolError::Malformed`] for anything else that
/// is not exactly one message.
pub fn decode<Message: DeserializeOwned>(bytes: &[u8]) -> Result<Message, ProtocolError> {
    check_length(bytes.len())?;
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(ProtocolError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(ProtocolError::Malformed(postcard::Error::DeserializeBadEncoding)) }
}

pub(super) fn check_length(bytes: usize) -> Result<(), ProtocolError> {
    if bytes > MESSAGE_BYTES { Err(ProtocolError::TooLong { bytes, limit: MESSAGE_BYTES }) } else { Ok(()) }
}
