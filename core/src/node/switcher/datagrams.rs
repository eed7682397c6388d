//! What the manager's strobe thread sends.

use super::{Admission, Switcher, SwitcherEffect, announced::is_well_formed, manager_clock::ReplyVerdict};
use crate::{
    machine::Outbox,
    message::{ClockReply, Datagram, Heartbeat, HeartbeatReply, Strobe},
    model::{Fence, Instant, NodeIndex},
    node::clock::{ClockExchange, SampleVerdict},
};

impl Switcher {
    pub(super) fn receive(&mut self, now: Instant, from: NodeIndex, datagram: Datagram, out: &mut Outbox<SwitcherEffect>) {
        match datagram {
            Datagram::Strobe(strobe) => {
                if self.accepts(from, strobe.fence) {
                    self.receive_strobe(now, strobe, out);
                }
            }
            Datagram::Heartbeat(heartbeat) => {
                if self.accepts(from, heartbeat.fence) {
                    self.receive_heartbeat(now, from, heartbeat, out);
                }
            }
            Datagram::ClockReply(reply) => self.receive_clock_reply(now, from, reply),
            Datagram::HeartbeatReply(_) | Datagram::ClockProbe(_) => self.counters.malformed += 1,
        }
    }

    /// True when the sender commands this agent by that fence; refusals are counted.
    fn accepts(&mut self, from: NodeIndex, fence: Fence) -> bool {
        let accepted = self.admission.is_some_and(|Admission { fence: own, manager }| {
            manager == from && fence.partition == own.partition && fence.term == own.term && fence.view >= own.view
        });
        self.counters.refused += u64::from(!accepted);
        accepted
    }

    /// A manager sends only to members of its view: a higher view contains this agent.
    fn raise_view(&mut self, fence: Fence) {
        if let Some(admission) = &mut self.admission {
            admission.fence.view = admission.fence.view.max(fence.view);
        }
    }

    fn receive_strobe(&mut self, now: Instant, strobe: Strobe, out: &mut Outbox<SwitcherEffect>) {
        if !is_well_formed(&strobe) {
            self.counters.malformed += 1;
            return;
        }
        if self.progress.announcement.is_some_and(|last| strobe.announcement <= last) {
            self.counters.duplicates += 1;
            return;
        }
        self.raise_view(strobe.fence);
        self.progress.announcement = Some(strobe.announcement);
        self.announced.accept(strobe);
        if self.clock_bound(now).is_none() {
            self.act_on_receipt(now, out);
        }
    }

    fn act_on_receipt(&mut self, now: Instant, out: &mut Outbox<SwitcherEffect>) {
        if let Some(epoch) = self.announced.first_of_newest().filter(|epoch| epoch.epoch >= self.progress.floor) {
            self.execute(now, epoch, None, out);
        }
    }

    fn receive_heartbeat(&mut self, now: Instant, from: NodeIndex, heartbeat: Heartbeat, out: &mut Outbox<SwitcherEffect>) {
        if self.progress.heartbeat.is_some_and(|last| heartbeat.sequence <= last) {
            self.counters.duplicates += 1;
            return;
        }
        self.raise_view(heartbeat.fence);
        self.progress.heartbeat = Some(heartbeat.sequence);
        if heartbeat.lease {
            self.renewed = now;
        }
        let reply = HeartbeatReply {
            fence: heartbeat.fence,
            sequence: heartbeat.sequence,
            sent_at: heartbeat.sent_at,
            node: self.node,
            incarnation: self.incarnation,
            state: self.state,
            switched: self.progress.switched,
        };
        out.push(SwitcherEffect::Send { to: from, datagram: Datagram::HeartbeatReply(reply) });
    }

    fn receive_clock_reply(&mut self, now: Instant, from: NodeIndex, reply: ClockReply) {
        if !self.admission.is_some_and(|admission| admission.manager == from && admission.fence.term == reply.term) {
            self.counters.refused += 1;
            return;
        }
        let exchange = ClockExchange { asked: reply.probe_sent_at, received: reply.received_at, replied: reply.replied_at, heard: now };
        match self.clock.take_reply(exchange) {
            ReplyVerdict::NotAsked => self.counters.duplicates += 1,
            ReplyVerdict::Sample(SampleVerdict::Impossible) => self.counters.malformed += 1,
            ReplyVerdict::Sample(SampleVerdict::Contradicts) => self.counters.clock_disturbances += 1,
            ReplyVerdict::Sample(SampleVerdict::Agrees) => {}
        }
    }
}
