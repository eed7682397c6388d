//! Every limit of the simulation, with its meaning and what happens beyond it.

use std::time::Duration;

/// Events of one run. A run with more does not come to rest: it fails as `progress`.
pub const EVENTS_MAX: u64 = 2_000_000;

/// How long after the last fault everything must have come to rest. A run that takes longer fails as `progress`.
pub const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// Lines of a trace that are kept for a failing seed; earlier ones are dropped.
pub const TRACE_LINES_MAX: usize = 200_000;

/// Marks of a sequence diagram; earlier ones are dropped.
pub const DIAGRAM_MARKS_MAX: usize = 600;

/// One seed of this many is run twice, to see that it gives the same trace.
pub const REPEATED_EVERY: u64 = 16;

/// Failing seeds of a search that are told of; the others are only counted.
pub const FAILURES_KEPT: usize = 20;

/// Lines of a trace that are printed for a failing seed.
pub const TRACE_LINES_PRINTED: usize = 60;

/// Seeds after which a seeded bug must have been found.
pub const MUTATION_SEEDS_MAX: u64 = 1_000;

/// Nodes of a simulated partition: what scenarios describe by one byte of bits.
pub const NODES_MAX: u16 = 8;
