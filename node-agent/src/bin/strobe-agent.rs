//! `strobe-agent`: the agent of a node. `kubectl strobe local` and, in a cluster, the DaemonSet start it; it reads what
//! it has to know from its standard input.

use clap::Parser;
use strobe_node_agent::agent;
use tracing_subscriber::EnvFilter;

/// The agent of a node of a Strobe partition.
///
/// It reads one bootstrap document (JSON) from standard input, writes one line (JSON) with its ports to standard output
/// once it listens, and its log to standard error.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What is logged, as in `info` or `strobe_node_agent=debug`.
    #[arg(long, env = "STROBE_LOG", default_value = "warn")]
    log: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&arguments.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    let bootstrap = agent::bootstrap_from_standard_input()?;
    // One thread for the agent's loop, TLS and gRPC: every further one that a message is handed to takes the CPU from a rank
    // once more. The strobe has a thread of its own, and what blocks for long has others.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(agent::run(bootstrap))?;
    Ok(())
}
