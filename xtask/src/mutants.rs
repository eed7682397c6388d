//! Mutation tests of the core, module by module: which change of a decision would no test notice?
//!
//! It takes hours, so it is no part of `ci`. A module that was interrupted goes on where it ended.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::limits::MUTANT_SECONDS;
use crate::process;
use crate::tool;
use crate::workspace::Workspace;

/// Another version makes other mutants, and the list of survivors is about one version's.
const VERSION: &str = "27.1.0";

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Modules of the core, such as matrix; all of them, one after the other, when left out
    modules: Vec<String>,
    /// Forget what earlier runs have found
    #[arg(long)]
    fresh: bool,
}

/// Runs the mutants of each module that no earlier run has caught.
///
/// # Errors
/// No such module, cargo-mutants cannot be built, or a mutant survives.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let known = modules(&workspace.root.join("core/src"))?;
    let unknown: Vec<_> = options.modules.iter().filter(|module| !known.contains(module)).collect();
    ensure!(unknown.is_empty(), "the core has no module {unknown:?}; it has {known:?}");
    let mutants = tool::built(workspace, "cargo-mutants", VERSION)?;
    let chosen = if options.modules.is_empty() { &known } else { &options.modules };
    for module in chosen {
        let found = workspace.target().join("mutants").join(module);
        if options.fresh && found.exists() {
            fs::remove_dir_all(&found).with_context(|| format!("remove {}", found.display()))?;
        }
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        process::run(command(workspace, &mutants, module, &found))?;
    }
    Ok(())
}

fn command(workspace: &Workspace, mutants: &Path, module: &str, found: &Path) -> std::process::Command {
    let mut command = workspace.command(mutants);
    command.args(["mutants", "--package", "strobe-core", "--iterate", "--no-shuffle", "--colors", "never"]);
    for pattern in [format!("core/src/{module}.rs"), format!("core/src/{module}/**")] {
        command.arg("--file").arg(pattern);
    }
    // What the core's own tests let through, the simulation may catch.
    command.args(["--test-package", "strobe-core,strobe-sim"]);
    command.arg("--timeout").arg(MUTANT_SECONDS.to_string()).arg("--output").arg(found);
    command
}

/// The modules of a crate: its files but the root, its limits and what has no decisions.
fn modules(source: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(source).with_context(|| format!("read {}", source.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("read {}", source.display()))?.file_name();
        let module = name.to_str().and_then(|name| name.strip_suffix(".rs"));
        found.extend(module.filter(|module| !["lib", "limits"].contains(module)).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_the_files_beside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["lib.rs", "limits.rs", "node.rs", "matrix.rs", "notes.txt"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(modules(folder.path()).unwrap(), ["matrix", "node"]);
    }
}
