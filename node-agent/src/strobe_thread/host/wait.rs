//! Sleeping until the next instant, a datagram or a command.
//!
//! The sleep is a poll with the time that is left: a SCHED_FIFO thread has no timer slack, and an ordinary one has been
//! given the least.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strobe_core::{machine::Machine, model::Instant};

use super::{Host, Ready};
use crate::{strobe_thread::limits::REST_LEAST, sys::clock::monotonic_now};

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
        // An error (a signal) is a wake-up without a cause: the turn finds nothing to do, and waits again.
        let _woken = poll(watched, Some(&timeout));
        let [orders, socket] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
        Ready { orders: orders || !self.orders.is_empty(), socket }
    }

    /// The next instant at which something is to be done.
    fn deadline(&self, now: Instant) -> Instant {
        let unfinished = (!self.mail.is_empty()).then_some(now);
        [self.switcher.next_deadline(), self.announcer.next_deadline(), unfinished]
            .into_iter()
            .flatten()
            .fold(self.gangs.next_deadline(), Instant::min)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(duration.subsec_nanos()) }
}
