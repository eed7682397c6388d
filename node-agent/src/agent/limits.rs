//! Every limit of the agent, with what happens at it.

use std::time::Duration;

/// Files of shared memory that are noted of one gang on one node. Further ones stay when its ranks are killed.
pub(super) const SHARED_MEMORY_FILES_MAX: usize = 64;
/// Between the first and the second look at what a gang's ranks have mapped; doubled at every further one. A file that is made
/// and lost with the rank between two looks stays.
pub(super) const SHARED_MEMORY_LOOK_MIN: Duration = Duration::from_millis(400);
/// Longest time between two looks: reading the mappings of a rank takes some ten microseconds of its node's CPUs.
pub(super) const SHARED_MEMORY_LOOK_MAX: Duration = Duration::from_secs(60);
