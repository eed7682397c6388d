//! Which port is this node's own. Every network namespace may see the devices of all; a node's own port is the one that has the node's
//! address.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::{endpoint::Gid, error::VerbsError};

/// One address of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPort {
    /// The device.
    pub device: String,
    /// The port's number on it.
    pub port: u8,
    /// Whether the port is active.
    pub active: bool,
    /// The address.
    pub gid: Gid,
    /// Its place in the port's table of addresses.
    pub gid_index: u32,
    /// Whether it is spoken to in RoCE version 2: RDMA in UDP.
    pub roce_v2: bool,
}

/// What was found, as it stands in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPorts(pub Vec<FoundPort>);

/// The place in `found` of the one port that has this address.
///
/// # Errors
/// None has it, or several have; then with all that was found.
pub(super) fn choose(address: IpAddr, found: &[FoundPort]) -> Result<usize, VerbsError> {
    let gid = gid_of(address);
    // The index has one byte in the headers of work requests.
    let fits = |port: &FoundPort| port.active && port.roce_v2 && port.gid == gid && u8::try_from(port.gid_index).is_ok();
    let mut places = found.iter().enumerate().filter(|(_, port)| fits(port)).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(VerbsError::NoPort { address, found: FoundPorts(found.to_vec()) }),
        (Some(_), Some(_)) => Err(VerbsError::SeveralPorts { address, found: FoundPorts(found.to_vec()) }),
    }
}

/// An IPv4 address stands in the table as the IPv6 address that it is mapped to.
fn gid_of(address: IpAddr) -> Gid {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    Gid(address.octets())
}

// === impl FoundPort ===

impl fmt::Display for FoundPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, port, active, gid, gid_index, roce_v2 } = self;
        let (kind, state) = (if *roce_v2 { "RoCE v2" } else { "not RoCE v2" }, if *active { "active" } else { "not active" });
        write!(formatter, "{device} port {port} entry {gid_index} {gid} ({kind}, {state})")
    }
}

// === impl FoundPorts ===

impl fmt::Display for FoundPorts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no port of an RDMA device has an address, or there is no device");
        }
        let ports: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(formatter, "found: {}", ports.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, gid: &str, gid_index: u32) -> FoundPort {
        let gid = Gid(gid.parse::<Ipv6Addr>().unwrap().octets());
        FoundPort { device: device.to_owned(), port: 1, active: true, gid, gid_index, roce_v2: true }
    }

    fn three() -> Vec<FoundPort> {
        vec![
            port("rxe0", "fe80::1", 0),
            port("rxe0", "::ffff:10.77.0.1", 1),
            port("rxe1", "::ffff:10.77.0.2", 1),
            port("rxe1", "fd00::2", 2),
        ]
    }

    #[test]
    fn the_own_port_has_the_own_address() {
        assert_eq!(choose("10.77.0.2".parse().unwrap(), &three()).unwrap(), 2);
        assert_eq!(choose("fd00::2".parse().unwrap(), &three()).unwrap(), 3);
    }

    #[test]
    fn a_port_that_is_down_of_another_kind_or_not_alone_is_refused() {
        let address = "10.77.0.2".parse().unwrap();
        let spoilt: [fn(FoundPort) -> FoundPort; 3] = [
            |port| FoundPort { active: false, ..port },
            |port| FoundPort { roce_v2: false, ..port },
            |port| FoundPort { gid_index: 256, ..port },
        ];
        for spoil in spoilt {
            let mut found = three();
            found[2] = spoil(found[2].clone());
            assert!(matches!(choose(address, &found), Err(VerbsError::NoPort { .. })));
        }
        let twice = [three(), three()].concat();
        assert!(matches!(choose(address, &twice), Err(VerbsError::SeveralPorts { .. })));
    }

    #[test]
    fn what_was_found_stands_in_the_error() {
        let error = choose("192.0.2.9".parse().unwrap(), &three()[1..2]).unwrap_err().to_string();
        let expected = "no active port has the RoCE v2 address of 192.0.2.9: found: rxe0 port 1 entry 1 ::ffff:10.77.0.1 (RoCE v2, active)";
        assert_eq!(error, expected);
        assert!(choose("192.0.2.9".parse().unwrap(), &[]).unwrap_err().to_string().ends_with("or there is no device"));
    }
}
