//! Where the workspace is, how cargo is called in it, and what cargo says about it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The root folder of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

/// The part of `cargo metadata --no-deps` that the recipes use.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is an ordinary dependency; else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for members of the workspace.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) src_path: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    /// The workspace that this xtask belongs to.
    ///
    /// # Errors
    /// Run by hand outside of every workspace.
    pub(crate) fn find() -> Result<Self> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => std::env::current_dir().context("the current folder")?,
        };
        let is_root = |folder: &&Path| {
            std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.lines().any(|line| line == "[workspace]"))
        };
        match start.ancestors().find(is_root) {
            Some(root) => Ok(Self { root: root.to_path_buf() }),
            None => bail!("{} lies in no workspace: run it as `cargo xtask` inside the checkout", start.display()),
        }
    }

    /// Cargo's output folder: `CARGO_TARGET_DIR` as cargo reads it, or `target`.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
    }

    /// A command that runs in the root folder.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that started this xtask, in the root folder.
    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// What cargo knows of the workspace's members.
    ///
    /// # Errors
    /// A manifest that cargo refuses, or a `Cargo.lock` that is not current.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut command = self.cargo();
        command.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]).stderr(Stdio::inherit());
        let output = command.output().context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed; where it speaks of Cargo.lock, run `cargo check` and commit the file");
        }
        serde_json::from_slice(&output.stdout).context("read cargo metadata")
    }
}

// === impl Package ===

impl Package {
    /// The package's folder, relative to the workspace's root.
    pub(crate) fn folder<'a>(&'a self, root: &Path) -> &'a Path {
        let folder = self.manifest_path.parent().unwrap_or(&self.manifest_path);
        folder.strip_prefix(root).unwrap_or(folder)
    }
}
