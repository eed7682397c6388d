//! What this node's ranks have put and not every node has yet.

use std::collections::BTreeSet;

use super::{block, limits, server::LocalRank};

/// The pairs in the order in which they were put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Puts {
    pairs: Vec<Put>,
    bytes: usize,
    next: PutNumber,
}

/// Number of a put on this node: what was put before it has a lower one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PutNumber(u64);

/// Those who take part in a group's barrier: only they need each other's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    /// Its ranks on this node.
    pub(super) ranks: BTreeSet<LocalRank>,
    /// Its nodes, by their position in the gang.
    pub(super) nodes: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Put {
    number: PutNumber,
    rank: LocalRank,
    key: String,
    value: String,
    /// Nodes that have it by barriers of groups.
    reached: BTreeSet<u32>,
}

impl Puts {
    /// Whether one more pair fits a block.
    pub(super) fn has_room(&self, key: &str, value: &str) -> bool {
        self.bytes + block::pair_bytes(key, value) <= limits::BLOCK_BYTES
    }

    /// Keeps a pair. There must be room for it.
    pub(super) fn push(&mut self, rank: LocalRank, key: &str, value: &str) {
        self.bytes += block::pair_bytes(key, value);
        let put = Put { number: self.next, rank, key: key.to_owned(), value: value.to_owned(), reached: BTreeSet::new() };
        self.pairs.push(put);
        self.next.0 += 1;
    }

    /// The number that the next put will have.
    pub(super) const fn next(&self) -> PutNumber {
        self.next
    }

    /// All pairs.
    pub(super) fn block(&self) -> Vec<u8> {
        write(self.pairs.iter())
    }

    /// What the party's ranks have put and not all of its nodes have.
    pub(super) fn block_for(&self, party: &Party) -> Vec<u8> {
        write(self.pairs.iter().filter(|put| party.ranks.contains(&put.rank) && !party.nodes.is_subset(&put.reached)))
    }

    /// Every node has what was put before.
    pub(super) fn everywhere(&mut self, before: PutNumber) {
        self.retain(|put| put.number >= before);
    }

    /// The party's nodes have what its ranks had put before.
    pub(super) fn at(&mut self, party: &Party, before: PutNumber) {
        for put in &mut self.pairs {
            if put.number < before && party.ranks.contains(&put.rank) {
                put.reached.extend(&party.nodes);
            }
        }
    }

    fn retain(&mut self, wanted: impl Fn(&Put) -> bool) {
        self.pairs.retain(wanted);
        self.bytes = self.pairs.iter().map(|put| block::pair_bytes(&put.key, &put.value)).sum();
    }
}

fn write<'a>(puts: impl Iterator<Item = &'a Put>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for put in puts {
        block::push(&mut bytes, &put.key, &put.value);
    }
    bytes
}
