//! The deterministic simulation: authority, manager and N nodes in one thread on virtual time.
//!
//! It hosts the very machines of `strobe-core` and delivers every message between them itself, with delays, losses and
//! faults that are drawn from a seed. Named invariants are checked after every step; then everything is healed, and
//! everything has to come to rest. See docs/adr/0009-simulation.md.
//!
//! *Invariant:* the same scenario gives the same trace.

pub mod campaign;
pub mod clock;
mod diagram;
mod faults;
mod history;
pub mod invariants;
pub mod limits;
pub mod mutations;
mod network;
mod node;
mod operator;
pub mod random;
pub mod scenario;
mod supervisor;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use invariants::Violation;
use scenario::Scenario;
pub use world::Counters;
use world::World;

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first invariant that was broken.
    pub violation: Option<Violation>,
    /// Hash of everything that happened.
    pub trace: u64,
    /// The last of what happened, in words, when asked for.
    pub lines: Vec<String>,
    /// The last of it as a sequence diagram, an SVG file, when asked for.
    pub diagram: Option<String>,
    /// What was counted.
    pub counters: Counters,
}

/// Runs a scenario, which must be valid; `in_words` keeps the trace as text, which is slower.
#[must_use]
pub fn simulate(scenario: &Scenario, in_words: bool) -> Outcome {
    let mut world = World::new(scenario.clone(), in_words);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    if let Some(payload) = panicked {
        let said = payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail("no panic", said.unwrap_or_default());
    }
    let violation = world.violation.take();
    let title = violation.as_ref().map_or_else(|| "every invariant held".to_owned(), |broken| format!("broke {broken}"));
    let diagram = world.diagram.into_svg(&title);
    Outcome { violation, trace: world.trace.hash(), counters: world.counters, lines: world.trace.into_lines(), diagram }
}
