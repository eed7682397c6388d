//! The lease, heartbeats and strobes: the strobe thread's half of a machine manager (sections 3 and 5 of the design).
//!
//! **The lease** is held while more than half of the members of the term's record, each in the view and by the life that
//! the view names, have answered a heartbeat that was *sent* less than `suspicion` ago. It is worked out anew from the
//! answers at every send; there is no flag that could lag. Without it no strobe is sent, and heartbeats say so. The clock
//! stands still while the machine sleeps, and the lease does not: a sleep ages the answers, and an answer to a heartbeat
//! from before it no longer says when that was sent.
//!
//! **Heartbeats** are of fixed period. While no lease is held they are more frequent, because the launch of a term waits
//! for them: the first ones follow each other after [`SEEKING_FIRST`] and twice as much each time, because a member that
//! is not yet admitted does not answer, up to [`SEEKING_RATE`] in a period. A strobe rides on a heartbeat when none went
//! out for that long, so that also with a long quantum a lost announcement is repaired within a heartbeat.
//!
//! **Strobes** announce a rolling schedule. A change is announced at once, from the first epoch on that lies at least
//! `lead` ahead, and again where that epoch begins.
//!
//! *Invariant:* no strobe is sent without the lease.
//! *Invariant:* announcements, heartbeats and epochs of a term are numbered in growing order, over every change.

mod face;
mod members;
mod timetable;

pub use face::{AnnouncerCounters, AnnouncerEffect, AnnouncerInput};
use members::Members;
use timetable::{Rotation, Timetable};

use std::time::Duration;

use crate::{
    limits::MEMBERS_MAX,
    machine::{Machine, Outbox},
    message::{AnnouncerCommand, AnnouncerReport, ClockProbe, ClockReply, Datagram, Heartbeat, HeartbeatReply},
    model::{Epoch, Fence, Instant, NodeIndex},
};

/// How many times as often heartbeats go out at least while no lease is held.
const SEEKING_RATE: u32 = 8;

/// From the first heartbeat to the second while no lease is held: some round trips of a local network.
const SEEKING_FIRST: Duration = Duration::from_millis(1);

/// A timer that comes later than this part of `suspicion` after its instant says that this agent was stopped: the
/// silence of the others was its own.
const STOPPED_PART: u32 = 4;

/// See the module. Without a [`AnnouncerCommand::Start`] it does nothing, and rotations and views are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Announcer {
    reign: Option<Reign>,
    counters: AnnouncerCounters,
}

/// One term's announcements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reign {
    fence: Fence,
    heartbeat: Duration,
    suspicion: Duration,
    lead: Duration,
    members: Members,
    /// Number of the last heartbeat.
    sequence: u64,
    /// Number of the last heartbeat before this machine slept; answers up to it do not count.
    slept_after: u64,
    next_heartbeat: Instant,
    /// From a heartbeat to the next while no lease is held.
    seeking: Duration,
    /// Number of the last announcement.
    announcement: u64,
    /// None before the first rotation.
    timetable: Option<Timetable>,
    /// A rotation that no strobe has announced: it is taken up when one can be sent, so that its instants lie ahead.
    wanted: Option<Rotation>,
    next_announcement: Option<Instant>,
    /// When the last announcement was sent.
    announced: Option<Instant>,
    /// The end of the lease as last reported.
    reported: Option<Instant>,
    /// True when the lease was held at the last step: only to notice that it is held anew.
    leading: bool,
}

// === impl Announcer ===

impl Announcer {
    /// Effects that one step can have at most: what a shell's outbox must hold so that a step allocates nothing.
    pub const EFFECTS_MAX: usize = 3 * MEMBERS_MAX + 4;

    /// An announcer that reigns over nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fence it commands by.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.reign.as_ref().map(|reign| reign.fence)
    }

    /// The end of the lease, when it is held at `now`.
    #[must_use]
    pub fn lease(&self, now: Instant) -> Option<Instant> {
        self.reign.as_ref().and_then(|reign| reign.lease(now))
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> &AnnouncerCounters {
        &self.counters
    }

    fn obey(&mut self, now: Instant, command: AnnouncerCommand) {
        match command {
            AnnouncerCommand::Start { fence, manager: _, record, view, heartbeat, suspicion, lead } => {
                if self.reign.as_ref().is_none_or(|reign| reign.fence.partition != fence.partition || reign.fence.term < fence.term) {
                    let members = Members::new(now, &record, fence.view, &view);
                    self.reign = Some(Reign::new(now, fence, members, (heartbeat, suspicion, lead)));
                }
            }
            AnnouncerCommand::View { fence, view } => {
                if let Some(reign) = self.reign.as_mut().filter(|reign| reign.fence < fence && reign.fence.term == fence.term) {
                    reign.fence = fence;
                    reign.members.raise_view(now, fence.view, &view);
                    reign.hurry(now);
                }
            }
            AnnouncerCommand::Rotation { version, rows, quantum } => {
                if let Some(reign) = &mut self.reign {
                    reign.rotate(now, Rotation { version, rows, quantum });
                }
            }
            AnnouncerCommand::Stop => self.reign = None,
        }
    }

    fn receive(&mut self, now: Instant, from: NodeIndex, datagram: &Datagram, out: &mut Outbox<AnnouncerEffect>) {
        let taken = match (datagram, &mut self.reign) {
            (Datagram::HeartbeatReply(reply), Some(reign)) => reply.node == from && reign.take_reply(now, reply),
            (Datagram::ClockProbe(probe), Some(reign)) => probe.node == from && reign.answer_probe(now, *probe, out),
            (Datagram::Strobe(_) | Datagram::Heartbeat(_) | Datagram::ClockReply(_), Some(_)) | (_, None) => false,
        };
        self.counters.refused += u64::from(!taken);
    }
}

impl Machine for Announcer {
    type Input = AnnouncerInput;
    type Effect = AnnouncerEffect;

    fn step(&mut self, now: Instant, input: AnnouncerInput, out: &mut Outbox<AnnouncerEffect>) {
        if let Some(reign) = &mut self.reign {
            reign.excuse_own_stop(now);
        }
        match input {
            AnnouncerInput::Command(command) => self.obey(now, command),
            AnnouncerInput::Datagram { from, datagram } => self.receive(now, from, &datagram, out),
            AnnouncerInput::ClockDisturbed { asleep } => {
                if let Some(reign) = &mut self.reign {
                    reign.wake(now, asleep, out);
                }
            }
            AnnouncerInput::Timer => {}
        }
        if let Some(reign) = &mut self.reign {
            reign.renew(now, out);
            reign.suspect(now, out);
            reign.send_due(now, &mut self.counters, out);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.reign.as_ref().map(Reign::next_deadline)
    }
}

// === impl Reign ===

impl Reign {
    fn new(now: Instant, fence: Fence, members: Members, (heartbeat, suspicion, lead): (Duration, Duration, Duration)) -> Self {
        Self {
            fence,
            heartbeat,
            suspicion,
            lead,
            members,
            sequence: 0,
            slept_after: 0,
            next_heartbeat: now,
            seeking: SEEKING_FIRST,
            announcement: 0,
            timetable: None,
            wanted: None,
            next_announcement: None,
            announced: None,
            reported: None,
            leading: false,
        }
    }

    /// The end of the lease, when it is held at `now`.
    fn lease(&self, now: Instant) -> Option<Instant> {
        self.members.lease_until(self.suspicion).filter(|until| *until > now)
    }

    fn next_deadline(&self) -> Instant {
        let suspicion = self.members.next_suspicion(self.suspicion);
        [self.next_announcement, suspicion].into_iter().flatten().fold(self.next_heartbeat, Instant::min)
    }

    /// Sends what is periodic at once.
    fn hurry(&mut self, now: Instant) {
        (self.next_heartbeat, self.seeking) = (now, SEEKING_FIRST);
        self.next_announcement = (self.timetable.is_some() || self.wanted.is_some()).then_some(now);
    }

    fn excuse_own_stop(&mut self, now: Instant) {
        if now.since(self.next_deadline()) > self.suspicion / STOPPED_PART {
            self.members.excuse_silence(now);
        }
    }

    /// The machine slept: what is left of the lease is reported anew, and everybody is asked at once.
    fn wake(&mut self, now: Instant, asleep: Duration, out: &mut Outbox<AnnouncerEffect>) {
        self.members.age(asleep);
        self.slept_after = self.sequence;
        if asleep > self.suspicion / STOPPED_PART {
            self.members.excuse_silence(now);
        }
        let until = self.lease(now).unwrap_or(now);
        self.report_lease(now, until, out);
        self.next_heartbeat = now;
    }

    fn rotate(&mut self, now: Instant, rotation: Rotation) {
        let announced = self.timetable.as_ref().is_some_and(|timetable| timetable.rotation() == rotation);
        if !announced || self.wanted.is_some() {
            self.wanted = Some(rotation);
            self.next_announcement = Some(now);
        }
    }

    /// True when it answers a heartbeat that was sent, by a member's present life.
    fn take_reply(&mut self, now: Instant, reply: &HeartbeatReply) -> bool {
        let ours = reply.fence.partition == self.fence.partition && reply.fence.term == self.fence.term;
        let countable = self.slept_after < reply.sequence && reply.sequence <= self.sequence;
        ours && countable && reply.sent_at <= now && self.members.answer(reply)
    }

    fn answer_probe(&self, now: Instant, probe: ClockProbe, out: &mut Outbox<AnnouncerEffect>) -> bool {
        let ours = probe.term == self.fence.term;
        if ours {
            let reply = ClockReply { term: probe.term, probe_sent_at: probe.sent_at, received_at: now, replied_at: now };
            out.push(AnnouncerEffect::Send { to: probe.node, datagram: Datagram::ClockReply(reply) });
        }
        ours
    }

    /// Reports a later end of the lease. A lease that is held anew is said to all, with a strobe, at once.
    fn renew(&mut self, now: Instant, out: &mut Outbox<AnnouncerEffect>) {
        let lease = self.lease(now);
        if lease.is_some() && !self.leading {
            self.hurry(now);
        }
        self.leading = lease.is_some();
        if let Some(until) = lease.filter(|until| Some(*until) > self.reported) {
            self.report_lease(now, until, out);
        }
    }

    fn report_lease(&mut self, now: Instant, until: Instant, out: &mut Outbox<AnnouncerEffect>) {
        self.reported = Some(until);
        let (epoch, next_epoch_at) = match &mut self.timetable {
            Some(timetable) => {
                timetable.advance(now);
                timetable.running(now)
            }
            None => (Epoch(0), now + self.lead),
        };
        out.push(AnnouncerEffect::Report(AnnouncerReport::Lease { fence: self.fence, until, epoch, next_epoch_at }));
    }

    fn suspect(&mut self, now: Instant, out: &mut Outbox<AnnouncerEffect>) {
        while let Some(member) = self.members.take_suspect(now, self.suspicion) {
            let report = AnnouncerReport::Suspect { fence: self.fence, node: member.node, incarnation: member.incarnation };
            out.push(AnnouncerEffect::Report(report));
        }
    }

    fn send_due(&mut self, now: Instant, counters: &mut AnnouncerCounters, out: &mut Outbox<AnnouncerEffect>) {
        let lease = self.lease(now);
        if self.next_heartbeat <= now {
            self.send_heartbeats(now, lease.is_some(), out);
            counters.heartbeats += 1;
            let rides = lease.is_some() && self.timetable.is_some() && self.announced.is_none_or(|last| now.since(last) >= self.heartbeat);
            self.next_announcement = if rides { Some(now) } else { self.next_announcement };
        }
        if self.next_announcement.is_some_and(|due| due <= now) {
            self.announce(now, lease, counters, out);
        }
    }

    fn send_heartbeats(&mut self, now: Instant, lease: bool, out: &mut Outbox<AnnouncerEffect>) {
        self.sequence += 1;
        self.next_heartbeat = now + self.pause(lease);
        let heartbeat = Heartbeat { fence: self.fence, sequence: self.sequence, sent_at: now, lease };
        for member in self.members.view() {
            out.push(AnnouncerEffect::Send { to: member.node, datagram: Datagram::Heartbeat(heartbeat) });
        }
    }

    /// From this heartbeat to the next.
    fn pause(&mut self, lease: bool) -> Duration {
        if lease {
            self.seeking = SEEKING_FIRST;
            return self.heartbeat;
        }
        let pause = self.seeking.min(self.heartbeat / SEEKING_RATE);
        self.seeking = 2 * pause;
        pause
    }

    fn announce(&mut self, now: Instant, lease: Option<Instant>, counters: &mut AnnouncerCounters, out: &mut Outbox<AnnouncerEffect>) {
        if let Some(until) = lease {
            self.take_up_wanted(now, until, out);
        }
        let (Some(timetable), true) = (&mut self.timetable, lease.is_some()) else {
            self.next_announcement = self.timetable.as_mut().map(|timetable| {
                timetable.advance(now);
                timetable.next_announcement(now)
            });
            counters.withheld += 1;
            return;
        };
        timetable.advance(now);
        self.next_announcement = Some(timetable.next_announcement(now));
        counters.announcements += 1;
        self.announced = Some(now);
        self.announcement += 1;
        let strobe = timetable.strobe(self.fence, self.announcement);
        for member in self.members.view() {
            out.push(AnnouncerEffect::Send { to: member.node, datagram: Datagram::Strobe(strobe.clone()) });
        }
    }

    fn take_up_wanted(&mut self, now: Instant, until: Instant, out: &mut Outbox<AnnouncerEffect>) {
        let Some(rotation) = self.wanted.take() else {
            return;
        };
        match &mut self.timetable {
            Some(timetable) => timetable.change(now, rotation),
            none @ None => *none = Some(Timetable::begin(now, self.lead, rotation)),
        }
        self.report_lease(now, until, out);
    }
}
