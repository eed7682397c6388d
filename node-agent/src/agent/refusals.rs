//! What was refused at the agent's sockets, counted by socket and reason.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::{counter::Counter, family::Family};
use strobe_fabric::{
    counters::{FabricCounters, Refusal},
    datagram::DatagramCounters,
};

/// Counts refusals; clones count together.
#[derive(Debug, Clone)]
pub(super) struct Refusals(Family<Labels, Counter>);

/// Socket and reason, both of closed sets.
type Labels = [(&'static str, &'static str); 2];

/// Why a connection is no session of the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionRefusal {
    /// TLS has refused it, or it took too long.
    Tls(Refusal),
    /// A certificate of somebody else in the partition.
    NotTheAuthority,
    /// A first message that is no hello, or cannot be read.
    BadHello,
    /// No common version of the contract.
    WrongVersion,
    /// The hello names another partition.
    WrongPartition,
    /// Other settings.
    OtherSettings,
}

/// Why a connection is no supervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SupervisorRefusal {
    /// A process of another user.
    WrongUser,
    /// A process outside of the pod whose socket it is.
    OutsidePod,
    /// Its process is gone, or cannot be placed.
    Unplaced,
    /// The socket failed.
    SocketFailed,
    /// It said nothing at first for too long.
    Silent,
    /// It said what is no message of the protocol.
    Malformed,
    /// Too many others say nothing.
    TooMany,
    /// It is not of a gang that was launched here.
    UnknownGang,
    /// No common version of the protocol.
    WrongVersion,
}

// === impl Refusals ===

impl Refusals {
    /// Nothing was refused yet: every socket and reason has its series from the beginning.
    pub(super) fn new() -> Self {
        let none = Self(Family::default());
        none.update(&FabricCounters::default(), &DatagramCounters::default());
        let sessions = SessionRefusal::ALL.into_iter().map(SessionRefusal::labels);
        let supervisors = SupervisorRefusal::ALL.into_iter().map(SupervisorRefusal::labels);
        sessions.chain(supervisors).for_each(|labels| drop(none.0.get_or_create_owned(&labels)));
        none
    }

    /// What a registry takes.
    pub(super) fn family(&self) -> Family<Labels, Counter> {
        self.0.clone()
    }

    pub(super) fn session(&self, refusal: SessionRefusal) {
        self.0.get_or_create_owned(&refusal.labels()).inc();
    }

    pub(super) fn supervisor(&self, refusal: SupervisorRefusal) {
        self.0.get_or_create_owned(&refusal.labels()).inc();
    }

    /// Takes over what the fabric has counted.
    pub(super) fn update(&self, fabric: &FabricCounters, datagrams: &DatagramCounters) {
        let fabric = Refusal::ALL.into_iter().map(|refusal| ("fabric", refusal.label(), fabric.refused(refusal)));
        let datagrams = datagrams.refusals().into_iter().map(|(label, count)| ("datagram", label, count.load(Ordering::Relaxed)));
        for (socket, reason, count) in fabric.chain(datagrams) {
            let counter = self.0.get_or_create_owned(&labels(socket, reason));
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

const fn labels(socket: &'static str, reason: &'static str) -> Labels {
    [("socket", socket), ("reason", reason)]
}

// === impl SessionRefusal ===

impl SessionRefusal {
    /// Every kind; of TLS those that a handshake can have.
    const ALL: [Self; 8] = [
        Self::Tls(Refusal::Stranger),
        Self::Tls(Refusal::WrongPartition),
        Self::Tls(Refusal::TimedOut),
        Self::NotTheAuthority,
        Self::BadHello,
        Self::WrongVersion,
        Self::WrongPartition,
        Self::OtherSettings,
    ];

    const fn labels(self) -> Labels {
        let reason = match self {
            Self::Tls(refusal) => refusal.label(),
            Self::NotTheAuthority => "not_the_authority",
            Self::BadHello => "bad_hello",
            Self::WrongVersion => "wrong_version",
            Self::WrongPartition => "wrong_partition",
            Self::OtherSettings => "other_settings",
        };
        labels("session", reason)
    }
}

// === impl SupervisorRefusal ===

impl SupervisorRefusal {
    /// Every kind.
    const ALL: [Self; 9] = [
        Self::WrongUser,
        Self::OutsidePod,
        Self::Unplaced,
        Self::SocketFailed,
        Self::Silent,
        Self::Malformed,
        Self::TooMany,
        Self::UnknownGang,
        Self::WrongVersion,
    ];

    const fn labels(self) -> Labels {
        let reason = match self {
            Self::WrongUser => "wrong_user",
            Self::OutsidePod => "outside_pod",
            Self::Unplaced => "unplaced",
            Self::SocketFailed => "socket_failed",
            Self::Silent => "silent",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
            Self::UnknownGang => "unknown_gang",
            Self::WrongVersion => "wrong_version",
        };
        labels("supervisor", reason)
    }
}
