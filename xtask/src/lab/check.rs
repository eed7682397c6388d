//! `cargo xtask lab check`: format, vet and tests of the laboratory's own programs.

use std::path::Path;
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
    process::run(command(&programs, &["vet", "./..."]))?;
    process::run(command(&programs, &["test", "./..."]))
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).args(arguments).env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", "-buildvcs=false");
    command
}
