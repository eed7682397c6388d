//! Every limit of the fabric, with its meaning and what happens beyond it.

use std::time::Duration;

use strobe_core::limits::{BLOCK_BYTES_MAX, MEMORY_BYTES_MAX, PAYLOAD_BYTES_MAX, PIECE_BYTES_MAX, STAGED_BYTES_MAX};

/// Payload of one frame, in bytes: the whole global memory that a seal's answer or an admission carries, and 2 MiB for
/// the names, cells and unstable records with it. A larger frame is refused at the sender (`SendError::Oversized`); a
/// received header that announces more ends the link.
pub const FRAME_BYTES_MAX: usize = MEMORY_BYTES_MAX + 2 * PAYLOAD_BYTES_MAX;

/// What a queued frame is charged beside its payload, in bytes: so that many empty frames fill a queue too.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

/// Frames that wait to be written on one lane, in bytes. A further one waits at its sender, or is refused with
/// `SendError::Full`.
pub const LANE_BYTES_MAX: usize = 8 << 20;

/// Frames of one class that were received and not yet taken by the agent, in bytes. Beyond it the lanes are not read,
/// so that the senders' queues fill.
pub const INBOX_BYTES_MAX: usize = 16 << 20;

/// Small frames that are joined to one write, in bytes. A larger frame is written by itself.
pub const COALESCE_BYTES: usize = 64 << 10;

/// Links of one transport, over all terms. A plan beyond is refused with `OpenError::TooManyLinks`.
pub const LINKS_MAX: usize = 1024;

/// Handshakes that an acceptor serves at the same time. Further connections wait in the kernel's backlog.
pub const HANDSHAKES_MAX: usize = 64;

/// Time for one connection, from its first byte to the accepted hello. A slower peer is refused as `TimedOut`.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);

/// First wait before a link is dialled again.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(4);

/// Longest wait before a link is dialled again. Dialling goes on for as long as the plan names the peer.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A connection without traffic is probed after this time.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);

/// Time between two probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Unanswered probes after which the link is down.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Written bytes that stay unacknowledged for longer end the link.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// Bytes of blocks that a node holds beside the order: those that memory may hold, and one that is replaced meanwhile. One beyond it is not
/// taken, and the operation that it belongs to is aborted as stalled.
pub const BLOCKS_BYTES_MAX: u64 = STAGED_BYTES_MAX + BLOCK_BYTES_MAX;

/// What a small block is charged, in bytes: so that many small ones fill the room too.
pub const BLOCK_CHARGE_MIN: u64 = 64 << 10;

/// How long a node waits for the next piece of a block. Past it the operation is aborted as stalled.
pub const STALL: Duration = Duration::from_secs(2);

/// How often each holder of a block is asked for it that this node lacks. Past it it is given up, and cannot be read here.
pub const WISHES_MAX: usize = 2;

/// Commands that wait for the task that carries blocks; a further one waits at the agent, and that task never waits for the agent.
pub const BLOCK_COMMANDS_MAX: usize = 256;

/// Blocks of which it is to be said what became of them. What is beyond waits in the task, one entry a block.
pub const BLOCK_EVENTS_MAX: usize = 64;

/// (peer, kind) pairs that were logged once. Further pairs are counted and not logged.
pub const LOGGED_REFUSALS_MAX: usize = 1024;

/// One datagram with header and tag, in bytes: fits every path with an MTU of 1280, the least of IPv6.
pub const DATAGRAM_BYTES_MAX: usize = 1200;

/// Datagrams that may overtake each other on one link. An older one is refused as replayed.
pub const REPLAY_WINDOW: u64 = 128;

/// One piece of memory that the network card knows, in bytes: the largest block of an XFER. A larger one is refused with
/// `VerbsError::RegionSize`; a peer's window that claims more, with `EndpointError::BadWindow`.
#[cfg(feature = "verbs")]
pub const VERBS_REGION_BYTES_MAX: usize = 256 << 20;

/// Sends and writes of one queue pair that are under way. A further one is refused with `VerbsError::Full`.
#[cfg(feature = "verbs")]
pub const VERBS_SENDS_MAX: usize = 64;

/// Buffers of one queue pair that wait for messages. A further one is refused with `VerbsError::Full`.
#[cfg(feature = "verbs")]
pub const VERBS_RECEIVES_MAX: usize = 64;

/// Addresses of one device. Beyond it the kernel refuses to tell of any, and the device is a `ClosedDevice`; it takes no room of 64 KiB or
/// more, and each has 32 bytes.
#[cfg(feature = "verbs")]
pub const VERBS_GIDS_MAX: usize = 1024;

/// Time until a packet that nobody acknowledged is sent again: 4.096 µs times 2 to the power of this, 67 ms.
#[cfg(feature = "verbs")]
pub const VERBS_ACKNOWLEDGE_EXPONENT: u8 = 14;

/// How often it is sent again, half a second altogether. Then the queue pair is in error with `Status::Unacknowledged`. Not 7, the most that
/// there is room for: soft-RoCE takes it for a number without end, and a peer that is gone would never be heard of.
#[cfg(feature = "verbs")]
pub const VERBS_RETRIES: u8 = 6;

/// Time that a peer without a buffer for a message asks for, by its number in the InfiniBand specification: 41 ms.
#[cfg(feature = "verbs")]
pub const VERBS_NOT_READY_CODE: u8 = 24;

/// How often the message is sent again then. After it the queue pair is in error with `Status::ReceiverNotReady`; 7 would mean for ever.
#[cfg(feature = "verbs")]
pub const VERBS_NOT_READY_RETRIES: u8 = 6;

/// Routers between two nodes.
#[cfg(feature = "verbs")]
pub const VERBS_HOPS_MAX: u8 = 64;

const _: () = assert!(FRAME_BYTES_MAX > MEMORY_BYTES_MAX + PAYLOAD_BYTES_MAX, "a whole memory and a record travel in one frame");
const _: () = assert!(FRAME_BYTES_MAX + FRAME_OVERHEAD_BYTES <= LANE_BYTES_MAX, "the largest frame fits an empty lane");
const _: () = assert!(LANE_BYTES_MAX <= INBOX_BYTES_MAX, "one lane does not hold more than its reader's inbox");
const _: () = assert!(INBOX_BYTES_MAX < u32::MAX as usize, "a frame's charge is counted in u32 permits");
const _: () = assert!((PIECE_BYTES_MAX as usize) < FRAME_BYTES_MAX / 2, "a piece and its header are one frame");
const _: () = assert!(REPLAY_WINDOW == u128::BITS as u64, "the window is one machine integer");
#[cfg(feature = "verbs")]
const _: () = assert!(VERBS_REGION_BYTES_MAX <= 1 << 31, "the length of a work request has 32 bits, and most devices take half of that");
#[cfg(feature = "verbs")]
const _: () = assert!(VERBS_ACKNOWLEDGE_EXPONENT < 32 && VERBS_NOT_READY_CODE < 32, "both have five bits");
#[cfg(feature = "verbs")]
const _: () = assert!(VERBS_RETRIES < 7 && VERBS_NOT_READY_RETRIES < 7, "both have three bits, and seven has no end");
