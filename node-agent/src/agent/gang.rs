//! What the agent keeps of one gang on its node.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use strobe_core::{
    model::{GangSlot, Instant, NodeIndex, NodePlacement, RankIndex, RankOutcome},
    node::{AdoptedGang, AdoptedLife},
    primitives::Payload,
};
use strobe_proto::agent::{Launch, LocalSupervisor, launch::Supervisor};

use super::{
    files::StartedGang,
    killing::{self, RankProcess},
    shared_memory::SharedMemory,
    supervisors::Connection,
};
use crate::{
    cgroup::{CgroupError, CgroupPath, CpuSet, MemoryKills, PodUid, RankCgroup, process_of},
    strobe_thread::StrobeThread,
    supervisor_protocol::{Configure, Freezer, Hello, KeySpace, LaunchProtocol, PeerTable, Rank},
};

/// A gang on this node, from its launch until the authority says that its life is over everywhere.
#[derive(Debug, Default)]
pub(super) struct Gang {
    /// What was started; none when a plan named it and the authority has not asked for its launch.
    pub(super) launched: Option<Launched>,
    pub(super) slot: Option<GangSlot>,
    pub(super) cgroup: Option<RankCgroup>,
    pub(super) connection: Option<Connection>,
    /// What the supervisor said first, until it was answered.
    pub(super) hello: Option<Hello>,
    pub(super) supervisor: Option<SupervisorProcess>,
    /// The cgroup of its container, once its supervisor in a pod has reported in.
    pub(super) container: Option<CgroupPath>,
    /// The CPUs of its container, which are its own while they can be set.
    pub(super) cpu_set: Option<CpuSet>,
    /// What the kernel has killed in its container for lack of memory; none where that cannot be known.
    pub(super) memory_kills: Option<MemoryKills>,
    /// Where its ranks here are reached, as their supervisor says.
    pub(super) entry: Option<PeerEntry>,
    /// Processes of the ranks' stubs, in the order in which they came; for stopping and killing by signals.
    pub(super) stubs: Vec<RankProcess>,
    /// Living ranks of which a supervisor that is taken over has yet to tell.
    pub(super) untold: BTreeSet<RankIndex>,
    /// What the supervisor was last told to release with.
    pub(super) released: Option<PeerTable>,
    pub(super) released_at: Option<Instant>,
    pub(super) held: bool,
    pub(super) ended: Vec<(RankIndex, RankOutcome)>,
    /// Every rank here has exited with status 0, and the note says so.
    pub(super) completed: bool,
    pub(super) supervisor_ended: bool,
    pub(super) removal: Removal,
    /// The authority has said that its life is over everywhere: it goes from the table once its supervisor has ended.
    pub(super) removed: bool,
    pub(super) cpu_seconds: f64,
    /// What this life of the agent found when it began to command the ranks.
    pub(super) before: Spent,
    /// How long it has had them commanded thawed.
    pub(super) thawed: Duration,
    /// What its ranks keep beneath `/dev/shm`; none for one that an earlier life of the agent began, of which it is not
    /// known what was there before it.
    pub(super) shared_memory: Option<SharedMemory>,
}

/// What was counted of a gang's ranks, and in its slot, before this life of the agent commanded them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// CPU seconds of its ranks: not zero where an earlier life of the agent began them.
    pub(super) cpu_seconds: f64,
    /// Of its slot, whose earlier gangs were thawed for so long.
    pub(super) thawed: Duration,
}

/// A supervisor's process.
#[derive(Debug)]
pub(super) struct SupervisorProcess {
    /// Its number.
    pub(super) pid: i32,
    /// Means this process and no later one of the same number.
    pub(super) descriptor: OwnedFd,
}

/// How far the end of the ranks has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Removal {
    /// They may run.
    #[default]
    None,
    /// They are killed and waited for.
    UnderWay,
    /// None is left.
    Done,
}

/// A gang that the authority had launched here.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    pub(super) gang: Launch,
    pub(super) placement: Vec<NodePlacement>,
    protocol: LaunchProtocol,
    pod: Option<PodUid>,
}

/// Why a gang cannot be launched as it is asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchRefusal {
    /// An MPI program that is started without PMI would run as many programs of one rank.
    #[error("the launch protocol {0:?} is not known: it is \"pmi1\", \"env\" or \"none\"")]
    Protocol(String),
    /// Nobody starts it.
    #[error("nobody is named who starts the gang's supervisor here")]
    NoSupervisor,
    /// An agent of local mode serves no pods.
    #[error("this agent is in no cluster: it cannot serve pod {0}")]
    NoCluster(PodUid),
    /// In a cluster the kubelet alone starts anything.
    #[error("this agent is in a cluster: it starts no supervisors")]
    InCluster,
    /// The UID of a pod that cannot be one.
    #[error("the pod's UID is none")]
    Pod(#[source] CgroupError),
    /// Where its ranks go.
    #[error("the placement of the gang's ranks is not valid")]
    Placement(#[source] strobe_proto::ConvertError),
}

/// A node's entry of the peer table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerEntry {
    /// Where the node's ranks are reached.
    address: IpAddr,
    /// A port that rank 0 may listen on, if it is there.
    port: u16,
}

impl Gang {
    /// It has its slot: what its ranks use from now on is used under this life's command.
    pub(super) fn begin_to_count(&mut self, strobe: &StrobeThread) {
        self.count_cpu_time();
        let thawed = self.slot.map(|slot| strobe.thawed_time(slot)).unwrap_or_default();
        self.before = Spent { cpu_seconds: self.cpu_seconds, thawed };
    }

    /// Of ranks that are being ended whoever ends them tells the time.
    pub(super) fn count_cpu_time(&mut self) {
        let time = match &self.cgroup {
            Some(cgroup) => cgroup.cpu_time().ok(),
            None if self.removal == Removal::None => Some(self.time_of_processes()),
            None => None,
        };
        self.cpu_seconds = time.map_or(self.cpu_seconds, |time| self.cpu_seconds.max(time.as_secs_f64()));
    }

    /// Of ranks that are being ended nothing is thawed any more.
    pub(super) fn count_thawed(&mut self, strobe: &StrobeThread) {
        if let Some(slot) = self.slot.filter(|_| self.removal == Removal::None) {
            self.thawed = strobe.thawed_time(slot).saturating_sub(self.before.thawed);
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.removal == Removal::Done
    }

    /// True when neither ranks nor their supervisor are left.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone() && !self.has_supervisor()
    }

    /// The ranks, as far as they can be killed by signals.
    pub(super) fn take_ranks(&mut self) -> Vec<RankProcess> {
        let mut ranks = std::mem::take(&mut self.stubs);
        ranks.extend(self.supervisor.iter().flat_map(SupervisorProcess::children));
        ranks
    }

    /// Notes the shared memory that the living ranks have mapped.
    pub(super) fn note_shared_memory(&mut self) {
        let Some(memory) = &mut self.shared_memory else { return };
        match &self.cgroup {
            Some(cgroup) => memory.note(|| cgroup.processes().unwrap_or_default()),
            None => memory.note(|| self.stubs.iter().filter_map(|rank| process_of(rank.descriptor.as_fd()).ok()).collect()),
        }
    }

    pub(super) fn has_supervisor(&self) -> bool {
        self.supervisor.is_some() && !self.supervisor_ended
    }

    /// What a next life of the agent has to know; none before the launch.
    pub(super) fn note(&self) -> Option<StartedGang> {
        Some(StartedGang {
            gang: self.launched.as_ref()?.gang.clone(),
            supervisor: self.supervisor.as_ref().map(|process| process.pid),
            completed: self.completed,
            container: self.container.clone(),
            entry: self.entry,
        })
    }

    /// Where the stubs come from that are its: out of its pod, or from anywhere when its supervisor is the agent's own child.
    pub(super) fn stubs_are_below(&self) -> CgroupPath {
        let place = self.connection.as_ref().and_then(|connection| connection.place.as_ref());
        place.map_or_else(CgroupPath::root, |place| place.pod.clone())
    }

    /// True for a gang in a pod whose supervisor has not been seen: kubelet may yet start it.
    pub(super) fn waits_for_its_pod(&self) -> bool {
        self.supervisor.is_none() && self.launched.as_ref().is_some_and(|launched| launched.pod.is_some())
    }

    /// Kills the supervisor if it still lives.
    pub(super) fn kill_supervisor(&self) {
        let Some(process) = self.supervisor.as_ref().filter(|_| !self.supervisor_ended) else { return };
        if let Err(error) = pidfd_send_signal(&process.descriptor, Signal::KILL)
            && error != Errno::SRCH
        {
            tracing::warn!(%error, "a supervisor could not be killed");
        }
    }
}

impl SupervisorProcess {
    /// Its ranks, and orphans of theirs that came to it.
    fn children(&self) -> Vec<RankProcess> {
        self.look(|process| Some(killing::children_of(process))).unwrap_or_default()
    }

    /// What is seen of it by its number; none when it was reaped.
    pub(super) fn look<T>(&self, look: impl FnOnce(Pid) -> Option<T>) -> Option<T> {
        let seen = look(Pid::from_raw(self.pid)?);
        // Its number may be another's once it was reaped; so may what was seen be.
        process_of(self.descriptor.as_fd()).ok().and(seen)
    }

    /// The process of that number, which the caller knows to be a supervisor that was not reaped.
    ///
    /// # Errors
    /// There is none, or no descriptor is left.
    pub(super) fn open(pid: i32) -> Result<Self, Errno> {
        let process = Pid::from_raw(pid.max(0)).ok_or(Errno::SRCH)?;
        Ok(Self { pid, descriptor: pidfd_open(process, PidfdFlags::NONBLOCK)? })
    }

    /// Another hold on the same process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { pid: self.pid, descriptor: self.descriptor.try_clone()? })
    }
}

impl Launched {
    /// Understands what the authority asks for.
    pub(super) fn new(gang: Launch) -> Result<Self, LaunchRefusal> {
        let placement: Result<Vec<NodePlacement>, _> = gang.placement.iter().cloned().map(NodePlacement::try_from).collect();
        let protocol = match gang.protocol.as_str() {
            "pmi1" => LaunchProtocol::Pmi1,
            "env" => LaunchProtocol::Environment,
            "none" => LaunchProtocol::None,
            unknown => return Err(LaunchRefusal::Protocol(unknown.to_owned())),
        };
        let pod = match &gang.supervisor {
            Some(Supervisor::Pod(pod)) => Some(PodUid::new(pod.pod_uid.as_str()).map_err(LaunchRefusal::Pod)?),
            Some(Supervisor::Local(_)) | None => None,
        };
        Ok(Self { placement: placement.map_err(LaunchRefusal::Placement)?, gang, protocol, pod })
    }

    /// The pod whose container is the supervisor here; none where the agent starts it.
    pub(super) const fn pod(&self) -> Option<&PodUid> {
        self.pod.as_ref()
    }

    /// How the agent starts the supervisor; none where it is a pod's container.
    ///
    /// # Errors
    /// An agent in a cluster starts none, and one in no cluster serves no pods.
    pub(super) fn local_supervisor(&self, in_cluster: bool) -> Result<Option<&LocalSupervisor>, LaunchRefusal> {
        match (&self.gang.supervisor, &self.pod) {
            (_, Some(_)) if in_cluster => Ok(None),
            (_, Some(pod)) => Err(LaunchRefusal::NoCluster(pod.clone())),
            (Some(Supervisor::Local(_)), None) if in_cluster => Err(LaunchRefusal::InCluster),
            (Some(Supervisor::Local(supervisor)), None) => Ok(Some(supervisor)),
            (Some(Supervisor::Pod(_)) | None, None) => Err(LaunchRefusal::NoSupervisor),
        }
    }

    /// What the supervisor on `node` has to know. None when the gang has no part there.
    pub(super) fn configure(&self, node: NodeIndex, key_space: String, freezer: Freezer, watchdog: Duration) -> Option<Configure> {
        let index = self.placement.iter().position(|placement| placement.node == node)?;
        let here = &self.placement[index];
        let cpus: Vec<u16> = here.cpus.iter().map(|cpu| cpu.0).collect();
        let per_rank = usize::try_from(self.gang.cpus_per_rank).unwrap_or(1).max(1);
        Some(Configure {
            first_rank: Rank(here.first_rank.0),
            rank_count: here.ranks,
            world_size: self.placement.iter().map(|placement| placement.ranks).sum(),
            nodes: u32::try_from(self.placement.len()).unwrap_or(u32::MAX),
            node_index: u32::try_from(index).unwrap_or(u32::MAX),
            ranks_per_node: here.ranks,
            cpus: cpus.chunks(per_rank).map(<[u16]>::to_vec).collect(),
            protocol: self.protocol,
            key_space: KeySpace(key_space),
            freezer,
            watchdog_milliseconds: u64::try_from(watchdog.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Ranks of the gang on a node; none when it has no part there.
    pub(super) fn ranks_on(&self, node: NodeIndex) -> Option<u32> {
        self.placement.iter().find(|placement| placement.node == node).map(|placement| placement.ranks)
    }

    /// The node of a rank; none when the gang has no such rank.
    pub(super) fn node_of(&self, rank: u32) -> Option<NodeIndex> {
        let has = |placement: &&NodePlacement| rank.checked_sub(placement.first_rank.0).is_some_and(|place| place < placement.ranks);
        self.placement.iter().find(has).map(|placement| placement.node)
    }

    /// What a member is told of the gang when all its ranks on `node` have exited with status 0.
    pub(super) fn completed_on(&self, node: NodeIndex, entry: Payload) -> Option<AdoptedGang> {
        let here = self.placement.iter().find(|placement| placement.node == node)?;
        let ranks = here.first_rank.0..here.first_rank.0 + here.ranks;
        Some(AdoptedGang {
            run: self.gang.run?.into(),
            entry,
            life: AdoptedLife::Completed,
            held: false,
            ranks: here.ranks,
            ended: ranks.map(|rank| (RankIndex(rank), RankOutcome::Exited(0))).collect(),
        })
    }

    pub(super) fn nodes(&self) -> strobe_core::model::NodeSet {
        self.placement.iter().map(|placement| placement.node).collect()
    }

    /// The gang's first node, to which blocks are put.
    pub(super) fn root(&self) -> Option<NodeIndex> {
        self.placement.first().map(|placement| placement.node)
    }
}

impl PeerEntry {
    /// The entry of a node at `address`: the port is one that nobody listens on now.
    pub(super) fn at(address: IpAddr) -> std::io::Result<Self> {
        let port = std::net::TcpListener::bind((address, 0))?.local_addr()?.port();
        Ok(Self { address, port })
    }

    /// The entry of a pod, as its supervisor says.
    pub(super) const fn of(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }

    pub(super) fn payload(self) -> Payload {
        Payload::new(postcard::to_stdvec(&self).expect("an address and a port can be written down"))
    }
}

/// The peer table of its entries. None when an entry is missing or damaged.
pub(super) fn peer_table(entries: &[Payload]) -> Option<PeerTable> {
    let entries: Option<Vec<PeerEntry>> = entries.iter().map(|entry| postcard::from_bytes(entry.bytes()).ok()).collect();
    let entries = entries?;
    let master = entries.first()?;
    Some(PeerTable {
        addresses: entries.iter().map(|entry| entry.address).collect(),
        master_address: master.address,
        master_port: master.port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_protocol_that_is_not_known_is_refused() {
        let launched = |protocol: &str| Launched::new(Launch { protocol: protocol.to_owned(), ..Launch::default() });
        for (text, protocol) in [("pmi1", LaunchProtocol::Pmi1), ("env", LaunchProtocol::Environment), ("none", LaunchProtocol::None)] {
            assert_eq!(launched(text).unwrap().protocol, protocol);
        }
        for unknown in ["", "pmi", "PMI1", "pmix"] {
            let refusal = launched(unknown).unwrap_err().to_string();
            assert!(refusal.contains(&format!("{unknown:?} is not known")), "{refusal}");
        }
    }
}
