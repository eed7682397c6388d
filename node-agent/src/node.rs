//! The agent of a cluster's node: what a pod of the DaemonSet does before its agent runs, and when that leaves.
//!
//! The volume plugin begins first, so that pods which run find their sockets again; then the operator is asked who this node is; then
//! the agent runs until its process is asked to end, or has to enrol anew, since the partition was changed or its certificate has aged.
//! That is a new life in the same process: kubelet would wait ever longer before it starts a process again that ends several times.
//!
//! *Invariant:* a life has a runtime of its own, which ends before the next one begins: as at the end of a process every task is dropped,
//! and with it every socket and descriptor, so that supervisors see their agent go.

mod arguments;
mod asked_to_end;
mod enrolment;
mod error;
mod incarnation;
mod limits;

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

pub use arguments::NodeArguments;
pub use error::NodeError;
use strobe_core::model::{AgentIncarnation, NodeIndex};
use strobe_proto::bootstrap::Bootstrap;

use crate::{
    agent::{ClusterNode, LeavingReason, Mailbox, Ports, ServeError, Surroundings, listen, mailbox, run_in},
    back_off::BackOff,
    csi,
    health::{self, Health},
};
use asked_to_end::AskedToEnd;
use enrolment::{Enrolled, Enroller};
use limits::{LASTING_LIFE, LIFE_END_MAX, NEXT_LIFE_PAUSE_MAX, NEXT_LIFE_PAUSE_MIN, RENEWAL_BEGINS, RENEWAL_SPREAD};

/// Where mounts are made before a pod's node sees them: a place of this process's own mount namespace.
const ASIDE: &str = "strobe-volumes";

/// Runs the agents of a node of a cluster, one life after the other, until the process is asked to end.
///
/// # Errors
/// [`NodeError`] when a life cannot begin, or its agent fails. That the process was asked to end is none.
pub fn run(arguments: &NodeArguments) -> Result<(), NodeError> {
    offer_no_old_tls();
    let mut asked_to_end = None;
    let mut back_off = BackOff::between(NEXT_LIFE_PAUSE_MIN, NEXT_LIFE_PAUSE_MAX);
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        // One thread for the agent's loop, TLS and gRPC: every further one that a message is handed to takes the CPU from a rank
        // once more. The strobe has a thread of its own, and what blocks for long has others.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NodeError::Runtime)?;
        let ended = runtime.block_on(live(arguments, &mut asked_to_end, pause));
        // What still kills ranks sees that its agent has left, and stops.
        runtime.shutdown_timeout(LIFE_END_MAX);
        match ended? {
            Some(LeavingReason::PartitionChanged | LeavingReason::CertificateAged) => {}
            Some(LeavingReason::Terminated) | None => return Ok(()),
        }
        if begun.elapsed() >= LASTING_LIFE {
            back_off.reset();
        }
        pause = back_off.wait();
    }
}

/// One life, which enrols after a pause; its probes are answered, and volumes mounted, meanwhile. The signals that end the process are the same for all: none is lost between two.
async fn live(
    arguments: &NodeArguments,
    asked_to_end: &mut Option<AskedToEnd>,
    pause: Duration,
) -> Result<Option<LeavingReason>, NodeError> {
    let asked_to_end = match asked_to_end {
        Some(asked) => asked,
        none => none.insert(AskedToEnd::listen()?),
    };
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
    let enroller = Enroller::new(arguments, session_address)?;
    let enrol = async {
        tokio::time::sleep(pause).await;
        enroller.enrol(&health).await
    };
    let enrolled = tokio::select! {
        biased;
        () = asked_to_end.wait() => {
            plugin.leave();
            return Ok(Some(LeavingReason::Terminated));
        }
        enrolled = enrol => enrolled,
    };
    let bootstrap = bootstrap(arguments, supervisor, enrolled.clone())?;
    let renewal = tokio::time::sleep(renewal_after(bootstrap.incarnation, bootstrap.node));
    let ports = Ports { fabric: arguments.fabric_port, health: health_port };
    let leave = mailbox.clone();
    let node = ClusterNode { health: health.clone(), kubelet: arguments.kubelet_directory.clone() };
    let surroundings = Surroundings { mailbox, inbox, ports, session: Some(session), node: Some(node) };
    let reason_to_leave = async {
        tokio::select! {
            () = asked_to_end.wait() => LeavingReason::Terminated,
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
) -> Result<Option<LeavingReason>, NodeError> {
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
            tracing::warn!("the partition was changed: the agent has left, and enrols anew; its gangs run on");
        }
        Some(LeavingReason::CertificateAged) => {
            tracing::info!("the certificate is to be renewed: the agent has left, and enrols anew; its gangs run on");
        }
        Some(LeavingReason::Terminated) => tracing::info!("the agent has left; its gangs run on"),
        None => tracing::info!("the authority has ended the agent with its gangs"),
    }
    Ok(reason)
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
        store: None,
        cgroup: None,
        supervisor,
        owner: None,
        certificate_pem: enrolled.certificate_pem,
        key_pem: enrolled.key_pem,
        roots_pem: enrolled.roots_pem,
    })
}

/// Makes TLS 1.3 all that this process speaks (docs/adr/0005). tonic cannot be told so: it takes the process's default
/// provider, and every version that has a cipher suite there.
fn offer_no_old_tls() {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| *suite.version() == rustls::version::TLS13);
    // Refused only when the process has a default already, which is this one: nothing else sets any.
    let _already_so = provider.install_default();
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
