//! Every run of a small world: the very machines of `core`, three nodes, at most two operations, two terms, and what may go wrong once.
//!
//! The simulation draws runs of a large world; here all runs of a small one are taken, by the model checker stateright. A case ends when
//! there is no state left that it has not been in. What a case may not do stands with its [`Bounds`]; what all of them leave out:
//!
//! - time. Everything happens at one instant, so that leases never end, and a manager's patience may end at any moment;
//! - crashes and losses between the parts of one agent's step, see [`step::Step`];
//! - the authority, whose part is one appointment; reports, gangs, plans, staged blocks, stores into owned cells;
//! - frames that are doubled, and repetition while others are under way. What was lost is said again when nothing is;
//! - states whose digests of 64 bits are equal by chance: of ten million states two are with a chance of less than one in 100,000.

mod bugs;
mod digested;
mod meaning;
mod model;
mod observed;
mod program;
mod properties;
mod state;
mod step;

use std::time::Instant;

use bugs::Bug;
use model::{Bounds, Explored};
use program::Program;
use stateright::{Checker, HasDiscoveries, Model};

/// Threads of one exploration.
const THREADS: usize = 2;

const NOTHING: Bounds = Bounds { changes_of_term: 0, crashes: 0, losses: 0, suspicions: 0 };
const CHANGE: Bounds = Bounds { changes_of_term: 1, ..NOTHING };

/// Explores all states of a case, and says how many there are.
fn explore(case: &str, program: Program, bounds: Bounds) {
    let began = Instant::now();
    let checker = Explored { program, bounds, bug: None }.checker().threads(THREADS).spawn_dfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{case}: {states} states, {steps} steps, runs of up to {depth} states, {:.1} s", began.elapsed().as_secs_f64());
    checker.assert_properties();
    assert!(checker.is_done(), "every state was looked at");
}

/// Explores until a rule is broken, breadth first: what is said is as short as it can be.
fn finds(bug: Bug, program: Program, bounds: Bounds) {
    let explored = Explored { program, bounds, bug: Some(bug) };
    let failures: Vec<&str> = properties::rules().map(|(rule, _)| rule).collect();
    let checker = explored.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries().into_iter().find(|(property, _)| failures.contains(property));
    let (rule, path) = found.expect("the bug is found");
    println!("{bug:?} breaks `{rule}` among {} states: {:?}", checker.unique_state_count(), path.into_actions());
}

// === one operation ===

#[test]
fn a_block_with_a_change_of_term_a_crash_and_a_loss() {
    explore("put, change of term, crash, loss", Program::put_alone(), Bounds { crashes: 1, losses: 1, ..CHANGE });
}

#[test]
fn a_block_with_a_change_of_term_and_a_suspicion() {
    explore("put, change of term, suspicion", Program::put_alone(), Bounds { suspicions: 1, ..CHANGE });
}

#[test]
fn a_compare_with_a_change_of_term_and_a_loss() {
    explore("compare, change of term, loss", Program::compare_alone(), Bounds { losses: 1, ..CHANGE });
}

#[test]
fn a_compare_with_a_change_of_term_and_a_suspicion() {
    explore("compare, change of term, suspicion", Program::compare_alone(), Bounds { suspicions: 1, ..CHANGE });
}

// === two operations ===

#[test]
fn a_compare_and_a_block_with_a_change_of_term() {
    explore("compare and put, change of term", Program::compare_and_put(), CHANGE);
}

#[test]
fn a_compare_and_a_block_within_a_term_with_a_crash_and_a_loss() {
    explore("compare and put, crash, loss", Program::compare_and_put(), Bounds { crashes: 1, losses: 1, ..NOTHING });
}

#[test]
fn conflicting_compares_with_a_change_of_term() {
    explore("conflicting compares, change of term", Program::conflicting_compares(), CHANGE);
}

#[test]
fn two_operations_of_one_caller_with_a_change_of_term_and_a_loss() {
    explore("one caller, change of term, loss", Program::one_caller(), Bounds { losses: 1, ..CHANGE });
}

// === bugs ===

#[test]
fn records_that_seals_forget_are_missed() {
    finds(Bug::RecordsForgotten, Program::compare_and_put(), CHANGE);
}

#[test]
fn what_is_stable_before_it_is_held_is_lost() {
    finds(Bug::StableBeforeReceipts, Program::compare_and_put(), CHANGE);
}

#[test]
fn a_life_that_passes_for_a_witness_loses_what_was_committed() {
    finds(Bug::WitnessForged, Program::put_alone(), Bounds { crashes: 1, suspicions: 1, ..CHANGE });
}

#[test]
fn a_compare_that_nobody_looked_at_means_nothing() {
    finds(Bug::ComparedUnseen, Program::conflicting_compares(), NOTHING);
}
