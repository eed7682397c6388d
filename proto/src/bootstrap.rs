//! What an agent is told before it can be reached, and what it answers: one JSON document on its standard input, one JSON
//! line on its standard output.
//!
//! Standard input, because the private key in it must be seen neither in the process list nor on a disk.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use strobe_core::model::{AgentIncarnation, CpuIndex, NodeIndex, PartitionUid, Settings};

/// Bytes of the document at most; a longer one is refused.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// The document.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The partition.
    pub partition: PartitionUid,
    /// The node.
    pub node: NodeIndex,
    /// This life of the agent: greater than in every earlier life on the node.
    pub incarnation: AgentIncarnation,
    /// Times and policy.
    pub settings: Settings,
    /// The CPUs of the node; empty where they are not told apart.
    pub cpus: Vec<CpuIndex>,
    /// The address that the agent listens on and that other nodes reach it at.
    pub address: IpAddr,
    /// The agent's folder: seal file, socket, records of its gangs. It outlives the agent.
    pub directory: PathBuf,
    /// The folder in which the node keeps files that it is given; without one it keeps none.
    pub store: Option<PathBuf>,
    /// The cgroup below which rank cgroups are made, as a path from the root of the v2 tree; without one, or without the
    /// right to it, gangs are stopped by signals.
    pub cgroup: Option<String>,
    /// The program `strobe-init`.
    pub supervisor: PathBuf,
    /// The process that owns the run: when it ends, so do the gangs and the agent.
    pub owner: Option<i32>,
    /// Certificate, as PEM.
    pub certificate_pem: String,
    /// Private key, as PEM.
    pub key_pem: String,
    /// Roots that peers are checked against, as PEM.
    pub roots_pem: String,
}

/// Where the agent can be reached: the line that it writes once it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Port of the gRPC contract.
    pub session_port: u16,
    /// Port of the Prometheus metrics, plain HTTP on the loopback interface.
    pub metrics_port: u16,
}
