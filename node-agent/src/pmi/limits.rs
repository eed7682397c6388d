//! Limits of the PMI server, each with what happens past it.

use crate::supervisor_protocol::limits as protocol;

/// Bytes of one line from a rank, its line end not counted. A longer line is dropped whole and answered
/// by one error.
pub const LINE_BYTES: usize = 4096;

/// Fields (`key=value`) of one line. A line with more is answered by an error.
pub const FIELDS: usize = 32;

/// Bytes of a key, told to the ranks by `get_maxes`. A longer one is answered by an error.
pub const KEY_BYTES: usize = 64;

/// Bytes of a value, told to the ranks by `get_maxes`. A longer one is answered by an error. MPICH cuts
/// longer values into segments by itself.
pub const VALUE_BYTES: usize = 1024;

/// Bytes of a key-value space's name, told to the ranks by `get_maxes`.
pub const SPACE_NAME_BYTES: usize = 256;

/// Bytes of keys that one node's ranks may put between two barriers, in the block's encoding. Past it
/// `put` is answered by an error.
pub const BLOCK_BYTES: usize = protocol::BLOCK_BYTES;

/// Barriers of groups that may be under way at once on one node. A rank that would begin another is answered by an error.
pub const GROUPS: usize = 16;

/// Bytes of keys that one node's ranks may send with a group's barrier, in the block's encoding: what they have put and the
/// group's nodes do not have. Past it the barrier fails for the ranks of this node.
pub const GROUP_BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of all keys and values that are kept for a gang incarnation. Past it `put` is answered by an
/// error, and a barrier whose block does not fit fails.
pub const SPACE_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of the text that a rank may give with `abort`; the rest is cut.
pub const EXPLANATION_BYTES: usize = protocol::EXPLANATION_BYTES;

const _: () = assert!(KEY_BYTES + VALUE_BYTES + 2 < GROUP_BLOCK_BYTES && GROUP_BLOCK_BYTES <= BLOCK_BYTES);
// A line of the longest key and the longest value fits; a block holds at least one such pair.
const _: () = assert!(KEY_BYTES + VALUE_BYTES + SPACE_NAME_BYTES + 64 < LINE_BYTES);
const _: () = assert!(KEY_BYTES + VALUE_BYTES + 2 < BLOCK_BYTES && BLOCK_BYTES < SPACE_BYTES);
const _: () = assert!(protocol::NAME_BYTES < SPACE_NAME_BYTES);
