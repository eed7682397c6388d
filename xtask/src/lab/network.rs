//! A network namespace with one way in, through which this machine alone is answered: what the machine would forward from outside has
//! another source, and is dropped at that door.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::output_of;

/// The interface inside that leads to the machine.
pub(super) const DOOR: &str = "machine";

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// Of the namespace, and of the machine's interface that leads into it: at most fifteen bytes.
    pub(super) name: String,
    /// The two ends' addresses, in a network of four.
    pub(super) machine: Ipv4Addr,
    pub(super) inside: Ipv4Addr,
}

// === impl Network ===

impl Network {
    /// Makes it.
    ///
    /// # Errors
    /// One of this name is there, or the kernel refuses it.
    pub(super) fn make(&self) -> Result<()> {
        self.connect()?;
        let machine = self.machine.to_string();
        let strangers = ["--in-interface", DOOR, "!", "--source", &machine, "--jump", "DROP"];
        self.run(&[&["iptables", "--wait", "--table", "mangle", "--append", "PREROUTING"], &strangers[..]].concat())
    }

    /// The namespace and its way in, for whoever comes.
    ///
    /// # Errors
    /// Those of [`Self::make`].
    pub(super) fn connect(&self) -> Result<()> {
        let name = self.name.as_str();
        let address = |address: Ipv4Addr| format!("{address}/30");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", DOOR, "netns", name])?;
        ip(&["address", "add", &address(self.machine), "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        self.run(&["ip", "address", "add", &address(self.inside), "dev", DOOR])?;
        self.run(&["ip", "link", "set", DOOR, "up"])?;
        self.run(&["ip", "link", "set", "lo", "up"])
    }

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(super) fn remove(&self) -> Result<()> {
        if output_of("ip", &["link", "show", "dev", &self.name]).is_some() {
            ip(&["link", "delete", &self.name])?;
        }
        if self.namespace().exists() {
            ip(&["netns", "delete", &self.name])?;
        }
        Ok(())
    }

    /// The namespace's file.
    pub(super) fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs a program in the namespace.
    ///
    /// # Errors
    /// It fails; with what it says.
    pub(super) fn run(&self, command: &[&str]) -> Result<()> {
        ip(&[&["netns", "exec", &self.name], command].concat())
    }

    /// How many packets were dropped at the door since it was made.
    ///
    /// # Errors
    /// The rules cannot be read.
    pub(super) fn dropped(&self) -> Result<u64> {
        let list = ["iptables", "--wait", "--table", "mangle", "--list", "PREROUTING", "--verbose", "--exact", "--numeric"];
        let listed = output_of("ip", &[&["netns", "exec", &self.name], &list[..]].concat());
        Ok(count_dropped(&listed.with_context(|| format!("read the rules of {}", self.name))?))
    }
}

/// Runs `ip`.
///
/// # Errors
/// It fails; with what it says.
pub(super) fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().context("run ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Sums the first column (packets) of the rules that drop (third column) what comes in by the door (sixth).
fn count_dropped(listed: &str) -> u64 {
    let rules = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let at_door = rules.filter(|rule| rule.get(2) == Some(&"DROP") && rule.get(5) == Some(&DOOR));
    at_door.filter_map(|rule| rule[0].parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_dropped_at_the_door_is_counted() {
        let listed = "Chain PREROUTING (policy ACCEPT 9 packets, 540 bytes)
    pkts      bytes target     prot opt in     out     source               destination
       3      180 DROP       0    --  machine *      !198.18.77.1          0.0.0.0/0
       7      420 DROP       0    --  eth0   *       0.0.0.0/0            0.0.0.0/0
      11      660 ACCEPT     0    --  machine *       0.0.0.0/0            0.0.0.0/0
";
        assert_eq!(count_dropped(listed), 3);
        assert_eq!(count_dropped(""), 0);
    }
}
