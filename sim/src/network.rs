//! The network: who reaches whom, which links stand, how long a message takes.

use std::{collections::BTreeMap, time::Duration};

use strobe_core::model::{NodeIndex, Term};

use crate::{clock::Moment, random::Random, scenario::NetworkProfile};

/// A link of one term between two nodes, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkKey {
    pub(crate) term: Term,
    pub(crate) lower: NodeIndex,
    pub(crate) upper: NodeIndex,
}

/// One link: a frame of an earlier life of it is lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) life: u64,
    pub(crate) up: bool,
    pub(crate) dialling: bool,
    /// When the last frame arrives, upward and downward: later ones come after it.
    arrivals: [Moment; 2],
}

/// What a partition parts. The default parts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sides {
    /// Nodes on the second side, as bits.
    pub(crate) second: u8,
    /// True when the operator is there.
    pub(crate) operator_there: bool,
    /// True when it reaches both sides.
    pub(crate) operator_reaches_all: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Network {
    profile: NetworkProfile,
    healed: bool,
    sides: Sides,
    /// Pairs of nodes, the lower first, between which nothing passes, with how many reasons there are.
    separated: BTreeMap<(NodeIndex, NodeIndex), u32>,
    /// Counts partitions: the end of an earlier one heals nothing.
    pub(crate) partitions: u64,
    pub(crate) links: BTreeMap<LinkKey, Link>,
}

impl LinkKey {
    pub(crate) fn new(term: Term, one: NodeIndex, other: NodeIndex) -> Self {
        Self { term, lower: one.min(other), upper: one.max(other) }
    }

    pub(crate) fn has(&self, node: NodeIndex) -> bool {
        self.lower == node || self.upper == node
    }

    pub(crate) fn other(&self, node: NodeIndex) -> NodeIndex {
        if self.lower == node { self.upper } else { self.lower }
    }
}

impl Network {
    pub(crate) fn new(profile: NetworkProfile) -> Self {
        Self { profile, healed: false, sides: Sides::default(), separated: BTreeMap::new(), partitions: 0, links: BTreeMap::new() }
    }

    pub(crate) fn accepts_unknown_terms(&self) -> bool {
        self.profile.accepts_unknown_terms
    }

    /// From now on nothing is lost, doubled or slow.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.separated.clear();
        self.join();
    }

    pub(crate) fn join(&mut self) {
        self.sides = Sides::default();
    }

    /// Falls apart.
    pub(crate) fn part(&mut self, sides: Sides) {
        self.partitions += 1;
        self.sides = sides;
    }

    /// Nothing passes between two nodes any more, until they are united as often.
    pub(crate) fn separate(&mut self, one: NodeIndex, other: NodeIndex) {
        *self.separated.entry((one.min(other), one.max(other))).or_default() += 1;
    }

    pub(crate) fn unite(&mut self, one: NodeIndex, other: NodeIndex) {
        let pair = (one.min(other), one.max(other));
        if let Some(reasons) = self.separated.get_mut(&pair) {
            *reasons -= 1;
            if *reasons == 0 {
                self.separated.remove(&pair);
            }
        }
    }

    fn on_second_side(&self, node: NodeIndex) -> bool {
        self.sides.second & (1 << node.0) != 0
    }

    pub(crate) fn reaches(&self, one: NodeIndex, other: NodeIndex) -> bool {
        let separated = !self.separated.is_empty() && self.separated.contains_key(&(one.min(other), one.max(other)));
        !separated && self.on_second_side(one) == self.on_second_side(other)
    }

    pub(crate) fn operator_reaches(&self, node: NodeIndex) -> bool {
        self.sides.operator_reaches_all || self.on_second_side(node) == self.sides.operator_there
    }

    /// How long a message takes.
    pub(crate) fn delay(&self, random: &mut Random) -> Duration {
        let usual = u64::from(self.profile.usual_microseconds);
        if !self.healed && random.chance(self.profile.slow) {
            return random.time(Duration::from_micros(usual), Duration::from_millis(u64::from(self.profile.longest_milliseconds)));
        }
        random.time(Duration::from_micros(20), Duration::from_micros(usual))
    }

    pub(crate) fn loses(&self, random: &mut Random) -> bool {
        !self.healed && random.chance(self.profile.lost)
    }

    /// A frame finds its queue full, and is lost while its link lives.
    pub(crate) fn overflows(&self, random: &mut Random) -> bool {
        !self.healed && self.profile.overflowing > 0 && random.chance(self.profile.overflowing)
    }

    pub(crate) fn doubles(&self, random: &mut Random) -> bool {
        !self.healed && random.chance(self.profile.doubled)
    }

    /// When a frame that is sent now arrives, and over which life of the link; none when the link is down.
    pub(crate) fn send(&mut self, now: Moment, key: LinkKey, from: NodeIndex, random: &mut Random) -> Option<(Moment, u64)> {
        let delay = self.delay(random);
        let link = self.links.get_mut(&key).filter(|link| link.up)?;
        let arrival = &mut link.arrivals[usize::from(from == key.upper)];
        *arrival = (now + delay).max(*arrival + Duration::from_nanos(1));
        Some((*arrival, link.life))
    }

    pub(crate) fn is_up(&self, key: LinkKey, life: u64) -> bool {
        self.links.get(&key).is_some_and(|link| link.up && link.life == life)
    }

    /// Ends the present life of every link that is chosen; frames under way are lost. Returns the keys.
    pub(crate) fn cut(&mut self, chosen: impl Fn(&LinkKey) -> bool) -> Vec<LinkKey> {
        let links = self.links.iter_mut().filter(|(key, link)| link.up && chosen(key));
        links
            .map(|(key, link)| {
                (link.up, link.life) = (false, link.life + 1);
                *key
            })
            .collect()
    }
}
