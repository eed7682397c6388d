//! The command line of what is done in a cluster.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::OutputFormat;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterOptions {
    /// File that says how clusters are reached; as for kubectl when left out
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of that file; its current one when left out
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace; that of the context when left out
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// How much is printed, and how.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TableOptions {
    /// Print what the table is made of instead of the table
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Jobs of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub table: TableOptions,
}

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub(crate) struct MatrixArguments {
    /// Partition; the only one when left out
    pub partition: Option<String>,
    /// Show it again whenever it has changed
    #[arg(short, long, conflicts_with = "output")]
    pub watch: bool,
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub table: TableOptions,
}

/// Arguments of what is about one job.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// Name of the job
    pub job: String,
    #[command(flatten)]
    pub cluster: ClusterOptions,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// Name of the job
    pub job: String,
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub table: TableOptions,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// Jobs of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Show it once and end; so it is where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// What the worst comes first by
    #[arg(long, value_enum, default_value_t = TopOrder::Efficiency, value_name = "FIGURE")]
    pub by: TopOrder,
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub table: TableOptions,
}

/// What the worst comes first by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopOrder {
    /// CPU time used, of what could be
    Efficiency,
    /// How far the nodes are apart when they switch
    Skew,
    /// How long a switch takes
    Switch,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Name of the job
    pub job: String,
    /// Lines of this rank alone
    #[arg(long, value_name = "N")]
    pub rank: Option<u32>,
    /// Go on with what is written until the job ends
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub cluster: ClusterOptions,
}

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub(crate) struct NodesArguments {
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub table: TableOptions,
}
