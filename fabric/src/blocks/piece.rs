//! Frames of the bulk lane: pieces of blocks, and the wish to be given all of one (GET). A piece has a header that is the same on every way that
//! it takes, and its bytes: a node that gives on what it was given sends the very frame that it has received.
//!
//! The header, little-endian: `kind u8 (1 piece, 2 wish), reserved u8 = 0, caller u16, piece u32, caller's incarnation u64, sequence u64,
//! set u64, length u64, digest u64`. A wish has piece 0 and no bytes after its header.

use bytes::Bytes;
use strobe_core::{
    message::Staging,
    model::{AgentIncarnation, NodeIncarnation, NodeIndex, NodeSet},
    primitives::{Block, OperationId},
};
use thiserror::Error;

/// Bytes of a header.
pub(super) const PIECE_HEADER_BYTES: usize = 48;

const PIECE: u8 = 1;
const WISH: u8 = 2;

/// Which piece a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PieceHeader {
    /// Of which block, for whom: all that a node has to know of a transfer that nobody has told it of yet.
    pub(super) staging: Staging,
    /// The piece, from 0.
    pub(super) piece: u32,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BulkFrame {
    /// A piece, its bytes after the header.
    Piece(PieceHeader),
    /// The sender wants all of a block that this node holds.
    Wish(Staging),
}

/// Why a frame is none of ours.
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
    /// A wish with more than its header.
    #[error("a wish that says more than which block it is for")]
    LongWish,
}

// === impl PieceHeader ===

impl PieceHeader {
    /// The header as bytes.
    pub(super) fn encode(&self) -> [u8; PIECE_HEADER_BYTES] {
        encode(PIECE, self.staging, self.piece)
    }
}

// === impl BulkFrame ===

impl BulkFrame {
    /// A wish as a frame.
    pub(super) fn wish(staging: Staging) -> Bytes {
        Bytes::copy_from_slice(&encode(WISH, staging, 0))
    }

    /// What a frame says of itself.
    ///
    /// # Errors
    /// See [`PieceError`].
    pub(super) fn decode(frame: &[u8]) -> Result<Self, PieceError> {
        let (header, rest) = frame.split_first_chunk::<PIECE_HEADER_BYTES>().ok_or(PieceError::Truncated(frame.len()))?;
        let [kind, reserved, caller_low, caller_high, piece @ .., _, _, _, _] = header.first_chunk::<12>().expect("it has more");
        if *reserved != 0 {
            return Err(PieceError::ReservedBits(*reserved));
        }
        let mut words = header[8..].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut word = || words.next().expect("a header has five words");
        let caller = NodeIndex(u16::from_le_bytes([*caller_low, *caller_high]));
        let caller = NodeIncarnation { node: caller, incarnation: AgentIncarnation(word()) };
        let operation = OperationId { caller, sequence: word() };
        let set = NodeSet::from_bits(word());
        let block = Block { length: word(), digest: word() };
        let (staging, piece) = (Staging { operation, set, block }, u32::from_le_bytes(*piece));
        match *kind {
            PIECE => Ok(Self::Piece(PieceHeader { staging, piece })),
            WISH if piece == 0 && rest.is_empty() => Ok(Self::Wish(staging)),
            WISH => Err(PieceError::LongWish),
            kind => Err(PieceError::UnknownKind(kind)),
        }
    }
}

fn encode(kind: u8, Staging { operation, set, block }: Staging, piece: u32) -> [u8; PIECE_HEADER_BYTES] {
    let mut header = [0; PIECE_HEADER_BYTES];
    header[0] = kind;
    header[2..4].copy_from_slice(&operation.caller.node.0.to_le_bytes());
    header[4..8].copy_from_slice(&piece.to_le_bytes());
    let words = [operation.caller.incarnation.0, operation.sequence, set.bits(), block.length, block.digest];
    for (place, word) in header[8..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    header
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
            let frame = [&header.encode()[..], &bytes].concat();
            prop_assert_eq!(BulkFrame::decode(&frame), Ok(BulkFrame::Piece(header)));
            prop_assert_eq!(BulkFrame::decode(&BulkFrame::wish(staging)), Ok(BulkFrame::Wish(staging)));
        }

        #[test]
        fn any_bytes_are_a_frame_or_a_typed_error(bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in 0_u8..4) {
            let frame = if kind > 0 { [&[kind, 0][..], &bytes].concat() } else { bytes };
            match BulkFrame::decode(&frame) {
                Ok(BulkFrame::Piece(header)) => prop_assert_eq!(&header.encode()[..], &frame[..PIECE_HEADER_BYTES]),
                Ok(BulkFrame::Wish(staging)) => prop_assert_eq!(&BulkFrame::wish(staging)[..], &frame[..]),
                Err(PieceError::Truncated(length)) => prop_assert!(length == frame.len() && length < PIECE_HEADER_BYTES),
                Err(PieceError::UnknownKind(kind)) => prop_assert!(kind == frame[0] && ![PIECE, WISH].contains(&kind)),
                Err(PieceError::ReservedBits(bits)) => prop_assert!(bits == frame[1] && bits != 0),
                Err(PieceError::LongWish) => prop_assert!(frame[0] == WISH && (frame.len() > PIECE_HEADER_BYTES || frame[4..8] != [0; 4])),
            }
        }
    }
}
