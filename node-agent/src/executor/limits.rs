//! Limits of the switching step.

use std::time::Duration;

use strobe_core::limits::GANGS_PER_NODE_MAX;

/// Gangs that one node can hold; the core never names a slot beyond.
pub const GANGS_MAX: usize = GANGS_PER_NODE_MAX;

/// Longest wait for gangs to be frozen, whatever the quantum. What is not frozen then is a straggler: it stays commanded
/// frozen, the others go on, and its late freezing is found by a later look.
pub const STRAGGLER_BOUND_MAX: Duration = Duration::from_millis(2);

/// Least sleep before a look. Shorter ones would starve a rank that has to run on this CPU to reach the freezer.
pub const PAUSE_LEAST: Duration = Duration::from_micros(20);

/// Longest sleep before a look; it is also by how much later than need be a thaw can come.
pub const PAUSE_LONGEST: Duration = Duration::from_micros(100);

/// By how much the first sleep of a switch grows when its look came too early.
pub const PAUSE_LEARNT_MORE: Duration = Duration::from_micros(9);

/// By how much it shrinks when the look came in time.
pub const PAUSE_LEARNT_LESS: Duration = Duration::from_micros(1);

const _: () = assert!(PAUSE_LEAST.as_nanos() > 0, "looking again without a sleep would spin");
const _: () = assert!(PAUSE_LEAST.as_nanos() * 2 <= PAUSE_LONGEST.as_nanos(), "sleeps grow");
const _: () = assert!(PAUSE_LONGEST.as_nanos() * 10 <= STRAGGLER_BOUND_MAX.as_nanos(), "the bound allows several looks");
const _: () = assert!(GANGS_MAX <= u64::BITS as usize, "a set of gangs is one machine word");
