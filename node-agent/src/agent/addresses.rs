//! Where agents reach each other.

use std::{collections::BTreeMap, net::SocketAddr};

use strobe_core::model::NodeIndex;
use strobe_proto::agent;

/// The addresses of every agent that the authority knows.
pub(super) type AddressBook = BTreeMap<NodeIndex, AgentAddress>;

/// Where one agent is reached by the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AgentAddress {
    /// For frames.
    pub stream: SocketAddr,
    /// For datagrams.
    pub datagram: SocketAddr,
}

/// Reads an address book from the wire. None when an entry is no address.
#[must_use]
pub(super) fn address_book(message: &agent::AddressBook) -> Option<AddressBook> {
    let entry = |entry: &agent::NodeAddress| {
        let node = NodeIndex(u16::try_from(entry.node).ok()?);
        let address = AgentAddress { stream: entry.stream_address.parse().ok()?, datagram: entry.datagram_address.parse().ok()? };
        Some((node, address))
    };
    message.nodes.iter().map(entry).collect()
}
