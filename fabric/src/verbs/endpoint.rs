//! What two nodes tell each other before a queue pair is connected: structs of a fixed size, every field checked.

use std::{fmt, net::Ipv6Addr};

use thiserror::Error;

use crate::limits::VERBS_REGION_BYTES_MAX;

/// Numbers of queue pairs and packets have 24 bits.
const NUMBER_MAX: u32 = (1 << 24) - 1;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The queue pair, by its number on its device.
    pub(super) queue_pair: u32,
    /// The number of the first packet that it sends.
    pub(super) first_packet: u32,
    /// The port, by its address.
    pub gid: Gid,
    /// The port, by its number in an InfiniBand network; 0 in an Ethernet.
    pub(super) lid: u16,
    /// Payload of a packet that the port can take.
    pub mtu: Mtu,
}

/// What opens a window: its first byte as its owner's queue pair has it, its bytes, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKey {
    /// The first byte.
    pub address: u64,
    /// How many there are.
    pub bytes: u64,
    /// The key.
    pub key: u32,
}

/// The address of a port. In an Ethernet it is an IP address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gid(pub [u8; 16]);

/// Payload of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mtu {
    /// 256 bytes.
    Bytes256,
    /// 512 bytes.
    Bytes512,
    /// 1024 bytes.
    Bytes1024,
    /// 2048 bytes.
    Bytes2048,
    /// 4096 bytes.
    Bytes4096,
}

/// Why bytes are no endpoint and no window's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// A number with more than 24 bits.
    #[error("{number:#x} is no number of a queue pair or a packet: those have 24 bits")]
    BadNumber {
        /// The number.
        number: u32,
    },
    /// The number that stands for an MTU is unknown.
    #[error("{code} stands for no MTU")]
    BadMtu {
        /// The number.
        code: u8,
    },
    /// See [`VERBS_REGION_BYTES_MAX`]; or the window does not fit into 64 bits of address.
    #[error("a window of {bytes} bytes at {address:#x}, at most {VERBS_REGION_BYTES_MAX} bytes below 2^64")]
    BadWindow {
        /// Its first byte.
        address: u64,
        /// Its bytes.
        bytes: u64,
    },
}

// === impl Endpoint ===

impl Endpoint {
    /// Its bytes on the wire.
    pub const BYTES: usize = 27;

    /// As it is sent, numbers in network byte order.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&self.queue_pair.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.first_packet.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.gid.0);
        bytes[24..26].copy_from_slice(&self.lid.to_be_bytes());
        bytes[26] = self.mtu.code();
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// A number is none of its kind.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, EndpointError> {
        let number = |start: usize| {
            let number = u32::from_be_bytes([bytes[start], bytes[start + 1], bytes[start + 2], bytes[start + 3]]);
            if number <= NUMBER_MAX { Ok(number) } else { Err(EndpointError::BadNumber { number }) }
        };
        let mut gid = [0; 16];
        gid.copy_from_slice(&bytes[8..24]);
        let lid = u16::from_be_bytes([bytes[24], bytes[25]]);
        let mtu = Mtu::of_code(bytes[26]).ok_or(EndpointError::BadMtu { code: bytes[26] })?;
        Ok(Self { queue_pair: number(0)?, first_packet: number(4)?, gid: Gid(gid), lid, mtu })
    }
}

/// A number of 24 bits out of any 32.
pub(super) const fn packet_number(random: u32) -> u32 {
    random & NUMBER_MAX
}

// === impl WindowKey ===

impl WindowKey {
    /// Its bytes on the wire.
    pub const BYTES: usize = 20;

    /// As it is sent, numbers in network byte order.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.address.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.key.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`EndpointError::BadWindow`].
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, EndpointError> {
        let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, k0, k1, k2, k3] = *bytes;
        let address = u64::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let bytes = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        if bytes > VERBS_REGION_BYTES_MAX as u64 || address.checked_add(bytes).is_none() {
            return Err(EndpointError::BadWindow { address, bytes });
        }
        Ok(Self { address, bytes, key: u32::from_be_bytes([k0, k1, k2, k3]) })
    }
}

// === impl Gid ===

impl fmt::Display for Gid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(self.0).fmt(formatter)
    }
}

impl fmt::Debug for Gid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

// === impl Mtu ===

impl Mtu {
    const ALL: [Self; 5] = [Self::Bytes256, Self::Bytes512, Self::Bytes1024, Self::Bytes2048, Self::Bytes4096];

    /// The number that stands for it in the InfiniBand specification, and so on the wire and in libibverbs.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Bytes256 => 1,
            Self::Bytes512 => 2,
            Self::Bytes1024 => 3,
            Self::Bytes2048 => 4,
            Self::Bytes4096 => 5,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mtu| mtu.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_endpoint_is_read_as_written(queue_pair in 0..=NUMBER_MAX, first_packet in 0..=NUMBER_MAX, gid: [u8; 16], lid: u16, mtu in 1..=5_u8) {
            let mtu = Mtu::of_code(mtu).unwrap();
            let endpoint = Endpoint { queue_pair, first_packet, gid: Gid(gid), lid, mtu };
            prop_assert_eq!(Endpoint::decode(&endpoint.encode()), Ok(endpoint));
        }

        #[test]
        fn any_bytes_are_an_endpoint_or_a_typed_error(bytes: [u8; Endpoint::BYTES]) {
            if let Ok(endpoint) = Endpoint::decode(&bytes) {
                prop_assert_eq!(endpoint.encode(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_a_key_or_a_typed_error(bytes: [u8; WindowKey::BYTES]) {
            if let Ok(key) = WindowKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_window_beyond_the_address_space_or_the_limit_is_refused() {
        let read = |address, bytes| WindowKey::decode(&WindowKey { address, bytes, key: 7 }.encode()).is_ok();
        assert!(read(4096, VERBS_REGION_BYTES_MAX as u64));
        assert!(!read(4096, VERBS_REGION_BYTES_MAX as u64 + 1));
        assert!(!read(u64::MAX - 8, 16));
    }
}
