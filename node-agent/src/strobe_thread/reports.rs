//! What the strobe thread reports, and the two rings that carry it.
//!
//! Reports of the machines and returned things are never lost: when their ring is full they stay in the thread's
//! backlog, in order, and until it is empty the thread takes in neither commands nor datagrams (see
//! [`BACKLOG_MAX`](super::limits::BACKLOG_MAX) for why that bounds it). Samples are telemetry: they have a ring of their
//! own, and are dropped and counted when it is full.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use strobe_core::{
    message::{AgentState, AnnouncerReport, SwitcherReport},
    model::{GangSlot, GangSlots, Instant},
    node::{SwitchCause, SwitchSample},
};

use super::{
    limits::{BACKLOG_MAX, REPORTS_MAX, SAMPLES_MAX, SAMPLES_UNTOLD_MAX},
    shared::Shared,
};
use crate::{executor::SwitchOutcome, freezer::Freezer};

/// Strobe thread → agent.
#[derive(Debug)]
pub enum StrobeReport {
    /// Of the switcher. Never lost; order is kept.
    Switcher(SwitcherReport),
    /// Of the announcer. Never lost; order is kept.
    Announcer(AnnouncerReport),
    /// A switch. May be dropped; comes after reports that were made before it and after it.
    Sample(SwitchRecord),
    /// Something that the thread has no more use for. Never lost.
    Returned(Returned),
}

/// What the strobe thread gives back, so that it is dropped here and not there: closing files and freeing memory can
/// wait for other threads.
#[derive(Debug)]
pub enum Returned {
    /// The freezer of a gang that the thread does not touch any more.
    Freezer {
        /// The slot that it was in.
        slot: GangSlot,
        /// The freezer.
        freezer: Box<Freezer>,
    },
}

/// One executed epoch, or one switch for another cause (a hold, the watchdog, a gang that appeared, and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchRecord {
    /// The epoch; none when the switch had another cause.
    pub sample: Option<SwitchSample>,
    /// What for.
    pub cause: SwitchCause,
    /// When the first command was given. This and the next two are of the own clock; in an epoch that had nothing to
    /// switch, all three are when the switcher acted.
    pub started_at: Instant,
    /// All were seen frozen, or the straggler bound was over.
    pub frozen_at: Instant,
    /// All thaws were commanded.
    pub thawed_at: Instant,
    /// Gangs that were waited for in vain.
    pub stragglers: u32,
    /// Gangs whose freeze the kernel took.
    pub frozen: GangSlots,
    /// Gangs whose thaw the kernel took.
    pub thawed: GangSlots,
}

/// The agent's end of the rings. To be put into an `AsyncFd`: when readable, [`StrobeReports::clear_wake`], then
/// [`StrobeReports::pop`] until there is none.
#[derive(Debug)]
pub struct StrobeReports {
    messages: Consumer<Message>,
    samples: Consumer<SwitchRecord>,
    shared: Arc<Shared>,
}

/// The strobe thread's end.
#[derive(Debug)]
pub(super) struct ReportSender {
    messages: Producer<Message>,
    samples: Producer<SwitchRecord>,
    backlog: VecDeque<Message>,
    /// Samples since the agent was last woken.
    untold: u32,
    /// Something was put into a ring of which the agent shall be told now.
    news: bool,
    counts: ReportCounts,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReportCounts {
    pub(super) backlogged: u64,
    pub(super) samples_dropped: u64,
}

/// What must not be lost. Freezers travel without their box: the thread allocates none.
#[derive(Debug)]
pub(super) enum Message {
    Switcher(SwitcherReport),
    Announcer(AnnouncerReport),
    Freezer { slot: GangSlot, freezer: Freezer },
}

/// The two ends.
pub(super) fn channel(shared: &Arc<Shared>) -> (ReportSender, StrobeReports) {
    let messages = touched_ring(REPORTS_MAX, || Message::Switcher(SwitcherReport::State(AgentState::Unsealed)));
    let samples = touched_ring(SAMPLES_MAX, || SwitchRecord::EMPTY);
    let sender = ReportSender {
        messages: messages.0,
        samples: samples.0,
        backlog: VecDeque::with_capacity(BACKLOG_MAX),
        untold: 0,
        news: false,
        counts: ReportCounts::default(),
        shared: Arc::clone(shared),
    };
    (sender, StrobeReports { messages: messages.1, samples: samples.1, shared: Arc::clone(shared) })
}

/// A ring whose memory has been written once: its first round must not fault pages in.
fn touched_ring<T>(capacity: usize, element: impl Fn() -> T) -> (Producer<T>, Consumer<T>) {
    let (mut producer, mut consumer) = RingBuffer::new(capacity);
    while producer.push(element()).is_ok() {}
    while consumer.pop().is_ok() {}
    (producer, consumer)
}

// === impl SwitchRecord ===

impl SwitchRecord {
    const EMPTY: Self = Self {
        sample: None,
        cause: SwitchCause::Hold,
        started_at: Instant::ORIGIN,
        frozen_at: Instant::ORIGIN,
        thawed_at: Instant::ORIGIN,
        stragglers: 0,
        frozen: GangSlots::EMPTY,
        thawed: GangSlots::EMPTY,
    };

    /// A switch for another cause than an epoch.
    pub(super) fn of_switch(cause: SwitchCause, outcome: &SwitchOutcome) -> Self {
        Self {
            sample: None,
            cause,
            started_at: outcome.started_at,
            frozen_at: outcome.frozen_at,
            thawed_at: outcome.thawed_at,
            stragglers: u32::try_from(outcome.stragglers.len()).expect("a set has at most 64 elements"),
            frozen: outcome.commanded_frozen,
            thawed: outcome.commanded_thawed,
        }
    }

    /// An epoch; without an outcome there was nothing to switch.
    pub(super) fn of_epoch(sample: SwitchSample, outcome: Option<&SwitchOutcome>) -> Self {
        let SwitchSample { term, epoch, due, acted, .. } = sample;
        let cause = due.map_or(SwitchCause::Receipt { term, epoch }, |due| SwitchCause::Epoch { term, epoch, due });
        let switched = outcome.map_or(Self { started_at: acted, frozen_at: acted, thawed_at: acted, ..Self::EMPTY }, |outcome| {
            Self::of_switch(cause, outcome)
        });
        Self { sample: Some(sample), cause, ..switched }
    }
}

// === impl StrobeReports ===

impl StrobeReports {
    /// Readable when reports wait, and when the thread has ended.
    #[must_use]
    pub fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.shared.to_agent.as_fd()
    }

    /// To be called before the reports are popped, so that what comes later wakes again.
    pub fn clear_wake(&self) {
        self.shared.to_agent.silence();
    }

    /// The next report, none when there is none. What must not be lost comes first.
    pub fn pop(&mut self) -> Option<StrobeReport> {
        let Ok(message) = self.messages.pop() else {
            return self.samples.pop().ok().map(StrobeReport::Sample);
        };
        self.tell_of_room();
        Some(message.into())
    }

    /// Samples that were dropped because they were not popped in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.counters.snapshot().thread.samples_dropped
    }

    /// True when the thread has ended and all that it reported was popped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.messages.is_abandoned() && self.messages.is_empty() && self.samples.is_empty()
    }

    /// Wakes a thread that has reports left over. The fence pairs with that in [`ReportSender::flush`]: either the thread
    /// sees the room, or this sees that it is stalled.
    fn tell_of_room(&self) {
        fence(Ordering::SeqCst);
        if self.shared.stalled.load(Ordering::Relaxed) {
            self.shared.to_thread.ring();
        }
    }
}

impl AsFd for StrobeReports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_descriptor()
    }
}

impl AsRawFd for StrobeReports {
    fn as_raw_fd(&self) -> RawFd {
        self.wake_descriptor().as_raw_fd()
    }
}

impl From<Message> for StrobeReport {
    fn from(message: Message) -> Self {
        match message {
            Message::Switcher(report) => Self::Switcher(report),
            Message::Announcer(report) => Self::Announcer(report),
            Message::Freezer { slot, freezer } => Self::Returned(Returned::Freezer { slot, freezer: Box::new(freezer) }),
        }
    }
}

// === impl ReportSender ===

impl ReportSender {
    /// Reports what must not be lost.
    pub(super) fn push(&mut self, message: Message) {
        if let Some(message) = self.try_push(message) {
            assert!(self.backlog.len() < BACKLOG_MAX, "more reports than a thread that takes nothing in can have");
            self.backlog.push_back(message);
            self.counts.backlogged += 1;
        }
    }

    /// Reports a switch, unless the agent has not taken the earlier ones.
    pub(super) fn sample(&mut self, record: SwitchRecord) {
        match self.samples.push(record) {
            Ok(()) => self.untold += 1,
            Err(PushError::Full(_)) => self.counts.samples_dropped += 1,
        }
        self.news |= self.untold >= SAMPLES_UNTOLD_MAX;
    }

    /// Has the agent told of samples at the next [`Self::flush`], however few.
    pub(super) fn tell_of_samples(&mut self) {
        self.news |= self.untold > 0;
    }

    /// True when every report found room in the ring: only then is anything taken in.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Moves the backlog into the ring as far as it has room, and wakes the agent if there is news.
    pub(super) fn flush(&mut self) {
        if !self.backlog.is_empty() {
            self.shared.stalled.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.empty_backlog();
            self.shared.stalled.store(!self.backlog.is_empty(), Ordering::Relaxed);
        }
        if std::mem::take(&mut self.news) {
            self.untold = 0;
            self.shared.to_agent.ring();
        }
    }

    pub(super) const fn counts(&self) -> ReportCounts {
        self.counts
    }

    fn empty_backlog(&mut self) {
        while let Some(message) = self.backlog.pop_front() {
            if let Err(PushError::Full(message)) = self.messages.push(message) {
                self.backlog.push_front(message);
                return;
            }
            self.news = true;
        }
    }

    /// Gives the message back when it has to wait.
    fn try_push(&mut self, message: Message) -> Option<Message> {
        if !self.backlog.is_empty() {
            return Some(message);
        }
        self.news = true;
        self.messages.push(message).err().map(|PushError::Full(message)| message)
    }
}
