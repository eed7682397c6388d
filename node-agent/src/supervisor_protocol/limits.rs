//! Limits of the protocol between agent and supervisor, each with what happens past it.

/// Lowest protocol version that this build speaks.
pub const VERSION_MINIMUM: u16 = 1;
/// Highest protocol version that this build speaks.
pub const VERSION_MAXIMUM: u16 = 2;
/// The version from which on a supervisor says where its ranks are reached. An older agent is not told.
pub const VERSION_REACHABLE: u16 = 2;

/// Bytes of payload in one packet. Far below the default socket buffer (212,992 bytes), so that no
/// privilege is needed to raise it; a longer message travels in several packets.
pub const PACKET_BYTES: usize = 32 * 1024;

/// Bytes of one PMI key block, either way. Past it a rank's `put` is answered by an error, or the agent
/// must fail the barrier.
pub const BLOCK_BYTES: usize = 1024 * 1024;

/// Bytes of one encoded message. A longer one is refused by the sender; a receiver that sees more closes
/// the connection.
pub const MESSAGE_BYTES: usize = BLOCK_BYTES + 64 * 1024;

/// Bytes that may wait in an endpoint to be sent. Past it the peer counts as gone: the connection is
/// closed, and what matters is said again after the next Hello.
pub const QUEUED_BYTES: usize = 2 * MESSAGE_BYTES;

/// Descriptors that may travel with one message. More are refused by the sender; a receiver that sees
/// more closes the connection.
pub const DESCRIPTORS: usize = 1;

/// Ranks of one gang on one node. A larger number in `Configure` is refused.
pub const RANKS_PER_NODE: u32 = 1024;

/// Nodes of one gang. A larger number in `Configure` is refused.
pub const NODES: u32 = 4096;

/// CPUs of one rank. A longer list in `Configure` is refused.
pub const CPUS_PER_RANK: usize = 1024;

/// Bytes of a gang's name or of a key-value space's name. A longer one is refused.
pub const NAME_BYTES: usize = 200;

/// Bytes of a text that explains an error. A longer text is cut by the sender.
pub const EXPLANATION_BYTES: usize = 1024;

const _: () = assert!(VERSION_MINIMUM <= VERSION_MAXIMUM);
const _: () = assert!(PACKET_BYTES < MESSAGE_BYTES);
const _: () = assert!(MESSAGE_BYTES < QUEUED_BYTES);
// The peer table (17 bytes an address) and the largest CPU lists of a sane node fit in one message.
const _: () = assert!(NODES as usize * 17 < MESSAGE_BYTES);
