//! The keys that travel between nodes at a barrier: lines of `key=value`, each ended by a line feed.
//!
//! Blocks are merged by concatenation: whoever gathers them (the gang's root) needs no knowledge of PMI.

use thiserror::Error;

use super::limits::{KEY_BYTES, VALUE_BYTES};

/// Why a block is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockError {
    /// A line is not `key=value`, or its key or value is over the limit or not printable ASCII.
    #[error("line {line} of the block is not a key and a value within the limits")]
    BadLine {
        /// Number of the line, from 1.
        line: usize,
    },
}

/// Appends a pair to a block. The pair must have passed [`is_pair`].
pub(super) fn push(block: &mut Vec<u8>, key: &str, value: &str) {
    for part in [key, "=", value, "\n"] {
        block.extend_from_slice(part.as_bytes());
    }
}

/// Bytes that the pair takes in a block.
pub(super) fn pair_bytes(key: &str, value: &str) -> usize {
    key.len() + value.len() + 2
}

/// The pairs of a block, in order.
///
/// # Errors
/// [`BlockError::BadLine`] for the first line that no server would have written.
pub fn pairs(block: &[u8]) -> Result<Vec<(&str, &str)>, BlockError> {
    let text = block.strip_suffix(b"\n").unwrap_or(block);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(|&byte| byte == b'\n').enumerate().map(|(index, line)| pair(line).ok_or(BlockError::BadLine { line: index + 1 })).collect()
}

/// Whether key and value are within the limits and printable.
pub(super) fn is_pair(key: &str, value: &str) -> bool {
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (1..=KEY_BYTES).contains(&key.len()) && value.len() <= VALUE_BYTES && printable(key) && printable(value) && !key.contains('=')
}

fn pair(line: &[u8]) -> Option<(&str, &str)> {
    let (key, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
    is_pair(key, value).then_some((key, value))
}
