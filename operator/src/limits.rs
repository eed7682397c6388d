//! The operator's own limits.

use std::time::Duration;

/// Jobs that are looked at at a time. More wait.
pub const JOBS_AT_A_TIME: u16 = 8;

/// How long a job waits after the API server failed to answer about it.
pub const AGAIN: Duration = Duration::from_secs(5);
