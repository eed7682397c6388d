//! A [`Datagram`] as the sealed payload of a fabric datagram: postcard, without allocation either way.
//!
//! The largest one, a strobe with a full schedule, fits one datagram: tested below.

use strobe_core::{message::Datagram, model::Term};
use strobe_fabric::datagram::DATAGRAM_PAYLOAD_BYTES_MAX;
use thiserror::Error;

/// Room for any datagram's payload.
pub type PayloadBuffer = [u8; DATAGRAM_PAYLOAD_BYTES_MAX];

/// Why a payload is no datagram, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The datagram does not fit the buffer.
    #[error("the datagram does not fit a payload")]
    Encode(#[source] postcard::Error),
    /// The payload is no datagram.
    #[error("the payload is no datagram")]
    Decode(#[source] postcard::Error),
    /// The payload goes on behind its datagram.
    #[error("the payload has {0} bytes too many")]
    Trailing(usize),
}

/// Writes a datagram to the start of `buffer`, and returns what was written.
///
/// # Errors
/// [`WireError::Encode`]; no datagram of the core is that large.
pub fn encode<'buffer>(datagram: &Datagram, buffer: &'buffer mut PayloadBuffer) -> Result<&'buffer [u8], WireError> {
    postcard::to_slice(datagram, buffer).map(|written| &*written).map_err(WireError::Encode)
}

/// Reads a datagram.
///
/// # Errors
/// See [`WireError`].
pub fn decode(payload: &[u8]) -> Result<Datagram, WireError> {
    let (datagram, rest) = postcard::take_from_bytes(payload).map_err(WireError::Decode)?;
    if rest.is_empty() { Ok(datagram) } else { Err(WireError::Trailing(rest.len())) }
}

/// The term that a datagram belongs to, and so the link that it takes.
#[must_use]
pub const fn term_of(datagram: &Datagram) -> Term {
    match datagram {
        Datagram::Strobe(strobe) => strobe.fence.term,
        Datagram::Heartbeat(heartbeat) => heartbeat.fence.term,
        Datagram::HeartbeatReply(reply) => reply.fence.term,
        Datagram::ClockProbe(probe) => probe.term,
        Datagram::ClockReply(reply) => reply.term,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use strobe_core::{
        limits::SCHEDULE_EPOCHS_MAX,
        message::{AgentState, ClockProbe, ClockReply, Heartbeat, HeartbeatReply, Schedule, Strobe},
        model::{AgentIncarnation, Epoch, Fence, Instant, MatrixVersion, NodeIndex, PartitionUid, RowIndex, View},
    };

    use super::*;

    fn instants() -> impl Strategy<Value = Instant> {
        any::<u64>().prop_map(Instant::from_nanoseconds)
    }

    fn fences() -> impl Strategy<Value = Fence> {
        any::<(u128, u64, u64)>().prop_map(|(partition, term, view)| Fence {
            partition: PartitionUid(partition),
            term: Term(term),
            view: View(view),
        })
    }

    fn strobes() -> impl Strategy<Value = Datagram> {
        let schedule = prop::collection::vec(prop::option::of(any::<u8>().prop_map(RowIndex)), 0..=SCHEDULE_EPOCHS_MAX);
        let quantum = (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, rest)| Duration::new(seconds, rest));
        (fences(), any::<[u64; 3]>(), instants(), quantum, schedule).prop_map(
            |(fence, [version, announcement, epoch], at, quantum, schedule)| {
                let (version, epoch) = (MatrixVersion(version), Epoch(epoch));
                let schedule = schedule.into_iter().collect::<Schedule>();
                Datagram::Strobe(Strobe { fence, version, announcement, epoch, at, quantum, schedule })
            },
        )
    }

    fn replies() -> impl Strategy<Value = Datagram> {
        let states = prop::sample::select(&[AgentState::Unsealed, AgentState::Strobed, AgentState::FreeRunning][..]);
        (fences(), any::<[u64; 3]>(), instants(), any::<u16>(), states).prop_map(
            |(fence, [sequence, incarnation, switched], sent_at, node, state)| {
                let (node, incarnation) = (NodeIndex(node), AgentIncarnation(incarnation));
                Datagram::HeartbeatReply(HeartbeatReply { fence, sequence, sent_at, node, incarnation, state, switched: Epoch(switched) })
            },
        )
    }

    fn datagrams() -> impl Strategy<Value = Datagram> {
        prop_oneof![
            strobes(),
            replies(),
            (fences(), any::<u64>(), instants(), any::<bool>())
                .prop_map(|(fence, sequence, sent_at, lease)| Datagram::Heartbeat(Heartbeat { fence, sequence, sent_at, lease })),
            (any::<u64>(), any::<u16>(), instants()).prop_map(|(term, node, sent_at)| {
                Datagram::ClockProbe(ClockProbe { term: Term(term), node: NodeIndex(node), sent_at })
            }),
            (any::<u64>(), instants(), instants(), instants()).prop_map(|(term, probe_sent_at, received_at, replied_at)| {
                Datagram::ClockReply(ClockReply { term: Term(term), probe_sent_at, received_at, replied_at })
            }),
        ]
    }

    fn encoded(datagram: &Datagram) -> Vec<u8> {
        encode(datagram, &mut [0; DATAGRAM_PAYLOAD_BYTES_MAX]).unwrap().to_vec()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(datagram in datagrams()) {
            prop_assert_eq!(decode(&encoded(&datagram)), Ok(datagram));
        }

        #[test]
        fn every_truncation_and_every_extension_is_refused(datagram in datagrams(), at: prop::sample::Index, more in 1_usize..20) {
            let mut payload = encoded(&datagram);
            prop_assert!(matches!(decode(&payload[..at.index(payload.len())]), Err(WireError::Decode(_))));
            payload.resize(payload.len() + more, 0);
            prop_assert_eq!(decode(&payload), Err(WireError::Trailing(more)));
        }

        #[test]
        fn any_bytes_are_a_datagram_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..DATAGRAM_PAYLOAD_BYTES_MAX)) {
            if let Ok(datagram) = decode(&bytes) {
                prop_assert_eq!(decode(&encoded(&datagram)), Ok(datagram));
            }
        }

        #[test]
        fn a_damaged_datagram_is_a_datagram_or_an_error(datagram in datagrams(), damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..8)) {
            let mut payload = encoded(&datagram);
            for (at, byte) in damage {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            if let Ok(datagram) = decode(&payload) {
                prop_assert_eq!(decode(&encoded(&datagram)), Ok(datagram));
            }
        }
    }

    #[test]
    fn the_largest_strobe_fits_one_datagram() {
        let mut schedule = Schedule::new();
        while schedule.try_push(Some(RowIndex(u8::MAX))).is_ok() {}
        let largest = Datagram::Strobe(Strobe {
            fence: Fence { partition: PartitionUid(u128::MAX), term: Term(u64::MAX), view: View(u64::MAX) },
            version: MatrixVersion(u64::MAX),
            announcement: u64::MAX,
            epoch: Epoch(u64::MAX),
            at: Instant::from_nanoseconds(u64::MAX),
            quantum: Duration::MAX,
            schedule,
        });
        assert_eq!(decode(&encoded(&largest)), Ok(largest));
    }

    #[test]
    fn a_schedule_that_is_too_long_is_refused() {
        let strobe = |epochs: usize| {
            let schedule: Vec<Option<u8>> = vec![None; epochs];
            postcard::to_allocvec(&(0_u8, (1_u128, 2_u64, 3_u64), [4_u64; 4], (5_u64, 6_u32), schedule)).unwrap()
        };
        assert!(matches!(decode(&strobe(SCHEDULE_EPOCHS_MAX)), Ok(Datagram::Strobe(_))));
        assert!(matches!(decode(&strobe(SCHEDULE_EPOCHS_MAX + 1)), Err(WireError::Decode(_))));
    }

    #[test]
    fn each_datagram_belongs_to_the_term_that_it_names() {
        let term = Term(7);
        let fence = Fence { term, ..Fence::default() };
        let heartbeat = Heartbeat { fence, sequence: 1, sent_at: Instant::ORIGIN, lease: true };
        let probe = ClockProbe { term, node: NodeIndex(1), sent_at: Instant::ORIGIN };
        assert_eq!([Datagram::Heartbeat(heartbeat), Datagram::ClockProbe(probe)].map(|datagram| term_of(&datagram)), [term; 2]);
    }
}
