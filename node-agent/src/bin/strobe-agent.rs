//! `strobe-agent`: the agent of a node. `kubectl strobe local` starts it, and it reads what it has to know from its standard input; in a
//! cluster the DaemonSet starts `strobe-agent node`, which asks the operator.

use clap::{Parser, Subcommand};
use strobe_node_agent::{
    agent,
    node::{self, NodeArguments},
};
use tracing_subscriber::EnvFilter;

/// The agent of a node of a Strobe partition.
///
/// Without a command it reads one bootstrap document (JSON) from standard input. It writes one line (JSON) with its ports to standard
/// output once it listens, and its log to standard error.
#[derive(Debug, Parser)]
#[command(name = "strobe-agent", version)]
struct Arguments {
    /// What is logged, as in `info` or `strobe_node_agent=debug`.
    #[arg(long, env = "STROBE_LOG", default_value = "warn", global = true)]
    log: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Node(NodeArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&arguments.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    match arguments.command {
        None => {
            // One thread: see `node::run`.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(agent::run(agent::bootstrap_from_standard_input()?))?;
        }
        Some(Command::Node(arguments)) => node::run(&arguments)?,
    }
    Ok(())
}
