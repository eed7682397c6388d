//! Links and datagrams between nodes.

use std::time::Duration;

use strobe_core::{
    manager::{AnnouncerInput, ManagerInput},
    message::Datagram,
    model::{AgentIncarnation, NodeIndex, Term},
    node::{MemberInput, SwitcherInput},
};

use super::{Event, World};
use crate::{
    clock::Moment,
    diagram::Way,
    network::LinkKey,
    node::{AgentInput, Node},
};

/// How long it takes until a dialled link stands.
const HANDSHAKE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));
/// How long a refused dialler waits.
const DIAL_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(25));

impl World {
    // === frames ===

    /// Sends a frame over the present term's link; a link that is down loses it. To the own node it is no frame.
    pub(crate) fn send_frame(&mut self, node: usize, to: NodeIndex, input: AgentInput) {
        let from = self.nodes[node].index;
        let Some(agent) = self.nodes[node].agent.as_mut() else { return };
        if to == from {
            agent.pending.push_back(input);
            return;
        }
        let Some(term) = agent.link_term else { return };
        let key = LinkKey::new(term, from, to);
        if self.network.overflows(&mut self.random) {
            self.counters.faults += 1;
            self.diagram.frame(Way { sent: self.now, arrived: self.now, from, to }, &input, true);
            return;
        }
        let Some((arrival, link_life)) = self.network.send(self.now, key, from, &mut self.random) else { return };
        self.queue.push(arrival, Event::Frame { key, link_life, sent: self.now, to: usize::from(to.0), input: Box::new(input) });
    }

    pub(super) fn frame_arrives(&mut self, (key, link_life): (LinkKey, u64), sent: Moment, to: usize, input: AgentInput) {
        let arrives = self.network.is_up(key, link_life) && self.nodes[to].agent.is_some();
        let index = self.nodes[to].index;
        self.diagram.frame(Way { sent, arrived: self.now, from: key.other(index), to: index }, &input, !arrives);
        if arrives {
            let verdict = self.ledger.frame_delivered(to, key.term);
            self.judge(verdict);
            self.give(to, input);
        }
    }

    // === links ===

    /// Cuts every link of a term below this one, and opens those of this one.
    pub(crate) fn close_links(&mut self, node: usize, term: Term) {
        let home = &mut self.nodes[node];
        let Some(agent) = home.agent.as_mut() else { return };
        agent.floor = agent.floor.max(Some(term));
        let index = home.index;
        let cut = self.network.cut(|key| key.has(index) && key.term < term);
        for key in cut {
            self.dial_later(key, DIAL_AGAIN);
        }
        self.open_links(node, term);
    }

    pub(crate) fn open_links(&mut self, node: usize, term: Term) {
        let home = &mut self.nodes[node];
        let index = home.index;
        let Some(agent) = home.agent.as_mut() else { return };
        agent.link_term = agent.link_term.max(Some(term));
        for other in (0..self.scenario.nodes).map(NodeIndex).filter(|other| *other != index) {
            self.dial_later(LinkKey::new(term, index, other), HANDSHAKE);
        }
    }

    fn dial_later(&mut self, key: LinkKey, (first, last): (Duration, Duration)) {
        let after = self.random.time(first, last);
        let link = self.network.links.entry(key).or_default();
        if !link.up && !link.dialling {
            link.dialling = true;
            self.after(after, Event::Dial { key });
        }
    }

    pub(super) fn dial(&mut self, key: LinkKey) {
        let ends = [key.lower, key.upper].map(|node| usize::from(node.0));
        if let Some(link) = self.network.links.get_mut(&key) {
            link.dialling = false;
        }
        let wanted = ends.iter().any(|end| self.nodes[*end].agent.as_ref().is_some_and(|agent| agent.link_term == Some(key.term)));
        if !wanted {
            return;
        }
        let accepted = ends.iter().all(|end| self.accepts_link(&self.nodes[*end], key.term));
        if !accepted || !self.network.reaches(key.lower, key.upper) {
            self.dial_later(key, DIAL_AGAIN);
            return;
        }
        let link = self.network.links.entry(key).or_default();
        (link.up, link.life) = (true, link.life + 1);
        let link_life = link.life;
        for node in ends {
            let delay = self.network.delay(&mut self.random);
            let life = self.nodes[node].life;
            self.after(delay, Event::LinkUp { node, life, key, link_life });
        }
    }

    fn accepts_link(&self, node: &Node, term: Term) -> bool {
        node.agent.as_ref().filter(|agent| !agent.is_stopped()).is_some_and(|agent| {
            let unknown = self.network.accepts_unknown_terms() && agent.floor.is_some_and(|floor| floor <= term);
            agent.link_term == Some(term) || unknown
        })
    }

    pub(super) fn link_up(&mut self, node: usize, life: AgentIncarnation, key: LinkKey, link_life: u64) {
        if self.lives(node, life) && self.network.is_up(key, link_life) {
            let other = key.other(self.nodes[node].index);
            self.give(node, AgentInput::Member(MemberInput::LinkUp(other)));
            self.give(node, AgentInput::Manager(ManagerInput::LinkUp(other)));
        }
    }

    /// The links that are chosen are cut; their ends dial again.
    pub(crate) fn cut_links(&mut self, chosen: impl Fn(&LinkKey) -> bool) {
        for key in self.network.cut(chosen) {
            self.dial_later(key, DIAL_AGAIN);
        }
    }

    // === datagrams ===

    pub(crate) fn send_datagram(&mut self, node: usize, to: NodeIndex, datagram: Datagram) {
        let from = self.nodes[node].index;
        if let Datagram::Strobe(strobe) = &datagram
            && self.mutator.withholds(strobe, to)
        {
            return;
        }
        if from != to && (!self.network.reaches(from, to) || self.network.loses(&mut self.random)) {
            self.counters.faults += 1;
            if let Datagram::Strobe(strobe) = &datagram {
                self.mutator.strobe_lost(strobe, to);
            }
            return;
        }
        let to = usize::from(to.0);
        if from != self.nodes[to].index && self.network.doubles(&mut self.random) {
            self.counters.faults += 1;
            let delay = self.network.delay(&mut self.random);
            self.after(delay, Event::Datagram { from: node, to, datagram: Box::new(datagram.clone()) });
        }
        let delay = self.network.delay(&mut self.random);
        self.after(delay, Event::Datagram { from: node, to, datagram: Box::new(datagram) });
    }

    pub(super) fn datagram_arrives(&mut self, from: usize, to: usize, datagram: Datagram) {
        let from = NodeIndex(self.nodes[from].index.0);
        let input = match &datagram {
            Datagram::Strobe(_) | Datagram::Heartbeat(_) | Datagram::ClockReply(_) => {
                AgentInput::Switcher(SwitcherInput::Datagram { from, datagram })
            }
            Datagram::HeartbeatReply(_) | Datagram::ClockProbe(_) => AgentInput::Announcer(AnnouncerInput::Datagram { from, datagram }),
        };
        self.give(to, input);
    }
}
