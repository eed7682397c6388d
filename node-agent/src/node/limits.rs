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

/// How long what a life has begun may take to end before the next one begins, which would find it still there.
pub(super) const LIFE_END_MAX: Duration = Duration::from_secs(10);

/// The pause before a life after a lasting one; doubled at every further one.
pub(super) const NEXT_LIFE_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause: an operator and an authority that say different things of a partition make lives of seconds.
pub(super) const NEXT_LIFE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A life of at least this length is a lasting one.
pub(super) const LASTING_LIFE: Duration = Duration::from_secs(60);

/// How long the operator's certificates are good.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// From a third of its certificate's life on an agent leaves to enrol anew, and has done so when two thirds are over: an older one could
/// make no new connections. When in between differs between lives, since agents that all leave at once would take memory with them.
pub(super) const RENEWAL_BEGINS: Duration = Duration::from_secs(CERTIFICATE_LIFE.as_secs() / 3);
/// See [`RENEWAL_BEGINS`].
pub(super) const RENEWAL_SPREAD: Duration = Duration::from_secs(CERTIFICATE_LIFE.as_secs() / 3);

const _: () = assert!(RENEWAL_BEGINS.as_secs() + RENEWAL_SPREAD.as_secs() < CERTIFICATE_LIFE.as_secs());
