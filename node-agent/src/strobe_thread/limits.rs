//! Limits of the strobe thread.

use std::time::Duration;

use strobe_core::{
    limits::{EFFECTIVE_HOLDS_MAX, MEMBERS_MAX},
    manager::Announcer,
    node::Switcher,
};

/// Commands that wait for the strobe thread. A further one is refused with
/// [`CommandsFull`](super::CommandsFull), which gives it back.
pub const COMMANDS_MAX: usize = 1024;

/// Reports that wait for the agent. Beyond it they stay with the strobe thread, in its backlog.
pub const REPORTS_MAX: usize = 1024;

/// Reports that stay with the strobe thread while the agent takes none. While one does, the thread takes neither
/// commands nor datagrams, so that only the step that filled the ring, what it says to the own node, and the timers that
/// end by themselves can add to it: see the assertion below. A thread that has more is broken, and panics.
pub const BACKLOG_MAX: usize = 1024;

/// Switches that wait for the agent: two seconds at the shortest quantum. Further ones are dropped and counted.
pub const SAMPLES_MAX: usize = 2048;

/// Switches of which the agent is told at once. Fewer wait for the next heartbeat's time, so that an agent that shares
/// its CPUs with ranks is not woken at every epoch.
pub const SAMPLES_UNTOLD_MAX: u32 = 64;

/// Datagrams that are taken between two looks at the commands.
pub const DATAGRAMS_PER_TURN: usize = 32;

/// Datagrams that are taken before the socket is left alone for [`FLOOD_REST`], however they are spread over less than
/// that time. More than a term's members send meanwhile, so that only a flood is held back: it stays in the kernel's
/// buffer, which drops what is beyond. Without it a stranger's datagrams could keep a real-time thread busy for ever.
pub const DATAGRAMS_PER_WINDOW: u32 = 2 * MEMBERS_MAX as u32 + 32;

/// See [`DATAGRAMS_PER_WINDOW`].
pub const FLOOD_REST: Duration = Duration::from_millis(1);

/// Messages that the two machines of one node may have for each other, and the answers to executed switches. Its memory
/// is taken at the start; more would be taken from the allocator.
pub const MAIL_MAX: usize = 32;

/// Messages of that kind that are delivered before commands and datagrams get a turn again.
pub const MAIL_PER_TURN: usize = 64;

/// Shortest sleep between two turns. It bounds what a real-time thread can take from the ranks when an instant passed
/// during a turn, and by how much the next step is then later than it could be.
pub const REST_LEAST: Duration = Duration::from_micros(20);

/// First wait before a straggler is looked at again; it doubles with every look.
pub const STRAGGLER_LOOK_FIRST: Duration = Duration::from_micros(500);

/// Longest wait before a straggler is looked at again, to which it grows.
pub const STRAGGLER_LOOK_LONGEST: Duration = Duration::from_millis(20);

/// Wait before the gangs are looked at for a foreign thaw after the kernel refused a freeze: it is found as one, and so
/// commanded again.
pub const REFUSED_FREEZE_LOOK: Duration = Duration::from_millis(10);

/// Growth of BOOTTIME over MONOTONIC that counts as the machine's sleep. Less can be a preemption between the readings.
pub const SUSPENSION_LEAST: Duration = Duration::from_millis(5);

/// Stack of the thread, in bytes. Only what is touched takes memory.
pub const STACK_BYTES: usize = 1 << 20;

/// Reports that timers alone cause while nothing is taken in: every hold becomes effective, every member becomes
/// suspect, and the agent's state changes a few times.
const REPORTS_BY_TIMERS: usize = EFFECTIVE_HOLDS_MAX + MEMBERS_MAX + 16;

const _: () = assert!(
    BACKLOG_MAX >= 2 * (Switcher::EFFECTS_MAX + Announcer::EFFECTS_MAX) + REPORTS_BY_TIMERS,
    "a step, its echo on the own node and the timers fit the backlog"
);
const _: () = assert!(DATAGRAMS_PER_WINDOW as usize >= 2 * MEMBERS_MAX, "a reply and a probe of every member are no flood");
const _: () = assert!(SAMPLES_UNTOLD_MAX as usize * 4 <= SAMPLES_MAX, "samples are told long before they are dropped");
const _: () = assert!(!REST_LEAST.is_zero(), "a real-time thread that never sleeps starves the node");
