//! `cargo xtask lab check`: format, vet and tests of the laboratory's own programs.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::go;
use crate::process;
use crate::workspace::Workspace;

/// Checks them.
///
/// # Errors
/// Go is missing, or finds something.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    go::check()?;
    let folder = workspace.root.join("e2e/lab");
    let output = Command::new("gofmt").arg("-l").arg(&folder).output().context("run gofmt")?;
    let unformatted = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && unformatted.is_empty(), "not as gofmt writes them:\n{unformatted}");
    let programs = folder.join("programs");
    for verb in ["vet", "test"] {
        let mut command = go::command(&programs);
        command.args([verb, "./..."]).env("GOFLAGS", "-buildvcs=false");
        process::run(command)?;
    }
    Ok(())
}
