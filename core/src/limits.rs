//! Every limit of the core, with its meaning and what happens beyond it.

use std::time::Duration;

use crate::primitives::digest::LEAF_BYTES;

/// Rows of a matrix. A `Partition` with more is refused; a row index fits a byte of the strobe.
pub const ROWS_MAX: usize = 16;

/// Members of a partition while the control tree has depth one. A term record with more is refused.
pub const MEMBERS_MAX: usize = 64;

/// Gangs on one node, over all rows: one bit each of a machine word. Placement leaves a node with more alone.
pub const GANGS_PER_NODE_MAX: usize = 64;

/// Gangs in one plan. The authority keeps further jobs queued.
pub const GANGS_PER_PLAN_MAX: usize = 1024;

/// CPUs of one node that a matrix can hold. CPUs beyond are not used.
pub const CPUS_PER_NODE_MAX: usize = 1024;

/// Ranks of one gang.
pub const RANKS_PER_GANG_MAX: u32 = 65_536;

/// Epochs that one strobe announces. A strobe datagram stays below one Ethernet frame.
pub const SCHEDULE_EPOCHS_MAX: usize = 512;

/// What a rolling schedule covers at least, unless [`SCHEDULE_EPOCHS_MAX`] caps it: a lost strobe costs nothing while
/// one of the next ones arrives within this time.
pub const SCHEDULE_COVER: Duration = Duration::from_millis(500);

/// Shortest quantum.
pub const QUANTUM_MIN: Duration = Duration::from_millis(1);

/// Longest quantum.
pub const QUANTUM_MAX: Duration = Duration::from_secs(10);

/// Records that the manager has numbered and that are not yet stable. Further operations wait at the manager.
pub const RECORDS_IN_FLIGHT_MAX: usize = 64;

/// Payload bytes of records in flight from which on further operations wait at the manager. With the memory they travel
/// in one message when a member answers a seal: [`MEMORY_BYTES_MAX`], this, and one payload.
pub const BYTES_IN_FLIGHT_ENOUGH: usize = PAYLOAD_BYTES_MAX / 2;

/// Stable records that the manager keeps for a node that is sent the whole memory, so that it need not be sent again. Past
/// it the oldest are dropped, and the node is sent the memory anew: what is numbered does not wait for it.
pub const RECORDS_KEPT_MAX: usize = 16 * RECORDS_IN_FLIGHT_MAX;

/// Payload bytes of these. Memory, these and what is in flight fit the queue of one link.
pub const BYTES_KEPT_MAX: usize = MEMORY_BYTES_MAX / 2;

/// Operations that one node may have outstanding. A further one is refused with `TooManyOperations`.
pub const OPERATIONS_PER_NODE_MAX: usize = 64;

/// Payload bytes of operations that a node repeats at a time, one payload at least: with half of a link's queue they do not crowd out the
/// first of them, for which the others have to wait.
pub const BYTES_REPEATED_ENOUGH: usize = MEMORY_BYTES_MAX;

/// Outcomes that global memory remembers for one node, so that a repeated operation takes effect once. A repetition of
/// an older operation is answered `Unknown`.
pub const OUTCOMES_PER_NODE_MAX: usize = 128;

/// Payload that rides with the record of one XFER, in bytes. A larger block is staged beside the order.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Payloads that global memory holds together, in bytes: a whole memory travels in one message at admission.
/// An XFER beyond it is aborted with `MemoryFull`.
pub const MEMORY_BYTES_MAX: usize = 4 << 20;

/// Bytes of one block that is staged beside the order. Larger files are sequences of blocks.
pub const BLOCK_BYTES_MAX: u64 = 256 << 20;

/// Bytes of blocks beside the order, those that are being staged included: each node may have to hold so many. An operation beyond it is
/// refused with [`crate::primitives::AbortReason::MemoryFull`].
pub const STAGED_BYTES_MAX: u64 = 1 << 30;

/// Blocks of memory that belong to one node and to no gang. An operation that names a further one is refused with
/// [`crate::primitives::AbortReason::MemoryFull`].
pub const NODE_REGIONS_MAX: u32 = 16;

/// Blocks that are staged at a time; operations beyond it wait. Of the largest fewer have room together.
pub const STAGINGS_MAX: usize = 16;

/// Least bytes of a piece in which a block goes from node to node. Beside its bytes a piece costs a frame, a wake and a call or two.
pub const PIECE_BYTES_MIN: u64 = LEAF_BYTES as u64;

/// Most bytes of a piece: what is in the way of others, and what must come within the time after which a transfer counts as stalled.
pub const PIECE_BYTES_MAX: u64 = 1 << 20;

/// What a link carries in the time that a piece costs beside its bytes. It decides how large the pieces are between the two bounds.
pub const PIECE_COST_BYTES: u64 = 128 << 10;

const _: () = assert!(PIECE_BYTES_MIN <= PIECE_BYTES_MAX && PIECE_BYTES_MAX.is_multiple_of(LEAF_BYTES as u64), "a piece has whole leaves");
const _: () = assert!(PAYLOAD_BYTES_MAX as u64 <= BLOCK_BYTES_MAX && BLOCK_BYTES_MAX <= STAGED_BYTES_MAX);

/// Hold, resume and release commands that wait for their instant on one node: two a gang.
pub const PENDING_HOLDS_MAX: usize = 2 * GANGS_PER_NODE_MAX;

/// Hold, resume and release commands that one step of a switcher makes effective: all that wait, the one that came, and
/// one that it drove out.
pub const EFFECTIVE_HOLDS_MAX: usize = PENDING_HOLDS_MAX + 2;

/// Clock samples that an offset estimate looks back on.
pub const CLOCK_SAMPLES: usize = 16;

/// Clock probes that may be unanswered at once; the answer to an older one is ignored.
pub const CLOCK_PROBES_OPEN_MAX: usize = 16;

/// Versions of the matrix whose row tables a node keeps. A strobe that names a lower version keeps the row.
pub const TABLES_KEPT: usize = 4;

/// Announcements that a node keeps at once: the one that runs, and changes that follow each other within the lead. The
/// oldest is forgotten first; its last epochs keep the row.
pub const ANNOUNCEMENTS_KEPT: usize = 4;

/// An epoch that is acted on later than this after its instant counts as late.
pub const LATE_TOLERANCE: Duration = Duration::from_millis(1);

const _: () = assert!(ROWS_MAX <= 1 << 8, "a row index is one byte");
const _: () = assert!(MEMBERS_MAX <= 64 && GANGS_PER_NODE_MAX <= 64, "sets of nodes and of local gangs are one machine word");
const _: () = assert!(PAYLOAD_BYTES_MAX <= MEMORY_BYTES_MAX, "one payload fits the memory");
const _: () = assert!(PAYLOAD_BYTES_MAX <= BYTES_KEPT_MAX, "one payload alone does not make an admission begin anew");
const _: () = assert!(OPERATIONS_PER_NODE_MAX <= OUTCOMES_PER_NODE_MAX, "an outstanding operation's outcome is never forgotten");
const _: () =
    assert!(QUANTUM_MIN.as_nanos() * SCHEDULE_EPOCHS_MAX as u128 >= SCHEDULE_COVER.as_nanos(), "the cap still covers the shortest quantum");
