//! One node's part in giving a block to a set: which pieces of it are here, and which it gives next, to whom.
//!
//! The places of the [pipeline](super::pipeline) are the caller's and then those of the other nodes of the set, in their order, so that all
//! nodes agree on them without a word; and so on the size of the pieces. The pipeline's steps are an order and no clock: a node gives its
//! pieces in the order of its steps, each as soon as it has it, and takes them whenever they come. As with every step of the schedule that
//! it follows from, what it is to give comes to it without its own gifts, so no two nodes wait for each other.

use super::pipeline::{Move, Part, Pipeline};
use crate::{
    limits::{PIECE_BYTES_MAX, PIECE_BYTES_MIN, PIECE_COST_BYTES},
    model::{NodeIndex, NodeSet},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Transfer {
    places: Vec<NodeIndex>,
    length: u64,
    piece_bytes: u64,
    held: Vec<bool>,
    missing: u32,
    part: Part,
    next: Option<Move>,
}

/// A piece that a node gives to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gift {
    /// To whom.
    pub to: NodeIndex,
    /// The piece, from 0.
    pub piece: u32,
}

/// What a piece that has come is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taken {
    /// Wanted.
    New,
    /// Here already.
    Known,
    /// None of this block's.
    NoSuch,
}

impl Transfer {
    /// The part of `node` in giving a block of `length` bytes, which `caller` has, to `set`. None where it takes none.
    #[must_use]
    pub fn new(caller: NodeIndex, set: NodeSet, length: u64, node: NodeIndex) -> Option<Self> {
        let places: Vec<NodeIndex> = std::iter::once(caller).chain(set.iter().filter(|node| *node != caller)).collect();
        let place = places.iter().position(|place| *place == node)?;
        let (count, piece_bytes, pieces) = division(places.len(), length);
        let has = node == caller;
        let mut part = Pipeline::new(count, pieces).part(u32::try_from(place).expect("it is below the count"));
        let next = next_of(&mut part);
        let held = vec![has; pieces as usize];
        Some(Self { places, length, piece_bytes, held, missing: if has { 0 } else { pieces }, part, next })
    }

    /// The part of a node that asks others for a whole block, after all of its set have held it: it gives nothing.
    #[must_use]
    pub fn asking(caller: NodeIndex, set: NodeSet, length: u64) -> Self {
        let mut all = set;
        all.insert(caller);
        let (_, piece_bytes, pieces) = division(all.len(), length);
        let (places, held) = (Vec::new(), vec![false; pieces as usize]);
        Self { places, length, piece_bytes, held, missing: pieces, part: Pipeline::new(1, 0).part(0), next: None }
    }

    /// How many pieces the block has.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.held.len()).expect("made of a number of 32 bits")
    }

    /// Where a piece begins in the block, and how many bytes it has; none where there is no such piece.
    #[must_use]
    pub fn extent(&self, piece: u32) -> Option<(u64, u64)> {
        let begin = u64::from(piece) * self.piece_bytes;
        (begin < self.length).then(|| (begin, self.piece_bytes.min(self.length - begin)))
    }

    /// A piece has come.
    pub fn take(&mut self, piece: u32) -> Taken {
        match self.held.get_mut(piece as usize) {
            None => Taken::NoSuch,
            Some(true) => Taken::Known,
            Some(held) => {
                *held = true;
                self.missing -= 1;
                Taken::New
            }
        }
    }

    /// The next piece that it gives, when it has it. Each is told once.
    pub fn next_gift(&mut self) -> Option<Gift> {
        let next = self.next.filter(|next| self.held[next.piece as usize])?;
        self.next = next_of(&mut self.part);
        Some(Gift { to: self.places[next.peer as usize], piece: next.piece })
    }

    /// True when every piece is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// True when it has given all that it gives.
    #[must_use]
    pub fn has_given(&self) -> bool {
        self.next.is_none()
    }
}

fn next_of(part: &mut Part) -> Option<Move> {
    part.find_map(|moves| moves.send)
}

/// How many places there are, and the size and number of the pieces of a block for them.
fn division(places: usize, length: u64) -> (u32, u64, u32) {
    let places = u32::try_from(places).expect("a set and its caller are few");
    let piece_bytes = piece_bytes(length, places);
    let pieces = u32::try_from(length.div_ceil(piece_bytes)).expect("a block's length is bounded, and a piece's from below");
    (places, piece_bytes, pieces)
}

/// The size at which `length` bytes are at all places soonest. With `k` pieces that takes `k + d - 1` steps, `d` the places' binary
/// logarithm, of which each lasts as long as a piece's bytes and what it costs beside them: least where `k² = (d - 1) length / cost`.
fn piece_bytes(length: u64, places: u32) -> u64 {
    let dimensions = u64::from(places.next_power_of_two().ilog2());
    let best = match dimensions.checked_sub(1) {
        None | Some(0) => PIECE_BYTES_MAX,
        Some(beyond) => (length.saturating_mul(PIECE_COST_BYTES) / beyond).isqrt(),
    };
    best.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::limits::BLOCK_BYTES_MAX;

    /// Gives a block to a set with links of any speed: `order` says whose gift is next. Returns how many pieces were given.
    fn given(caller: NodeIndex, set: NodeSet, length: u64, order: &[u16]) -> usize {
        let mut nodes: BTreeMap<NodeIndex, Transfer> = BTreeMap::new();
        let mut all = set;
        all.insert(caller);
        for node in all.iter() {
            nodes.insert(node, Transfer::new(caller, set, length, node).unwrap());
        }
        // A link of its own from each to each: a piece overtakes others on other links only.
        let mut links: BTreeMap<(NodeIndex, NodeIndex), VecDeque<u32>> = BTreeMap::new();
        let (mut count, mut order) = (0, order.iter().cycle());
        loop {
            for (from, transfer) in &mut nodes {
                while let Some(gift) = transfer.next_gift() {
                    links.entry((*from, gift.to)).or_default().push_back(gift.piece);
                }
            }
            links.retain(|_, pieces| !pieces.is_empty());
            let Some(chosen) = (!links.is_empty()).then(|| usize::from(*order.next().unwrap()) % links.len()) else { break };
            let (link, pieces) = links.iter_mut().nth(chosen).unwrap();
            let piece = pieces.pop_front().unwrap();
            assert_eq!(nodes.get_mut(&link.1).unwrap().take(piece), Taken::New, "nobody is given what it has");
            count += 1;
        }
        for (node, transfer) in &nodes {
            assert!(transfer.is_whole() && transfer.has_given(), "node {node} of {set:?}");
        }
        count
    }

    fn set(nodes: impl IntoIterator<Item = u16>) -> NodeSet {
        nodes.into_iter().map(NodeIndex).collect()
    }

    #[test]
    fn every_bound_of_nodes_and_of_bytes_comes_whole() {
        let piece = PIECE_BYTES_MIN;
        for nodes in [1, 2, 3, 5, 8, 16, 64] {
            for length in [0, 1, 8, piece - 1, piece, piece + 1, PIECE_BYTES_MAX + 1, 8 << 20] {
                let transfer = Transfer::new(NodeIndex(0), set(0..nodes), length, NodeIndex(0)).unwrap();
                assert_eq!(given(NodeIndex(0), set(0..nodes), length, &[0]), transfer.pieces() as usize * (usize::from(nodes) - 1));
                let beside = given(NodeIndex(63), set(0..nodes.min(63)), length, &[7, 1, 5]);
                assert!(length == 0 || beside > 0, "the caller is none of the set");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn links_of_any_speed_stop_nobody(nodes in 1_u64.., caller in 0_u16..64, length in 0_u64..3 << 20, order in proptest::collection::vec(any::<u16>(), 1..50)) {
            given(NodeIndex(caller), NodeSet::from_bits(nodes), length, &order);
        }
    }

    #[test]
    fn who_takes_no_part_has_none() {
        assert!(Transfer::new(NodeIndex(0), set([1, 2]), 1, NodeIndex(3)).is_none());
        assert!([0, 1, 2].into_iter().all(|node| Transfer::new(NodeIndex(0), set([1, 2]), 1, NodeIndex(node)).is_some()));
    }

    #[test]
    fn who_asks_for_a_block_gets_the_same_pieces_and_gives_none() {
        for (caller, set, length) in [(0, set([1, 2]), 5 << 20), (1, set([0, 1]), 3), (4, set([4]), 0)] {
            let (caller, node) = (NodeIndex(caller), set.iter().next().unwrap());
            let (first, mut asking) = (Transfer::new(caller, set, length, node).unwrap(), Transfer::asking(caller, set, length));
            assert_eq!(asking.pieces(), first.pieces());
            assert_eq!(asking.is_whole(), length == 0);
            for piece in 0..asking.pieces() {
                assert_eq!((asking.extent(piece), asking.take(piece)), (first.extent(piece), Taken::New));
            }
            assert!(asking.is_whole() && asking.has_given() && asking.next_gift().is_none());
        }
    }

    #[test]
    fn a_piece_has_its_place_once() {
        let length = PIECE_BYTES_MAX + 5;
        let mut transfer = Transfer::new(NodeIndex(0), set([1]), length, NodeIndex(1)).unwrap();
        assert_eq!((transfer.extent(0), transfer.extent(1)), (Some((0, PIECE_BYTES_MAX)), Some((PIECE_BYTES_MAX, 5))));
        assert_eq!((transfer.extent(2), transfer.extent(u32::MAX)), (None, None));
        assert_eq!([1, 1, 2].map(|piece| transfer.take(piece)), [Taken::New, Taken::Known, Taken::NoSuch]);
        assert!(!transfer.is_whole());
        assert_eq!(transfer.take(0), Taken::New);
        assert!(transfer.is_whole() && transfer.has_given());
    }

    #[test]
    fn more_places_and_more_bytes_have_pieces_between_the_bounds() {
        assert_eq!([1, 2].map(|places| piece_bytes(BLOCK_BYTES_MAX, places)), [PIECE_BYTES_MAX; 2], "there is no pipeline to fill");
        assert_eq!(piece_bytes(1, 16), PIECE_BYTES_MIN);
        assert_eq!(piece_bytes(BLOCK_BYTES_MAX, 3), PIECE_BYTES_MAX);
        let sizes = [3, 5, 9, 17, 64].map(|places| piece_bytes(4 << 20, places));
        assert!(sizes.is_sorted_by(|fewer, more| fewer >= more), "{sizes:?}");
        assert!(sizes.iter().all(|size| size % PIECE_BYTES_MIN == 0));
    }
}
