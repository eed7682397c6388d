//! What the fabric refused, counted by kind and logged once per peer and kind.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use strobe_core::model::NodeIndex;

use crate::limits::LOGGED_REFUSALS_MAX;

/// Counters of one transport; plain atomics, read by the agent's metrics.
#[derive(Debug, Default)]
pub struct FabricCounters {
    /// Links that came up.
    pub links_up: AtomicU64,
    /// Links that went down, other than by this node's own command.
    pub links_down: AtomicU64,
    /// Attempts to dial that found nobody.
    pub unreachable: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    logged: Mutex<BTreeSet<(RefusedPeer, Refusal)>>,
}

/// Why a connection or a link was refused or ended: a closed set, for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No certificate, or none of this partition's authority; or no TLS at all.
    Stranger,
    /// A certificate of another partition, or a hello that names one.
    WrongPartition,
    /// A valid certificate that is no node's.
    NotANode,
    /// The certificate is not that of the node that the plan, or the hello, names.
    WrongPeer,
    /// No common version of the protocol.
    WrongVersion,
    /// A hello or welcome that cannot be read.
    BadHello,
    /// A term whose links were closed here.
    OldTerm,
    /// A term or a node that this node's plan does not name (yet).
    NotPlanned,
    /// The node with the higher index dialled.
    WrongDialer,
    /// The handshake took too long.
    TimedOut,
    /// A frame's header that cannot be read.
    BadFrame,
    /// A frame beyond the limit.
    OversizedFrame,
    /// A connection that ended within a frame.
    TruncatedFrame,
    /// A bulk frame that is no piece of a block that this node takes part in.
    BadPiece,
    /// A piece of a block for which there is no room.
    NoRoom,
    /// A block that came whole and whose digest is another; told of its caller.
    WrongDigest,
}

/// Who was refused, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RefusedPeer {
    /// Not authenticated.
    Address(IpAddr),
    /// Authenticated.
    Node(NodeIndex),
}

// === impl FabricCounters ===

impl FabricCounters {
    /// How often `refusal` happened.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    /// Counts a refusal, and logs the first one of this peer and kind.
    pub(crate) fn refuse(&self, peer: RefusedPeer, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
        // One end of a link learns of a term before the other: at every start somebody dials too early or too late.
        let belongs_to_every_start = matches!(refusal, Refusal::NotPlanned | Refusal::OldTerm);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED_REFUSALS_MAX && logged.insert((peer, refusal)) {
            let (refusal, said) = (refusal.label(), "a peer was refused; further refusals of this kind are only counted");
            if belongs_to_every_start {
                tracing::debug!(%peer, refusal, "{said}");
            } else {
                tracing::warn!(%peer, refusal, "{said}");
            }
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::Stranger,
        Self::WrongPartition,
        Self::NotANode,
        Self::WrongPeer,
        Self::WrongVersion,
        Self::BadHello,
        Self::OldTerm,
        Self::NotPlanned,
        Self::WrongDialer,
        Self::TimedOut,
        Self::BadFrame,
        Self::OversizedFrame,
        Self::TruncatedFrame,
        Self::BadPiece,
        Self::NoRoom,
        Self::WrongDigest,
    ];

    /// The kind as a metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::WrongPartition => "wrong_partition",
            Self::NotANode => "not_a_node",
            Self::WrongPeer => "wrong_peer",
            Self::WrongVersion => "wrong_version",
            Self::BadHello => "bad_hello",
            Self::OldTerm => "old_term",
            Self::NotPlanned => "not_planned",
            Self::WrongDialer => "wrong_dialer",
            Self::TimedOut => "timed_out",
            Self::BadFrame => "bad_frame",
            Self::OversizedFrame => "oversized_frame",
            Self::TruncatedFrame => "truncated_frame",
            Self::BadPiece => "bad_piece",
            Self::NoRoom => "no_room",
            Self::WrongDigest => "wrong_digest",
        }
    }
}

// === impl RefusedPeer ===

impl fmt::Display for RefusedPeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Node(node) => write!(formatter, "node {node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_place_and_label() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
        }
        let labels: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }

    #[test]
    fn refusals_are_counted_beyond_what_is_logged() {
        let counters = FabricCounters::default();
        for node in 0..2000 {
            counters.refuse(RefusedPeer::Node(NodeIndex(node)), Refusal::OldTerm);
        }
        assert_eq!(counters.refused(Refusal::OldTerm), 2000);
        assert_eq!(counters.logged.lock().unwrap().len(), LOGGED_REFUSALS_MAX);
    }
}
