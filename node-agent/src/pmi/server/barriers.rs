//! The barriers of the server: the world's and those of groups.

use std::collections::BTreeSet;

use super::{BarrierError, ClientPhase, Failure, GroupEntered, LocalRank, PmiEffect, PmiServer, failure, reply};
use crate::pmi::{
    block,
    group::{Group, Members},
    groups::{Told, UnderWay},
    limits,
    line::Line,
    puts::{Party, PutNumber},
};

/// The world's barrier while other nodes are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    block: Vec<u8>,
    /// What was put before this is in the block.
    before: PutNumber,
}

impl PmiServer {
    /// The barrier that waits for the other nodes, to be told again to an agent that came new.
    #[must_use]
    pub fn waiting_barrier(&self) -> Option<(u64, &[u8])> {
        self.waiting.as_ref().map(|waiting| (self.barriers, waiting.block.as_slice()))
    }

    /// The barriers of groups that wait for other nodes, to be told again likewise.
    pub fn waiting_groups(&self) -> impl Iterator<Item = GroupEntered> {
        let entered = |(group, told): (&Group, &Told)| {
            Some(GroupEntered { ticket: told.ticket, group: group.between_nodes()?, block: told.block.clone() })
        };
        self.groups.told().filter_map(entered)
    }

    /// All nodes of a group are in its barrier; `block` holds the keys of its ranks that not all of them had.
    ///
    /// # Errors
    /// [`BarrierError`]; for a bad block the group's local ranks are told that the barrier failed.
    pub fn group_complete(&mut self, ticket: u64, block: &[u8], effects: &mut Vec<PmiEffect>) -> Result<(), BarrierError> {
        let (group, barrier) = self.groups.take(ticket).ok_or(BarrierError::NotWaiting { number: ticket })?;
        let result = self.take_block(ticket, block);
        match &result {
            Ok(()) => {
                if let Some(told) = &barrier.told {
                    self.puts.at(&barrier.party, told.before);
                }
                release(&barrier, group.tag, effects);
            }
            Err(error) => fail(&barrier, &Failure { explanation: error.to_string(), fault: error.fault() }, effects),
        }
        result
    }

    /// All nodes are in the barrier; `block` holds all their new keys.
    ///
    /// # Errors
    /// [`BarrierError`]; for a bad block the local ranks are told that the barrier failed.
    pub fn barrier_complete(&mut self, number: u64, block: &[u8], effects: &mut Vec<PmiEffect>) -> Result<(), BarrierError> {
        self.check_waiting(number)?;
        let result = self.take_block(number, block);
        match &result {
            Ok(()) => self.release_barrier(effects),
            Err(error) => self.fail_barrier(Failure { explanation: error.to_string(), fault: error.fault() }, effects),
        }
        result
    }

    /// The barrier will never complete: its ranks are told so, and so is every later barrier's.
    ///
    /// # Errors
    /// [`BarrierError::NotWaiting`] if no such barrier waits.
    pub fn barrier_failed(&mut self, number: u64, explanation: &str, effects: &mut Vec<PmiEffect>) -> Result<(), BarrierError> {
        self.check_waiting(number)?;
        self.fail_barrier(Failure { explanation: explanation.to_owned(), fault: None }, effects);
        Ok(())
    }

    fn check_waiting(&self, number: u64) -> Result<(), BarrierError> {
        let waits = self.waiting.is_some() && number == self.barriers;
        if waits { Ok(()) } else { Err(BarrierError::NotWaiting { number }) }
    }

    fn take_block(&mut self, number: u64, block: &[u8]) -> Result<(), BarrierError> {
        let pairs = block::pairs(block).map_err(|source| BarrierError::BadBlock { number, source })?;
        for (key, value) in pairs {
            self.insert(key, value).map_err(|_| BarrierError::SpaceFull { number, limit: limits::SPACE_BYTES })?;
        }
        Ok(())
    }

    pub(super) fn enter_barrier(&mut self, rank: LocalRank, line: &Line<'_>, effects: &mut Vec<PmiEffect>) {
        match self.group_of(rank, line) {
            Ok(group) if group == Group::WORLD => self.enter_world(rank, effects),
            Ok(group) => self.enter_group(rank, &group, effects),
            Err(explanation) => refuse(rank, explanation, effects),
        }
    }

    fn group_of(&mut self, rank: LocalRank, line: &Line<'_>) -> Result<Group, &'static str> {
        if self.client(rank).phase != ClientPhase::Initialised {
            return Err("not_initialised");
        }
        let Some(group) = line.field("group") else { return Ok(Group::WORLD) };
        Group::parse(group, self.settings.first_rank + rank.0, self.settings.world_size)
    }

    fn enter_world(&mut self, rank: LocalRank, effects: &mut Vec<PmiEffect>) {
        if self.entered.contains(&rank) {
            return refuse(rank, "already_in_the_barrier", effects);
        }
        if let Some(failed) = &self.failed {
            refuse(rank, &failed.explanation, effects);
            effects.extend(failed.fault.map(|fault| PmiEffect::BarrierFailed { fault }));
            return;
        }
        self.entered.insert(rank);
        if self.entered.len() == self.clients.len() {
            self.all_entered(effects);
        }
    }

    fn all_entered(&mut self, effects: &mut Vec<PmiEffect>) {
        self.barriers += 1;
        if self.settings.nodes == 1 {
            self.release_barrier(effects);
            return;
        }
        let waiting = Waiting { block: self.puts.block(), before: self.puts.next() };
        effects.push(PmiEffect::BarrierEntered { number: self.barriers, block: waiting.block.clone() });
        self.waiting = Some(waiting);
    }

    fn release_barrier(&mut self, effects: &mut Vec<PmiEffect>) {
        if let Some(waiting) = self.waiting.take() {
            self.puts.everywhere(waiting.before);
        }
        for rank in std::mem::take(&mut self.entered) {
            reply(rank, &barrier_out(0), effects);
        }
    }

    fn enter_group(&mut self, rank: LocalRank, group: &Group, effects: &mut Vec<PmiEffect>) {
        let party = self.party(&group.members);
        let left = party.ranks.iter().map(|local| self.clients[local.0 as usize].phase).find_map(ClientPhase::failure);
        if let Some(failed) = left {
            refuse(rank, &failed.explanation, effects);
            effects.extend(failed.fault.map(|fault| PmiEffect::BarrierFailed { fault }));
            return;
        }
        match self.groups.enter(group, rank, party) {
            Ok(barrier) if barrier.entered == barrier.party.ranks => self.group_entered(group, effects),
            Ok(_) => {}
            Err(explanation) => refuse(rank, explanation, effects),
        }
    }

    /// Who takes part in a group's barrier.
    fn party(&self, members: &Members) -> Party {
        let here = (0..self.settings.rank_count).map(LocalRank);
        let ranks = |ranks: &BTreeSet<u32>| here.clone().filter(|local| ranks.contains(&(self.settings.first_rank + local.0))).collect();
        match members {
            Members::World => Party { ranks: here.collect(), nodes: (0..self.settings.nodes).collect() },
            Members::Node => Party { ranks: here.collect(), nodes: BTreeSet::from([self.own_node()]) },
            Members::Ranks(listed) => {
                let nodes = listed.iter().map(|rank| rank / self.settings.ranks_per_node).collect();
                Party { ranks: ranks(listed), nodes }
            }
        }
    }

    fn own_node(&self) -> u32 {
        self.settings.first_rank / self.settings.ranks_per_node
    }

    /// All ranks that the group has here are in its barrier.
    fn group_entered(&mut self, group: &Group, effects: &mut Vec<PmiEffect>) {
        let Some(party) = self.groups.party(group).cloned() else { return };
        let Some(named) = group.between_nodes().filter(|_| party.nodes.len() > 1) else {
            return self.groups.remove(group).iter().for_each(|barrier| release(barrier, group.tag, effects));
        };
        let block = self.puts.block_for(&party);
        if block.len() > limits::GROUP_BLOCK_BYTES {
            let failed = Failure { explanation: "too_many_keys_before_the_barrier".to_owned(), fault: None };
            return self.groups.remove(group).iter().for_each(|barrier| fail(barrier, &failed, effects));
        }
        let ticket = self.groups.tell(group, block.clone(), self.puts.next());
        effects.push(PmiEffect::GroupEntered(GroupEntered { ticket, group: named, block }));
    }

    fn fail_barrier(&mut self, failed: Failure, effects: &mut Vec<PmiEffect>) {
        self.waiting = None;
        let text = failure("barrier_failed", &failed.explanation);
        let entered = std::mem::take(&mut self.entered);
        effects.extend(failed.fault.filter(|_| !entered.is_empty()).map(|fault| PmiEffect::BarrierFailed { fault }));
        for rank in entered {
            reply(rank, &text, effects);
        }
        self.failed = Some(failed);
    }

    /// A rank that has left can enter no barrier: those that others wait in fail, and so will later ones.
    pub(super) fn leave(&mut self, rank: LocalRank, how: ClientPhase, effects: &mut Vec<PmiEffect>) {
        let before = std::mem::replace(&mut self.client(rank).phase, how);
        let (None, Some(left)) = (before.failure(), how.failure()) else { return };
        for barrier in self.groups.abandon(rank) {
            fail(&barrier, &left, effects);
        }
        if self.waiting.is_some() {
            // All local ranks are in: this barrier's answer comes from the other nodes, whoever leaves here.
            self.failed = Some(left);
            return;
        }
        self.entered.remove(&rank);
        self.fail_barrier(left, effects);
    }
}

fn release(barrier: &UnderWay, tag: i32, effects: &mut Vec<PmiEffect>) {
    for rank in &barrier.entered {
        reply(*rank, &barrier_out(tag), effects);
    }
}

fn fail(barrier: &UnderWay, failed: &Failure, effects: &mut Vec<PmiEffect>) {
    effects.extend(failed.fault.filter(|_| !barrier.entered.is_empty()).map(|fault| PmiEffect::BarrierFailed { fault }));
    for rank in &barrier.entered {
        refuse(*rank, &failed.explanation, effects);
    }
}

/// Threads of a client find their answer by the tag.
fn barrier_out(tag: i32) -> String {
    format!("cmd=barrier_out tag={tag}")
}

fn refuse(rank: LocalRank, explanation: &str, effects: &mut Vec<PmiEffect>) {
    reply(rank, &failure("barrier_failed", explanation), effects);
}
