//! The keys that a strobe thread holds, found by (term, node).

use std::{net::SocketAddr, ops::Range, sync::Arc};

use strobe_core::model::Term;
use thiserror::Error;

use super::{DatagramBuffer, DatagramCounters, DatagramError, DatagramKeys, SealError, counters::count, keys::Header};
use crate::transport::LinkId;

/// Keys and addresses of the peers; of each (term, node) the newest key only. Its memory is taken once.
#[derive(Debug)]
pub struct KeyRing {
    /// Ordered by link.
    slots: Vec<Slot>,
    capacity: usize,
    floor: Term,
    counters: Arc<DatagramCounters>,
}

/// The ring holds as many keys as it was made for: close the links of older terms, or make it larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the key ring is full: {capacity} keys")]
pub struct KeyRingFull {
    /// How many it was made for.
    pub capacity: usize,
}

#[derive(Debug)]
struct Slot {
    keys: Box<DatagramKeys>,
    address: SocketAddr,
}

impl KeyRing {
    /// A ring for `capacity` keys: two terms' peers, as a new term is opened before the old one is closed.
    #[must_use]
    pub fn new(capacity: usize, counters: Arc<DatagramCounters>) -> Self {
        Self { slots: Vec::with_capacity(capacity), capacity, floor: Term(0), counters }
    }

    /// Puts keys in, in place of older ones of the same link. Keys of a closed term are dropped.
    ///
    /// # Errors
    /// See [`KeyRingFull`].
    pub fn install(&mut self, keys: Box<DatagramKeys>, address: SocketAddr) -> Result<(), KeyRingFull> {
        if keys.link().term < self.floor {
            return Ok(());
        }
        let slot = Slot { address, keys };
        match self.find(slot.keys.link()) {
            Ok(place) => self.slots[place] = slot,
            Err(_) if self.slots.len() == self.capacity => return Err(KeyRingFull { capacity: self.capacity }),
            Err(place) => self.slots.insert(place, slot),
        }
        Ok(())
    }

    /// Drops the keys of every term older than `below`, and takes none any more.
    pub fn close_links(&mut self, below: Term) {
        self.floor = self.floor.max(below);
        self.slots.retain(|slot| slot.keys.link().term >= below);
    }

    /// Drops the keys of one link that is no longer planned.
    pub fn remove(&mut self, link: LinkId) {
        if let Ok(place) = self.find(link) {
            self.slots.remove(place);
        }
    }

    /// Seals `payload_bytes` in `buffer` for a peer, and returns the datagram's length and where to send it.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal_in_place(
        &mut self,
        to: LinkId,
        buffer: &mut DatagramBuffer,
        payload_bytes: usize,
    ) -> Result<(usize, SocketAddr), SealError> {
        let place = self.find(to).map_err(|_| SealError::UnknownKey)?;
        let slot = &mut self.slots[place];
        let bytes = slot.keys.seal_in_place(buffer, payload_bytes)?;
        Ok((bytes, slot.address))
    }

    /// Opens a datagram in place: who sent it in which term, and where its payload stands. Refusals are counted.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub fn open_in_place(&mut self, datagram: &mut [u8]) -> Result<(LinkId, Range<usize>), DatagramError> {
        let opened = self.open(datagram);
        match &opened {
            Ok(_) => count(&self.counters.received),
            Err(error) => self.counters.refuse(*error),
        }
        opened
    }

    fn open(&mut self, datagram: &mut [u8]) -> Result<(LinkId, Range<usize>), DatagramError> {
        let header = Header::decode(datagram)?;
        let place = self.find(header.link()).map_err(|_| DatagramError::UnknownKey)?;
        let payload = self.slots[place].keys.open_decoded(header, datagram)?;
        Ok((header.link(), payload))
    }

    fn find(&self, link: LinkId) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&link, |slot| slot.keys.link())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use strobe_core::model::NodeIndex;

    use super::*;
    use crate::{
        datagram::{DATAGRAM_PAYLOAD_BYTES_MAX, KeyMaterial},
        limits::DATAGRAM_BYTES_MAX,
    };

    const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn keys(local: u16, node: u16, term: u64) -> Box<DatagramKeys> {
        let material = KeyMaterial([term as u8; 88]);
        Box::new(DatagramKeys::new(&material, NodeIndex(local), LinkId { term: Term(term), node: NodeIndex(node) }, 1))
    }

    fn ring(capacity: usize) -> KeyRing {
        KeyRing::new(capacity, Arc::default())
    }

    #[test]
    fn a_full_ring_refuses_a_new_link_and_replaces_a_known_one() {
        let mut ring = ring(1);
        ring.install(keys(0, 1, 5), HERE).unwrap();
        ring.install(keys(0, 1, 5), HERE).unwrap();
        assert_eq!(ring.install(keys(0, 2, 5), HERE), Err(KeyRingFull { capacity: 1 }));
    }

    #[test]
    fn datagrams_of_a_closed_term_find_no_key() {
        let (mut sender, mut receiver) = (ring(4), ring(4));
        for term in [5, 6] {
            sender.install(keys(0, 1, term), HERE).unwrap();
            receiver.install(keys(1, 0, term), HERE).unwrap();
        }
        receiver.close_links(Term(6));
        receiver.install(keys(1, 0, 5), HERE).unwrap();
        let mut open = |term| {
            let mut buffer = [7; DATAGRAM_BYTES_MAX];
            let (bytes, _) = sender.seal_in_place(LinkId { term: Term(term), node: NodeIndex(1) }, &mut buffer, 10).unwrap();
            receiver.open_in_place(&mut buffer[..bytes]).map(|(link, payload)| (link.node, buffer[payload].to_vec()))
        };
        assert_eq!(open(5), Err(DatagramError::UnknownKey));
        assert_eq!(open(6), Ok((NodeIndex(0), vec![7; 10])));
        assert_eq!(receiver.counters.unknown_key.load(Ordering::Relaxed), 1);
        assert_eq!(receiver.counters.received.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_cannot_be_sealed_is_a_typed_error() {
        let mut ring = ring(1);
        let (mut buffer, link) = ([0; DATAGRAM_BYTES_MAX], LinkId { term: Term(5), node: NodeIndex(1) });
        assert_eq!(ring.seal_in_place(link, &mut buffer, 1), Err(SealError::UnknownKey));
        ring.install(keys(0, 1, 5), HERE).unwrap();
        let beyond = DATAGRAM_PAYLOAD_BYTES_MAX + 1;
        assert_eq!(ring.seal_in_place(link, &mut buffer, beyond), Err(SealError::Oversized(beyond)));
        assert_eq!(ring.seal_in_place(link, &mut buffer, beyond - 1), Ok((DATAGRAM_BYTES_MAX, HERE)));
        ring.remove(link);
        assert_eq!(ring.seal_in_place(link, &mut buffer, 1), Err(SealError::UnknownKey));
    }
}
