//! What the strobe thread has counted, published in atomics: it waits for no reader, and no reader for it.

use std::sync::atomic::{AtomicU64, Ordering};

use strobe_core::{manager::AnnouncerCounters, model::GangSlot, node::SwitcherCounters};

use crate::executor::{SwitchCounters, ThawedTime, limits::GANGS_MAX};

/// What the strobe thread has counted since it was spawned. Each number is as of the last turn of the thread; two of
/// them may be of different turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrobeCounters {
    /// Of the switcher.
    pub switcher: SwitcherCounters,
    /// Of the announcer.
    pub announcer: AnnouncerCounters,
    /// Of the executor of switches.
    pub switches: SwitchCounters,
    /// Of the thread itself.
    pub thread: ThreadCounters,
}

/// What the thread counts beside its machines. The socket's own figures are in its
/// [`DatagramCounters`](strobe_fabric::datagram::DatagramCounters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadCounters {
    /// Times that it woke.
    pub turns: u64,
    /// Datagrams between the manager's announcer and the same node's switcher, which took no socket.
    pub local_datagrams: u64,
    /// Authentic datagrams that are none of ours: another version of the agent, or a bug.
    pub undecodable: u64,
    /// Authentic datagrams that speak of another term than that of the link they came by.
    pub wrong_term: u64,
    /// Datagrams that were not sent: no link to that node in that term, or the kernel refused.
    pub unsent: u64,
    /// Times that the socket failed to receive.
    pub receive_failures: u64,
    /// Times that the socket was left alone because of a flood.
    pub floods: u64,
    /// Keys that found no room: the key ring was made too small for two terms' links.
    pub keys_refused: u64,
    /// Times that the machine was found to have slept.
    pub suspensions: u64,
    /// Gangs that somebody else had thawed.
    pub foreign_thaws: u64,
    /// Reports that had to wait in the backlog because the agent took none.
    pub backlogged: u64,
    /// Samples that were dropped because the agent took none.
    pub samples_dropped: u64,
}

/// The same, as atomics.
#[derive(Debug, Default)]
pub(super) struct PublishedCounters {
    switcher: SwitcherCells,
    announcer: AnnouncerCells,
    switches: SwitchCells,
    thread: ThreadCells,
}

/// How long the gangs of each slot were commanded thawed, as of the thread's last turn.
#[derive(Debug)]
pub(super) struct PublishedThaws([AtomicU64; GANGS_MAX]);

/// One atomic for each field; a field that is forgotten here does not compile.
macro_rules! cells {
    ($cells:ident of $counters:ident { $($field:ident),+ $(,)? }) => {
        #[derive(Debug, Default)]
        struct $cells {
            $($field: AtomicU64),+
        }

        impl $cells {
            fn publish(&self, counters: &$counters) {
                let $counters { $($field),+ } = counters;
                $(self.$field.store(*$field, Ordering::Relaxed);)+
            }

            fn snapshot(&self) -> $counters {
                $counters { $($field: self.$field.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

cells!(SwitcherCells of SwitcherCounters {
    executed, late, missed, stragglers, version_missing, unsynchronised, clock_disturbances, refused, duplicates, malformed,
    watchdog_expiries, left_out,
});
cells!(AnnouncerCells of AnnouncerCounters { announcements, withheld, heartbeats, refused });
cells!(SwitchCells of SwitchCounters { switches, freezes, thaws, stragglers, late_freezes, never_froze, failures });
cells!(ThreadCells of ThreadCounters {
    turns, local_datagrams, undecodable, wrong_term, unsent, receive_failures, floods, keys_refused, suspensions, foreign_thaws,
    backlogged, samples_dropped,
});

// === impl PublishedThaws ===

impl Default for PublishedThaws {
    fn default() -> Self {
        Self([const { AtomicU64::new(ThawedTime::NONE.to_word()) }; GANGS_MAX])
    }
}

impl PublishedThaws {
    pub(super) fn publish(&self, times: &[ThawedTime; GANGS_MAX]) {
        for (cell, time) in self.0.iter().zip(times) {
            cell.store(time.to_word(), Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, slot: GangSlot) -> ThawedTime {
        ThawedTime::of_word(self.0[usize::from(slot.0)].load(Ordering::Relaxed))
    }
}

// === impl PublishedCounters ===

impl PublishedCounters {
    pub(super) fn publish(&self, counters: &StrobeCounters) {
        self.switcher.publish(&counters.switcher);
        self.announcer.publish(&counters.announcer);
        self.switches.publish(&counters.switches);
        self.thread.publish(&counters.thread);
    }

    pub(super) fn snapshot(&self) -> StrobeCounters {
        StrobeCounters {
            switcher: self.switcher.snapshot(),
            announcer: self.announcer.snapshot(),
            switches: self.switches.snapshot(),
            thread: self.thread.snapshot(),
        }
    }
}
