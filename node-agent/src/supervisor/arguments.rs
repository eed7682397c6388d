//! The command line of `strobe-init`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::error::SupervisorError;
use crate::supervisor_protocol::{GangName, Incarnation, limits};

/// Supervises the ranks of one gang on one node.
#[derive(Debug, Parser)]
#[command(name = "strobe-init", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Supervise ranks that run COMMAND.
    Run(RunArguments),
    /// Check on the ranks for kubelet, as far as they run.
    Probe(ProbeArguments),
    /// Wait to become a rank; used by `run` only.
    #[command(hide = true)]
    Stub(StubArguments),
}

/// Arguments of `strobe-init run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Unix socket of the agent.
    #[arg(long)]
    pub socket: PathBuf,
    /// Name of the gang; else from STROBE_GANG.
    #[arg(long)]
    pub gang: Option<String>,
    /// Incarnation of the gang; else from STROBE_INCARNATION.
    #[arg(long)]
    pub incarnation: Option<u64>,
    /// Directory for each rank's raw output, rank-N.log.
    #[arg(long)]
    pub log_directory: Option<PathBuf>,
    /// Where the ranks' output goes, each line with its gang and rank: a FIFO, or - for standard output, where a line has its rank
    /// alone, and none where there is one rank.
    #[arg(long, default_value = "-")]
    pub output: PathBuf,
    /// Process whose end ends the ranks too when no agent is connected.
    #[arg(long)]
    pub owner_pid: Option<i32>,
    /// Name of the abstract socket where probes ask whether the ranks run; without it none can.
    #[arg(long, value_name = "NAME")]
    pub probe_socket: Option<String>,
    /// The ranks' program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `strobe-init probe`.
#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// Which of the container's probes it is.
    #[arg(long)]
    pub kind: ProbeKind,
    /// How long the check may take while the ranks run.
    #[arg(long)]
    pub timeout_seconds: u64,
    /// How long it may take in all; past it the last result stands.
    #[arg(long)]
    pub wait_seconds: u64,
    /// Name of the supervisor's abstract socket.
    #[arg(long, default_value = "strobe-probe")]
    pub socket: String,
    /// Directory in which the last result is kept.
    #[arg(long, default_value = "/dev/shm")]
    pub memory: PathBuf,
    /// What is checked.
    #[command(subcommand)]
    pub check: Check,
}

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProbeKind {
    /// Whether it is to be killed.
    Liveness,
    /// Whether it is to be reached by Services.
    Readiness,
    /// Whether it has begun.
    Startup,
}

/// What a probe checks.
#[derive(Debug, Subcommand)]
pub enum Check {
    /// A program ends with status 0.
    Exec {
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// A page is served.
    Http(HttpArguments),
    /// A port is open.
    Tcp(TcpArguments),
}

/// A page.
#[derive(Debug, Clone, Args)]
pub struct HttpArguments {
    /// Where it is served.
    #[command(flatten)]
    pub place: TcpArguments,
    /// Its path.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// A header of the request, as in `Name: value`.
    #[arg(long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
}

/// A port.
#[derive(Debug, Clone, Args)]
pub struct TcpArguments {
    /// Its number.
    #[arg(long)]
    pub port: u16,
    /// Whose it is. Default: the pod's own address.
    #[arg(long)]
    pub host: Option<String>,
}

/// Arguments of `strobe-init stub`.
#[derive(Debug, Args)]
pub struct StubArguments {
    /// The supervisor's process id.
    #[arg(long)]
    pub parent: i32,
    /// CPUs to run on.
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<u16>,
    /// The rank's program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl RunArguments {
    /// The gang and its incarnation, from the arguments or the environment.
    ///
    /// # Errors
    /// [`SupervisorError::Argument`] where one is missing, too long or no number.
    pub fn gang(&self) -> Result<(GangName, Incarnation), SupervisorError> {
        let name = self.gang.clone().or_else(|| std::env::var("STROBE_GANG").ok()).unwrap_or_default();
        if name.is_empty() || name.len() > limits::NAME_BYTES || name.contains(char::is_control) {
            let problem = format!("needs 1 to {} printable bytes, here or in STROBE_GANG", limits::NAME_BYTES);
            return Err(SupervisorError::Argument { name: "--gang", problem });
        }
        let incarnation = match self.incarnation {
            Some(number) => Some(number),
            None => std::env::var("STROBE_INCARNATION").ok().and_then(|text| text.parse().ok()),
        };
        let incarnation = incarnation.ok_or_else(|| SupervisorError::Argument {
            name: "--incarnation",
            problem: "needs a number, here or in STROBE_INCARNATION".to_owned(),
        })?;
        Ok((GangName(name), Incarnation(incarnation)))
    }
}
