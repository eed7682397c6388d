//! Limits of the supervisor, each with what happens past it.

use std::time::Duration;

/// Bytes of one piece of output, prefix and line end included: what the kernel writes to a pipe in one go
/// (PIPE_BUF on Linux), so that writers of one FIFO never tear each other's lines. A longer line is passed
/// on in pieces, each after the first marked by `+` in its prefix.
pub const PIECE_BYTES: usize = 4096;

/// Bytes of output that may wait for the reader. Past it the ranks' pipes are not read, and the ranks wait
/// in their writes: back-pressure, not loss.
pub const WAITING_OUTPUT_BYTES: usize = 64 * 1024;

/// Bytes read from a rank's pipe or PMI connection at a time.
pub const READ_BYTES: usize = 16 * 1024;

/// How long the ends of ranks wait for an agent that notes them. Past it the supervisor exits all the same
/// and its own exit status is all that is left of them.
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// How long the last output may wait for its reader after all ranks have ended. Past it what waits is
/// dropped, and said so; the log files get all that the ranks wrote.
pub const LAST_OUTPUT: Duration = Duration::from_secs(10);

/// Bytes that are read from a rank's pipe for its log file when the reader of the last output was given up: as many as the
/// largest pipe holds that a rank may have made of it. What an orphan writes past it is lost.
pub const LAST_READ_BYTES: usize = 1024 * 1024;

/// Bytes of the orders that a stub takes. Longer ones end the stub.
pub const STUB_ORDERS_BYTES: u64 = 64 * 1024;

/// How long the interface of a pod's address may take until it runs; the kernel puts it off for a second at most. Past it the ranks
/// are started all the same.
pub const INTERFACE_RUNS: Duration = Duration::from_secs(2);

/// How often it is asked whether it does.
pub const INTERFACE_ASKED: Duration = Duration::from_millis(5);

/// How often a probe looks whether its ranks run.
pub const PROBE_LOOKS: Duration = Duration::from_millis(10);

/// Bytes of a page's answer that a probe reads. A longer status line is no status.
pub const STATUS_LINE_BYTES: u64 = 1024;

/// From the release of the ranks to the first look whether they use Open MPI; a quarter longer before each further one, so that a
/// program which fails within a tenth of a second is seen too.
pub const OPEN_MPI_LOOK_MIN: Duration = Duration::from_millis(5);

/// Longest time between two such looks: reading the mappings of a rank takes some ten microseconds of its CPU.
pub const OPEN_MPI_LOOK_MAX: Duration = Duration::from_secs(5);

/// How long it is looked for. A program that loads Open MPI later, or ends between two looks, is told nothing.
pub const OPEN_MPI_LOOKED: Duration = Duration::from_secs(60);

const _: () = assert!(PIECE_BYTES <= WAITING_OUTPUT_BYTES);
// A prefix of the longest name leaves most of a piece to the line.
const _: () = assert!(crate::supervisor_protocol::limits::NAME_BYTES * 4 < PIECE_BYTES);
