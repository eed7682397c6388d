//! Many seeds, on every CPU. What is found does not depend on how many there are.

use std::{
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    Counters, Outcome,
    invariants::Violation,
    limits::{FAILURES_KEPT, REPEATED_EVERY},
    scenario::{Options, Scenario},
    simulate,
};

/// What became of a range of seeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// The sum of what they counted.
    pub counters: Counters,
    /// How many of them broke an invariant, or gave two traces.
    pub failed: u64,
    /// The failures with the lowest seeds, at most [`FAILURES_KEPT`], sorted by seed.
    pub failures: Vec<Failure>,
}

/// A seed that broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What it broke.
    pub violation: Violation,
}

/// When a campaign ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With the last seed.
    End,
    /// With the first failure that is found; seeds that other CPUs have begun are finished.
    Failure,
}

/// Runs the seeds of a range; `tell` hears of each that is done.
///
/// # Panics
/// When a thread of its own panics, which only a defect of the simulation can bring about.
pub fn run(seeds: Range<u64>, options: Options, until: Until, tell: impl Fn(&Summary) + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (outcome, violation) = run_seed(seed, options);
            let mut summary = summary.lock().expect("nobody panics while holding the summary");
            summary.add(&outcome, violation.map(|violation| Failure { seed, violation }));
            if until == Until::Failure && summary.failed > 0 {
                next.store(seeds.end, Ordering::Relaxed);
            }
            tell(&summary);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    summary.into_inner().expect("nobody panics while holding the summary")
}

/// Runs one seed; now and then twice, to see that the trace is the same.
fn run_seed(seed: u64, options: Options) -> (Outcome, Option<Violation>) {
    let scenario = Scenario::of_seed(seed, options);
    let outcome = simulate(&scenario, false);
    let mut violation = outcome.violation.clone();
    if violation.is_none() && seed.is_multiple_of(REPEATED_EVERY) && simulate(&scenario, false).trace != outcome.trace {
        violation = Some(Violation::new("same trace", "the second run of this seed gave another trace".to_owned()));
    }
    (outcome, violation)
}

impl Summary {
    fn add(&mut self, outcome: &Outcome, failure: Option<Failure>) {
        self.seeds += 1;
        self.counters.add(&outcome.counters);
        let Some(failure) = failure else { return };
        self.failed += 1;
        let place = self.failures.partition_point(|earlier| earlier.seed < failure.seed);
        self.failures.insert(place, failure);
        self.failures.truncate(FAILURES_KEPT);
    }
}
