//! A step of a machine on the strobe path allocates nothing: the strobe thread must not wait for the allocator.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_types,
    reason = "the test harness allocates on threads of its own: count per thread"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::VecDeque,
    time::Duration,
};

use strobe_core::{
    limits::ROWS_MAX,
    machine::{Machine, Outbox},
    manager::{Announcer, AnnouncerEffect, AnnouncerInput},
    message::{AnnouncerCommand, Datagram, Hold, HoldChange, RowTable, SwitcherCommand},
    model::{
        AgentIncarnation, Fence, GangSlot, GangSlots, Instant, MatrixVersion, NodeIncarnation, NodeIndex, PartitionUid, RowIndex, Settings,
        Term, View,
    },
    node::{Switcher, SwitcherConfiguration, SwitcherEffect, SwitcherInput},
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator with the arguments that it came with; counting touches a
// constant-initialised thread-local, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` allocated.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const NODES: u16 = 3;

/// What travels, in the order in which it was sent.
enum Message {
    ToAnnouncer { from: NodeIndex, datagram: Datagram },
    ToSwitcher { to: NodeIndex, datagram: Datagram },
}

/// Announcer of node 0 and the switchers of all nodes, joined by a network without delay; everything is preallocated.
struct Partition {
    announcer: Announcer,
    announced: Outbox<AnnouncerEffect>,
    switchers: [Switcher; NODES as usize],
    switched: Outbox<SwitcherEffect>,
    network: VecDeque<Message>,
    now: Instant,
    switches: u64,
}

impl Partition {
    fn new() -> Self {
        let switcher = |node| {
            let configuration =
                SwitcherConfiguration { node: NodeIndex(node), incarnation: AgentIncarnation(1), settings: Settings::default() };
            Switcher::new(configuration)
        };
        Self {
            announcer: Announcer::new(),
            announced: Outbox::with_capacity(Announcer::EFFECTS_MAX),
            switchers: [switcher(0), switcher(1), switcher(2)],
            switched: Outbox::with_capacity(Switcher::EFFECTS_MAX),
            network: VecDeque::with_capacity(Announcer::EFFECTS_MAX),
            now: Instant::from_nanoseconds(1_000_000_000_000),
            switches: 0,
        }
    }

    fn command_all(&mut self, command: SwitcherCommand) {
        for node in 0..NODES {
            self.switch(NodeIndex(node), SwitcherInput::Command(command));
        }
        self.deliver();
    }

    fn announce(&mut self, input: AnnouncerInput) {
        self.announcer.step(self.now, input, &mut self.announced);
        for effect in self.announced.drain() {
            if let AnnouncerEffect::Send { to, datagram } = effect {
                self.network.push_back(Message::ToSwitcher { to, datagram });
            }
        }
    }

    fn switch(&mut self, node: NodeIndex, input: SwitcherInput) {
        self.switchers[usize::from(node.0)].step(self.now, input, &mut self.switched);
        for effect in self.switched.drain() {
            match effect {
                SwitcherEffect::Send { datagram, .. } => self.network.push_back(Message::ToAnnouncer { from: node, datagram }),
                SwitcherEffect::Switch { .. } => self.switches += 1,
                SwitcherEffect::Report(_) | SwitcherEffect::Sample(_) => {}
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(message) = self.network.pop_front() {
            match message {
                Message::ToAnnouncer { from, datagram } => self.announce(AnnouncerInput::Datagram { from, datagram }),
                Message::ToSwitcher { to, datagram } => self.switch(to, SwitcherInput::Datagram { from: NodeIndex(0), datagram }),
            }
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let deadlines = self.switchers.iter().map(Machine::next_deadline).chain([self.announcer.next_deadline()]);
            let Some(next) = deadlines.flatten().min().filter(|next| *next <= until) else {
                break;
            };
            self.now = next;
            if self.announcer.next_deadline().is_some_and(|deadline| deadline <= next) {
                self.announce(AnnouncerInput::Timer);
            }
            for node in (0..NODES).map(NodeIndex) {
                if self.switchers[usize::from(node.0)].next_deadline().is_some_and(|deadline| deadline <= next) {
                    self.switch(node, SwitcherInput::Timer);
                }
            }
            self.deliver();
        }
        self.now = until;
    }

    fn rotate(&mut self, version: u64, quantum: Duration) {
        let rows = [RowIndex(0), RowIndex(1)].into_iter().collect();
        self.announce(AnnouncerInput::Command(AnnouncerCommand::Rotation { version: MatrixVersion(version), rows, quantum }));
        self.deliver();
    }
}

/// A term of a second of strobes, holds, a change of version and of quantum, silence until the watchdogs expire, the
/// return, and a seal.
fn live(partition: &mut Partition, start: AnnouncerCommand) {
    let fence = Fence { partition: PartitionUid(1), term: Term(1), view: View(1) };
    let mut table = RowTable { version: MatrixVersion(1), rows: [GangSlots::EMPTY; ROWS_MAX] };
    (table.rows[0], table.rows[1]) = (GangSlots::from_bits(1), GangSlots::from_bits(2));
    for slot in [GangSlot(0), GangSlot(1)] {
        partition.command_all(SwitcherCommand::Present { slot, released: false });
        partition.command_all(SwitcherCommand::Hold(Hold { slot, change: HoldChange::Resume, term: Term(0), at: Instant::ORIGIN }));
    }
    partition.command_all(SwitcherCommand::Table(table));
    partition.command_all(SwitcherCommand::Seal { term: Term(1) });
    partition.command_all(SwitcherCommand::Admit { fence, manager: NodeIndex(0) });
    partition.announce(AnnouncerInput::Command(start));
    partition.rotate(1, Duration::from_millis(50));
    partition.run_for(Duration::from_secs(1));
    let at = partition.now + Duration::from_millis(100);
    partition.command_all(SwitcherCommand::Hold(Hold { slot: GangSlot(1), change: HoldChange::Hold, term: Term(1), at }));
    partition.run_for(Duration::from_millis(500));
    partition.command_all(SwitcherCommand::Table(RowTable { version: MatrixVersion(2), ..table }));
    partition.rotate(2, Duration::from_millis(1));
    partition.run_for(Duration::from_secs(1));
    for _ in 0..3_000 {
        partition.now = partition.now + Duration::from_millis(2);
        for node in (0..NODES).map(NodeIndex) {
            partition.switch(node, SwitcherInput::Timer);
        }
        partition.network.clear();
    }
    partition.run_for(Duration::from_secs(1));
    partition.command_all(SwitcherCommand::Seal { term: Term(2) });
}

#[test]
fn a_whole_term_allocates_nothing() {
    let members: Vec<_> = (0..NODES).map(|node| NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }).collect();
    let start = AnnouncerCommand::Start {
        fence: Fence { partition: PartitionUid(1), term: Term(1), view: View(1) },
        manager: NodeIndex(0),
        record: members.clone(),
        view: members,
        heartbeat: Duration::from_millis(500),
        suspicion: Duration::from_secs(3),
        lead: Duration::from_millis(5),
    };
    let mut partition = Partition::new();
    assert_eq!(allocations(|| live(&mut partition, start)), 0);
    assert!(partition.switches > 100, "{} switches", partition.switches);
    assert!(partition.switchers.iter().all(|switcher| switcher.counters().watchdog_expiries == 1));
    assert!(allocations(|| drop(std::hint::black_box(Box::new(1_u8)))) > 0, "the counter counts");
}
