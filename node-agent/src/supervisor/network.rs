//! Which network interface holds an address, by the kernel's own tables (no netlink, no privilege), and whether it runs.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use super::limits::{INTERFACE_ASKED, INTERFACE_RUNS};

/// Where the kernel says of each interface what state it is in (Documentation/networking/operstates.rst).
const INTERFACES: &str = "/sys/class/net";

/// Addresses that nobody has (RFC 5737, RFC 3849): towards them the kernel takes the way that leads out.
const NOWHERE: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
];

/// The address with which this network namespace speaks to the world, which in a pod is the pod's own, and a TCP port of it that
/// nobody listens on now. None without a way that leads out. Nothing is sent.
#[must_use]
pub fn own_place() -> Option<(IpAddr, u16)> {
    let towards = |(from, to): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        // A port must be named; for a datagram socket this asks for the route and no more.
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
    };
    let address = NOWHERE.into_iter().find_map(towards)?;
    Some((address, TcpListener::bind((address, 0)).ok()?.local_addr().ok()?.port()))
}

/// Waits until an interface runs, so that a library which looks for one finds it: UCX takes none without `IFF_RUNNING`, and then
/// knows no way to another pod. Packets pass long before: where both ends of a pod's pair have the same number, each in its
/// namespace, the kernel puts the news of its carrier off for up to a second. False when the wait was in vain.
#[must_use]
pub fn await_running(interface: &str) -> bool {
    await_running_in(Path::new(INTERFACES), interface, INTERFACE_RUNS)
}

fn await_running_in(interfaces: &Path, interface: &str, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let state = interfaces.join(interface).join("operstate");
    loop {
        // Where nothing can be read, nothing would ever be: then it is taken for running. `unknown` has the flag, too.
        if std::fs::read_to_string(&state).map_or(true, |state| ["up", "unknown"].contains(&state.trim_end())) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        sleep(INTERFACE_ASKED);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as the kernel's, with one interface in this state.
    fn interfaces(state: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("eth0")).unwrap();
        std::fs::write(folder.path().join("eth0/operstate"), state).unwrap();
        folder
    }

    #[test]
    fn an_interface_that_runs_or_of_which_nothing_is_known_is_not_waited_for() {
        for state in ["up\n", "unknown\n"] {
            assert!(await_running_in(interfaces(state).path(), "eth0", Duration::ZERO));
        }
        assert!(await_running_in(interfaces("down\n").path(), "eth1", Duration::ZERO));
    }

    #[test]
    fn the_wait_ends_when_the_interface_runs_or_at_its_limit() {
        let folder = interfaces("down\n");
        assert!(!await_running_in(folder.path(), "eth0", Duration::ZERO));
        std::thread::scope(|scope| {
            let waited = scope.spawn(|| await_running_in(folder.path(), "eth0", Duration::from_secs(60)));
            std::fs::write(folder.path().join("eth0/operstate"), "up\n").unwrap();
            assert!(waited.join().unwrap());
        });
    }
}
