//! `strobe-operator`: runs in the cluster, as a Deployment. Outside of one it takes the cluster that kubectl would.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use strobe_operator::controller::{JobController, follow_partitions};
use strobe_operator::limits::CHANGED_JOBS;
use strobe_operator::partitions::{self, Partitions};
use strobe_operator::{certificates, identity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// The operator of Strobe.
///
/// It finds the API server as kubectl does, or, in a pod, by its service account. Its log goes to standard error.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What is logged, as in `info` or `strobe_operator=debug`.
    #[arg(long, env = "STROBE_LOG", default_value = "info")]
    log: String,
    /// What names this replica in events: the name of its pod.
    #[arg(long, env = "POD_NAME")]
    instance: Option<String>,
    /// The namespace of the operator and its agents, where it keeps what must not be forgotten.
    #[arg(long, env = "POD_NAMESPACE", default_value = "strobe-system")]
    namespace: String,
    /// Where agents enrol.
    #[arg(long, default_value = "[::]:7443")]
    identity_listen: SocketAddr,
    /// The name under which agents dial that: the operator's Service.
    #[arg(long, default_value = "strobe-operator.strobe-system.svc")]
    identity_name: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&arguments.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let end = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let client = kube::Client::try_default().await.context("find the API server")?;
    let authority = Arc::new(certificates::authority(&client, &arguments.namespace).await?);
    let (changed, changes) = mpsc::channel(CHANGED_JOBS);
    let jobs = JobController::new(client.clone(), changes);
    let namespace = arguments.namespace.clone();
    let context = partitions::Context { client: client.clone(), namespace, authority: Arc::clone(&authority), jobs: jobs.store(), changed };
    let partitions = Arc::new(Partitions::new(context));
    let identity =
        identity::Options { listen: arguments.identity_listen, server_name: arguments.identity_name, namespace: arguments.namespace };
    tokio::select! {
        served = identity::serve(identity, client.clone(), authority, Arc::clone(&partitions)) => served.context("let agents enrol"),
        () = follow_partitions(client.clone(), Arc::clone(&partitions)) => anyhow::bail!("Partitions are followed no more"),
        () = jobs.run(client, arguments.instance, partitions, end) => Ok(()),
    }
}
