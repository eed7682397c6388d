//! The command line.

mod cluster;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use cluster::{
    ClusterOptions, ExplainArguments, JobArguments, ListArguments, LogsArguments, MatrixArguments, NodesArguments, TopArguments, TopOrder,
};
use strobe_core::limits::{MEMBERS_MAX, ROWS_MAX};
use strobe_crds::{duration::Duration, limits::MAX_CPUS_PER_NODE, partition::TimeField};

/// Runs parallel jobs as gangs: all ranks of a job at the same time, or none.
#[derive(Debug, Parser)]
#[command(name = "kubectl-strobe", version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Strobe on this machine alone, without Kubernetes
    Local(LocalArguments),
    #[command(flatten)]
    Cluster(ClusterCommand),
}

/// What to do in a cluster, with the rights that its user has there.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// The jobs and where they stand
    List(ListArguments),
    /// Which gang holds which row on which node
    Matrix(MatrixArguments),
    /// Why a job waits or is slow, in words and numbers
    Explain(ExplainArguments),
    /// Jobs and nodes by CPU efficiency, skew or switch cost, the worst first
    Top(TopArguments),
    /// What the ranks of a job's newest life write
    Logs(LogsArguments),
    /// Hold a job's ranks; they keep their memory and their row
    Pause(JobArguments),
    /// Let a job go on that is paused or suspended
    Resume(JobArguments),
    /// End a job's pods and give up its row until it is resumed; then it begins anew
    Suspend(JobArguments),
    /// The nodes of partitions, and those that are in none
    Nodes(NodesArguments),
}

/// Arguments of `local`.
#[derive(Debug, Args)]
pub(crate) struct LocalArguments {
    /// What to do on this machine.
    #[command(subcommand)]
    pub command: LocalCommand,
}

/// What to do on this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    /// Run the jobs of manifests and wait for their end
    ///
    /// Exit status: 0 when no job failed, 1 when one did or the run could not be carried out, 2 when the input was refused and nothing was started, 130 when interrupted. A first interrupt ends every gang and gives it its grace, a second kills everything.
    Run(RunArguments),
    /// Copy a file to the store of every node, on the path that programs take to a cluster's nodes
    ///
    /// Agents as those of a run give the file to each other in a pipeline, write it, and make sure by COMPARE-AND-WRITE that all have it. Exit status: 0 when all have it, 1 when not, 2 when the input was refused, 130 when interrupted.
    Stage(StageArguments),
}

/// Arguments of `local stage`.
#[derive(Debug, Args)]
pub(crate) struct StageArguments {
    /// The file
    pub file: PathBuf,
    /// Folder of the stores: the file comes into node-0, node-1 and so on below it
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Nodes that this machine stands for
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64))]
    pub nodes: u16,
    /// Its name in the stores; its own when left out
    #[arg(long)]
    pub name: Option<String>,
    /// Print what was done as a document
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// Folder in which the run's own folder is made; a folder for run-time files when left out
    #[arg(long, value_name = "DIR")]
    pub run_directory: Option<PathBuf>,
}

/// Arguments of `local run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Manifests of Partition and ParallelJob documents; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Nodes that this machine stands for; as many as the largest gang needs when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64))]
    pub nodes: Option<u16>,
    /// CPUs of each node; as many as the widest gang needs when left out
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CPUS_PER_NODE)))]
    pub cpus_per_node: Option<u16>,
    /// Time between two row switches, such as 10ms; replaces the manifest's
    #[arg(long, value_name = "TIME", value_parser = quantum)]
    pub quantum: Option<Duration>,
    /// Rows of the matrix; replaces the manifest's
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=ROWS_MAX as i64))]
    pub rows: Option<u8>,
    /// Row after row, or everything thawed for comparison; replaces the manifest's
    #[arg(long, value_enum)]
    pub policy: Option<Policy>,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write a trace of every switch on every node to this file, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Print the report instead of the summary
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// Folder in which the run's own folder is made; a folder for run-time files when left out
    #[arg(long, value_name = "DIR")]
    pub run_directory: Option<PathBuf>,
    /// Cgroup below which the run makes its own, as a path from the root of the v2 tree; that root, or else this process's own cgroup, when left out
    #[arg(long, value_name = "PATH", env = "STROBE_CGROUP")]
    pub cgroup: Option<String>,
    /// Folder for the ranks' output, one file a rank; kept only after a failure when left out
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// Leave the agent of this node dead when it dies: how tests lose a node
    #[arg(long, hide = true, value_name = "NODE")]
    pub no_restart_node: Vec<u16>,
}

/// What the strobe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Row after row: a gang runs only in its rows
    Gang,
    /// Everything is thawed and the kernel shares the CPUs
    Kernel,
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

fn quantum(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = TimeField::Quantum.range();
    let right = || format!("it must be a number with a unit, such as 10ms, between {shortest} and {longest}");
    let quantum: Duration = text.parse().map_err(|_| right())?;
    let in_range = (shortest..=longest).contains(&quantum);
    in_range.then_some(quantum).ok_or_else(right)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_quantum_has_a_unit_and_a_range() {
        assert_eq!(quantum("10ms"), Ok(Duration::from_millis(10)));
        for bad in ["10", "20s", "1us", "fast"] {
            assert!(quantum(bad).is_err(), "{bad}");
        }
    }
}
