//! The steady path of a strobe thread calls no allocator: proved by counting the calls of its threads. A program of its
//! own, so that it has no strobe threads but those that are watched.
#![allow(clippy::unwrap_used, reason = "the helpers of these tests may unwrap as the tests do")]

#[allow(dead_code, reason = "shared with the other tests of strobe threads, which need the rest")]
#[path = "strobe_thread_kernel/node.rs"]
mod node;
#[allow(dead_code, reason = "shared with the tests of the freezer, which need the rest")]
#[path = "freezer_kernel/support.rs"]
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::atomic::{AtomicI32, AtomicU64, Ordering},
};

use rustix::thread::gettid;
use strobe_core::{
    message::{AnnouncerCommand, Hold, HoldChange, SwitcherCommand},
    model::{Fence, GangSlot, Instant, NodeIndex, View},
};
use strobe_node_agent::strobe_thread::StrobeCommand;

use crate::{
    node::{MANAGER, Node, TERM, fence, life, until_synchronised},
    support::{Scratch, eventually},
};

/// The system's allocator, counting the calls of watched threads.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Kernel ids of the threads that are watched; 0 is none.
static WATCHED: [AtomicI32; 2] = [const { AtomicI32::new(0) }; 2];

/// Calls of all of them.
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The kernel's id of this thread, once it was asked for.
    static SELF: Cell<i32> = const { Cell::new(0) };
}

fn count() {
    if SELF.get() == 0 {
        SELF.set(gettid().as_raw_pid());
    }
    if WATCHED.iter().any(|watched| watched.load(Ordering::Relaxed) == SELF.get()) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
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

/// Kernel ids of this process's strobe threads.
fn strobe_threads() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    let named = tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "strobe"));
    named.map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn watch(threads: &[i32]) {
    for (place, watched) in WATCHED.iter().enumerate() {
        watched.store(threads.get(place).copied().unwrap_or_default(), Ordering::Relaxed);
    }
}

fn hold(slot: u8, change: HoldChange) -> StrobeCommand {
    StrobeCommand::Switcher(SwitcherCommand::Hold(Hold { slot: GangSlot(slot), change, term: TERM, at: Instant::ORIGIN }))
}

/// Everything that happens again and again in the life of a node.
fn busy_life(nodes: &mut [Node; 2], scratch: &Scratch) {
    for round in 0..5_u8 {
        for node in nodes.iter_mut() {
            node.command(hold(0, HoldChange::Hold));
            node.add_gang(scratch, 2 + round);
        }
        nodes[0].rotate(&[1]);
        let epochs = nodes[0].synchronised().count().max(nodes[1].synchronised().count()) + 20;
        until_synchronised(nodes, epochs);
        for node in nodes.iter_mut() {
            node.command(hold(0, HoldChange::Resume));
            node.switcher(SwitcherCommand::Absent { slot: GangSlot(2 + round) });
            node.command(StrobeCommand::RemoveGang { slot: GangSlot(2 + round) });
        }
        nodes[0].rotate(&[0, 1]);
        until_synchronised(nodes, epochs + 20);
    }
}

#[test]
fn strobing_and_every_recurring_command_allocate_and_free_nothing() {
    let this = gettid().as_raw_pid();
    watch(&[this]);
    drop(std::hint::black_box(Box::new(1)));
    assert!(CALLS.swap(0, Ordering::Relaxed) >= 2, "the counter counts");
    watch(&[]);

    let Some(scratch) = Scratch::new("allocation") else { return };
    let mut nodes = Node::pair(&scratch);
    let threads = strobe_threads();
    assert_eq!(threads.len(), WATCHED.len());
    nodes.iter_mut().for_each(Node::join);
    nodes[0].reign(&[MANAGER, NodeIndex(1)]);
    until_synchronised(&mut nodes, 5);
    CALLS.store(0, Ordering::Relaxed);
    watch(&threads);
    busy_life(&mut nodes, &scratch);
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);

    // The exception that the module names, which shows that the right threads are watched.
    let view = [MANAGER, NodeIndex(1)].map(life).to_vec();
    nodes[0].announcer(AnnouncerCommand::View { fence: Fence { view: View(2), ..fence() }, view });
    eventually("the list of a raised view is freed", || CALLS.load(Ordering::Relaxed) > 0);
    watch(&[]);
    eventually("all freezers come back", || {
        nodes.iter_mut().all(|node| {
            node.drain();
            node.returned.len() == 5
        })
    });
}
