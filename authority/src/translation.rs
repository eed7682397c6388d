//! Validated manifests in the core's words.

use strobe_core::{
    authority::{JobSpecification, RestartPolicy},
    model::{GangId, Policy, Settings},
};
use strobe_crds::{
    parallel_job::{LaunchProtocol, RestartCause},
    partition,
    validate::{ValidJob, ValidPartition},
};

/// Times and policy of a partition.
#[must_use]
pub fn settings(partition: &ValidPartition) -> Settings {
    Settings {
        quantum: partition.quantum,
        rows: partition.rows,
        policy: match partition.policy {
            partition::Policy::Gang => Policy::Gang,
            partition::Policy::Kernel => Policy::Kernel,
        },
        lead: partition.lead,
        heartbeat: partition.heartbeat,
        suspicion: partition.suspicion,
        watchdog: partition.watchdog,
        clock_tolerance: partition.clock_tolerance,
        node_lost: partition.node_lost,
    }
}

/// A job as the authority takes it, of priority 0 and without memory: whoever knows more changes it.
///
/// # Panics
/// When the job is wider than any partition: its rules keep it narrower.
#[must_use]
pub fn specification(gang: GangId, submitted: u64, job: &ValidJob) -> JobSpecification {
    let restarts = |cause| job.restart_on.contains(&cause);
    JobSpecification {
        gang,
        namespace: job.namespace.clone().unwrap_or_default(),
        priority: 0,
        submitted,
        nodes: u16::try_from(job.nodes.get()).expect("a gang has at most 4096 nodes"),
        ranks_per_node: job.ranks_per_node.get(),
        cpus_per_rank: u16::try_from(job.cpus_per_rank.get()).expect("a rank has at most 1024 CPUs"),
        memory_bytes: 0,
        restart: RestartPolicy {
            limit: job.restart_limit,
            on_rank_failure: restarts(RestartCause::RankFailure),
            on_node_lost: restarts(RestartCause::NodeLost),
        },
        suspended: job.suspend,
        paused: job.paused,
        active_deadline: job.active_deadline,
        grace: job.termination_grace,
    }
}

/// A launch protocol's name in the contract.
#[must_use]
pub const fn protocol(protocol: LaunchProtocol) -> &'static str {
    match protocol {
        LaunchProtocol::Pmi1 => "pmi1",
        LaunchProtocol::Env => "env",
        LaunchProtocol::None => "none",
    }
}
