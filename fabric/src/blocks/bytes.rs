//! The bytes of a block, in memory and never changed.

use std::sync::Arc;

use bytes::Bytes;
use strobe_core::primitives::{Block, digest};

/// Bytes in chunks of any size, shared by all who read them.
#[derive(Debug, Clone, Default)]
pub struct BlockBytes {
    chunks: Arc<[Bytes]>,
    length: u64,
}

impl BlockBytes {
    /// These chunks, one after the other.
    #[must_use]
    pub fn new(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let chunks: Arc<[Bytes]> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, length }
    }

    /// How many there are.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// All of them, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &chunk[..])
    }

    /// Those from `begin` on, as many as there are up to `length`, without a copy.
    #[must_use]
    pub fn slice(&self, begin: u64, length: u64) -> Vec<Bytes> {
        let (mut skip, mut left) = (begin, length);
        let mut found = Vec::new();
        for chunk in &*self.chunks {
            let size = chunk.len() as u64;
            let begin = skip.min(size);
            let taken = left.min(size - begin);
            (skip, left) = (skip - begin, left - taken);
            if taken > 0 {
                let within = |place: u64| usize::try_from(place).expect("within a chunk");
                found.push(chunk.slice(within(begin)..within(begin + taken)));
            }
        }
        found
    }

    /// What is told of them in the order. It looks at every byte.
    #[must_use]
    pub fn block(&self) -> Block {
        let mut leaves = Vec::new();
        let mut leaf = Vec::with_capacity(digest::LEAF_BYTES);
        for mut chunk in self.chunks() {
            if leaf.is_empty() {
                // Whole leaves are looked at where they are.
                let whole = chunk.len() - chunk.len() % digest::LEAF_BYTES;
                leaves.extend(digest::leaves(&chunk[..whole]));
                chunk = &chunk[whole..];
            }
            while !chunk.is_empty() {
                let fits = chunk.len().min(digest::LEAF_BYTES - leaf.len());
                leaf.extend_from_slice(&chunk[..fits]);
                chunk = &chunk[fits..];
                if leaf.len() == digest::LEAF_BYTES {
                    leaves.extend(digest::leaves(&leaf));
                    leaf.clear();
                }
            }
        }
        leaves.extend(digest::leaves(&leaf));
        Block { digest: digest::of_leaves(leaves), length: self.length }
    }
}

impl From<Vec<u8>> for BlockBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new([Bytes::from(bytes)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn chunks_of_any_size_are_the_same_block(
            sizes in proptest::collection::vec(0..3 * digest::LEAF_BYTES, 0..6),
            begin: prop::sample::Index,
            length: prop::sample::Index,
        ) {
            let mut next = 0_u8;
            let mut chunk = |size: usize| Bytes::from((0..size).map(|_| { next = next.wrapping_mul(5).wrapping_add(7); next }).collect::<Vec<u8>>());
            let bytes = BlockBytes::new(sizes.into_iter().map(&mut chunk).collect::<Vec<_>>());
            let whole: Vec<u8> = bytes.chunks().flatten().copied().collect();
            prop_assert_eq!(bytes.length(), whole.len() as u64);
            prop_assert_eq!(bytes.block(), Block { digest: digest::of_bytes(&whole), length: whole.len() as u64 });
            let begin = begin.index(whole.len() + 1);
            let length = length.index(whole.len() + 10);
            let part = bytes.slice(begin as u64, length as u64).concat();
            prop_assert_eq!(&part[..], &whole[begin..whole.len().min(begin + length)]);
            prop_assert_eq!(bytes.slice(begin as u64, u64::MAX).concat(), &whole[begin..]);
        }
    }
}
