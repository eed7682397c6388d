//! A block that this node has, gets or gives.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use strobe_core::{
    message::Staging,
    model::{NodeIndex, Term},
    primitives::{
        digest,
        transfer::{Gift, Taken, Transfer},
    },
};
use tokio::time::Instant;

use super::{
    bytes::BlockBytes,
    piece::{PIECE_HEADER_BYTES, PieceHeader},
};
use crate::counters::Refusal;

/// See the module.
///
/// *Invariant:* it gives nothing before the order has asked for it; what came before is kept.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) staging: Staging,
    /// The term in which the order has asked for it, for this node's links.
    pub(super) asked: Option<Term>,
    /// True once the order was told that all of it is here.
    pub(super) told: bool,
    transfer: Transfer,
    bytes: Source,
    /// What was given already, to be given again to a peer whose link has come up anew.
    given: Vec<Gift>,
    again: VecDeque<Gift>,
    /// The next gift is one that was given already: they take turns with new ones, so that nobody waits for a peer that had a bad link.
    turn_of_again: bool,
    /// When the last piece came, be it one that was here.
    last: Instant,
    /// Bytes that are here.
    held: u64,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    /// The caller has them.
    Own(BlockBytes),
    /// They come in frames, each kept as it came; beside each the digests of its leaves.
    Pieces(Vec<Option<(Bytes, Vec<u64>)>>),
}

/// How a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// More is missing.
    NotYet,
    /// All is here.
    Held,
    /// All is here, and it is not what it should be.
    Different,
}

impl Staged {
    /// The part of a node that gets a block; none where it takes none, or should have it.
    pub(super) fn awaited(staging: Staging, node: NodeIndex) -> Option<Self> {
        let transfer = Self::transfer(&staging, node).filter(|_| staging.operation.caller.node != node)?;
        let bytes = Source::Pieces(vec![None; transfer.pieces() as usize]);
        Some(Self::new(staging, transfer, bytes))
    }

    /// The part of a node that asks others for a block which its set has held.
    pub(super) fn wished(staging: Staging) -> Self {
        let transfer = Transfer::asking(staging.operation.caller.node, staging.set, staging.block.length);
        let bytes = Source::Pieces(vec![None; transfer.pieces() as usize]);
        Self::new(staging, transfer, bytes)
    }

    /// The part of the caller; none where these bytes are not what was announced.
    pub(super) fn own(staging: Staging, node: NodeIndex, bytes: BlockBytes) -> Option<Self> {
        let transfer = Self::transfer(&staging, node).filter(|_| staging.operation.caller.node == node)?;
        (bytes.length() == staging.block.length).then(|| Self::new(staging, transfer, Source::Own(bytes)))
    }

    fn transfer(staging: &Staging, node: NodeIndex) -> Option<Transfer> {
        Transfer::new(staging.operation.caller.node, staging.set, staging.block.length, node)
    }

    fn new(staging: Staging, transfer: Transfer, bytes: Source) -> Self {
        let (given, again, turn_of_again) = (Vec::new(), VecDeque::new(), false);
        let held = if let Source::Own(bytes) = &bytes { bytes.length() } else { 0 };
        Self { staging, asked: None, told: false, transfer, bytes, given, again, turn_of_again, last: Instant::now(), held }
    }

    /// A frame with a piece of it has come.
    ///
    /// # Errors
    /// The block has no such piece.
    pub(super) fn take(&mut self, piece: u32, frame: Bytes) -> Result<Taken, Refusal> {
        let bytes = frame.slice(PIECE_HEADER_BYTES..);
        let fits = self.transfer.extent(piece).is_some_and(|(_, length)| length == bytes.len() as u64);
        if !fits {
            return Err(Refusal::BadPiece);
        }
        let Source::Pieces(pieces) = &mut self.bytes else { return Ok(Taken::Known) };
        self.last = Instant::now();
        let taken = self.transfer.take(piece);
        if taken == Taken::New {
            pieces[piece as usize] = Some((frame, digest::leaves(&bytes).collect()));
            self.held += bytes.len() as u64;
        }
        Ok(taken)
    }

    /// How it is.
    pub(super) fn whole(&self) -> Whole {
        match self.transfer.is_whole() {
            false => Whole::NotYet,
            true if self.is_right() => Whole::Held,
            true => Whole::Different,
        }
    }

    /// Whether what is here is what was announced. Of its own bytes the caller has made the announcement.
    fn is_right(&self) -> bool {
        let Source::Pieces(pieces) = &self.bytes else { return true };
        let leaves = pieces.iter().flatten().flat_map(|(_, leaves)| leaves.iter().copied());
        digest::of_leaves(leaves) == self.staging.block.digest
    }

    /// Bytes of it that are here.
    pub(super) const fn held_bytes(&self) -> u64 {
        self.held
    }

    /// When it is given up, if it is: what has come unasked is not kept for ever either.
    pub(super) fn deadline(&self, stall: Duration) -> Option<Instant> {
        (self.asked.is_none() || !self.transfer.is_whole()).then(|| self.last + stall)
    }

    /// The order has asked for it.
    pub(super) fn ask(&mut self, term: Term) {
        (self.asked, self.last) = (Some(term), Instant::now());
    }

    /// The next frame that this node gives, and to whom; none while it was not asked for it, or lacks what it gives next.
    pub(super) fn next_gift(&mut self) -> Option<(Gift, Bytes)> {
        self.asked?;
        self.turn_of_again = !self.turn_of_again;
        let again = if self.turn_of_again { self.again.pop_front() } else { None };
        let new = || self.transfer.next_gift().inspect(|gift| self.given.push(*gift));
        let gift = again.or_else(new).or_else(|| self.again.pop_front())?;
        Some((gift, self.frame(gift.piece)))
    }

    /// All nodes of the set hold it: nothing is given again.
    pub(super) fn is_everywhere(&mut self) {
        (self.given, self.again) = (Vec::new(), VecDeque::new());
    }

    /// A link to a node came up: what was given over an earlier one may not have come.
    pub(super) fn give_again(&mut self, to: NodeIndex) {
        self.again.retain(|gift| gift.to != to);
        self.again.extend(self.given.iter().filter(|gift| gift.to == to));
    }

    /// A node that lacks all of it wants it.
    pub(super) fn give_all(&mut self, to: NodeIndex) {
        self.again.retain(|gift| gift.to != to);
        self.again.extend((0..self.transfer.pieces()).map(|piece| Gift { to, piece }));
    }

    fn frame(&self, piece: u32) -> Bytes {
        match &self.bytes {
            Source::Pieces(pieces) => pieces[piece as usize].as_ref().map(|(frame, _)| frame.clone()).expect("it gives what it has"),
            Source::Own(bytes) => {
                let (begin, length) = self.transfer.extent(piece).expect("it gives what there is");
                let mut frame = Vec::with_capacity(PIECE_HEADER_BYTES + usize::try_from(length).expect("a piece is small"));
                frame.extend_from_slice(&PieceHeader { staging: self.staging, piece }.encode());
                bytes.slice(begin, length).iter().for_each(|chunk| frame.extend_from_slice(chunk));
                frame.into()
            }
        }
    }

    /// All of it, for readers.
    pub(super) fn read(&self) -> BlockBytes {
        match &self.bytes {
            Source::Own(bytes) => bytes.clone(),
            Source::Pieces(pieces) => BlockBytes::new(pieces.iter().flatten().map(|(frame, _)| frame.slice(PIECE_HEADER_BYTES..))),
        }
    }
}
