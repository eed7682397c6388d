//! Whether anybody outside of this machine can reach the laboratory: tried from a network namespace that is to the machine as another
//! machine is, with all done for it that could let it through. What it sends has to come as far as the laboratory's door, and no answer may
//! come back.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::network::{DOOR, Network, ip};
use crate::limits::STRANGER_ANSWERED;
use crate::process::output_of;

/// Who is outside, in a network that is reserved for documentation (RFC 5737), and the routing table for what comes from there.
const NAME: &str = "strobe-outside";
const MACHINE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const TABLE: u32 = 19_818;

/// An address of the laboratory that answers somebody.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddrV4,
    /// The network namespace in which it answers; the machine's where none is named.
    pub(super) near: Option<PathBuf>,
}

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Connected,
    /// Somebody is there.
    Refused,
    None,
}

/// Somebody outside, and the laboratory that must not be reached.
struct Outside<'a> {
    laboratory: &'a Network,
    stranger: Network,
    table: u32,
}

/// Tries to reach each target from outside.
///
/// # Guarantees
/// Nothing of the attempt is left, also when it fails.
///
/// # Errors
/// A target answers; or nothing was proven, for it answers nobody, or the attempt did not come as far as the door.
pub(super) fn check(laboratory: &Network, targets: &[Target]) -> Result<()> {
    Outside::of(laboratory).check(targets)
}

/// Removes what an interrupted attempt has left.
///
/// # Errors
/// The kernel refuses it.
pub(super) fn clear(laboratory: &Network) -> Result<()> {
    Outside::of(laboratory).remove()
}

// === impl Outside ===

impl<'a> Outside<'a> {
    fn of(laboratory: &'a Network) -> Self {
        let stranger = Network { name: NAME.to_owned(), machine: MACHINE, inside: STRANGER };
        Self { laboratory, stranger, table: TABLE }
    }

    fn check(&self, targets: &[Target]) -> Result<()> {
        self.remove().context("remove what an earlier attempt has left")?;
        let tried = self.make().and_then(|()| targets.iter().try_for_each(|target| self.try_target(target)));
        tried.and(self.remove())
    }

    /// Whatever could stop a stranger but the laboratory's door lets this one pass: the machine forwards between the two, its rules accept
    /// it, all that the stranger sends is led to the laboratory, and the laboratory knows the way back. Nobody else's packets are concerned.
    fn make(&self) -> Result<()> {
        let (name, table) = (self.stranger.name.as_str(), self.table.to_string());
        let (machine, inside) = (self.stranger.machine.to_string(), self.laboratory.inside.to_string());
        self.stranger.connect()?;
        self.stranger.run(&["ip", "route", "add", "default", "via", &machine])?;
        for link in [name, &self.laboratory.name] {
            set_forwarding(link, "1")?;
        }
        for arguments in self.accepting("--insert") {
            ensure!(output_of("iptables", &as_strs(&arguments)).is_some(), "iptables {} failed", arguments.join(" "));
        }
        ip(&["route", "add", "default", "via", &inside, "dev", &self.laboratory.name, "table", &table])?;
        ip(&["rule", "add", "iif", name, "lookup", &table])?;
        self.laboratory.run(&[
            "ip",
            "route",
            "add",
            &self.stranger.inside.to_string(),
            "via",
            &self.laboratory.machine.to_string(),
            "dev",
            DOOR,
        ])
    }

    fn remove(&self) -> Result<()> {
        let (name, table) = (self.stranger.name.as_str(), self.table.to_string());
        // What is not there cannot be removed, and need not.
        let _no_rule = output_of("ip", &["rule", "delete", "iif", name, "lookup", &table]);
        let _no_route = output_of("ip", &["route", "flush", "table", &table]);
        for arguments in self.accepting("--delete") {
            let _no_rule = output_of("iptables", &as_strs(&arguments));
        }
        let way_back = self.stranger.inside.to_string();
        let _no_route = self.laboratory.run(&["ip", "route", "delete", &way_back]);
        if forwarding(&self.laboratory.name).exists() {
            // As the kernel gave it to the interface when it was made.
            let given = fs::read_to_string(forwarding("default")).context("read whether new interfaces forward")?;
            set_forwarding(&self.laboratory.name, given.trim())?;
        }
        self.stranger.remove()
    }

    /// The machine's rules, both ways, about the stranger's interface alone.
    fn accepting(&self, verb: &str) -> [Vec<String>; 2] {
        ["--in-interface", "--out-interface"]
            .map(|direction| ["--wait", verb, "FORWARD", direction, &self.stranger.name, "--jump", "ACCEPT"].map(str::to_owned).to_vec())
    }

    fn try_target(&self, target: &Target) -> Result<()> {
        let address = target.address;
        let near = attempt(target.near.as_deref(), address)?;
        ensure!(near == Answer::Connected, "{address} answers nobody, so that trying it from outside would prove nothing");
        let before = self.laboratory.dropped()?;
        let answer = attempt(Some(&self.stranger.namespace()), address)?;
        judge(address, answer, self.laboratory.dropped()? - before)
    }
}

/// What an attempt from outside proves, `dropped` packets of which came as far as the door.
fn judge(address: SocketAddrV4, answer: Answer, dropped: u64) -> Result<()> {
    ensure!(answer == Answer::None, "{address} answers from outside of this machine ({answer:?})");
    ensure!(
        dropped > 0,
        "nothing that was sent to {address} from outside was dropped at the laboratory's door: it is open, or nothing came so far"
    );
    Ok(())
}

/// Tries to connect from a network namespace, or from this one. Only a thread of its own can be elsewhere.
fn attempt(namespace: Option<&Path>, address: SocketAddrV4) -> Result<Answer> {
    let enter = |path: &Path| -> Result<()> {
        let namespace = File::open(path).with_context(|| format!("open {}", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| format!("enter {}", path.display()))
    };
    let connect = || {
        namespace.map_or(Ok(()), enter)?;
        answer_of(TcpStream::connect_timeout(&address.into(), STRANGER_ANSWERED).map(drop)).with_context(|| format!("connect to {address}"))
    };
    std::thread::scope(|scope| scope.spawn(connect).join().unwrap_or_else(|_| bail!("the attempt to connect to {address} broke off")))
}

fn answer_of(connected: std::io::Result<()>) -> std::io::Result<Answer> {
    match connected {
        Ok(()) => Ok(Answer::Connected),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Answer::Refused),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Ok(Answer::None),
            _ => Err(error),
        },
    }
}

/// Whether what comes in by an interface may be forwarded.
fn forwarding(link: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(link).join("forwarding")
}

fn set_forwarding(link: &str, value: &str) -> Result<()> {
    fs::write(forwarding(link), value).with_context(|| format!("let {link} forward: {value}"))
}

fn as_strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::lab::snapshot::Snapshot;

    const PORT: u16 = 6443;

    /// An address further inside, to which this machine has no way.
    const NODE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

    /// Networks that nobody else has: of this process, in ranges for tests and documentation.
    fn networks() -> (Network, Network) {
        let number = std::process::id();
        let place = u8::try_from(number % 64 * 4).unwrap();
        let network = |name: &str, at: [u8; 3]| Network {
            name: format!("{name}-{number}"),
            machine: Ipv4Addr::new(at[0], at[1], at[2], place + 1),
            inside: Ipv4Addr::new(at[0], at[1], at[2], place + 2),
        };
        (network("trial", [198, 19, 77]), network("out", [198, 51, 100]))
    }

    /// A network with something that listens in it.
    struct Trial {
        laboratory: Network,
        _listener: TcpListener,
    }

    // === impl Trial ===

    impl Trial {
        fn make(laboratory: Network) -> Result<Self> {
            laboratory.make()?;
            laboratory.run(&["ip", "address", "add", &NODE.to_string(), "dev", "lo"])?;
            let listen = || {
                let namespace = File::open(laboratory.namespace())?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))
            };
            let listener = std::thread::scope(|scope| scope.spawn(listen).join().unwrap())?;
            Ok(Self { laboratory, _listener: listener })
        }
    }

    impl Drop for Trial {
        fn drop(&mut self) {
            self.laboratory.remove().unwrap();
        }
    }

    #[test]
    fn a_door_that_is_open_is_found_and_one_that_is_shut_lets_nobody_in() {
        let (laboratory, stranger) = networks();
        let before = Snapshot::take();
        let trial = match Trial::make(laboratory.clone()) {
            Ok(trial) => trial,
            Err(error) => {
                laboratory.remove().unwrap();
                assert!(std::env::var_os("STROBE_NO_SKIP").is_none(), "no network namespace could be made: {error:#}");
                return eprintln!("SKIPPED: this user may not make network namespaces: {error:#}");
            }
        };
        let outside = Outside { laboratory: &trial.laboratory, stranger, table: TABLE + std::process::id() };
        let target = |host, port, near: Option<PathBuf>| Target { address: SocketAddrV4::new(host, port), near };
        let inside = || Some(laboratory.namespace());
        outside.check(&[target(laboratory.inside, PORT, None), target(NODE, PORT, inside())]).unwrap();
        let unheard = outside.check(&[target(laboratory.inside, PORT + 1, inside())]).unwrap_err().to_string();
        assert!(unheard.contains("answers nobody"), "{unheard}");
        laboratory.run(&["iptables", "--wait", "--table", "mangle", "--flush", "PREROUTING"]).unwrap();
        let open = outside.check(&[target(laboratory.inside, PORT, None)]).unwrap_err().to_string();
        assert!(open.ends_with("answers from outside of this machine (Connected)"), "{open}");
        drop(trial);
        let mine = |line: &&String| line.contains(&std::process::id().to_string());
        assert_eq!(before.differences(&Snapshot::take()).iter().find(mine), None);
    }

    #[test]
    fn silence_proves_something_only_when_the_door_was_reached() {
        let judged = |answer, dropped| judge(SocketAddrV4::new(STRANGER, PORT), answer, dropped).is_ok();
        assert!(judged(Answer::None, 1) && !judged(Answer::None, 0));
        assert!(!judged(Answer::Connected, 1) && !judged(Answer::Refused, 1));
    }

    #[test]
    fn who_refuses_is_there_and_who_is_not_found_is_not() {
        let of = |kind: ErrorKind| answer_of(Err(kind.into())).ok();
        assert_eq!(answer_of(Ok(())).ok(), Some(Answer::Connected));
        assert_eq!(of(ErrorKind::ConnectionRefused), Some(Answer::Refused));
        assert_eq!(of(ErrorKind::TimedOut), Some(Answer::None));
        assert_eq!(of(ErrorKind::PermissionDenied), None);
    }
}
