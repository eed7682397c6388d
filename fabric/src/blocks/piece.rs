//! A piece of a block, as a frame of the bulk lane: a header that is the same on every way that the piece takes, and its bytes. A node that
//! gives on what it was given sends the very frame that it has received.
//!
//! The header, little-endian: `kind u8 = 1, reserved u8 = 0, caller u16, piece u32, caller's incarnation u64, sequence u64, set u64,
//! length u64, digest u64`.

use bytes::Bytes;
use strobe_core::{
    message::Staging,
    model::{AgentIncarnation, NodeIncarnation, NodeIndex, NodeSet},
    primitives::{Block, OperationId},
};
use thiserror::Error;

/// Bytes of a header.
pub(super) const PIECE_HEADER_BYTES: usize = 48;

const KIND: u8 = 1;

/// Which piece a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PieceHeader {
    /// Of which block, for whom: all that a node has to know of a transfer that nobody has told it of yet.
    pub(super) staging: Staging,
    /// The piece, from 0.
    pub(super) piece: u32,
}

/// Why a frame is no piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum PieceError {
    /// Shorter than a header.
    #[error("{0} bytes are no header")]
    Truncated(usize),
    /// No kind that this version knows.
    #[error("no frame of kind {0} is known")]
    UnknownKind(u8),
    /// Reserved bits that are set.
    #[error("reserved bits {0:#04x} are set")]
    ReservedBits(u8),
}

// === impl PieceHeader ===

impl PieceHeader {
    /// The header as bytes.
    pub(super) fn encode(&self) -> [u8; PIECE_HEADER_BYTES] {
        let Staging { operation, set, block } = self.staging;
        let mut header = [0; PIECE_HEADER_BYTES];
        header[0] = KIND;
        header[2..4].copy_from_slice(&operation.caller.node.0.to_le_bytes());
        header[4..8].copy_from_slice(&self.piece.to_le_bytes());
        let words = [operation.caller.incarnation.0, operation.sequence, set.bits(), block.length, block.digest];
        for (place, word) in header[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    /// What a frame says of itself, and its bytes.
    ///
    /// # Errors
    /// See [`PieceError`].
    pub(super) fn decode(frame: &Bytes) -> Result<(Self, Bytes), PieceError> {
        let (header, _) = frame.split_first_chunk::<PIECE_HEADER_BYTES>().ok_or(PieceError::Truncated(frame.len()))?;
        let [kind, reserved, caller_low, caller_high, piece @ .., _, _, _, _] = header.first_chunk::<12>().expect("it has more");
        match (*kind, *reserved) {
            (KIND, 0) => {}
            (KIND, bits) => return Err(PieceError::ReservedBits(bits)),
            (kind, _) => return Err(PieceError::UnknownKind(kind)),
        }
        let mut words = header[8..].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut word = || words.next().expect("a header has five words");
        let caller = NodeIndex(u16::from_le_bytes([*caller_low, *caller_high]));
        let caller = NodeIncarnation { node: caller, incarnation: AgentIncarnation(word()) };
        let operation = OperationId { caller, sequence: word() };
        let set = NodeSet::from_bits(word());
        let block = Block { length: word(), digest: word() };
        let staging = Staging { operation, set, block };
        Ok((Self { staging, piece: u32::from_le_bytes(*piece) }, frame.slice(PIECE_HEADER_BYTES..)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_says_what_was_written(words: [u64; 5], caller: u16, piece: u32, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let [incarnation, sequence, set, length, digest] = words;
            let caller = NodeIncarnation { node: NodeIndex(caller), incarnation: AgentIncarnation(incarnation) };
            let operation = OperationId { caller, sequence };
            let staging = Staging { operation, set: NodeSet::from_bits(set), block: Block { digest, length } };
            let header = PieceHeader { staging, piece };
            let frame = Bytes::from([&header.encode()[..], &bytes].concat());
            prop_assert_eq!(PieceHeader::decode(&frame), Ok((header, Bytes::from(bytes))));
        }

        #[test]
        fn any_bytes_are_a_piece_or_a_typed_error(bytes in proptest::collection::vec(any::<u8>(), 0..100), begins: bool) {
            let frame = Bytes::from(if begins { [&[KIND, 0][..], &bytes].concat() } else { bytes });
            match PieceHeader::decode(&frame) {
                Ok((header, bytes)) => prop_assert_eq!([&header.encode()[..], &bytes].concat(), &frame[..]),
                Err(PieceError::Truncated(length)) => prop_assert!(length == frame.len() && length < PIECE_HEADER_BYTES),
                Err(PieceError::UnknownKind(kind)) => prop_assert!(kind == frame[0] && kind != KIND),
                Err(PieceError::ReservedBits(bits)) => prop_assert!(bits == frame[1] && bits != 0),
            }
        }
    }
}
