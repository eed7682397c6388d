//! Which network interface holds an address, by the kernel's own tables (no netlink, no privilege).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel's tables as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `/proc/net/route`.
    pub routes: String,
    /// `/proc/net/if_inet6`.
    pub addresses_v6: String,
}

impl Tables {
    /// Reads the kernel's tables; one that cannot be read counts as empty.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self { routes: text("/proc/net/route"), addresses_v6: text("/proc/net/if_inet6") }
    }

    /// Name of the interface that holds the address; for IPv4 that of the longest route to it, which for
    /// an address of this host is the interface it belongs to (a pod's only one, where it has a /32).
    #[must_use]
    pub fn interface_of(&self, address: IpAddr) -> Option<String> {
        match address {
            address if address.is_loopback() => Some("lo".to_owned()),
            IpAddr::V4(address) => self.interface_of_v4(address),
            IpAddr::V6(address) => self.interface_of_v6(address),
        }
    }

    fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        self.routes.lines().skip(1).filter_map(route)
    }

    fn interface_of_v4(&self, address: Ipv4Addr) -> Option<String> {
        let number = u32::from(address);
        self.routes()
            .filter(|route| number & route.mask == route.network)
            .max_by_key(|route| route.mask)
            .map(|route| route.interface.to_owned())
    }

    fn interface_of_v6(&self, address: Ipv6Addr) -> Option<String> {
        let wanted: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
        self.addresses_v6
            .lines()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&wanted.as_str()))
            .and_then(|fields| fields.last().map(|&name| name.to_owned()))
    }
}

struct Route<'a> {
    interface: &'a str,
    network: u32,
    mask: u32,
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, two counters, metric, mask, …; the
/// numbers are in hexadecimal, in the byte order of the machine's memory.
fn route(line: &str) -> Option<Route<'_>> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::from_be);
    Some(Route { interface: fields.first()?, network: number(1)?, mask: number(7)? })
}
