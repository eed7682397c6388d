//! The digest by which bytes are told apart: XXH3, 64 bits, over leaves.
//!
//! The digest of at most one leaf is that of its bytes; of more it is that of the leaves' digests, in their order, little-endian. So pieces of
//! whole leaves can be looked at in any order, as they come, while they are in the processor's cache. It finds what was mixed up or lost and
//! guards nothing against an adversary: links are authenticated.

use twox_hash::XxHash3_64;

/// Bytes of a leaf; the last one of a block may have fewer.
pub const LEAF_BYTES: usize = 64 << 10;

/// The digest of these bytes.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u64 {
    if bytes.len() <= LEAF_BYTES {
        return XxHash3_64::oneshot(bytes);
    }
    of_leaves(leaves(bytes))
}

/// The digests of the leaves of a piece that begins where a leaf does.
pub fn leaves(piece: &[u8]) -> impl Iterator<Item = u64> {
    piece.chunks(LEAF_BYTES).map(XxHash3_64::oneshot)
}

/// The digest of bytes whose leaves have these digests. No leaf stands for no bytes.
#[must_use]
pub fn of_leaves(leaves: impl IntoIterator<Item = u64>) -> u64 {
    let digests: Vec<u64> = leaves.into_iter().collect();
    match digests[..] {
        [] => XxHash3_64::oneshot(&[]),
        [only] => only,
        _ => XxHash3_64::oneshot(&digests.iter().flat_map(|digest| digest.to_le_bytes()).collect::<Vec<u8>>()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_digest_is_xxh3s() {
        // The empty input's digest as the specification of XXH3 (seed 0) has it.
        assert_eq!(of_bytes(&[]), 0x2d06_8005_38d3_94c2);
        assert_eq!(of_leaves([]), of_bytes(&[]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pieces_have_the_digest_of_the_whole(bytes in 0..4 * LEAF_BYTES, piece in 1_usize..4, salt: u8) {
            let whole: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 ^ salt).collect();
            let pieces = whole.chunks(piece * LEAF_BYTES).flat_map(leaves);
            prop_assert_eq!(of_leaves(pieces), of_bytes(&whole));
        }

        #[test]
        fn another_byte_or_two_leaves_the_other_way_round_are_noticed(leaves in 2_usize..4, at: prop::sample::Index) {
            let whole: Vec<u8> = (0..leaves * LEAF_BYTES).map(|at| (at / 251) as u8).collect();
            let mut other = whole.clone();
            other[at.index(whole.len())] ^= 1;
            prop_assert_ne!(of_bytes(&other), of_bytes(&whole));
            let mut turned = whole.clone();
            turned.rotate_left(LEAF_BYTES);
            prop_assert_ne!(of_bytes(&turned), of_bytes(&whole));
        }
    }
}
