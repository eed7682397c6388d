//! The programs of the fault tests: built once, then run again and again.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};

use crate::messages::executable;
use crate::process;
use crate::workspace::Workspace;

/// The tests of faults, in the order in which they run.
const TESTS: [&str; 3] = ["freezer_kernel", "agent", "faults"];

/// What they run.
const PROGRAMS: [&str; 3] = ["kubectl-strobe", "strobe-agent", "strobe-init"];

/// See the module.
pub(super) struct Programs {
    /// The tests' programs.
    pub(super) tests: Vec<PathBuf>,
    programs: Vec<PathBuf>,
}

// === impl Programs ===

impl Programs {
    /// # Errors
    /// They do not compile, or cargo does not say where they are.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let packages = ["--package", "strobe-node-agent", "--package", "strobe-cli"];
        let mut bins = workspace.cargo();
        bins.args(["build", "--locked", "--bins"]).args(packages);
        process::run(bins)?;
        let mut command = workspace.cargo();
        command.args(["test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]).args(packages);
        for test in TESTS {
            command.args(["--test", test]);
        }
        let output = command.stderr(Stdio::inherit()).output().context("build the fault tests")?;
        ensure!(output.status.success(), "the fault tests do not compile");
        let messages = String::from_utf8_lossy(&output.stdout);
        let tests: Result<Vec<PathBuf>> = TESTS.iter().map(|test| executable(&messages, test)).collect();
        let folder = workspace.target().join("debug");
        Ok(Self { tests: tests?, programs: PROGRAMS.iter().map(|name| folder.join(name)).collect() })
    }

    /// Differs when a program was built again.
    ///
    /// # Errors
    /// A program that is gone.
    pub(super) fn fingerprint(&self) -> Result<String> {
        let mut fingerprint = String::new();
        for path in self.tests.iter().chain(&self.programs) {
            let file = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
            let built = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            fingerprint.push_str(&format!("{} {} {};", path.display(), file.len(), built.as_nanos()));
        }
        Ok(fingerprint)
    }
}
