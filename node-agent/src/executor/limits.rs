//! Limits of the switching step.

use std::time::Duration;

use strobe_core::limits::GANGS_PER_NODE_MAX;

/// Gangs that one node can hold; the core never names a slot beyond.
pub const GANGS_MAX: usize = GANGS_PER_NODE_MAX;

/// Longest wait for gangs to be frozen, whatever the quantum. What is not frozen then is a straggler: it stays commanded
/// frozen, the others go on, and its late freezing is found by a later look.
pub const STRAGGLER_BOUND_MAX: Duration = Duration::from_millis(2);

/// First sleep between two looks. Shorter ones would starve a rank that has to run on this CPU to reach the freezer.
pub const PAUSE_FIRST: Duration = Duration::from_micros(20);

/// Longest sleep between two looks, to which they grow; it is also by how much later than need be a thaw can come.
pub const PAUSE_LONGEST: Duration = Duration::from_micros(100);

const _: () = assert!(PAUSE_FIRST.as_nanos() > 0, "looking again without a sleep would spin");
const _: () = assert!(PAUSE_FIRST.as_nanos() <= PAUSE_LONGEST.as_nanos(), "sleeps grow");
const _: () = assert!(PAUSE_LONGEST.as_nanos() * 10 <= STRAGGLER_BOUND_MAX.as_nanos(), "the bound allows several looks");
const _: () = assert!(GANGS_MAX <= u64::BITS as usize, "a set of gangs is one machine word");
