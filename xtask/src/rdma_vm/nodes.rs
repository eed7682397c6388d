//! The nodes in the machine, and which device is whose. Every namespace sees the devices of all: a node's own is the one whose port names
//! the node's card, for a port's card is named only in the namespace that it is in.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::shell::Shell;

/// A network namespace with a card and a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) device: String,
    /// Of the entry that stands for the address in RoCE v2.
    pub(super) gid_index: u32,
    pub(super) gid: Ipv6Addr,
}

/// A node as `strobe-nodes` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named<'a> {
    name: &'a str,
    card: &'a str,
    address: Ipv4Addr,
}

/// One port of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port<'a> {
    device: &'a str,
    active: bool,
    card: Option<&'a str>,
}

/// One entry of a device's table of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gid<'a> {
    index: u32,
    gid: Ipv6Addr,
    kind: &'a str,
}

/// Makes those of the nodes that are not there; finds the device and the GID of each.
///
/// # Errors
/// A node cannot be made, or has not exactly one active device of its own with the GID of its address.
pub(super) fn make(shell: &Shell, count: usize) -> Result<Vec<Node>> {
    let made = shell.output(&["strobe-nodes", "up", &count.to_string()])?;
    let named = made.lines().map(|line| parse_named(line).with_context(|| format!("{line:?} tells of no node")));
    let named = named.collect::<Result<Vec<_>>>()?;
    ensure!(named.len() == count, "{count} nodes were asked for, and there are {}", named.len());
    named.iter().map(|node| look_at(shell, node, count)).collect()
}

fn look_at(shell: &Shell, node: &Named<'_>, count: usize) -> Result<Node> {
    let links = shell.output(&["ip", "netns", "exec", node.name, "rdma", "link"])?;
    let ports = parse_ports(&links);
    ensure!(ports.len() >= count, "{} sees {} devices, and those of all {count} nodes were to be seen:\n{links}", node.name, ports.len());
    let device = own_device(&ports, node.card).map_err(|error| anyhow!("{}: {error}; it sees:\n{}", node.name, links.trim_end()))?;
    let table = shell.output(&["ip", "netns", "exec", node.name, "ibv_devinfo", "-v", "-d", device])?;
    let wanted = node.address.to_ipv6_mapped();
    let of_address = parse_gids(&table).into_iter().find(|entry| entry.gid == wanted && entry.kind == "RoCE v2");
    let entry = of_address.with_context(|| format!("{device} of {} has no GID {wanted} of RoCE v2:\n{table}", node.name))?;
    let (name, device) = (node.name.to_owned(), device.to_owned());
    Ok(Node { name, address: node.address, device, gid_index: entry.index, gid: entry.gid })
}

/// The one active device whose port is at this card.
fn own_device<'a>(ports: &[Port<'a>], card: &str) -> Result<&'a str> {
    let own: Vec<_> = ports.iter().filter(|port| port.card == Some(card)).collect();
    match own.as_slice() {
        [port] if port.active => Ok(port.device),
        [port] => bail!("the port of {} is not active", port.device),
        [] => bail!("no device is at {card}"),
        _ => bail!("{} devices are at {card}", own.len()),
    }
}

/// A line `node0 eth0 10.77.0.1`.
fn parse_named(line: &str) -> Option<Named<'_>> {
    let mut words = line.split_whitespace();
    Some(Named { name: words.next()?, card: words.next()?, address: words.next()?.parse().ok()? })
}

/// Lines `link rxe0/1 state ACTIVE physical_state LINK_UP netdev eth0 netdev_index 2`, the card's part in its own namespace only.
fn parse_ports(text: &str) -> Vec<Port<'_>> {
    text.lines().filter_map(parse_port).collect()
}

fn parse_port(line: &str) -> Option<Port<'_>> {
    let words: Vec<_> = line.strip_prefix("link ")?.split_whitespace().collect();
    let ((device, _), settings) = (words.first()?.split_once('/')?, &words[1..]);
    let setting = |name| settings.chunks(2).find(|pair| pair[0] == name).and_then(|pair| pair.get(1).copied());
    Some(Port { device, active: setting("state") == Some("ACTIVE"), card: setting("netdev") })
}

/// Lines `GID[  1]: ::ffff:10.77.0.1, RoCE v2` among others.
fn parse_gids(text: &str) -> Vec<Gid<'_>> {
    let entry = |line| -> Option<Gid<'_>> {
        let (index, rest) = str::trim(line).strip_prefix("GID[")?.split_once("]:")?;
        let (gid, kind) = rest.split_once(',')?;
        Some(Gid { index: index.trim().parse().ok()?, gid: gid.trim().parse().ok()?, kind: kind.trim() })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: &str = "link rxe0/1 state ACTIVE physical_state LINK_UP\n\
        link rxe1/1 state ACTIVE physical_state LINK_UP netdev eth0 netdev_index 2\n\
        link rxe2/1 state DOWN physical_state DISABLED netdev eth1 netdev_index 3\n";

    #[test]
    fn the_own_device_is_at_the_own_card() {
        let ports = parse_ports(LINKS);
        assert_eq!(ports.len(), 3);
        assert_eq!(own_device(&ports, "eth0").unwrap(), "rxe1");
    }

    #[test]
    fn a_device_that_is_down_missing_or_not_alone_is_refused() {
        let of = |text: &str, card| own_device(&parse_ports(text), card).unwrap_err().to_string();
        assert_eq!(of(LINKS, "eth1"), "the port of rxe2 is not active");
        assert_eq!(of(LINKS, "eth2"), "no device is at eth2");
        assert_eq!(of(&format!("{LINKS}{LINKS}"), "eth0"), "2 devices are at eth0");
    }

    #[test]
    fn the_table_of_gids_is_read_with_its_kinds() {
        let table = "hca_id:\trxe1\n\tstate:\t\t\tPORT_ACTIVE (4)\n\t\t\tGID[  0]:\t\tfe80::1234, RoCE v2\n\
            \t\t\tGID[  1]:\t\t::ffff:10.77.0.2, RoCE v2\n";
        let gids = parse_gids(table);
        assert_eq!(gids.len(), 2);
        assert_eq!(gids[1], Gid { index: 1, gid: Ipv4Addr::new(10, 77, 0, 2).to_ipv6_mapped(), kind: "RoCE v2" });
    }

    #[test]
    fn a_node_is_told_of_in_one_line() {
        let node = Named { name: "node2", card: "eth0", address: Ipv4Addr::new(10, 77, 0, 3) };
        assert_eq!(parse_named("node2 eth0 10.77.0.3"), Some(node));
        assert_eq!(parse_named("node2 eth0"), None);
    }
}
