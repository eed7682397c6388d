//! Sleeping until the next instant, a datagram or a command.
//!
//! The sleep is a ppoll with the time that is left: a SCHED_FIFO thread has no timer slack, and an ordinary one has been
//! given the least. To sleep the last 100 µs by an absolute `clock_nanosleep` was tried, with busy processes on every CPU:
//! it was not later or earlier by more than the noise, and the thread would have been deaf meanwhile.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strobe_core::{machine::Machine, model::Instant};

use super::{Host, Ready};
use crate::{
    strobe_thread::limits::REST_LEAST,
    sys::clock::{monotonic_now, sleep_until},
};

impl Host {
    /// Sleeps at least [`REST_LEAST`] when an instant has come again since the machines were stepped.
    pub(super) fn wait(&mut self) -> Ready {
        let now = monotonic_now();
        let rest = self.allowance.rests_until(now);
        let listens = self.reports.has_room() && rest.is_none();
        let deadline = rest.map_or(self.deadline(now), |rest| rest.min(self.deadline(now)));
        let timeout = timespec(deadline.since(now).max(REST_LEAST));
        let mut descriptors = [PollFd::new(&self.shared.to_thread, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        let watched = if listens { &mut descriptors[..] } else { &mut descriptors[..1] };
        if poll(watched, Some(&timeout)).is_err() {
            // A signal is a wake-up without a cause. Whatever else it may be, the thread must not spin on it.
            sleep_until(now + REST_LEAST);
        }
        let [orders, socket] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
        Ready { orders: orders || !self.orders.is_empty(), socket }
    }

    /// The next instant at which something is to be done.
    fn deadline(&self, now: Instant) -> Instant {
        let has_orders = self.reports.has_room() && !self.orders.is_empty();
        let unfinished = (has_orders || !self.mail.is_empty()).then_some(now);
        [self.switcher.next_deadline(), self.announcer.next_deadline(), unfinished]
            .into_iter()
            .flatten()
            .fold(self.gangs.next_deadline(), Instant::min)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(duration.subsec_nanos()) }
}
