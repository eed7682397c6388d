//! The switching step between busy gangs in rank cgroups.

use std::thread;

use strobe_core::model::{GangSlot, GangSlots};
use strobe_node_agent::executor::limits::STRAGGLER_BOUND_MAX;
use strobe_node_agent::executor::{Executor, SwitchOrder, SwitchOutcome};
use strobe_node_agent::freezer::{CgroupFreezer, Freezer, FreezerKind};

use crate::support::{PATIENCE, Scratch, eventually, slots};

fn order(freeze: &[u8], thaw: &[u8]) -> SwitchOrder {
    SwitchOrder { freeze: slots(freeze), thaw: slots(thaw), straggler_bound: STRAGGLER_BOUND_MAX }
}

/// Every gang to be frozen is frozen, or named as a straggler that freezes later; on a busy machine both happen.
fn assert_frozen(executor: &mut Executor, gangs: GangSlots, outcome: &SwitchOutcome) {
    assert_eq!(outcome.commanded_frozen, gangs);
    assert!(executor.running(gangs).is_subset(outcome.stragglers), "{outcome:?}");
    eventually("stragglers freeze", || {
        executor.check_stragglers();
        executor.straggling().is_empty()
    });
    assert!(executor.running(gangs).is_empty());
}

#[test]
fn gangs_take_turns() {
    let Some(scratch) = Scratch::new("turns") else { return };
    let mut executor = Executor::new();
    let gangs = ["gang-0", "gang-1", "gang-2"].map(|label| scratch.busy_gang(label));
    for (number, (cgroup, _process)) in (0..).zip(&gangs) {
        let freezer = Freezer::Cgroup(CgroupFreezer::open(cgroup).unwrap());
        assert_eq!(freezer.kind(), FreezerKind::Cgroup);
        assert!(executor.register(GangSlot(number), freezer).is_none());
    }
    assert_eq!(executor.registered(), slots(&[0, 1, 2]));

    let outcome = executor.switch(&order(&[0, 1, 2], &[]));
    assert_frozen(&mut executor, slots(&[0, 1, 2]), &outcome);
    for turn in 0..12_u8 {
        let (next, last) = (turn % 3, (turn + 2) % 3);
        let outcome = executor.switch(&order(&[last], &[next]));
        assert_eq!(outcome.commanded_thawed, slots(&[next]));
        assert!(outcome.freeze_written_at <= outcome.frozen_at && outcome.frozen_at <= outcome.thawed_at);
        assert_frozen(&mut executor, slots(&[last]), &outcome);
        assert_eq!(executor.running(slots(&[0, 1, 2])), slots(&[next]));
        let cgroup = &gangs[usize::from(next)].0;
        let used = cgroup.cpu_time().unwrap();
        eventually("the thawed gang uses the CPU", || cgroup.cpu_time().unwrap() > used);
    }
    let counters = executor.counters();
    assert_eq!((counters.switches, counters.freezes, counters.thaws), (13, 15, 12));
    assert_eq!(counters.stragglers, counters.late_freezes + counters.never_froze);
    assert_eq!(counters.failures, 0);
}

#[test]
fn a_gang_whose_cgroup_is_being_removed_holds_nobody_up() {
    let Some(scratch) = Scratch::new("going") else { return };
    for round in 0..200 {
        let cgroup = scratch.rank_cgroup(&format!("gang-{round}"));
        let mut executor = Executor::new();
        executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&cgroup).unwrap()));
        let switcher = thread::spawn(move || {
            loop {
                let outcome = executor.switch(&order(&[0], &[]));
                assert_eq!((outcome.failed, outcome.first_error), (slots(&[]), None));
                if outcome.gone == slots(&[0]) {
                    return;
                }
            }
        });
        cgroup.remove(PATIENCE).unwrap();
        switcher.join().unwrap();
    }
}

#[test]
fn a_gang_whose_cgroup_is_gone_holds_nobody_up() {
    let Some(scratch) = Scratch::new("gone") else { return };
    let mut executor = Executor::new();
    let (removed, _removed_process) = scratch.busy_gang("gang-0");
    let (other, _process) = scratch.busy_gang("gang-1");
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&removed).unwrap()));
    executor.register(GangSlot(1), Freezer::Cgroup(CgroupFreezer::open(&other).unwrap()));
    other.freeze().unwrap();
    removed.remove(PATIENCE).unwrap();

    let outcome = executor.switch(&order(&[0], &[1]));
    assert_eq!(outcome.gone, slots(&[0]));
    assert_eq!(outcome.commanded_thawed, slots(&[1]));
    assert!(outcome.failed.is_empty() && outcome.stragglers.is_empty() && outcome.first_error.is_none());
    assert!(executor.unregister(GangSlot(0)).is_some());
    assert_eq!(executor.registered(), slots(&[1]));
}

#[test]
fn a_thaw_by_the_supervisor_is_observed() {
    let Some(scratch) = Scratch::new("observed") else { return };
    let mut executor = Executor::new();
    let (cgroup, _process) = scratch.busy_gang("gang-0");
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&cgroup).unwrap()));
    let outcome = executor.switch(&order(&[0], &[]));
    assert_frozen(&mut executor, slots(&[0]), &outcome);
    assert!(executor.observed_thawed(slots(&[0, 5])).is_empty());
    rustix::io::write(cgroup.open_thaw_descriptor().unwrap(), b"0").unwrap();
    assert_eq!(executor.observed_thawed(slots(&[0, 5])), slots(&[0]));
}

#[test]
fn commands_that_change_nothing_are_harmless() {
    let Some(scratch) = Scratch::new("again") else { return };
    let mut executor = Executor::new();
    let (cgroup, _process) = scratch.busy_gang("gang-0");
    executor.register(GangSlot(0), Freezer::Cgroup(CgroupFreezer::open(&cgroup).unwrap()));
    for _ in 0..2 {
        let outcome = executor.switch(&order(&[0], &[]));
        assert_frozen(&mut executor, slots(&[0]), &outcome);
    }
    for _ in 0..2 {
        assert_eq!(executor.switch(&order(&[], &[0])).commanded_thawed, slots(&[0]));
        assert_eq!(executor.running(slots(&[0])), slots(&[0]));
    }
}
