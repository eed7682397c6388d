//! The first words on a lane: the dialer's hello and the acceptor's welcome, of fixed size, little-endian.
//!
//! `hello`: magic `STRB`, oldest and newest version (u8 each), class u8, reserved u8, partition u128, term u64,
//! link number u64, from u16, to u16. `welcome`: magic, version u8, answer u8, reserved u16.

use strobe_core::model::{NodeIndex, PartitionUid, Term};

use crate::{counters::Refusal, frame::PROTOCOL_VERSION, transport::Class};

/// Bytes of a hello.
pub(crate) const HELLO_BYTES: usize = 44;

/// Bytes of a welcome.
pub(crate) const WELCOME_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"STRB";

/// What a dialer says first on each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) class: Class,
    pub(crate) partition: PartitionUid,
    pub(crate) term: Term,
    /// Chosen at random by the dialer for one life of the link: tells which two lanes belong together.
    pub(crate) number: u64,
    pub(crate) from: NodeIndex,
    pub(crate) to: NodeIndex,
}

// === impl Hello ===

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = PROTOCOL_VERSION;
        bytes[5] = PROTOCOL_VERSION;
        bytes[6] = self.class.code();
        bytes[8..24].copy_from_slice(&self.partition.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..42].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[42..].copy_from_slice(&self.to.0.to_le_bytes());
        bytes
    }

    /// Reads a hello. The versions stand before everything that a later version may change.
    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, Refusal> {
        if bytes[..4] != MAGIC {
            return Err(Refusal::BadHello);
        }
        if !(bytes[4]..=bytes[5]).contains(&PROTOCOL_VERSION) {
            return Err(Refusal::WrongVersion);
        }
        if bytes[7] != 0 {
            return Err(Refusal::BadHello);
        }
        Ok(Self {
            class: Class::from_code(bytes[6]).ok_or(Refusal::BadHello)?,
            partition: PartitionUid(u128::from_le_bytes(part(bytes, 8))),
            term: Term(u64::from_le_bytes(part(bytes, 24))),
            number: u64::from_le_bytes(part(bytes, 32)),
            from: NodeIndex(u16::from_le_bytes(part(bytes, 40))),
            to: NodeIndex(u16::from_le_bytes(part(bytes, 42))),
        })
    }
}

/// The acceptor's answer: `Ok`, or why it closes the connection.
pub(crate) fn encode_welcome(answer: Result<(), Refusal>) -> [u8; WELCOME_BYTES] {
    let mut bytes = [0; WELCOME_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = PROTOCOL_VERSION;
    bytes[5] = answer.err().map_or(0, |refusal| refusal as u8 + 1);
    bytes
}

/// Reads a welcome; the outer error says that it cannot be read.
pub(crate) fn decode_welcome(bytes: [u8; WELCOME_BYTES]) -> Result<Result<(), Refusal>, Refusal> {
    if bytes[..4] != MAGIC || bytes[6..] != [0, 0] {
        return Err(Refusal::BadHello);
    }
    match (bytes[5], bytes[4]) {
        (0, PROTOCOL_VERSION) => Ok(Ok(())),
        (0, _) => Err(Refusal::WrongVersion),
        (code, _) => Ok(Err(*Refusal::ALL.get(usize::from(code) - 1).ok_or(Refusal::BadHello)?)),
    }
}

fn part<const N: usize>(bytes: &[u8; HELLO_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the places are constants within a hello")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello { class: Class::Bulk, partition: PartitionUid(0xFEED), term: Term(9), number: 77, from: NodeIndex(1), to: NodeIndex(2) }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_a_typed_refusal(mut bytes in proptest::array::uniform32(any::<u8>()), magic: bool) {
            let mut whole = [0; HELLO_BYTES];
            if magic {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            whole[..32].copy_from_slice(&bytes);
            if let Err(refusal) = Hello::decode(&whole) {
                prop_assert!(matches!(refusal, Refusal::BadHello | Refusal::WrongVersion));
            }
        }

        #[test]
        fn any_bytes_are_a_welcome_or_a_typed_refusal(bytes: [u8; WELCOME_BYTES]) {
            if let Ok(answer) = decode_welcome(bytes) {
                prop_assert_eq!(encode_welcome(answer)[5], bytes[5]);
            }
        }
    }

    #[test]
    fn a_hello_is_read_as_written() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn a_range_of_versions_that_holds_ours_is_accepted_and_others_are_not() {
        let mut bytes = hello().encode();
        bytes[5] = PROTOCOL_VERSION + 1;
        assert!(Hello::decode(&bytes).is_ok());
        bytes[4] = PROTOCOL_VERSION + 1;
        assert_eq!(Hello::decode(&bytes), Err(Refusal::WrongVersion));
    }

    #[test]
    fn every_answer_is_read_as_written() {
        assert_eq!(decode_welcome(encode_welcome(Ok(()))), Ok(Ok(())));
        for refusal in Refusal::ALL {
            assert_eq!(decode_welcome(encode_welcome(Err(refusal))), Ok(Err(refusal)));
        }
    }
}
