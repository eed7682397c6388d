//! Every limit of a node's beginning, with what happens at it.

use std::time::Duration;

/// How long the operator may take to answer: it asks the API server three times. Past it it is asked again.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// The pause after the first refusal, and after one that says something new; doubled at every further one.
pub(super) const ENROLMENT_PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause: a node that is given to a partition may be asked for so late.
pub(super) const ENROLMENT_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bytes of an enrolment at most: certificate, roots and the CPUs of a node. A larger one is refused.
pub(super) const ENROLMENT_BYTES_MAX: usize = 1 << 20;

/// How often an agent looks whether it has a session, and asks the operator again when it has none: its node may be in another partition
/// by now. So late it learns that.
pub(super) const SESSION_LOOK: Duration = Duration::from_secs(60);
