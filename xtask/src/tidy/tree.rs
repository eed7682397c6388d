//! The files under check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// A folder and the files in it that are ours.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// Relative to the root, sorted.
    files: Vec<PathBuf>,
}

impl Tree {
    /// What git tracks and what it would, were it added: neither build output nor what is ignored.
    ///
    /// # Errors
    /// This is no git checkout.
    pub(super) fn of_checkout(workspace: &Workspace) -> Result<Self> {
        let mut command = workspace.command("git");
        command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).stderr(Stdio::inherit());
        let output = command.output().context("run git ls-files")?;
        if !output.status.success() {
            bail!("git ls-files failed: tidy checks a git checkout");
        }
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Self::new(workspace.root.clone(), names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect()))
    }

    /// `files` that do not exist (deleted, but not yet committed so) are left out.
    pub(super) fn new(root: PathBuf, mut files: Vec<PathBuf>) -> Self {
        files.retain(|file| root.join(file).is_file());
        files.sort();
        files.dedup();
        Self { root, files }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The files whose name ends so, in order.
    pub(super) fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a Path> {
        self.files.iter().filter(move |file| file.extension().is_some_and(|end| end == extension)).map(PathBuf::as_path)
    }

    /// A file's text; nothing for pictures and other binary files, or one that went away meanwhile.
    pub(super) fn text(&self, file: &Path) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }

    /// The first line (from 1) of a file that contains `needle`, or 1.
    pub(super) fn line_of(&self, file: &Path, needle: &str) -> usize {
        let text = self.text(file).unwrap_or_default();
        text.lines().position(|line| line.contains(needle)).map_or(1, |index| index + 1)
    }
}
