//! The programs of the fault tests: built once, then run again and again.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

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

/// The part of cargo's messages that is used.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
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

/// Where cargo says that the test's program is.
fn executable(messages: &str, test: &str) -> Result<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let of_test = |message: &Message| message.target.as_ref().is_some_and(|target| target.name == test && target.kind == ["test"]);
    let Some(path) = parsed.filter(of_test).find_map(|message| message.executable) else { bail!("cargo does not say where {test} is") };
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_tests_program_is() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"agent"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"agent"},"executable":"/t/agent-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(executable(messages, "agent").unwrap(), PathBuf::from("/t/agent-1"));
        assert!(executable(messages, "faults").is_err());
    }
}
