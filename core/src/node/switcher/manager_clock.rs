//! The manager's clock: when it is asked, and what it is used for.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::{
    limits::CLOCK_PROBES_OPEN_MAX,
    model::Instant,
    node::clock::{ClockExchange, OffsetEstimator, SampleVerdict},
};

/// Probes sent quickly one after the other when a term begins or a clock was disturbed.
const BURST: u32 = 8;

/// Time between the probes of a burst. After it the time doubles with every probe, up to [`PERIOD_MAX`].
const BURST_PERIOD: Duration = Duration::from_millis(2);

/// Longest time between two probes: two clocks of 500 ppm drift apart by a quarter of the default tolerance meanwhile.
const PERIOD_MAX: Duration = Duration::from_millis(250);

/// The estimate of the clock of a term's manager and the probes that feed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ManagerClock {
    estimator: OffsetEstimator,
    /// Instants of probes without an answer, oldest first.
    open: ArrayVec<Instant, CLOCK_PROBES_OPEN_MAX>,
    next_probe: Option<Instant>,
    /// Probes sent since the burst began.
    sent: u32,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyVerdict {
    Sample(SampleVerdict),
    /// It answers no open probe.
    NotAsked,
}

// === impl ManagerClock ===

impl ManagerClock {
    /// No term, no clock.
    pub(super) fn none() -> Self {
        Self { estimator: OffsetEstimator::of_other_node(), open: ArrayVec::new(), next_probe: None, sent: 0 }
    }

    /// The clock of a term that begins at `now`.
    pub(super) fn of_term(now: Instant, on_own_node: bool) -> Self {
        let mut clock = Self::none();
        if on_own_node {
            clock.estimator = OffsetEstimator::of_own_node();
        } else {
            clock.begin_burst(now);
        }
        clock
    }

    /// The bound of the offset's error, when it is not above `tolerance`.
    pub(super) fn bound_within(&self, tolerance: Duration, now: Instant) -> Option<Duration> {
        self.estimator.bound(now).filter(|bound| *bound <= tolerance)
    }

    /// The instant of the own clock at which the manager's clock shows `at`.
    pub(super) fn to_own(&self, at: Instant) -> Option<Instant> {
        self.estimator.to_own(at)
    }

    /// The own clock was disturbed at `now`: forget the samples and ask again.
    pub(super) fn disturb(&mut self, now: Instant) {
        if self.next_probe.is_some() {
            self.estimator.disturb();
            self.begin_burst(now);
        }
    }

    /// The instant of the next probe.
    pub(super) const fn next_probe(&self) -> Option<Instant> {
        self.next_probe
    }

    /// True when a probe is to be sent at `now`; it then counts as sent.
    pub(super) fn take_probe(&mut self, now: Instant) -> bool {
        if self.next_probe.is_none_or(|due| due > now) {
            return false;
        }
        let doublings = self.sent.saturating_sub(BURST).min(16);
        self.sent = self.sent.saturating_add(1);
        self.next_probe = Some(now + (BURST_PERIOD * 2_u32.pow(doublings)).min(PERIOD_MAX));
        if self.open.is_full() {
            self.open.remove(0);
        }
        self.open.push(now);
        true
    }

    /// Takes an answer in at `exchange.heard`.
    pub(super) fn take_reply(&mut self, exchange: ClockExchange) -> ReplyVerdict {
        let Some(index) = self.open.iter().position(|asked| *asked == exchange.asked) else {
            return ReplyVerdict::NotAsked;
        };
        self.open.remove(index);
        let verdict = self.estimator.observe(exchange);
        if verdict == SampleVerdict::Contradicts {
            self.begin_burst(exchange.heard);
        }
        ReplyVerdict::Sample(verdict)
    }

    fn begin_burst(&mut self, now: Instant) {
        self.open.clear();
        self.next_probe = Some(now);
        self.sent = 0;
    }
}
