//! The header of a frame on a lane: `version u8, class u8, reserved u16 = 0, payload bytes u32`, little-endian.

use thiserror::Error;

use crate::{
    counters::Refusal,
    limits::FRAME_BYTES_MAX,
    transport::{Class, SendError},
};

/// Bytes of a header.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;

/// Version of headers and hellos. A lane speaks one version, agreed in its hello.
pub(crate) const PROTOCOL_VERSION: u8 = 1;

/// Why received bytes are no frame of their lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A version that was not agreed.
    #[error("frame of version {0}")]
    WrongVersion(u8),
    /// A class that is not the lane's.
    #[error("frame of class {0} on another class's lane")]
    WrongClass(u8),
    /// Reserved bits that are set.
    #[error("reserved bits {0:#06x} are set")]
    ReservedBits(u16),
    /// See [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes, at most {FRAME_BYTES_MAX}")]
    Oversized(u32),
    /// The connection ended within the frame.
    #[error("the connection ended within a frame")]
    Truncated,
}

/// The header of a frame that [`check_bytes`] has passed.
pub(crate) fn encode_header(class: Class, bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    let bytes = u32::try_from(bytes).expect("checked against FRAME_BYTES_MAX when the frame was queued");
    let mut header = [PROTOCOL_VERSION, class.code(), 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&bytes.to_le_bytes());
    header
}

/// The bytes of payload that follow `header` on a lane of `class`.
pub(crate) fn decode_header(header: [u8; FRAME_HEADER_BYTES], class: Class) -> Result<usize, FrameError> {
    let [version, code, reserved_low, reserved_high, length @ ..] = header;
    if version != PROTOCOL_VERSION {
        return Err(FrameError::WrongVersion(version));
    }
    if code != class.code() {
        return Err(FrameError::WrongClass(code));
    }
    match u16::from_le_bytes([reserved_low, reserved_high]) {
        0 => {}
        bits => return Err(FrameError::ReservedBits(bits)),
    }
    let bytes = u32::from_le_bytes(length);
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= FRAME_BYTES_MAX => Ok(bytes),
        Ok(_) | Err(_) => Err(FrameError::Oversized(bytes)),
    }
}

/// Refuses a payload that no header may announce.
pub(crate) const fn check_bytes(bytes: usize) -> Result<(), SendError> {
    if bytes > FRAME_BYTES_MAX { Err(SendError::Oversized { bytes }) } else { Ok(()) }
}

// === impl Class ===

impl Class {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Bulk => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Control),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }
}

// === impl FrameError ===

impl FrameError {
    pub(crate) const fn refusal(self) -> Refusal {
        match self {
            Self::WrongVersion(_) => Refusal::WrongVersion,
            Self::WrongClass(_) | Self::ReservedBits(_) => Refusal::BadFrame,
            Self::Oversized(_) => Refusal::OversizedFrame,
            Self::Truncated => Refusal::TruncatedFrame,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_says_what_was_written(bytes in 0..=FRAME_BYTES_MAX, bulk: bool) {
            let class = if bulk { Class::Bulk } else { Class::Control };
            prop_assert_eq!(decode_header(encode_header(class, bytes), class), Ok(bytes));
        }

        #[test]
        fn any_eight_bytes_are_a_header_or_a_typed_error(header: [u8; FRAME_HEADER_BYTES]) {
            match decode_header(header, Class::Control) {
                Ok(bytes) => prop_assert_eq!(encode_header(Class::Control, bytes), header),
                Err(FrameError::WrongVersion(version)) => prop_assert!(version != PROTOCOL_VERSION),
                Err(FrameError::WrongClass(code)) => prop_assert!(code != Class::Control.code()),
                Err(FrameError::ReservedBits(bits)) => prop_assert!(bits != 0),
                Err(FrameError::Oversized(bytes)) => prop_assert!(bytes as usize > FRAME_BYTES_MAX),
                Err(FrameError::Truncated) => prop_assert!(false, "a header alone is never truncated"),
            }
        }
    }

    #[test]
    fn one_byte_beyond_the_limit_is_refused_at_both_ends() {
        let beyond = FRAME_BYTES_MAX + 1;
        assert_eq!(check_bytes(FRAME_BYTES_MAX), Ok(()));
        assert_eq!(check_bytes(beyond), Err(SendError::Oversized { bytes: beyond }));
        let header = encode_header(Class::Bulk, beyond);
        assert_eq!(decode_header(header, Class::Bulk), Err(FrameError::Oversized(beyond as u32)));
    }
}
