//! `cargo xtask e2e`: what users and administrators do with Strobe, on a real cluster: the laboratory's, or one that a file for clients
//! names. What a scenario needs beside Kubernetes' own API a driver does; what a cluster cannot is left out, said and counted.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::files::write_private;
use crate::lab;
use crate::limits::SCENARIOS;
use crate::process;
use crate::workspace::Workspace;

/// What `e2e/src/cluster.rs` and the scenarios read.
const IMAGES: &str = "STROBE_IMAGES";
const SHELL_IMAGE: &str = "STROBE_SHELL_IMAGE";
const VALUES: &str = "STROBE_VALUES";
const PATIENCE: &str = "STROBE_PATIENCE";
const ALL: &str = "STROBE_ALL_SCENARIOS";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// File for clients of another cluster than the laboratory's, as kubectl reads it; Strobe is installed in its current context, or upgraded
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Program with its first arguments that reaches the other cluster's nodes; what it is asked is in e2e/src/cluster/driver.rs
    #[arg(long, requires = "kubeconfig")]
    driver: Option<String>,
    /// Registry and path before the images operator, agent, examples and mpi-trial, for nodes that do not have them as localhost/strobe
    #[arg(long, requires = "kubeconfig")]
    images: Option<String>,
    /// Image with a shell and busybox's programs
    #[arg(long, requires = "kubeconfig", default_value = "busybox:1.37")]
    shell_image: String,
    /// More values for the chart
    #[arg(long, requires = "kubeconfig")]
    values: Option<PathBuf>,
    /// Longest wait for anything that a scenario asks for, in seconds, for clusters that are slow [default: 420]
    #[arg(long, requires = "kubeconfig")]
    patience: Option<u32>,
    /// Also the scenarios that take minutes each
    #[arg(long)]
    all: bool,
    /// Arguments of the scenarios' program: part of a name, --list, --test-threads N
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the scenarios.
///
/// # Errors
/// There is no cluster, or something cannot be built.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let mut command = workspace.cargo();
    // With the features that the whole workspace has together: what the other tests have built is used again.
    command.args(["test", "--locked", "--workspace", "--features", "strobe-e2e/laboratory", "--test", "scenarios", "--"]);
    command.args(["--test-threads", &SCENARIOS.to_string()]).args(&options.arguments);
    // A scenario that fails says where; what leads there is always the same.
    command.env("RUST_BACKTRACE", "0");
    if options.all {
        command.env(ALL, "1");
    }
    match options.kubeconfig.as_deref().filter(|file| !lab::is_kubeconfig(file)) {
        Some(file) => foreign(workspace, &mut command, options, file)?,
        None => return lab::drive_tests(workspace, command),
    }
    process::pass_through(command)
}

/// Somebody's own cluster. Strobe is installed there, and stays; what removes it is for clusters alone whose driver says `installation`.
fn foreign(workspace: &Workspace, command: &mut Command, options: &Options, file: &Path) -> Result<()> {
    command.env(lab::CLUSTER, pinned(workspace, file)?).env_remove("KUBECONFIG").env(SHELL_IMAGE, &options.shell_image);
    if let Ok(folders) = lab::api_server_folders() {
        command.env(lab::KUBERNETES, folders);
    }
    for (name, value) in [(lab::DRIVER, &options.driver), (IMAGES, &options.images)] {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    if let Some(patience) = options.patience {
        command.env(PATIENCE, patience.to_string());
    }
    if let Some(values) = &options.values {
        command.env(VALUES, fs::canonicalize(values).with_context(|| format!("find {}", values.display()))?);
    }
    Ok(())
}

/// The current context alone, in a file of our own: it does not change below the tests when its user works on.
fn pinned(workspace: &Workspace, file: &Path) -> Result<PathBuf> {
    let mut kubectl = Command::new(kubectl());
    kubectl.env("KUBECONFIG", file).args(["config", "view", "--minify", "--flatten", "--raw"]);
    let output = kubectl.output().context("run kubectl")?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    let path = workspace.target().join("e2e.kubeconfig");
    write_private(&path, &output.stdout)?;
    Ok(path)
}

/// The laboratory's, where it was built, or the user's.
fn kubectl() -> PathBuf {
    let kept = lab::api_server_folders().ok();
    let mut found = kept.iter().flat_map(env::split_paths).map(|folder| folder.join("kubectl"));
    found.find(|path| path.is_file()).unwrap_or_else(|| "kubectl".into())
}
