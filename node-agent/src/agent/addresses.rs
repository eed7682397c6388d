//! Where agents reach each other.

use std::{collections::BTreeMap, net::SocketAddr};

use strobe_core::{limits::MEMBERS_MAX, model::NodeIndex};
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

/// Reads an address book from the wire. None when an entry is no address, or of a node beyond the limit.
#[must_use]
pub(super) fn address_book(message: &agent::AddressBook) -> Option<AddressBook> {
    let entry = |entry: &agent::NodeAddress| {
        let node = u16::try_from(entry.node).ok().filter(|node| usize::from(*node) < MEMBERS_MAX).map(NodeIndex)?;
        let address = AgentAddress { stream: entry.stream_address.parse().ok()?, datagram: entry.datagram_address.parse().ok()? };
        Some((node, address))
    };
    message.nodes.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_beyond_the_limit_or_without_addresses_is_refused() {
        let book = |node: u32, stream: &str| {
            let (stream_address, datagram_address) = (stream.to_owned(), "127.0.0.1:2".to_owned());
            address_book(&agent::AddressBook { nodes: vec![agent::NodeAddress { node, stream_address, datagram_address }] })
        };
        let last = u32::try_from(MEMBERS_MAX).unwrap() - 1;
        assert_eq!(book(last, "127.0.0.1:1").unwrap().len(), 1);
        for (node, stream) in [(last + 1, "127.0.0.1:1"), (70_000, "127.0.0.1:1"), (0, "127.0.0.1"), (0, "")] {
            assert_eq!(book(node, stream), None, "{node} {stream}");
        }
    }
}
