//! A part of a file as a block: what it is of which file, and its bytes. Every part says so by itself, so that a node that has not got
//! all of them knows it.
//!
//! Shape: the bytes of the description as u32, little-endian; the description in postcard; the part.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use strobe_fabric::blocks::BlockBytes;

use crate::agent::limits::FILE_DESCRIPTION_BYTES_MAX;

/// What a part is of which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePart {
    /// Number of the file among those that this life of its giver has given.
    pub(super) file: u64,
    /// The file's name in the store of each node.
    pub(super) name: String,
    /// Permissions for owner, group and others.
    pub(super) mode: u32,
    /// Bytes of the whole file.
    pub(super) length: u64,
    /// Where the part begins.
    pub(super) offset: u64,
    /// SHA-256 of the whole file, with its last part.
    pub(super) checksum: Option<[u8; 32]>,
}

impl FilePart {
    /// The block of this part.
    pub(super) fn block(&self, part: Bytes) -> BlockBytes {
        let description = postcard::to_stdvec(self).expect("texts and numbers can be written down");
        let length = u32::try_from(description.len()).expect("a description is short").to_le_bytes();
        BlockBytes::new([Bytes::from([&length[..], &description].concat()), part])
    }

    /// What a block says of itself, and its bytes in chunks; none where it is no part of a file.
    pub(super) fn of(block: &BlockBytes) -> Option<(Self, Vec<Bytes>)> {
        let length = block.slice(0, 4).concat();
        let length = u64::from(u32::from_le_bytes(length.try_into().ok()?));
        if length > FILE_DESCRIPTION_BYTES_MAX {
            return None;
        }
        let (part, rest) =
            postcard::take_from_bytes::<Self>(&block.slice(4, length).concat()).map(|(part, rest)| (part, rest.len())).ok()?;
        (rest == 0).then(|| (part, block.slice(4 + length, u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> FilePart {
        FilePart { file: 3, name: "program".to_owned(), mode: 0o755, length: 9, offset: 4, checksum: Some([7; 32]) }
    }

    #[test]
    fn a_part_says_what_it_is() {
        let block = part().block(Bytes::from_static(b"bytes"));
        let (described, bytes) = FilePart::of(&block).unwrap();
        assert_eq!((described, bytes.concat()), (part(), b"bytes".to_vec()));
        let (_, none) = FilePart::of(&part().block(Bytes::new())).unwrap();
        assert!(none.concat().is_empty());
    }

    proptest! {
        #[test]
        fn any_block_is_a_part_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0_usize..80) {
            drop(FilePart::of(&BlockBytes::from(bytes)));
            let whole: Vec<u8> = part().block(Bytes::new()).chunks().flatten().copied().collect();
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(FilePart::of(&BlockBytes::from(whole[..cut].to_vec())), None);
        }
    }
}
