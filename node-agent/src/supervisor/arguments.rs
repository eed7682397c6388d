//! The command line of `strobe-init`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

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
    /// Where the ranks' prefixed output goes: a FIFO, or - for standard output.
    #[arg(long, default_value = "-")]
    pub output: PathBuf,
    /// Process whose end ends the ranks too when no agent is connected.
    #[arg(long)]
    pub owner_pid: Option<i32>,
    /// The ranks' program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
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
