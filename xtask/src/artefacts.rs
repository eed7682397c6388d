//! Building what demo, tests and benchmarks run: the three programs and the C examples.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::files;
use crate::process;
use crate::workspace::Workspace;

/// An example of the workspace that the checks need in any case.
pub(crate) const EXAMPLE: &str = "print-crds";

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Optimised: what demo and benchmarks run
    #[arg(long)]
    release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Where the built things are.
#[derive(Clone, Debug)]
pub(crate) struct Artefacts {
    pub(crate) kubectl_strobe: PathBuf,
    pub(crate) strobe_agent: PathBuf,
    /// The static supervisor. It also stands beside the agent; this copy is the one that no later `cargo test` or `cargo build`
    /// replaces by a dynamic one.
    pub(crate) strobe_init: PathBuf,
    /// The folder of the examples' programs; nothing without MPICH.
    pub(crate) examples: Option<PathBuf>,
}

/// Builds everything in one profile. Without `mpicc` the examples are left out.
///
/// # Errors
/// Whatever does not compile, and files that cannot be copied.
pub(crate) fn build(workspace: &Workspace, profile: Profile, mpicc: Option<&Path>) -> Result<Artefacts> {
    let folder = workspace.target().join(profile.folder());
    build_programs(workspace, profile)?;
    let strobe_init = build_static_supervisor(workspace, profile)?;
    let examples = mpicc.map(|mpicc| build_examples(workspace, mpicc)).transpose()?;
    let [kubectl_strobe, strobe_agent] = ["kubectl-strobe", "strobe-agent"].map(|name| folder.join(name));
    Ok(Artefacts { kubectl_strobe, strobe_agent, strobe_init, examples })
}

/// Builds what the agent's image takes: agent and static supervisor.
///
/// # Errors
/// Whatever does not compile, and files that cannot be copied.
pub(crate) fn build_agent(workspace: &Workspace, profile: Profile) -> Result<(PathBuf, PathBuf)> {
    build_program(workspace, profile, "strobe-node-agent", "strobe-agent")?;
    let agent = workspace.target().join(profile.folder()).join("strobe-agent");
    Ok((agent, build_static_supervisor(workspace, profile)?))
}

/// Builds the operator, which local mode has no need of.
///
/// # Errors
/// Whatever does not compile.
pub(crate) fn build_operator(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    match profile {
        Profile::Debug => build_programs(workspace, profile)?,
        Profile::Release => build_program(workspace, profile, "strobe-operator", "strobe-operator")?,
    }
    Ok(workspace.target().join(profile.folder()).join("strobe-operator"))
}

/// Builds what measures a cluster.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_measure_cluster(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    const PROGRAM: &str = "measure-cluster";
    match profile {
        Profile::Debug => {
            // As all programs are built, so that what they have built is used again.
            let mut command = workspace.cargo();
            command.args(["build", "--locked", "--workspace", "--bin", PROGRAM, "--example", EXAMPLE]);
            process::run(command)?;
        }
        Profile::Release => build_program(workspace, profile, "strobe-e2e", PROGRAM)?,
    }
    Ok(workspace.target().join(profile.folder()).join(PROGRAM))
}

fn build_program(workspace: &Workspace, profile: Profile, package: &str, program: &str) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["build", "--locked", "--package", package, "--bin", program]).args(profile.flag());
    process::run(command)
}

/// The command that checks the examples against their sequential runs.
pub(crate) fn check_examples(workspace: &Workspace, mpicc: &Path) -> std::process::Command {
    let mut command = make_examples(workspace, &mpicc.display().to_string(), &examples_folder(workspace));
    command.arg("check");
    command
}

fn build_programs(workspace: &Workspace, profile: Profile) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["build", "--locked", "--bins"]).args(profile.flag());
    match profile {
        // With the features that `cargo test --workspace` unifies, for which an example has to be among what is built: the tests' build
        // then uses all of this one again.
        Profile::Debug => command.args(["--workspace", "--example", EXAMPLE]),
        Profile::Release => command.args(["--package", "strobe-cli", "--package", "strobe-node-agent"]),
    };
    process::run(command)
}

/// The supervisor: it has to start in whatever image a pod names.
fn build_static_supervisor(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    build_static(workspace, profile, "strobe-init")
}

/// What starts ranks of MPI programs in pods for a trial, in an image of any library's.
///
/// # Errors
/// It does not compile, or cannot be copied.
pub(crate) fn build_pmi_over_tcp(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    build_static(workspace, profile, "pmi-over-tcp")
}

/// Builds what the laboratory's tests put into pods; gives the folder.
///
/// # Errors
/// Whatever does not compile, and files that cannot be copied.
pub(crate) fn build_for_pods(workspace: &Workspace) -> Result<PathBuf> {
    build_static(workspace, Profile::Debug, "laboratory-agent")?;
    let supervisor = build_static_supervisor(workspace, Profile::Debug)?;
    Ok(supervisor.parent().context("the supervisor is in a folder")?.to_owned())
}

/// Builds a program of the agent's package without any shared library.
///
/// The flag goes to the last rustc alone: crt-static only decides which C library is linked, so no dependency is built twice. The feature
/// allows the programs of the laboratory and changes nothing else: with it for all of them the library is built once.
fn build_static(workspace: &Workspace, profile: Profile, program: &str) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["rustc", "--locked", "--package", "strobe-node-agent", "--features", "laboratory", "--bin", program]);
    command.args(profile.flag()).args(["--", "-C", "target-feature=+crt-static"]);
    process::run(command)?;
    let built = workspace.target().join(profile.folder()).join(program);
    let kept = static_program(workspace, profile, program);
    let image = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    ensure!(needs_interpreter(&image) == Some(false), "{} is not static: it could not start in every image", built.display());
    replace(&built, &kept)?;
    Ok(kept)
}

/// Where the supervisor is kept that no later build replaces.
pub(crate) fn static_supervisor(workspace: &Workspace, profile: Profile) -> PathBuf {
    static_program(workspace, profile, "strobe-init")
}

fn static_program(workspace: &Workspace, profile: Profile, program: &str) -> PathBuf {
    workspace.target().join("static").join(profile.folder()).join(program)
}

/// Whether a program names a dynamic loader (a program header `PT_INTERP`, see elf(5)); nothing when it is no 64-bit little-endian
/// ELF file.
fn needs_interpreter(image: &[u8]) -> Option<bool> {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let field = image.get(at..at + bytes)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    if !image.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kinds: Option<Vec<_>> = (0..count).map(|header| number(table + header * size, 4)).collect();
    Some(kinds?.contains(&(INTERPRETER as usize)))
}

/// Copies into a new file: a supervisor that still runs from the old one keeps it.
fn replace(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("the copy has a folder")?).with_context(|| format!("make the folder of {}", to.display()))?;
    files::replace(to, |fresh| fs::copy(from, fresh).with_context(|| format!("copy {} to {}", from.display(), fresh.display())))?;
    Ok(())
}

/// Builds the examples; gives their folder.
///
/// # Errors
/// One does not compile.
pub(crate) fn build_examples(workspace: &Workspace, mpicc: &Path) -> Result<PathBuf> {
    process::run(make_examples(workspace, &mpicc.display().to_string(), &examples_folder(workspace)))?;
    Ok(examples_folder(workspace))
}

/// Builds them by another compiler, into a folder of its own.
///
/// # Errors
/// One does not compile.
pub(crate) fn build_examples_into(workspace: &Workspace, mpicc: &str, folder: &Path) -> Result<()> {
    process::run(make_examples(workspace, mpicc, folder))
}

fn make_examples(workspace: &Workspace, mpicc: &str, folder: &Path) -> std::process::Command {
    let mut command = workspace.command("make");
    command.args(["-C", "examples"]);
    command.arg(format!("OUT={}", folder.display()));
    command.arg(format!("MPICC={mpicc}"));
    command
}

/// Always beneath the root: the examples' manifests name it, wherever cargo's own output goes.
fn examples_folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/examples")
}

// === impl Options ===

impl Options {
    pub(crate) fn profile(self) -> Profile {
        if self.release { Profile::Release } else { Profile::Debug }
    }
}

// === impl Profile ===

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Debug => None,
            Self::Release => Some("--release"),
        }
    }
}

// === impl Artefacts ===

impl fmt::Display for Artefacts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in [&self.kubectl_strobe, &self.strobe_agent, &self.strobe_init].into_iter().chain(&self.examples) {
            writeln!(formatter, "{}", path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needs_interpreter(&own), Some(cfg!(not(target_feature = "crt-static"))));
        assert_eq!(needs_interpreter(b"#!/bin/sh"), None);
        assert_eq!(needs_interpreter(&own[..60]), None, "cut off");
    }

    #[test]
    fn a_copy_replaces_the_name_and_not_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("new"), folder.path().join("deep/strobe-init"));
        fs::write(&from, "first").unwrap();
        replace(&from, &to).unwrap();
        let old = fs::File::open(&to).unwrap();
        fs::write(&from, "second").unwrap();
        replace(&from, &to).unwrap();
        assert_eq!(std::io::read_to_string(old).unwrap(), "first");
        assert_eq!(fs::read_to_string(&to).unwrap(), "second");
    }
}
