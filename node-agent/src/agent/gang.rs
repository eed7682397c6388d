//! What the agent keeps of one gang on its node.

use std::{net::IpAddr, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use strobe_core::{
    model::{GangSlot, Instant, NodeIndex, NodePlacement, RankIndex, RankOutcome},
    primitives::Payload,
};
use strobe_proto::agent::LocalGang;

use super::supervisors::Connection;
use crate::{
    cgroup::RankCgroup,
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
    pub(super) supervisor: Option<i32>,
    /// Processes of the ranks' stubs, in the order in which they came; for stopping by signals.
    pub(super) stubs: Vec<Pid>,
    /// What the supervisor was last told to release with.
    pub(super) released: Option<PeerTable>,
    pub(super) released_at: Option<Instant>,
    pub(super) held: bool,
    pub(super) ended: Vec<(RankIndex, RankOutcome)>,
    pub(super) supervisor_ended: bool,
    pub(super) removal: Removal,
    pub(super) cpu_seconds: f64,
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
    pub(super) gang: LocalGang,
    pub(super) placement: Vec<NodePlacement>,
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
    pub(super) fn is_gone(&self) -> bool {
        self.removal == Removal::Done
    }

    /// Kills the supervisor if it still lives: its ranks are gone.
    pub(super) fn end_supervisor(&self) {
        let Some(process) = self.supervisor.filter(|_| !self.supervisor_ended).and_then(Pid::from_raw) else { return };
        let killed = pidfd_open(process, PidfdFlags::empty()).and_then(|process| pidfd_send_signal(process, Signal::KILL));
        if let Err(error) = killed
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "a supervisor could not be ended");
        }
    }
}

impl Launched {
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
            protocol: match self.gang.protocol.as_str() {
                "pmi1" => LaunchProtocol::Pmi1,
                "env" => LaunchProtocol::Environment,
                _ => LaunchProtocol::None,
            },
            key_space: KeySpace(key_space),
            freezer,
            watchdog_milliseconds: u64::try_from(watchdog.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Ranks of the gang on a node; none when it has no part there.
    pub(super) fn ranks_on(&self, node: NodeIndex) -> Option<u32> {
        self.placement.iter().find(|placement| placement.node == node).map(|placement| placement.ranks)
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
