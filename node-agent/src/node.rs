//! The agent of a cluster's node: what a pod of the DaemonSet does before its agent runs, and when that leaves.
//!
//! The volume plugin begins first, so that pods which run find their sockets again; then the operator is asked who this node is; then
//! the agent runs until its process is asked to end or the partition is changed. kubelet starts the process again.

mod arguments;
mod enrolment;
mod error;
mod incarnation;
mod limits;

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

pub use arguments::NodeArguments;
pub use error::NodeError;
use strobe_core::model::{AgentIncarnation, NodeIndex};
use strobe_proto::bootstrap::Bootstrap;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{LeavingReason, Mailbox, Ports, ServeError, Surroundings, listen, mailbox, offer_no_old_tls, run_in},
    csi,
    health::{self, Health},
};
use enrolment::{Enrolled, Enroller};
use limits::{RENEWAL_BEGINS, RENEWAL_SPREAD};

/// Where mounts are made before a pod's node sees them: a place of this process's own mount namespace.
const ASIDE: &str = "strobe-volumes";

/// Runs the agent of a node of a cluster.
///
/// # Errors
/// [`NodeError`] when it cannot begin, or the agent fails. That it was asked to end, and that its partition was changed, are none.
pub async fn run(arguments: NodeArguments) -> Result<(), NodeError> {
    offer_no_old_tls();
    let terminated = terminated()?;
    tokio::pin!(terminated);
    let health = Health::new();
    let address = SocketAddr::new(arguments.address, arguments.health_port);
    let health_port = health::serve(address, &health).await.map_err(|source| NodeError::Health { address, source })?;
    let (mailbox, inbox) = mailbox();
    let supervisor = arguments.supervisor.clone().map_or_else(beside_this_program, Ok)?;
    let plugin = csi::begin(csi::Options {
        kubelet: arguments.kubelet_directory.clone(),
        supervisor: supervisor.clone(),
        aside: std::env::temp_dir().join(ASIDE),
        mailbox: mailbox.clone(),
        health: health.clone(),
    })
    .await?;
    let session = listen(SocketAddr::new(arguments.address, arguments.session_port)).await?;
    let session_address = session.local_addr().map_err(ServeError::Port)?;
    let enroller = Enroller::new(&arguments, session_address)?;
    let enrolled = tokio::select! {
        biased;
        () = &mut terminated => {
            plugin.leave();
            return Ok(());
        }
        enrolled = enroller.enrol(&health) => enrolled,
    };
    let bootstrap = bootstrap(&arguments, supervisor, enrolled.clone())?;
    let renewal = tokio::time::sleep(renewal_after(bootstrap.incarnation, bootstrap.node));
    let ports = Ports { fabric: arguments.fabric_port, health: health_port };
    let leave = mailbox.clone();
    let surroundings = Surroundings { mailbox, inbox, ports, session: Some(session), health: Some(health.clone()) };
    let reason_to_leave = async {
        tokio::select! {
            () = terminated => LeavingReason::Terminated,
            () = enroller.await_change(&enrolled, &health) => LeavingReason::PartitionChanged,
            () = renewal => LeavingReason::CertificateAged,
        }
    };
    let result = run_until(bootstrap, surroundings, leave, reason_to_leave).await;
    plugin.leave();
    result
}

/// Runs the agent, and tells it when it is to leave.
async fn run_until(
    bootstrap: Bootstrap,
    surroundings: Surroundings,
    leave: Mailbox,
    reason_to_leave: impl Future<Output = LeavingReason>,
) -> Result<(), NodeError> {
    let running = run_in(bootstrap, surroundings);
    tokio::pin!(running);
    let reason = tokio::select! {
        reason = &mut running => reason?,
        reason = reason_to_leave => {
            // Refused only when the agent has left already.
            let _has_left = leave.leave(reason).await;
            running.await?
        }
    };
    match reason {
        Some(LeavingReason::PartitionChanged) => {
            tracing::warn!("the partition was changed: this process ends, and the next one enrols anew");
        }
        Some(LeavingReason::CertificateAged) => {
            tracing::info!("the certificate is to be renewed: this process ends, and the next one enrols anew");
        }
        Some(LeavingReason::Terminated) => tracing::info!("the agent has left; its gangs run on"),
        None => tracing::info!("the authority has ended the agent with its gangs"),
    }
    Ok(())
}

fn bootstrap(arguments: &NodeArguments, supervisor: PathBuf, enrolled: Enrolled) -> Result<Bootstrap, NodeError> {
    let incarnation = incarnation::next(&arguments.directory)?;
    Ok(Bootstrap {
        partition: enrolled.partition,
        node: enrolled.node,
        incarnation,
        settings: enrolled.settings,
        cpus: enrolled.cpus,
        address: arguments.address,
        // A promise is one to a partition: another one's terms begin anew.
        directory: arguments.directory.join(format!("{:032x}", enrolled.partition.0)),
        cgroup: None,
        supervisor,
        owner: None,
        certificate_pem: enrolled.certificate_pem,
        key_pem: enrolled.key_pem,
        roots_pem: enrolled.roots_pem,
    })
}

/// How old a certificate becomes before its agent leaves for another; differs between lives and nodes.
fn renewal_after(incarnation: AgentIncarnation, node: NodeIndex) -> Duration {
    // Fibonacci hashing: neighbours come to lie far from each other.
    let mixed = incarnation.0.wrapping_add(u64::from(node.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    RENEWAL_BEGINS + Duration::from_secs(mixed % RENEWAL_SPREAD.as_secs())
}

fn beside_this_program() -> Result<PathBuf, NodeError> {
    Ok(std::env::current_exe().map_err(NodeError::Program)?.with_file_name("strobe-init"))
}

/// Resolves when the process is asked to end.
fn terminated() -> Result<impl Future<Output = ()>, NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agents_that_began_at_once_do_not_renew_at_once() {
        let after = |node| renewal_after(AgentIncarnation(1_795_000_000_000_000), NodeIndex(node));
        let hours: BTreeSet<u64> = (0..64).map(|node| after(node).as_secs() / 3600).collect();
        assert!(hours.len() > 30, "64 agents renew in {} different hours", hours.len());
        assert!((0..64).all(|node| (RENEWAL_BEGINS..RENEWAL_BEGINS + RENEWAL_SPREAD).contains(&after(node))));
    }
}
