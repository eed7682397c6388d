//! What users and administrators do with Strobe on a real cluster, each in a namespace of its own: `cargo xtask e2e`. A scenario says what it
//! needs beside Kubernetes' own API; where the cluster cannot give that it is left out, said and counted as ignored.

#![expect(clippy::unwrap_used, reason = "what fails ends the scenario")]

mod bad_input;
mod chart;
mod evidence;
mod failures;
mod jobs;
mod looking;
mod many;
mod nodes;
mod outage;
mod pod_groups;
mod policy;
mod programs;
mod queue;
mod sharing;
mod states;
mod trace;

use std::collections::BTreeSet;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use strobe_e2e::cluster::{Driver, Need};

use jobs::Jobs;

/// Set where the scenarios that take minutes each run too.
const ALL: &str = "STROBE_ALL_SCENARIOS";

/// One of them.
#[derive(Clone, Copy)]
struct Scenario {
    /// Of its namespace too.
    name: &'static str,
    needs: &'static [Need],
    room: Room,
    length: Length,
    run: fn(&Jobs),
}

/// Whether others may run meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Beside,
    Alone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// Less than two minutes on two idle cores.
    Short,
    /// With --all only.
    Long,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let driver = Driver::find();
    let offered = driver.capabilities().expect("the driver says what it can");
    let suites: [&[Scenario]; 11] = [
        &sharing::SCENARIOS,
        &queue::SCENARIOS,
        &nodes::SCENARIOS,
        &outage::SCENARIOS,
        &looking::SCENARIOS,
        &states::SCENARIOS,
        &failures::SCENARIOS,
        &programs::SCENARIOS,
        &many::SCENARIOS,
        &bad_input::SCENARIOS,
        &policy::SCENARIOS,
    ];
    let mut scenarios = suites.concat();
    scenarios.extend(pod_groups::SCENARIOS);
    scenarios.extend(chart::SCENARIOS);
    scenarios.retain(|scenario| scenario.length == Length::Short || env::var_os(ALL).is_some());
    // Those that must be alone come last: the others need not wait for one another then.
    scenarios.sort_by_key(|scenario| scenario.room == Room::Alone);
    if let Some(part) = arguments.filter.as_deref().filter(|part| !scenarios.iter().any(|scenario| scenario.name.contains(part))) {
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
        eprintln!("the name of no scenario has {part:?} in it; there are these, and with --all more:\n{}", names.join("\n"));
        return ExitCode::FAILURE;
    }
    let trials = scenarios.into_iter().map(|scenario| scenario.trial(&driver, &offered)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

// === impl Scenario ===

impl Scenario {
    /// Short, needs the API alone, and bears others.
    const fn new(name: &'static str, run: fn(&Jobs)) -> Self {
        Self { name, needs: &[], room: Room::Beside, length: Length::Short, run }
    }

    const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    const fn alone(self) -> Self {
        Self { room: Room::Alone, ..self }
    }

    const fn long(self) -> Self {
        Self { length: Length::Long, ..self }
    }

    fn trial(self, driver: &Driver, offered: &BTreeSet<Need>) -> Trial {
        let missing: Vec<&str> = self.needs.iter().filter(|need| !offered.contains(need)).map(|need| need.word()).collect();
        if !missing.is_empty() {
            eprintln!("SKIPPED: {}: this cluster has no {}", self.name, missing.join(", no "));
        }
        let driver = driver.clone();
        let run = move || {
            self.run(driver);
            Ok(())
        };
        Trial::test(self.name, run).with_ignored_flag(!missing.is_empty())
    }

    fn run(self, driver: Driver) {
        let jobs = Jobs::make(self.name, self.room == Room::Alone, driver);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.run)(&jobs))) {
            evidence::keep(&jobs, self.name);
            resume_unwind(panic);
        }
    }
}
