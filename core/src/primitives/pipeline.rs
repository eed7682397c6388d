//! The binomial pipeline: in which order the pieces of one transfer go from node to node, so that all have all of them as soon as can be.
//!
//! With `n` nodes of which the first has `k` pieces, and each node sending at most one piece and receiving at most one in a step, the last
//! node has the last piece after `k + ⌈log₂ n⌉ - 1` steps, which no schedule undercuts (Ganesan and Seshadri, "On Cooperative Content
//! Distribution and the Price of Barter", ICDCS 2005; as multicast over RDMA: Behrens, Jha, Birman and Tremel, "RDMC: A Reliable RDMA
//! Multicast for Large Objects", DSN 2018).
//!
//! The nodes are the corners of a hypercube of `d = ⌊log₂ n⌋` dimensions, the root at 0. In step `t` each corner and its neighbour along
//! dimension `t mod d` give each other a piece. The root gives a new one in each step; piece `b` spreads in steps `b + 1` to `b + d - 1` over
//! the corners whose bit `b mod d` is set, and goes in step `b + d` from each of these to its neighbour. After the last piece the root
//! gives that again, so that it arrives everywhere `d - 1` steps later. What a corner gives in a step follows from its number and the step
//! alone.
//!
//! Where `n` is no power of two, `n - 2ᵈ` corners have two places each. In a step one of the two gives to the neighbour and the other one
//! receives from it and hands its twin a piece that that lacks.
//!
//! *Invariant:* a place gives only what it has; nobody is given a piece that it has.

use std::collections::BTreeSet;

/// The schedule of one transfer. Places are numbered from 0, the root, in any order that all nodes agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pipeline {
    places: u32,
    pieces: u32,
}

/// What one place does in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Moves {
    /// It gives this piece.
    pub send: Option<Move>,
    /// It is given this piece.
    pub receive: Option<Move>,
}

/// A piece on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Move {
    /// The place at the other end.
    pub peer: u32,
    /// The piece, from 0.
    pub piece: u32,
}

/// One place's steps, in order; see [`Pipeline::part`].
#[derive(Debug, Clone)]
pub struct Part {
    pipeline: Pipeline,
    place: u32,
    step: u32,
    /// The place's own corner.
    own: Corner,
    /// Its neighbours, one along each dimension.
    neighbours: Vec<Corner>,
}

/// A corner of the hypercube after some steps.
#[derive(Debug, Clone)]
struct Corner {
    number: u32,
    has_twin: bool,
    /// It has been given the last piece, which the root gives more than once.
    has_last: bool,
    /// Of each of its two places the pieces that the other one alone has.
    lacks: [BTreeSet<u32>; 2],
}

/// Who of a corner's two places does what in a step; both are the first where there is but one.
#[derive(Debug, Clone, Copy)]
struct Roles {
    gives: usize,
    is_given: usize,
    /// What each place is handed by its twin.
    handed: [Option<u32>; 2],
}

impl Pipeline {
    /// The schedule of `pieces` pieces for `places` places, the root included.
    ///
    /// # Panics
    /// When there is no place.
    #[must_use]
    pub const fn new(places: u32, pieces: u32) -> Self {
        assert!(places > 0, "the root is one");
        Self { places, pieces }
    }

    /// Steps until every place has every piece.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        if self.places == 1 || self.pieces == 0 { 0 } else { self.pieces + self.dimensions() - 1 + self.has_twins() as u32 }
    }

    /// What a place does, step by step.
    ///
    /// # Panics
    /// When there is no such place.
    #[must_use]
    pub fn part(&self, place: u32) -> Part {
        assert!(place < self.places, "place {place} of {}", self.places);
        let corner = if place < self.corners() { place } else { place - self.corners() + 1 };
        let neighbours = (0..self.dimensions()).map(|dimension| self.corner(corner ^ 1 << dimension)).collect();
        Part { pipeline: *self, place, step: 0, own: self.corner(corner), neighbours }
    }

    const fn dimensions(&self) -> u32 {
        self.places.ilog2()
    }

    const fn corners(&self) -> u32 {
        1 << self.dimensions()
    }

    const fn has_twins(&self) -> bool {
        self.places > self.corners()
    }

    fn corner(&self, number: u32) -> Corner {
        // The root has none: there are fewer twins than other corners.
        let has_twin = number > 0 && self.corners() + number - 1 < self.places;
        Corner { number, has_twin, has_last: false, lacks: [BTreeSet::new(), BTreeSet::new()] }
    }

    /// The piece that a corner gives in a step along that step's dimension, whether its neighbour has it or not; a piece beyond the last
    /// stands for the last.
    fn given(&self, corner: u32, step: u32) -> Option<u32> {
        let dimensions = self.dimensions();
        if step >= self.pieces + dimensions - 1 {
            return None;
        }
        let dimension = step % dimensions;
        let piece = if corner == 0 {
            step
        } else if corner >> dimension & 1 == 1 {
            step.checked_sub(dimensions)?
        } else {
            // The oldest of the pieces that spread and have come here: the next set bit, from this dimension on, is the one along which
            // it left the root.
            let next = dimension + 1;
            let from_next = (corner >> next | corner << (dimensions - next)) & (self.corners() - 1);
            (step + 1 + from_next.trailing_zeros()).checked_sub(dimensions)?
        };
        Some(piece.min(self.pieces - 1))
    }

    /// What a corner gives and is given in a step; nobody gives to the root.
    fn exchange(&self, corner: &Corner, step: u32) -> (Option<u32>, Option<u32>) {
        let neighbour = corner.number ^ 1 << (step % self.dimensions());
        let gives = if neighbour == 0 { None } else { self.given(corner.number, step) };
        let is_given = if corner.number == 0 { None } else { self.given(neighbour, step) };
        (gives, is_given.filter(|piece| !(corner.has_last && *piece == self.pieces - 1)))
    }

    fn advance(&self, corner: &mut Corner, (gives, is_given): (Option<u32>, Option<u32>)) -> Roles {
        let roles = corner.roles(gives, is_given);
        corner.take(roles, is_given);
        corner.has_last |= is_given == Some(self.pieces - 1);
        roles
    }

    /// The number of a corner's first or second place.
    const fn place(&self, corner: u32, second: usize) -> u32 {
        if second == 0 { corner } else { self.corners() + corner - 1 }
    }
}

impl Corner {
    /// The place that lacks more is handed something, so it gives outside; it must have what it gives.
    fn roles(&self, gives: Option<u32>, is_given: Option<u32>) -> Roles {
        if !self.has_twin {
            return Roles { gives: 0, is_given: 0, handed: [None, None] };
        }
        let has = |place: usize| gives.is_none_or(|piece| !self.lacks[place].contains(&piece));
        let giver = if has(1) && (!has(0) || self.lacks[1].len() >= self.lacks[0].len()) { 1 } else { 0 };
        let mut handed = [None, None];
        handed[giver] = self.lacks[giver].first().copied();
        if gives.is_none() && is_given.is_none() {
            handed[1 - giver] = self.lacks[1 - giver].first().copied();
        }
        Roles { gives: giver, is_given: 1 - giver, handed }
    }

    fn take(&mut self, roles: Roles, is_given: Option<u32>) {
        if !self.has_twin {
            return;
        }
        for (lacks, handed) in self.lacks.iter_mut().zip(roles.handed) {
            if let Some(piece) = handed {
                lacks.remove(&piece);
            }
        }
        self.lacks[1 - roles.is_given].extend(is_given);
    }
}

impl Iterator for Part {
    type Item = Moves;

    fn next(&mut self) -> Option<Moves> {
        let (pipeline, step) = (self.pipeline, self.step);
        if step == pipeline.steps() {
            return None;
        }
        self.step += 1;
        let along = usize::try_from(step % pipeline.dimensions()).expect("a dimension is small");
        let neighbour_has_last = self.neighbours[along].has_last;
        let (gives, is_given) = pipeline.exchange(&self.own, step);
        let own = pipeline.advance(&mut self.own, (gives, is_given));
        let gives = gives.filter(|piece| !(neighbour_has_last && *piece == pipeline.pieces - 1));
        let advance = |neighbour: &mut Corner| pipeline.advance(neighbour, pipeline.exchange(neighbour, step));
        let others: Vec<Roles> = self.neighbours.iter_mut().map(advance).collect();
        let (neighbour, other) = (self.neighbours[along].number, others[along]);
        let second = usize::from(self.place >= pipeline.corners());
        let twin = pipeline.place(self.own.number, 1 - second);
        let outside = |piece: Option<u32>, role: usize, peer: usize| {
            piece.filter(|_| role == second).map(|piece| Move { peer: pipeline.place(neighbour, peer), piece })
        };
        let inside = |handed: Option<u32>| handed.map(|piece| Move { peer: twin, piece });
        Some(Moves {
            send: outside(gives, own.gives, other.is_given).or_else(|| inside(own.handed[1 - second])),
            receive: outside(is_given, own.is_given, other.gives).or_else(|| inside(own.handed[second])),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Plays the schedule of all places side by side, and holds it to what is promised of it.
    fn check(places: u32, pieces: u32) {
        let pipeline = Pipeline::new(places, pieces);
        let minimum = if places == 1 || pieces == 0 { 0 } else { pieces + places.next_power_of_two().ilog2() - 1 };
        assert_eq!(pipeline.steps(), minimum, "{places} places, {pieces} pieces");
        let mut parts: Vec<Part> = (0..places).map(|place| pipeline.part(place)).collect();
        let mut held: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); parts.len()];
        held[0] = (0..pieces).collect();
        for step in 0..pipeline.steps() {
            let moves: Vec<Moves> = parts.iter_mut().map(|part| part.next().expect("a part has every step")).collect();
            let sent: BTreeSet<(u32, u32, u32)> =
                (0..).zip(&moves).filter_map(|(from, moves)| moves.send.map(|sent| (from, sent.peer, sent.piece))).collect();
            let received: BTreeSet<(u32, u32, u32)> =
                (0..).zip(&moves).filter_map(|(to, moves)| moves.receive.map(|received| (received.peer, to, received.piece))).collect();
            assert_eq!(sent, received, "both ends know of a piece: {places} places, {pieces} pieces, step {step}");
            for (from, _, piece) in &sent {
                assert!(held[*from as usize].contains(piece), "{from} of {places} gives {piece} of {pieces} in step {step} and has it not");
            }
            for (_, to, piece) in &sent {
                assert!(held[*to as usize].insert(*piece), "{to} of {places} is given {piece} of {pieces} again in step {step}");
            }
        }
        assert!(parts.iter_mut().all(|part| part.next().is_none()));
        for (place, held) in held.iter().enumerate() {
            assert_eq!(held.len(), pieces as usize, "{place} of {places} has not all");
        }
    }

    #[test]
    fn all_have_all_blocks_once_after_the_least_number_of_steps() {
        for places in 1..=34 {
            for pieces in 0..=12 {
                check(places, pieces);
            }
        }
    }

    #[test]
    fn as_many_places_as_a_partition_may_have_one_day() {
        check(16_384, 1);
        check(8_193, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_set_and_any_number_of_blocks(places in 1_u32..200, pieces in 1_u32..100) {
            check(places, pieces);
        }
    }
}
