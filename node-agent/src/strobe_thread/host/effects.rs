//! Carrying out what the machines decide, in the order in which they decided it.

use std::{mem, time::Duration};

use strobe_core::{
    machine::Outbox,
    manager::AnnouncerEffect,
    message::Datagram,
    model::{GangSlots, NodeIndex},
    node::{SwitchCause, SwitcherEffect},
};
use strobe_fabric::transport::LinkId;

use super::{Host, Mail};
use crate::{
    executor::SwitchOrder,
    strobe_thread::{
        reports::{Message, SwitchRecord},
        wire,
    },
    sys::clock::monotonic_now,
};

impl Host {
    /// The outbox is taken out meanwhile. *Invariant:* nothing steps the switcher before it is put back.
    pub(super) fn carry_out_switcher(&mut self) {
        let mut effects = mem::replace(&mut self.switcher_effects, Outbox::with_capacity(0));
        for effect in effects.drain() {
            match effect {
                SwitcherEffect::Switch { freeze, thaw, cause, straggler_bound } => self.switch([freeze, thaw], cause, straggler_bound),
                SwitcherEffect::Send { to, datagram } => self.send(to, datagram, Mail::ToAnnouncer),
                SwitcherEffect::Report(report) => self.reports.push(Message::Switcher(report)),
                SwitcherEffect::Sample(sample) => {
                    let outcome = self.epoch_outcome.take();
                    self.reports.sample(SwitchRecord::of_epoch(sample, outcome.as_ref()));
                }
            }
        }
        self.switcher_effects = effects;
    }

    /// The outbox is taken out meanwhile. *Invariant:* nothing steps the announcer before it is put back. The switcher
    /// gets its turn between two datagrams: sealing one for every member takes longer than a switch may be late.
    pub(super) fn carry_out_announcer(&mut self) {
        let mut effects = mem::replace(&mut self.announcer_effects, Outbox::with_capacity(0));
        for effect in effects.drain() {
            match effect {
                AnnouncerEffect::Send { to, datagram } => {
                    self.step_due_switcher();
                    self.send(to, datagram, Mail::ToSwitcher);
                }
                AnnouncerEffect::Report(report) => self.reports.push(Message::Announcer(report)),
            }
        }
        self.announcer_effects = effects;
    }

    /// Thaws what a failed freeze left frozen.
    pub(super) fn pay_owed(&mut self) {
        self.switch([GangSlots::EMPTY; 2], SwitchCause::Presence, Duration::ZERO);
    }

    fn switch(&mut self, [freeze, thaw]: [GangSlots; 2], cause: SwitchCause, straggler_bound: Duration) {
        let outcome = self.executor.switch(&SwitchOrder { freeze, thaw, straggler_bound });
        self.mail.push_back(Mail::Executed { stragglers: outcome.stragglers });
        if !outcome.failed.is_empty() {
            self.gangs.hurry(monotonic_now());
        }
        match cause {
            SwitchCause::Epoch { .. } | SwitchCause::Receipt { .. } => self.epoch_outcome = Some(outcome),
            SwitchCause::Table { .. }
            | SwitchCause::Hold
            | SwitchCause::Presence
            | SwitchCause::Policy
            | SwitchCause::Watchdog
            | SwitchCause::LeftOut => self.reports.sample(SwitchRecord::of_switch(cause, &outcome)),
        }
    }

    /// Datagrams are soft state: one that cannot be sent is counted, and the next one says it again.
    fn send(&mut self, to: NodeIndex, datagram: Datagram, mail: fn(Datagram) -> Mail) {
        if to == self.node {
            self.mail.push_back(mail(datagram));
            return;
        }
        let link = LinkId { term: wire::term_of(&datagram), node: to };
        let sent = wire::encode(&datagram, &mut self.payload).is_ok_and(|payload| self.socket.send(link, payload).is_ok());
        self.counts.unsent += u64::from(!sent);
    }
}
