//! Which archives of images the cluster's nodes have been given. One that they have need not be given again, and what runs an earlier image
//! of the same name has to be started anew: kubelet would not look.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::state::State;
use crate::files::replace_json;
use crate::process;

/// In the laboratory's folder.
const FILE: &str = "images.json";

/// Where Strobe is installed, and what of it runs which image.
const NAMESPACE: &str = "strobe-system";
const WORKLOADS: [(&str, &str); 2] = [("operator.tar", "deployment/strobe-operator"), ("agent.tar", "daemonset/strobe-agent")];

/// The digest of each archive, by its file's name.
#[derive(Default)]
pub(super) struct Loaded(BTreeMap<String, String>);

// === impl Loaded ===

impl Loaded {
    /// What is noted of this cluster.
    pub(super) fn read(state: &State) -> Self {
        let noted = fs::read(state.file(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self(noted.unwrap_or_default())
    }

    /// A new cluster has none.
    pub(super) fn forget(state: &State) {
        let _none = fs::remove_file(state.file(FILE));
    }

    /// Notes an archive; false when it was noted before, with the same content.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn note(&mut self, archive: &Path) -> Result<bool> {
        let digest = digest(archive)?;
        Ok(self.0.insert(name(archive), digest.clone()) != Some(digest))
    }

    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, state: &State) -> Result<()> {
        replace_json(&state.file(FILE), &self.0)
    }
}

/// Starts anew what runs the image of this archive, where it is installed.
///
/// # Errors
/// kubectl fails.
pub(super) fn restart(archive: &Path, kubectl: impl Fn() -> Command) -> Result<()> {
    let Some((_, workload)) = WORKLOADS.iter().find(|(file, _)| name(archive) == *file) else { return Ok(()) };
    let mut ask = kubectl();
    ask.args(["--namespace", NAMESPACE, "get", workload]).stdout(Stdio::null()).stderr(Stdio::null());
    if !ask.status().context("run kubectl")?.success() {
        return Ok(());
    }
    let mut restart = kubectl();
    restart.args(["--namespace", NAMESPACE, "rollout", "restart", workload]);
    process::run(restart)
}

fn name(archive: &Path) -> String {
    archive.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn digest(archive: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(archive).output().context("run sha256sum")?;
    ensure!(output.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&output.stderr).trim());
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_new_until_it_is_noted_and_when_its_content_changes() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("agent.tar");
        let mut loaded = Loaded::default();
        for (content, is_new) in [("one", true), ("one", false), ("two", true)] {
            fs::write(&archive, content).unwrap();
            assert_eq!(loaded.note(&archive).unwrap(), is_new, "{content}");
        }
        assert!(loaded.note(&folder.path().join("missing.tar")).is_err());
    }
}
