//! Limits of what is asked of a cluster.

use std::time::Duration;

/// How long a cluster may take to be reached. Past it it counts as unreachable.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Time between two looks at what is shown again and again, and may not be watched, and at a gang whose next life is waited for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Shortest time between two pictures of what is shown again and again: four a second at most.
pub(super) const DRAWN_AGAIN: Duration = Duration::from_millis(250);

/// Lines of pods that wait to be printed. Past it reading waits.
pub(super) const WAITING_LINES: usize = 1024;

/// Longest piece of a line that is read at once, in bytes. A longer one is printed in pieces.
pub(super) const LINE_BYTES: u64 = 64 << 10;

/// Events of a job and its pods that are told, the newest.
pub(super) const EVENTS: usize = 8;

/// Jobs before another in the queue that are named, those of the first places. Others are counted.
pub(super) const JOBS_BEFORE: usize = 5;

/// Pods in trouble that are told of. Others are counted.
pub(super) const PODS: usize = 8;
