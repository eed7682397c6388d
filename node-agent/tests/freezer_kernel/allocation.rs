//! The switching step allocates nothing: proved by counting what this thread asks of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use strobe_core::model::GangSlot;
use strobe_node_agent::executor::limits::STRAGGLER_BOUND_MAX;
use strobe_node_agent::executor::{Executor, SwitchOrder};
use strobe_node_agent::freezer::{CgroupFreezer, Freezer, SignalFreezer};

use crate::support::{Process, Scratch, slots};

/// The system's allocator, counting the calls of each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// An allocator cannot be had without `unsafe`; this one only counts and passes on.
#[allow(unsafe_code)]
// SAFETY: every method passes its arguments on to the system's allocator unchanged; counting does not allocate, since
// the cell is initialised at compile time and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Switches to and fro; returns how often this thread called the allocator meanwhile.
fn calls_of_switching(executor: &mut Executor) -> u64 {
    let before = CALLS.get();
    for turn in 0..50_u8 {
        let (freeze, thaw) = ([turn % 2], [(turn + 1) % 2]);
        let order = SwitchOrder { freeze: slots(&freeze), thaw: slots(&thaw), straggler_bound: STRAGGLER_BOUND_MAX };
        executor.switch(&order);
        executor.check_stragglers();
    }
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(CALLS.get() - before, 2);
}

#[test]
fn switching_rank_cgroups_allocates_nothing() {
    let Some(scratch) = Scratch::new("allocation") else { return };
    let gangs = ["gang-0", "gang-1"].map(|label| scratch.busy_gang(label));
    let mut executor = Executor::new();
    for (number, (cgroup, _process)) in (0..).zip(&gangs) {
        executor.register(GangSlot(number), Freezer::Cgroup(CgroupFreezer::open(cgroup).unwrap()));
    }
    assert_eq!(calls_of_switching(&mut executor), 0);
    assert_eq!(executor.counters().failures, 0);
}

#[test]
fn switching_by_signals_allocates_nothing() {
    let ranks = [Process::busy(), Process::busy()];
    let mut executor = Executor::new();
    for (number, rank) in (0..).zip(&ranks) {
        executor.register(GangSlot(number), Freezer::Signal(SignalFreezer::open(&[rank.pid()]).unwrap()));
    }
    assert_eq!(calls_of_switching(&mut executor), 0);
    assert_eq!(executor.counters().failures, 0);
}
