//! The barriers of groups that are under way on one node. Those over several nodes are known to the others by a ticket.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    group::Group,
    limits::GROUPS,
    puts::{Party, PutNumber},
    server::LocalRank,
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    under_way: BTreeMap<Group, UnderWay>,
    /// How often each slot was used.
    uses: [u64; GROUPS],
}

/// A barrier that a rank of this node is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// Who takes part.
    pub(super) party: Party,
    /// Ranks of this node that wait in it.
    pub(super) entered: BTreeSet<LocalRank>,
    /// What the other nodes were told, once all of this node's are in.
    pub(super) told: Option<Told>,
}

/// What the other nodes were told of a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Names this barrier for ever: `use of the slot * GROUPS + slot`. Of one slot at most one is under way, and a later
    /// one has a higher number, so that whoever knows the last of each slot knows all that are over.
    pub(super) ticket: u64,
    /// The keys.
    pub(super) block: Vec<u8>,
    /// What was put before this is in the block.
    pub(super) before: PutNumber,
}

impl Groups {
    /// Lets a rank in. The error is what it is told.
    pub(super) fn enter(&mut self, group: &Group, rank: LocalRank, party: Party) -> Result<&mut UnderWay, &'static str> {
        if !self.under_way.contains_key(group) && self.under_way.len() == GROUPS {
            return Err("too_many_groups_at_once");
        }
        let new = || UnderWay { party, entered: BTreeSet::new(), told: None };
        let barrier = self.under_way.entry(group.clone()).or_insert_with(new);
        if barrier.entered.insert(rank) { Ok(barrier) } else { Err("already_in_the_barrier") }
    }

    /// Who takes part in the barrier of that group.
    pub(super) fn party(&self, group: &Group) -> Option<&Party> {
        self.under_way.get(group).map(|barrier| &barrier.party)
    }

    /// The other nodes are told of the group's barrier, which all of this node's ranks are in; gives its ticket.
    pub(super) fn tell(&mut self, group: &Group, block: Vec<u8>, before: PutNumber) -> u64 {
        let taken: BTreeSet<u64> = self.told().map(|(_, told)| told.ticket % GROUPS as u64).collect();
        let slot = (0..GROUPS as u64).find(|slot| !taken.contains(slot)).expect("as many slots as barriers, of which this has none");
        let uses = &mut self.uses[usize::try_from(slot).expect("an index")];
        *uses += 1;
        let ticket = *uses * GROUPS as u64 + slot;
        if let Some(barrier) = self.under_way.get_mut(group) {
            barrier.told = Some(Told { ticket, block, before });
        }
        ticket
    }

    /// The barriers that the other nodes were told of.
    pub(super) fn told(&self) -> impl Iterator<Item = (&Group, &Told)> {
        self.under_way.iter().filter_map(|(group, barrier)| Some((group, barrier.told.as_ref()?)))
    }

    /// The barrier of that ticket is over.
    pub(super) fn take(&mut self, ticket: u64) -> Option<(Group, UnderWay)> {
        let group = self.told().find(|(_, told)| told.ticket == ticket).map(|(group, _)| group.clone())?;
        self.under_way.remove_entry(&group)
    }

    /// The barrier of that group is over.
    pub(super) fn remove(&mut self, group: &Group) -> Option<UnderWay> {
        self.under_way.remove(group)
    }

    /// Barriers that wait for that rank of this node, which has left: they are over.
    pub(super) fn abandon(&mut self, rank: LocalRank) -> Vec<UnderWay> {
        let hopeless = |barrier: &UnderWay| barrier.told.is_none() && barrier.party.ranks.contains(&rank);
        let groups: Vec<Group> = self.under_way.iter().filter(|(_, barrier)| hopeless(barrier)).map(|(group, _)| group.clone()).collect();
        groups.iter().filter_map(|group| self.under_way.remove(group)).collect()
    }
}
