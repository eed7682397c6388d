//! Which port is this node's own. Every network namespace may see the devices of all; a node's own port is the one that has the node's
//! address.

use std::{
    fmt, io,
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

/// A device that could not be looked at: a container sees all of them and is given the files of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedDevice {
    /// The device.
    pub device: String,
    /// The reason.
    pub reason: io::ErrorKind,
}

/// All that was found, as it stands in an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundPorts {
    /// The addresses of ports.
    pub ports: Vec<FoundPort>,
    /// Devices whose ports nobody knows.
    pub closed: Vec<ClosedDevice>,
}

/// The place in `found` of the one port that has this address.
///
/// # Errors
/// None has it, or several have; then with all that was found.
pub(super) fn choose(address: IpAddr, found: &FoundPorts) -> Result<usize, VerbsError> {
    let gid = gid_of(address);
    // The index has one byte in the headers of work requests.
    let fits = |port: &FoundPort| port.active && port.roce_v2 && port.gid == gid && u8::try_from(port.gid_index).is_ok();
    let mut places = found.ports.iter().enumerate().filter(|(_, port)| fits(port)).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(VerbsError::NoPort { address, found: found.clone() }),
        (Some(_), Some(_)) => Err(VerbsError::SeveralPorts { address, found: found.clone() }),
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
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() { "no address of any port".to_owned() } else { ports.join("; ") };
        write!(formatter, "found: {ports}")?;
        for ClosedDevice { device, reason } in &self.closed {
            write!(formatter, "; {device} cannot be looked at ({reason})")?;
        }
        // A device without its file is not even listed.
        let all = !self.ports.is_empty() && self.closed.is_empty();
        formatter.write_str(if all { "" } else { "; a container needs the device's file of /dev/infiniband" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, gid: &str, gid_index: u32) -> FoundPort {
        let gid = Gid(gid.parse::<Ipv6Addr>().unwrap().octets());
        FoundPort { device: device.to_owned(), port: 1, active: true, gid, gid_index, roce_v2: true }
    }

    fn three() -> FoundPorts {
        let ports = vec![
            port("rxe0", "fe80::1", 0),
            port("rxe0", "::ffff:10.77.0.1", 1),
            port("rxe1", "::ffff:10.77.0.2", 1),
            port("rxe1", "fd00::2", 2),
        ];
        FoundPorts { ports, closed: Vec::new() }
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
            found.ports[2] = spoil(found.ports[2].clone());
            assert!(matches!(choose(address, &found), Err(VerbsError::NoPort { .. })));
        }
        let twice = FoundPorts { ports: [three().ports, three().ports].concat(), closed: Vec::new() };
        assert!(matches!(choose(address, &twice), Err(VerbsError::SeveralPorts { .. })));
    }

    #[test]
    fn what_was_found_stands_in_the_error() {
        let mut found = FoundPorts { ports: three().ports[1..2].to_vec(), closed: Vec::new() };
        let error = |found: &FoundPorts| choose("192.0.2.9".parse().unwrap(), found).unwrap_err().to_string();
        let expected = "no active port has the RoCE v2 address of 192.0.2.9: found: rxe0 port 1 entry 1 ::ffff:10.77.0.1 (RoCE v2, active)";
        assert_eq!(error(&found), expected);
        found.closed = vec![ClosedDevice { device: "rxe1".to_owned(), reason: io::ErrorKind::NotFound }];
        let advice = "; a container needs the device's file of /dev/infiniband";
        assert_eq!(error(&found), format!("{expected}; rxe1 cannot be looked at (entity not found){advice}"));
        assert!(error(&FoundPorts::default()).ends_with(&format!("found: no address of any port{advice}")));
    }
}
