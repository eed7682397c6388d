//! Programs of the build: each ends with this recipe, however that ends, or at its time limit, and what it mounts goes with it. So a
//! folder that was left half made has no mounts below it and can be removed.

use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::getpid;

use crate::limits::RDMA_VM_BUILD_STEP;

/// A command that runs the program so.
///
/// # Errors
/// The path of this program is not known.
pub(super) fn contained(program: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    command.args(["enclosed", "--parent", &getpid().to_string(), "--"]);
    command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["timeout", &RDMA_VM_BUILD_STEP.as_secs().to_string(), program]);
    Ok(command)
}
