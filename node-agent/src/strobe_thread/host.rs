//! What runs on the strobe thread: the two machines, and the loop that drives them.
//!
//! Each turn steps what is due, takes commands and datagrams, and looks after the gangs; between turns the thread sleeps.
//! The switcher goes before the announcer wherever both are due: a late announcement is made up for by the lead, a late
//! switch is skew.

mod allowance;
mod effects;
mod gang_watch;
mod suspension;
mod wait;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use rtrb::Consumer;
use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Announcer, AnnouncerEffect, AnnouncerInput},
    message::{AgentState, AnnouncerReport, Datagram, SwitcherReport},
    model::{Epoch, Fence, GangSlots, Instant, NodeIndex},
    node::{Switcher, SwitcherConfiguration, SwitcherEffect, SwitcherInput},
};
use strobe_fabric::{
    datagram::{DATAGRAM_PAYLOAD_BYTES_MAX, DatagramSocket, ReceiveError, Received},
    transport::LinkId,
};

use super::{
    commands::Order,
    counters::{StrobeCounters, ThreadCounters},
    limits::{COMMANDS_MAX, DATAGRAMS_PER_TURN, MAIL_MAX, MAIL_PER_TURN},
    reports::{Message, ReportSender},
    shared::Shared,
    wire::{self, PayloadBuffer},
};
use crate::{
    executor::{Executor, SwitchOutcome},
    sys::clock::monotonic_now,
};
use allowance::Allowance;
use gang_watch::GangWatch;
use suspension::SuspensionWatch;

/// What a host is made of.
pub(super) struct HostOptions {
    pub(super) configuration: SwitcherConfiguration,
    pub(super) socket: DatagramSocket,
    pub(super) orders: Consumer<Order>,
    pub(super) reports: ReportSender,
    pub(super) shared: Arc<Shared>,
}

/// See the module. All its memory is taken, and touched, when it is made.
pub(super) struct Host {
    node: NodeIndex,
    switcher: Switcher,
    switcher_effects: Outbox<SwitcherEffect>,
    announcer: Announcer,
    announcer_effects: Outbox<AnnouncerEffect>,
    mail: VecDeque<Mail>,
    executor: Executor,
    /// The switch of the epoch whose sample comes later in the same step.
    epoch_outcome: Option<SwitchOutcome>,
    gangs: GangWatch,
    suspension: SuspensionWatch,
    socket: DatagramSocket,
    allowance: Allowance,
    payload: PayloadBuffer,
    orders: Consumer<Order>,
    reports: ReportSender,
    counts: ThreadCounters,
    shared: Arc<Shared>,
}

/// What the node's two machines have for each other, and answers to executed switches: delivered when the step that
/// caused them is carried out, in order.
enum Mail {
    Executed { stragglers: GangSlots },
    ToSwitcher(Datagram),
    ToAnnouncer(Datagram),
}

/// What woke the thread.
#[derive(Clone, Copy)]
struct Ready {
    orders: bool,
    socket: bool,
}

// === impl Host ===

impl Host {
    pub(super) fn new(options: HostOptions) -> Box<Self> {
        let HostOptions { configuration, socket, orders, reports, shared } = options;
        let heartbeat = configuration.settings.heartbeat;
        Box::new(Self {
            node: configuration.node,
            switcher: Switcher::new(configuration),
            switcher_effects: touched_outbox(Switcher::EFFECTS_MAX, || SwitcherEffect::Report(SwitcherReport::State(AgentState::Unsealed))),
            announcer: Announcer::new(),
            announcer_effects: touched_outbox(Announcer::EFFECTS_MAX, || {
                let (fence, epoch) = (Fence::default(), Epoch(0));
                AnnouncerEffect::Report(AnnouncerReport::Lease { fence, until: Instant::ORIGIN, epoch, next_epoch_at: Instant::ORIGIN })
            }),
            mail: touched_mail(),
            executor: Executor::new(),
            epoch_outcome: None,
            gangs: GangWatch::new(monotonic_now(), heartbeat),
            suspension: SuspensionWatch::new(),
            socket,
            allowance: Allowance::new(),
            payload: [0; DATAGRAM_PAYLOAD_BYTES_MAX],
            orders,
            reports,
            counts: ThreadCounters::default(),
            shared,
        })
    }

    /// Runs until the thread shall end; what was commanded before that is carried out first.
    pub(super) fn run(mut self: Box<Self>) {
        let mut ready = Ready { orders: true, socket: true };
        loop {
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            self.turn(Ready { orders: ready.orders || stopping, ..ready });
            if stopping {
                return;
            }
            ready = self.wait();
        }
    }

    fn turn(&mut self, ready: Ready) {
        self.counts.turns += 1;
        self.reports.flush();
        self.notice_suspension();
        self.settle();
        if ready.orders {
            self.take_orders();
        }
        if ready.socket {
            self.take_datagrams();
        }
        self.look_after_gangs();
        self.reports.flush();
        self.publish();
    }

    /// Steps what is due and delivers the mail, until there is neither or others shall have a turn.
    fn settle(&mut self) {
        for _ in 0..MAIL_PER_TURN {
            self.step_due_switcher();
            self.step_due_announcer();
            let Some(mail) = self.mail.pop_front() else {
                return;
            };
            self.deliver(mail);
        }
    }

    fn step_due_switcher(&mut self) {
        let now = monotonic_now();
        if self.switcher.next_deadline().is_some_and(|due| due <= now) {
            self.step_switcher(now, SwitcherInput::Timer);
        }
    }

    fn step_due_announcer(&mut self) {
        let now = monotonic_now();
        if self.announcer.next_deadline().is_some_and(|due| due <= now) {
            self.step_announcer(now, AnnouncerInput::Timer);
        }
    }

    fn deliver(&mut self, mail: Mail) {
        let from = self.node;
        match mail {
            Mail::Executed { stragglers } => self.step_switcher(monotonic_now(), SwitcherInput::Executed { stragglers }),
            Mail::ToSwitcher(datagram) => {
                self.counts.local_datagrams += 1;
                self.step_switcher(monotonic_now(), SwitcherInput::Datagram { from, datagram });
            }
            Mail::ToAnnouncer(datagram) => {
                self.counts.local_datagrams += 1;
                self.step_announcer(monotonic_now(), AnnouncerInput::Datagram { from, datagram });
            }
        }
    }

    fn step_switcher(&mut self, now: Instant, input: SwitcherInput) {
        self.switcher.step(now, input, &mut self.switcher_effects);
        self.carry_out_switcher();
    }

    fn step_announcer(&mut self, now: Instant, input: AnnouncerInput) {
        self.announcer.step(now, input, &mut self.announcer_effects);
        self.carry_out_announcer();
    }

    /// Takes what was commanded. More than the ring holds can only be there because the agent goes on commanding: then
    /// the rest waits for the next turn.
    fn take_orders(&mut self) {
        self.shared.to_thread.silence();
        for _ in 0..COMMANDS_MAX {
            if !self.reports.has_room() {
                return;
            }
            let Ok(order) = self.orders.pop() else {
                return;
            };
            self.obey(order);
            self.settle();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Switcher(command) => self.step_switcher(monotonic_now(), SwitcherInput::Command(command)),
            Order::Announcer(command) => self.step_announcer(monotonic_now(), AnnouncerInput::Command(command)),
            Order::InsertGang { slot, freezer } => {
                if let Some(freezer) = self.executor.register(slot, freezer) {
                    self.reports.push(Message::Freezer { slot, freezer });
                }
            }
            Order::RemoveGang { slot } => {
                if let Some(freezer) = self.executor.unregister(slot) {
                    self.reports.push(Message::Freezer { slot, freezer });
                }
            }
            Order::InstallKeys { keys, address } => self.counts.keys_refused += u64::from(self.socket.install(keys, address).is_err()),
            Order::RemoveLink(link) => self.socket.remove(link),
            Order::CloseLinks(term) => self.socket.close_links(term),
        }
    }

    fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.reports.has_room() || !self.take_datagram() {
                return;
            }
            self.settle();
        }
    }

    /// Takes one datagram; false when there is none, or the socket is to be left alone.
    fn take_datagram(&mut self) -> bool {
        let received = self.socket.receive();
        // Read after the datagram came: clock samples are taken from it.
        let now = monotonic_now();
        match received {
            Ok(None) => return false,
            Ok(Some(Received { from, payload })) => match wire::decode(payload) {
                Ok(datagram) => self.hear(now, from, datagram),
                Err(_) => self.counts.undecodable += 1,
            },
            Err(ReceiveError::Refused(_)) => {}
            Err(ReceiveError::Receive(_)) => {
                self.counts.receive_failures += 1;
                self.allowance.use_up(now);
                return false;
            }
        }
        let goes_on = self.allowance.take(now);
        self.counts.floods += u64::from(!goes_on);
        goes_on
    }

    /// Gives a datagram to the machine that it is for.
    fn hear(&mut self, now: Instant, from: LinkId, datagram: Datagram) {
        if wire::term_of(&datagram) != from.term {
            self.counts.wrong_term += 1;
            return;
        }
        let from = from.node;
        match datagram {
            Datagram::Strobe(_) | Datagram::Heartbeat(_) | Datagram::ClockReply(_) => {
                self.step_switcher(now, SwitcherInput::Datagram { from, datagram });
            }
            Datagram::HeartbeatReply(_) | Datagram::ClockProbe(_) => {
                self.step_announcer(now, AnnouncerInput::Datagram { from, datagram });
            }
        }
    }

    fn notice_suspension(&mut self) {
        if let Some(asleep) = self.suspension.look() {
            self.counts.suspensions += 1;
            self.step_announcer(monotonic_now(), AnnouncerInput::ClockDisturbed { asleep });
            self.step_switcher(monotonic_now(), SwitcherInput::ClockDisturbed { asleep });
        }
    }

    /// Looks at stragglers, and from time to time for gangs that somebody else has thawed.
    fn look_after_gangs(&mut self) {
        self.executor.check_stragglers();
        let now = monotonic_now();
        self.gangs.note_stragglers(now, self.executor.straggling());
        if self.gangs.take_look(now) {
            self.reports.tell_of_samples();
            let thawed = self.executor.observed_thawed(self.executor.registered().difference(self.switcher.thawed()));
            if !thawed.is_empty() {
                self.counts.foreign_thaws += thawed.len() as u64;
                self.step_switcher(now, SwitcherInput::ObservedThawed(thawed));
            } else if !self.executor.owed().is_empty() {
                // What kept them frozen is frozen or gone by now, and with a single row no order may ever follow.
                self.pay_owed();
            }
        }
    }

    fn publish(&mut self) {
        let reports = self.reports.counts();
        let thread = ThreadCounters { backlogged: reports.backlogged, samples_dropped: reports.samples_dropped, ..self.counts };
        self.shared.counters.publish(&StrobeCounters {
            switcher: *self.switcher.counters(),
            announcer: *self.announcer.counters(),
            switches: self.executor.counters(),
            thread,
        });
        self.shared.thaws.publish(self.executor.thawed_times());
    }
}

/// An outbox whose memory has been written once, so that the first large step does not fault pages in.
fn touched_outbox<Effect>(capacity: usize, effect: impl Fn() -> Effect) -> Outbox<Effect> {
    let mut outbox = Outbox::with_capacity(capacity);
    (0..capacity).for_each(|_| outbox.push(effect()));
    outbox.drain().for_each(drop);
    outbox
}

/// The same for the mail.
fn touched_mail() -> VecDeque<Mail> {
    let mut mail = VecDeque::with_capacity(MAIL_MAX);
    mail.extend((0..MAIL_MAX).map(|_| Mail::Executed { stragglers: GangSlots::EMPTY }));
    mail.clear();
    mail
}
