//! Every limit of the authority, with its meaning and what happens beyond it.

use std::time::Duration;

use super::face::BackOff;
use crate::limits::GANGS_PER_PLAN_MAX;

/// Jobs that the authority knows, ended ones that are not forgotten yet included. A further one is refused.
pub const JOBS_MAX: usize = 4096;

/// Different member sets that terms without establishment may leave in `since`. With so many, no further term is
/// appointed unless its predecessor's member set is there already: the partition waits for its nodes instead.
pub const SINCE_MAX: usize = 64;

/// Bits of a plan's version that count the plans of one authority. What precedes them is the term that was recorded before it began.
pub(super) const PLANS_PER_TERM_BITS: u32 = 32;

/// How long the first term waits for all configured nodes, unless the configuration says otherwise. After it, the nodes
/// that are reached begin alone.
pub const START_UP_DEFAULT: Duration = Duration::from_secs(10);

/// How long a gang keeps away from a node where it could not be placed, unless the configuration says otherwise.
pub const BACK_OFF_DEFAULT: BackOff = BackOff { first: Duration::from_secs(10), longest: Duration::from_secs(600) };

const _: () = assert!(GANGS_PER_PLAN_MAX <= JOBS_MAX, "every gang of a plan is a job");
