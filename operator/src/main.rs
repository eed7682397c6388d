//! `strobe-operator`: runs in the cluster, as a Deployment. Outside of one it takes the cluster that kubectl would.

use anyhow::Context;
use clap::Parser;
use strobe_operator::controller;
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
    let client = kube::Client::try_default().await.context("find the API server")?;
    controller::run(client, arguments.instance).await.context("wait for signals")
}
