//! Ranks that do not reach the freezer in time, and one that only looks like it.

use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use strobe_core::model::GangSlot;
use strobe_node_agent::cgroup::CgroupPath;
use strobe_node_agent::executor::limits::STRAGGLER_BOUND_MAX;
use strobe_node_agent::executor::{Executor, SwitchOrder};
use strobe_node_agent::freezer::{CgroupFreezer, Freezer};
use strobe_node_agent::sys::clock::{monotonic_now, sleep_until};
use strobe_node_agent::sys::scheduler::{STROBE_PRIORITY, become_fifo};

use crate::support::{PATIENCE, Scratch, Stubborn, eventually, slots};

/// Time between two looks of a watcher.
const LOOK: Duration = Duration::from_micros(50);

fn order(freeze: &[u8], thaw: &[u8]) -> SwitchOrder {
    SwitchOrder { freeze: slots(freeze), thaw: slots(thaw), straggler_bound: STRAGGLER_BOUND_MAX }
}

#[test]
fn a_rank_blocked_in_the_kernel_straggles_is_counted_and_the_rest_goes_on() {
    let Some(scratch) = Scratch::new("fault") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut blocked = Stubborn::start(folder.path(), "fault");
    let stuck = scratch.rank_cgroup("gang-0");
    stuck.admit_child(blocked.pid(), &CgroupPath::root()).unwrap();
    let (other, _process) = scratch.busy_gang("gang-1");
    other.freeze().unwrap();
    let mut executor = Executor::new();
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&stuck).unwrap()));
    executor.register(GangSlot(1), Freezer::Cgroup(CgroupFreezer::open(&other).unwrap()));

    let outcome = executor.switch(&order(&[0], &[1]));
    assert_eq!(outcome.stragglers, slots(&[0]));
    assert_eq!(outcome.commanded_thawed, slots(&[1]), "the strobe goes on");
    assert!(outcome.frozen_at.since(outcome.freeze_written_at) >= STRAGGLER_BOUND_MAX);
    assert!(executor.check_stragglers().frozen.is_empty());
    assert!(executor.observed_thawed(slots(&[0])).is_empty(), "a straggler is commanded frozen all the same");

    let again = executor.switch(&order(&[0], &[]));
    assert_eq!((again.looks, again.stragglers), (0, slots(&[])), "a known straggler is not waited for again");
    assert_eq!(again.straggling, slots(&[0]));

    blocked.serve();
    eventually("the straggler freezes once its page is served", || !executor.check_stragglers().frozen.is_empty());
    assert!(executor.straggling().is_empty());
    assert!(stuck.state().unwrap().frozen, "its freeze stayed commanded");
    let counters = executor.counters();
    assert_eq!((counters.stragglers, counters.late_freezes, counters.never_froze), (1, 1, 0));
}

#[test]
fn nobody_is_thawed_while_a_straggler_is_waited_for() {
    let Some(scratch) = Scratch::new("order") else { return };
    let folder = tempfile::tempdir().unwrap();
    let blocked = Stubborn::start(folder.path(), "fault");
    let stuck = scratch.rank_cgroup("gang-0");
    stuck.admit_child(blocked.pid(), &CgroupPath::root()).unwrap();
    let (other, _process) = scratch.busy_gang("gang-1");
    other.freeze().unwrap();
    let mut executor = Executor::new();
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&stuck).unwrap()));
    executor.register(GangSlot(1), Freezer::Cgroup(CgroupFreezer::open(&other).unwrap()));

    let command = other.disk_path().join("cgroup.freeze");
    let watching = Arc::new(Barrier::new(2));
    let barrier = Arc::clone(&watching);
    let watcher = thread::spawn(move || {
        // Real-time, so that the look is not delayed until the wait that is looked at is over.
        become_fifo(STROBE_PRIORITY);
        barrier.wait();
        while fs::read_to_string(&command).unwrap().trim() == "1" {
            sleep_until(monotonic_now() + LOOK);
        }
        monotonic_now()
    });
    watching.wait();
    let outcome = executor.switch(&order(&[0], &[1]));
    let thaw_seen_at = watcher.join().unwrap();
    assert_eq!((outcome.stragglers, outcome.commanded_thawed), (slots(&[0]), slots(&[1])));
    assert!(thaw_seen_at >= outcome.frozen_at, "thawed before the straggler bound was over");
}

#[test]
fn a_straggler_can_be_thawed_and_killed() {
    let Some(scratch) = Scratch::new("stuck") else { return };
    let folder = tempfile::tempdir().unwrap();
    let blocked = Stubborn::start(folder.path(), "fault");
    let stuck = scratch.rank_cgroup("gang-0");
    stuck.admit_child(blocked.pid(), &CgroupPath::root()).unwrap();
    let mut executor = Executor::new();
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&stuck).unwrap()));

    assert_eq!(executor.switch(&order(&[0], &[])).stragglers, slots(&[0]));
    let thawed = executor.switch(&order(&[], &[0]));
    assert_eq!((thawed.never_froze, thawed.straggling), (slots(&[0]), slots(&[])));
    assert_eq!(executor.counters().never_froze, 1);

    executor.switch(&order(&[0], &[]));
    stuck.remove(PATIENCE).unwrap();
    assert_eq!(executor.check_stragglers().gone, slots(&[0]));
}

#[test]
fn a_traced_rank_does_freeze() {
    let Some(scratch) = Scratch::new("traced") else { return };
    let folder = tempfile::tempdir().unwrap();
    let tracee = Stubborn::start(folder.path(), "traced");
    let cgroup = scratch.rank_cgroup("gang-0");
    cgroup.admit_child(tracee.pid(), &CgroupPath::root()).unwrap();
    cgroup.freeze().unwrap();
    eventually("the traced process counts as frozen", || cgroup.state().unwrap().frozen);
}
