//! `cargo xtask rdma-vm verbs`: the fabric's own RDMA, tried between two nodes.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::nodes::{self, Node};
use super::shell::Shell;
use crate::lab::step::step;
use crate::limits::VERBS_TRIAL;
use crate::messages::executable;
use crate::prepare;
use crate::workspace::Workspace;

/// The test, as its package names it.
const TEST: &str = "verbs";
/// Where it is put.
const PROGRAM: &str = "/usr/local/bin/strobe-verbs";

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print the commands that would install what is missing here, and fail, instead of running them
    #[arg(long)]
    no_install: bool,
}

/// Builds the test here and runs it there, one process in each of two nodes; its result is in the exit code.
///
/// # Errors
/// The machine is not up, something is missing and not installed, it does not compile, or the nodes are not as they should be.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let shell = Shell::of_this_user()?;
    let libclang = prepare::verbs(options.no_install)?;
    let program = build(workspace, &libclang)?;
    let nodes = step("make two nodes", |_| nodes::make(&shell, 2))?;
    step("put the test into the machine", |_| put(&shell, program))?;
    let [receiver, sender] = nodes.as_slice() else { unreachable!("two were made") };
    let passed = between(&shell, receiver, sender)?;
    println!("verbs between {} and {}: {}", sender.name, receiver.name, if passed { "passed" } else { "FAILED" });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(workspace: &Workspace, libclang: &Path) -> Result<PathBuf> {
    println!("{} is {}", prepare::clang::VARIABLE, libclang.display());
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.args(["--package", "strobe-fabric", "--features", "verbs", "--test", TEST]).env(prepare::clang::VARIABLE, libclang);
    let output = command.stderr(Stdio::inherit()).output().context("build the trial of verbs")?;
    ensure!(output.status.success(), "the trial of verbs does not compile");
    executable(&String::from_utf8_lossy(&output.stdout), TEST)
}

fn put(shell: &Shell, program: PathBuf) -> Result<()> {
    let code = shell.put(&[program], PROGRAM)?;
    ensure!(code == ExitCode::SUCCESS, "it was not copied");
    Ok(())
}

/// Runs both sides; whether both passed. Where only one ends early, the other's connection to it breaks or its time ends.
fn between(shell: &Shell, receiver: &Node, sender: &Node) -> Result<bool> {
    let (own, peer) = (receiver.address.to_string(), sender.address.to_string());
    let mut receiving = side(shell, &receiver.name, &["receive", &own]).spawn().context("start ssh")?;
    let sent = side(shell, &sender.name, &["send", &peer, &own]).status().context("start ssh");
    let received = receiving.wait().context("wait for ssh")?;
    Ok(sent?.success() && received.success())
}

fn side(shell: &Shell, node: &str, words: &[&str]) -> Command {
    shell.limited(VERBS_TRIAL, &[&["ip", "netns", "exec", node, PROGRAM], words].concat())
}
