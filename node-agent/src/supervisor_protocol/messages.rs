//! The messages, both ways, and the values in them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::limits;

/// Name of a gang as people see it (`namespace/name` or `name`); prefixes the ranks' output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GangName(pub String);

/// One life of a gang; grows at restart, restore and duplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Number of a rank in its gang, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank(pub u32);

/// Name of the ranks' PMI key-value space: the same on every node of a gang, different for every gang
/// incarnation on a host, because MPICH names its shared memory after it. Letters, digits, `_`, `-`, `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeySpace(pub String);

/// Protocol versions that a side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// Lowest version.
    pub minimum: u16,
    /// Highest version.
    pub maximum: u16,
}

/// How a rank ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankEnd {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
}

/// Where a rank is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankPhase {
    /// Its stub waits for the agent to move it into the rank cgroup.
    Stub,
    /// Its stub is accepted and waits for the release.
    Accepted,
    /// It was released.
    Running,
    /// It ended.
    Ended(RankEnd),
}

/// A rank as the supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankReport {
    /// The rank.
    pub rank: Rank,
    /// Process id in the supervisor's PID namespace; 0 once ended.
    pub pid: u32,
    /// Where it is in its life.
    pub phase: RankPhase,
}

/// The first message of every connection, from the supervisor: all that an agent, also a restarted one,
/// needs to take the gang over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions that the supervisor speaks.
    pub versions: VersionRange,
    /// The gang.
    pub gang: GangName,
    /// The gang's incarnation.
    pub incarnation: Incarnation,
    /// The supervisor's process id in its own PID namespace.
    pub supervisor_pid: u32,
    /// Whether it has been configured; if so the agent answers `Adopt`, else `Configure`.
    pub configured: bool,
    /// Whether its ranks were released.
    pub released: bool,
    /// Whether the gang is held.
    pub held: bool,
    /// Every rank that it has forked, ended ones included.
    pub ranks: Vec<RankReport>,
}

/// How ranks find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchProtocol {
    /// PMI-1 over an inherited socket pair, and the environment variables.
    Pmi1,
    /// The environment variables only.
    Environment,
    /// Neither; the ranks get nothing but their CPUs.
    None,
}

/// How the agent stops ranks, and so what the supervisor does to thaw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freezer {
    /// By `cgroup.freeze`; the thaw descriptor comes with the message.
    Cgroup,
    /// By stop signals to the ranks' process groups (each rank leads its own); no descriptor comes.
    Signal,
}

/// What a supervisor shall run; sent once, with the thaw descriptor where the freezer is the cgroup's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// First rank on this node.
    pub first_rank: Rank,
    /// Ranks on this node, at least 1.
    pub rank_count: u32,
    /// Ranks of the gang.
    pub world_size: u32,
    /// Nodes of the gang.
    pub nodes: u32,
    /// Position of this node in the gang, from 0.
    pub node_index: u32,
    /// Ranks on every node of the gang.
    pub ranks_per_node: u32,
    /// CPUs of each rank on this node, in rank order; an empty list leaves that rank unpinned.
    pub cpus: Vec<Vec<u16>>,
    /// How ranks find each other.
    pub protocol: LaunchProtocol,
    /// Name of the ranks' PMI key-value space.
    pub key_space: KeySpace,
    /// How the agent stops ranks.
    pub freezer: Freezer,
    /// Milliseconds of silence of the agent after which the ranks are thawed; 0 never.
    pub watchdog_milliseconds: u64,
}

/// Addresses of the gang's nodes, known when all supervisors are up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTable {
    /// Address of each node of the gang, in the order of `node_index`.
    pub addresses: Vec<IpAddr>,
    /// Address of the node that holds rank 0.
    pub master_address: IpAddr,
    /// TCP port that rank 0 may listen on (`MASTER_PORT`).
    pub master_port: u16,
}

/// Why a rank's program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum LaunchError {
    /// No such file, neither at the path nor on PATH.
    #[error("no such program")]
    NotFound,
    /// The file may not be executed.
    #[error("the file may not be executed by this user")]
    PermissionDenied,
    /// The file is no program for this machine.
    #[error("the file is not a program for this machine")]
    NotExecutable,
    /// Anything else, with the kernel's error number.
    #[error("the kernel refused it with error number {0}")]
    Other(i32),
}

/// A program that could not be started; the gang cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("cannot start {program:?}: {error}")]
pub struct LaunchFailure {
    /// The rank, or none where it was found before any stub was forked.
    pub rank: Option<Rank>,
    /// The program as the user named it.
    pub program: String,
    /// Why.
    pub error: LaunchError,
}

/// A group of ranks on several nodes that have a barrier of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BarrierGroup {
    /// Its ranks.
    pub members: GroupMembers,
    /// Tells barriers of the same ranks apart.
    pub tag: i32,
}

/// The ranks of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupMembers {
    /// Every rank of the gang.
    World,
    /// These, rising.
    Ranks(Vec<u32>),
}

/// Why a PMI barrier fails in the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum BarrierFault {
    /// The key-value space has no room for the keys of all nodes.
    #[error("the keys of all nodes do not fit the key-value space")]
    SpaceFull,
    /// The block of all nodes is not what supervisors write.
    #[error("the keys that came from the other nodes are damaged")]
    Damaged,
    /// A rank has finalised that others wait for.
    #[error("a rank left that others wait for")]
    RankLeft,
}

/// Supervisor to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// First message of a connection.
    Hello(Hello),
    /// A stub (or, after `Adopt`, a living rank) exists; its pidfd comes with the message.
    Stub(RankReport),
    /// Every stub is accepted: the supervisor is up.
    SupervisorUp,
    /// The program cannot be started.
    LaunchFailed(LaunchFailure),
    /// Every stub was told to start its program.
    Released,
    /// A rank ended. Repeated after every `Adopt` until acknowledged.
    RankExited {
        /// The rank.
        rank: Rank,
        /// How.
        end: RankEnd,
    },
    /// The hold is in force here: nothing but `Resume`, or SIGTERM with no agent, thaws the gang.
    Held,
    /// The hold is lifted here.
    Resumed,
    /// All ranks of this node are in the PMI barrier. Repeated after every `Adopt` until answered.
    PmiBarrier {
        /// Number of the barrier in this gang incarnation, from 1.
        number: u64,
        /// Keys that this node's ranks have put since the last barrier; see [`crate::pmi::block`].
        block: Vec<u8>,
    },
    /// A rank called PMI abort: the gang ends.
    PmiAborted {
        /// The rank.
        rank: Rank,
        /// Exit code that it asked for.
        code: i32,
        /// What it said, cut to [`limits::EXPLANATION_BYTES`].
        explanation: String,
    },
    /// Answer to `Ping`.
    Pong {
        /// The ping's number.
        number: u64,
    },
    /// The agent's message cannot be obeyed; nothing was changed by it.
    Refused {
        /// Why, for the log.
        explanation: String,
    },
    /// A PMI barrier has failed here, by no fault of the agent's: the ranks in it were told, and the gang ends.
    PmiBarrierFailed {
        /// Why.
        fault: BarrierFault,
    },
    /// All ranks that a group has on this node are in its barrier. Repeated after every `Adopt` until answered.
    PmiGroupBarrier {
        /// Names this barrier; of tickets with the same remainder by [`crate::pmi::limits::GROUPS`] the higher is the later
        /// and the lower is over.
        ticket: u64,
        /// The group.
        group: BarrierGroup,
        /// Keys that these ranks have put and that not all nodes of the group have.
        block: Vec<u8>,
    },
    /// The answer to a group's barrier has come, perhaps again: it is needed no more.
    PmiGroupBarrierTaken {
        /// The barrier's ticket.
        ticket: u64,
    },
    /// Where the ranks of this node are reached, as their supervisor sees its own network. Said before `SupervisorUp`, where the
    /// agent speaks version 2 and an address is found; a pod's own network is known to nobody else on the node.
    Reachable {
        /// The address.
        address: IpAddr,
        /// A TCP port of it that nobody listens on now.
        port: u16,
    },
}

/// Agent to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// The agent speaks this version; first answer to Hello.
    Welcome {
        /// The version chosen, within both ranges.
        version: u16,
    },
    /// The agent wants nothing of this supervisor; it closes and tries again later.
    Refuse {
        /// Why, for the log.
        explanation: String,
    },
    /// What to run; with the thaw descriptor where `freezer` is the cgroup's.
    Configure(Configure),
    /// Go on under this agent; with a fresh thaw descriptor where the freezer is the cgroup's.
    Adopt {
        /// As in [`Configure::watchdog_milliseconds`].
        watchdog_milliseconds: u64,
    },
    /// The stub is in the rank cgroup.
    StubAccepted {
        /// Its rank.
        rank: Rank,
    },
    /// The stub cannot be taken in: the gang ends here, all stubs are killed.
    StubRefused {
        /// Its rank.
        rank: Rank,
        /// Why, for the log.
        explanation: String,
    },
    /// Start every rank's program.
    Release(PeerTable),
    /// The gang will be held; acknowledged by `Held`.
    Hold,
    /// The gang is no longer held; acknowledged by `Resumed`.
    Resume,
    /// SIGTERM to every rank, SIGKILL to those alive after the grace.
    Terminate {
        /// Grace in milliseconds.
        grace_milliseconds: u64,
    },
    /// SIGKILL to every rank at once.
    Kill,
    /// The end of this rank has been noted.
    RankExitAcknowledged {
        /// The rank.
        rank: Rank,
    },
    /// All nodes are in the barrier.
    PmiBarrierComplete {
        /// Number of the barrier.
        number: u64,
        /// The concatenated blocks of all nodes.
        block: Vec<u8>,
    },
    /// The barrier will never complete.
    PmiBarrierFailed {
        /// Number of the barrier.
        number: u64,
        /// Why, for the ranks and the log.
        explanation: String,
    },
    /// Sign of life; answered by `Pong`.
    Ping {
        /// Any number.
        number: u64,
    },
    /// All nodes of a group are in its barrier; acknowledged by `PmiGroupBarrierTaken`, and repeated until it is.
    PmiGroupBarrierComplete {
        /// This node's ticket of the barrier.
        ticket: u64,
        /// The concatenated blocks of the group's nodes.
        block: Vec<u8>,
    },
}

/// Why a [`Configure`] is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigureError {
    /// A count is zero, over its limit, or does not fit the others.
    #[error("{field} = {value} is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The key-value space's name is empty, too long or has a forbidden character.
    #[error("the name of the key-value space is empty, too long or holds a forbidden character")]
    BadKeySpace,
}

impl VersionRange {
    /// What this build speaks.
    pub const OURS: Self = Self { minimum: limits::VERSION_MINIMUM, maximum: limits::VERSION_MAXIMUM };

    /// The highest version that both sides speak, if any.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.maximum.min(other.maximum);
        (highest >= self.minimum.max(other.minimum)).then_some(highest)
    }
}

impl RankEnd {
    /// Exit code in the shell's habit: the code itself, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => signal.saturating_add(128),
        }
    }

    /// Whether the rank did its work.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl LaunchError {
    /// Classes the error number of a failed execve.
    #[must_use]
    pub fn from_error_number(number: i32) -> Self {
        match rustix::io::Errno::from_raw_os_error(number) {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => Self::NotFound,
            rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => Self::PermissionDenied,
            rustix::io::Errno::NOEXEC => Self::NotExecutable,
            _ => Self::Other(number),
        }
    }
}

impl Configure {
    /// Checks every number against the limits and against the others; past it they are trusted.
    ///
    /// # Errors
    /// [`ConfigureError`] names the first field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigureError> {
        let within =
            |field, value: u32, maximum: u32| (1..=maximum).contains(&value).then_some(()).ok_or(out_of_range(field, value.into()));
        within("rank_count", self.rank_count, limits::RANKS_PER_NODE)?;
        within("ranks_per_node", self.ranks_per_node, limits::RANKS_PER_NODE)?;
        within("nodes", self.nodes, limits::NODES)?;
        within("world_size", self.world_size, limits::NODES * limits::RANKS_PER_NODE)?;
        if self.node_index >= self.nodes {
            return Err(out_of_range("node_index", self.node_index.into()));
        }
        let end = u64::from(self.first_rank.0) + u64::from(self.rank_count);
        if end > u64::from(self.world_size) {
            return Err(out_of_range("first_rank", self.first_rank.0.into()));
        }
        if self.cpus.len() > self.rank_count as usize || self.cpus.iter().any(|list| list.len() > limits::CPUS_PER_RANK) {
            return Err(out_of_range("cpus", self.cpus.len() as u64));
        }
        self.key_space.validate()
    }
}

impl KeySpace {
    fn validate(&self) -> Result<(), ConfigureError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let fits = !self.0.is_empty() && self.0.len() <= limits::NAME_BYTES;
        (fits && self.0.bytes().all(allowed)).then_some(()).ok_or(ConfigureError::BadKeySpace)
    }
}

fn out_of_range(field: &'static str, value: u64) -> ConfigureError {
    ConfigureError::OutOfRange { field, value }
}
