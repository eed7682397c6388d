//! The keys of one life of a link, and the sealing and opening of single datagrams.

use std::{fmt, ops::Range};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use strobe_core::model::{NodeIndex, PartitionUid, Term};

use super::{
    DATAGRAM_HEADER_BYTES, DATAGRAM_PAYLOAD_BYTES_MAX, DATAGRAM_TAG_BYTES, DATAGRAM_VERSION, DatagramBuffer, DatagramError, SealError,
    replay::ReplayWindow,
};
use crate::{limits::DATAGRAM_BYTES_MAX, transport::LinkId};

/// The exporter's label (RFC 8446, section 7.5).
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-strobe-datagram-1";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const DIRECTION_BYTES: usize = KEY_BYTES + NONCE_BYTES;

/// Secret bytes that both ends of a link hold: key and nonce of the direction from the lower to the higher node, then of
/// the other one. Exported from a TLS session, or random in one process.
pub struct KeyMaterial(pub [u8; 2 * DIRECTION_BYTES]);

/// The keys of one life of a link, at one of its ends. Not `Clone`: a key that counted twice would use a nonce twice.
pub struct DatagramKeys {
    link: LinkId,
    local: NodeIndex,
    /// Which life of the link; tells datagrams of an earlier one apart from forged ones.
    life: u32,
    seal: DirectionKey,
    open: DirectionKey,
    next_sequence: u64,
    window: ReplayWindow,
}

/// The fields of a datagram's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sender: NodeIndex,
    pub(super) life: u32,
    pub(super) term: Term,
    pub(super) sequence: u64,
}

struct DirectionKey {
    key: LessSafeKey,
    nonce: [u8; NONCE_BYTES],
}

// === impl KeyMaterial ===

impl KeyMaterial {
    /// What the exported bytes are bound to, beside the session itself: partition, term, both nodes, life of the link.
    pub(crate) fn context(partition: PartitionUid, term: Term, pair: [NodeIndex; 2], number: u64) -> [u8; 36] {
        let mut context = [0; 36];
        context[..16].copy_from_slice(&partition.0.to_le_bytes());
        context[16..24].copy_from_slice(&term.0.to_le_bytes());
        context[24..26].copy_from_slice(&pair[0].min(pair[1]).0.to_le_bytes());
        context[26..28].copy_from_slice(&pair[0].max(pair[1]).0.to_le_bytes());
        context[28..].copy_from_slice(&number.to_le_bytes());
        context
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyMaterial(..)")
    }
}

// === impl DatagramKeys ===

impl DatagramKeys {
    /// The keys of `local` for one life of `link`; the other end makes its own from the same material and life.
    #[must_use]
    pub fn new(material: &KeyMaterial, local: NodeIndex, link: LinkId, life: u32) -> Self {
        let (upward, downward) = material.0.split_at(DIRECTION_BYTES);
        let (seal, open) = match local.cmp(&link.node) {
            std::cmp::Ordering::Less => (upward, downward),
            std::cmp::Ordering::Greater => (downward, upward),
            // A node's datagrams to itself have one direction.
            std::cmp::Ordering::Equal => (upward, upward),
        };
        Self {
            link,
            local,
            life,
            seal: DirectionKey::new(seal),
            open: DirectionKey::new(open),
            next_sequence: 1,
            window: ReplayWindow::default(),
        }
    }

    /// The link that they belong to.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// Seals the `payload_bytes` that stand in `buffer` behind the header's place, and returns the datagram's length.
    ///
    /// # Errors
    /// The payload is too long, or every sequence number is used up.
    pub fn seal_in_place(&mut self, buffer: &mut DatagramBuffer, payload_bytes: usize) -> Result<usize, SealError> {
        if payload_bytes > DATAGRAM_PAYLOAD_BYTES_MAX {
            return Err(SealError::Oversized(payload_bytes));
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.checked_add(1).ok_or(SealError::WornOut)?;
        let header = Header { sender: self.local, life: self.life, term: self.link.term, sequence }.encode();
        buffer[..DATAGRAM_HEADER_BYTES].copy_from_slice(&header);
        let tag_at = DATAGRAM_HEADER_BYTES + payload_bytes;
        let tag = self.seal.seal(sequence, &header, &mut buffer[DATAGRAM_HEADER_BYTES..tag_at]);
        buffer[tag_at..tag_at + DATAGRAM_TAG_BYTES].copy_from_slice(tag.as_ref());
        Ok(tag_at + DATAGRAM_TAG_BYTES)
    }

    /// Opens a datagram of the peer in place, and returns where in it the payload stands.
    ///
    /// # Errors
    /// See [`DatagramError`]; the payload's bytes are then of no meaning.
    pub fn open_in_place(&mut self, datagram: &mut [u8]) -> Result<Range<usize>, DatagramError> {
        let header = Header::decode(datagram)?;
        self.open_decoded(header, datagram)
    }

    pub(super) fn open_decoded(&mut self, header: Header, datagram: &mut [u8]) -> Result<Range<usize>, DatagramError> {
        if header.link() != self.link || header.life != self.life {
            return Err(DatagramError::UnknownKey);
        }
        if !self.window.is_fresh(header.sequence) {
            return Err(DatagramError::Replayed(header.sequence));
        }
        let (associated, sealed) = datagram.split_at_mut(DATAGRAM_HEADER_BYTES);
        let payload_bytes = self.open.open(header.sequence, associated, sealed)?;
        self.window.note(header.sequence);
        Ok(DATAGRAM_HEADER_BYTES..DATAGRAM_HEADER_BYTES + payload_bytes)
    }
}

impl fmt::Debug for DatagramKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DatagramKeys").field("link", &self.link).field("local", &self.local).finish_non_exhaustive()
    }
}

// === impl Header ===

impl Header {
    pub(super) const fn link(&self) -> LinkId {
        LinkId { term: self.term, node: self.sender }
    }

    fn encode(self) -> [u8; DATAGRAM_HEADER_BYTES] {
        let mut bytes = [0; DATAGRAM_HEADER_BYTES];
        bytes[0] = DATAGRAM_VERSION;
        bytes[2..4].copy_from_slice(&self.sender.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.life.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    pub(super) fn decode(datagram: &[u8]) -> Result<Self, DatagramError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DatagramError::Oversized);
        }
        if datagram.len() < DATAGRAM_HEADER_BYTES + DATAGRAM_TAG_BYTES {
            return Err(DatagramError::Truncated(datagram.len()));
        }
        if datagram[0] != DATAGRAM_VERSION || datagram[1] != 0 {
            return Err(DatagramError::WrongVersion(datagram[0]));
        }
        Ok(Self {
            sender: NodeIndex(u16::from_le_bytes(part(datagram, 2))),
            life: u32::from_le_bytes(part(datagram, 4)),
            term: Term(u64::from_le_bytes(part(datagram, 8))),
            sequence: u64::from_le_bytes(part(datagram, 16)),
        })
    }
}

fn part<const N: usize>(datagram: &[u8], at: usize) -> [u8; N] {
    datagram[at..at + N].try_into().expect("the length was checked, and the places are constants within the header")
}

// === impl DirectionKey ===

impl DirectionKey {
    fn new(secret: &[u8]) -> Self {
        let (key, nonce) = secret.split_at(KEY_BYTES);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the algorithm's key has 32 bytes");
        Self { key: LessSafeKey::new(key), nonce: nonce.try_into().expect("the rest of a direction is its nonce") }
    }

    fn seal(&self, sequence: u64, header: &[u8], payload: &mut [u8]) -> Tag {
        let sealed = self.key.seal_in_place_separate_tag(self.nonce(sequence), Aad::from(header), payload);
        sealed.expect("sealing fails only for payloads of more than 256 GiB")
    }

    /// Bytes of the payload, which starts where `sealed` did.
    fn open(&self, sequence: u64, header: &[u8], sealed: &mut [u8]) -> Result<usize, DatagramError> {
        let opened = self.key.open_in_place(self.nonce(sequence), Aad::from(header), sealed);
        opened.map(|payload| payload.len()).map_err(|_| DatagramError::Refused)
    }

    fn nonce(&self, sequence: u64) -> Nonce {
        let mut nonce = self.nonce;
        for (byte, counted) in nonce[NONCE_BYTES - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= counted;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (DatagramKeys, DatagramKeys) {
        let material = KeyMaterial(std::array::from_fn(|place| place as u8));
        let (low, high) = (NodeIndex(3), NodeIndex(8));
        let keys = |local, node| DatagramKeys::new(&material, local, LinkId { term: Term(5), node }, 99);
        (keys(low, high), keys(high, low))
    }

    fn sealed(keys: &mut DatagramKeys, payload: &[u8]) -> Vec<u8> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        buffer[DATAGRAM_HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        let bytes = keys.seal_in_place(&mut buffer, payload.len()).unwrap();
        buffer[..bytes].to_vec()
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_at_the_other_end_once(payload in proptest::collection::vec(any::<u8>(), 0..=DATAGRAM_PAYLOAD_BYTES_MAX)) {
            let (mut low, mut high) = pair();
            let datagram = sealed(&mut low, &payload);
            let mut copy = datagram.clone();
            let place = high.open_in_place(&mut copy).unwrap();
            prop_assert_eq!(&copy[place], &payload[..]);
            prop_assert_eq!(high.open_in_place(&mut datagram.clone()), Err(DatagramError::Replayed(1)));
            prop_assert!(low.open_in_place(&mut datagram.clone()).is_err(), "a datagram must not be reflected to its sender");
        }

        #[test]
        fn one_changed_bit_anywhere_is_refused(payload in proptest::collection::vec(any::<u8>(), 0..64), at: prop::sample::Index, bit in 0u8..8) {
            let (mut low, mut high) = pair();
            let mut datagram = sealed(&mut low, &payload);
            let at = at.index(datagram.len());
            datagram[at] ^= 1 << bit;
            prop_assert!(high.open_in_place(&mut datagram).is_err());
            prop_assert_eq!(high.window, ReplayWindow::default());
        }

        #[test]
        fn any_bytes_are_a_typed_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..1400), version: bool) {
            if version && bytes.len() > 1 {
                bytes[..2].copy_from_slice(&[DATAGRAM_VERSION, 0]);
            }
            prop_assert!(pair().1.open_in_place(&mut bytes).is_err());
        }

        #[test]
        fn every_truncation_is_refused(payload in proptest::collection::vec(any::<u8>(), 0..64), at: prop::sample::Index) {
            let (mut low, mut high) = pair();
            let mut datagram = sealed(&mut low, &payload);
            datagram.truncate(at.index(datagram.len()));
            prop_assert!(high.open_in_place(&mut datagram).is_err());
        }
    }

    #[test]
    fn a_worn_out_key_seals_nothing() {
        let (mut low, _) = pair();
        low.next_sequence = u64::MAX;
        assert_eq!(low.seal_in_place(&mut [0; DATAGRAM_BYTES_MAX], 1), Err(SealError::WornOut));
        assert_eq!(low.seal_in_place(&mut [0; DATAGRAM_BYTES_MAX], 1), Err(SealError::WornOut));
    }

    #[test]
    fn the_same_payload_is_never_sealed_alike() {
        let (mut low, mut high) = pair();
        // Without the tag, which would differ by the header alone.
        let payload = |datagram: Vec<u8>| datagram[DATAGRAM_HEADER_BYTES..][..32].to_vec();
        let datagrams = [payload(sealed(&mut low, &[0; 32])), payload(sealed(&mut low, &[0; 32])), payload(sealed(&mut high, &[0; 32]))];
        assert!(datagrams[0] != datagrams[1] && datagrams[0] != datagrams[2] && datagrams[1] != datagrams[2]);
    }

    #[test]
    fn another_life_of_the_link_has_another_key() {
        let (mut low, mut high) = pair();
        high.life = 100;
        assert_eq!(high.open_in_place(&mut sealed(&mut low, b"x")), Err(DatagramError::UnknownKey));
    }

    #[test]
    fn a_datagram_of_another_version_is_refused() {
        let (mut low, mut high) = pair();
        let mut datagram = sealed(&mut low, b"x");
        datagram[0] = 2;
        assert_eq!(high.open_in_place(&mut datagram), Err(DatagramError::WrongVersion(2)));
    }
}
