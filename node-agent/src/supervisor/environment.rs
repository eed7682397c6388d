//! The environment of a rank: who it is, where its gang is, and hints for its libraries.

use std::fmt::Display;

use crate::supervisor_protocol::{Configure, LaunchProtocol, PeerTable, Rank};

use super::network::Tables;

/// What a stub shall change in the environment before it becomes the rank.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvironmentChange {
    /// Variables to set.
    pub set: Vec<(String, String)>,
    /// Variables to remove.
    pub remove: Vec<String>,
}

/// What [`rank_environment`] works on.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentInput<'a> {
    /// The gang's configuration.
    pub configure: &'a Configure,
    /// Addresses of the gang's nodes.
    pub peers: &'a PeerTable,
    /// The host's network.
    pub network: &'a Tables,
    /// The rank.
    pub rank: Rank,
    /// Descriptor number of the rank's PMI connection, if it has one.
    pub pmi_descriptor: Option<i32>,
}

/// The change for one rank. Hints are left out where `is_set` says that the user set the variable.
#[must_use]
pub fn rank_environment(input: EnvironmentInput<'_>, is_set: impl Fn(&str) -> bool) -> EnvironmentChange {
    let mut change = EnvironmentChange::default();
    if input.configure.protocol == LaunchProtocol::None {
        return change;
    }
    change.set = identity(input);
    if let Some(descriptor) = input.pmi_descriptor {
        change.set.extend(pmi(input, descriptor));
        // An outer launcher's port would be preferred to the descriptor.
        change.remove.push("PMI_PORT".to_owned());
    }
    change.set.extend(hints(input).into_iter().filter(|(name, _)| !is_set(name)));
    change
}

fn identity(input: EnvironmentInput<'_>) -> Vec<(String, String)> {
    let EnvironmentInput { configure, peers, rank, .. } = input;
    vec![
        pair("RANK", rank.0),
        pair("WORLD_SIZE", configure.world_size),
        pair("LOCAL_RANK", rank.0 - configure.first_rank.0),
        pair("LOCAL_WORLD_SIZE", configure.rank_count),
        pair("MASTER_ADDR", peers.master_address),
        pair("MASTER_PORT", peers.master_port),
        pair("JOB_COMPLETION_INDEX", configure.node_index),
    ]
}

fn pmi(input: EnvironmentInput<'_>, descriptor: i32) -> Vec<(String, String)> {
    vec![
        pair("PMI_FD", descriptor),
        pair("PMI_RANK", input.rank.0),
        pair("PMI_ID", input.rank.0),
        pair("PMI_SIZE", input.configure.world_size),
    ]
}

/// Hints for UCX, libfabric, Gloo and Intel MPI; ADR 0002 has the trials behind them.
fn hints(input: EnvironmentInput<'_>) -> Vec<(String, String)> {
    let mut hints = vec![pair("I_MPI_PIN", "off")];
    let own = input.peers.addresses.get(input.configure.node_index as usize);
    if let Some((interface, is_loopback)) = own.and_then(|&address| Some((input.network.interface_of(address)?, address.is_loopback()))) {
        hints.push(pair("FI_TCP_IFACE", &interface));
        hints.push(pair("GLOO_SOCKET_IFNAME", &interface));
        // UCX from 1.17 on finds no route between two processes when it may use the loopback only.
        if !is_loopback {
            hints.push(pair("UCX_NET_DEVICES", &interface));
        }
    }
    // UCX's choice of transport is left alone, also where nodes share a host and it takes shared memory:
    // over TCP, MPICH 4.0 hangs in MPI_Finalize.
    hints
}

fn pair(name: &str, value: impl Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}
