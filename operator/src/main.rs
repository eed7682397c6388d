//! `strobe-operator`: runs in the cluster, as a Deployment. Outside of one it takes the cluster that kubectl would.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::Client;
use strobe_operator::leading::{self, Replica};
use strobe_operator::metrics::{self, Metrics};
use strobe_operator::{certificates, errands, identity};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// The operator of Strobe. Without a command it is the operator.
///
/// It finds the API server as kubectl does, or, in a pod, by its service account. Its log goes to standard error.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What is logged, as in `info` or `strobe_operator=debug`.
    #[arg(long, env = "STROBE_LOG", default_value = "info", global = true)]
    log: String,
    /// The namespace of the operator and its agents, where it keeps what must not be forgotten.
    #[arg(long, env = "POD_NAMESPACE", default_value = "strobe-system", global = true)]
    namespace: String,
    /// What names this replica in events and in the election: the name of its pod.
    #[arg(long, env = "POD_NAME")]
    instance: Option<String>,
    /// Where agents enrol.
    #[arg(long, default_value = "[::]:7443")]
    identity_listen: SocketAddr,
    /// The name under which agents dial that: the operator's Service.
    #[arg(long, default_value = "strobe-operator.strobe-system.svc")]
    identity_name: String,
    /// Where `/metrics` and `/readyz` are served, by plain HTTP.
    #[arg(long, default_value = "[::]:7413")]
    metrics_listen: SocketAddr,
    /// Make each gang a group of pods for the scheduler too (`PodGroup` of scheduling.k8s.io/v1alpha2), which binds all of its pods or none.
    ///
    /// Without effect where the API server does not serve them in this version: events of the Partitions say so then.
    #[arg(long, global = true)]
    pod_groups: bool,
    #[command(subcommand)]
    command: Option<Errand>,
}

/// What is done once, instead of being the operator.
#[derive(Debug, Subcommand)]
enum Errand {
    /// End the operator and then all gangs, before Strobe is uninstalled. The jobs stay.
    Withdraw,
    /// Make the next step to another certificate authority: three in all, each when the agents have enrolled anew since the last one.
    RotateCertificates {
        /// All agents were restarted since the last step.
        #[arg(long)]
        now: bool,
    },
    /// Wait until a job of the namespace is over; fail unless it is complete.
    AwaitJob {
        /// The job's name.
        name: String,
    },
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
    let client = Client::try_default().await.context("find the API server")?;
    match &arguments.command {
        None => operate(arguments, client).await,
        Some(Errand::Withdraw) => Ok(errands::withdraw(&client, &arguments.namespace, arguments.pod_groups).await?),
        Some(Errand::RotateCertificates { now }) => {
            println!("{}", certificates::rotation::step(&client, &arguments.namespace, *now).await?.advice());
            Ok(())
        }
        Some(Errand::AwaitJob { name }) => Ok(errands::await_job(&client, &arguments.namespace, name).await?),
    }
}

async fn operate(arguments: Arguments, client: Client) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (end, ending) = watch::channel(false);
    let asked = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        end.send_replace(true);
        // What leads ends then, and with it the process.
        std::future::pending::<()>().await;
    };
    let instance = arguments.instance.unwrap_or_else(|| format!("process-{}", std::process::id()));
    let authority = Arc::new(certificates::authority(&client, &arguments.namespace).await?);
    let metrics = Metrics::default();
    let (replica, leading) = Replica::new(leading::Options {
        client: client.clone(),
        namespace: arguments.namespace.clone(),
        instance,
        authority: Arc::clone(&authority),
        metrics: metrics.clone(),
        pod_groups: arguments.pod_groups,
    });
    let identity = identity::Options {
        listener: listen(arguments.identity_listen).await?,
        server_name: arguments.identity_name,
        namespace: arguments.namespace,
        metrics: metrics.clone(),
    };
    let shown = listen(arguments.metrics_listen).await?;
    tokio::select! {
        served = identity::serve(identity, client, authority, leading.clone()) => served.context("let agents enrol"),
        served = metrics::serve(shown, metrics, leading) => served.context("show metrics"),
        () = replica.run(ending) => Ok(()),
        () = asked => Ok(()),
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(%address, "listening");
    Ok(listener)
}
