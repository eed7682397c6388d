//! Which part of the workspace a change touches: for daily work, where only that part is checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace::{Metadata, Workspace};

/// Whose tests run what another crate, or the folder of examples, builds: an edge that cargo does not know.
const RUNS: [(&str, &str); 2] = [("strobe-cli", "strobe-node-agent"), ("strobe-cli", EXAMPLES)];

const EXAMPLES: &str = "examples";

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    Part(Part),
}

/// A part of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The changed crates and all that depend on them.
    pub(crate) packages: BTreeSet<String>,
    pub(crate) examples: bool,
}

/// What the work tree changes against HEAD, new files included.
///
/// # Errors
/// This is no git checkout.
pub(crate) fn find(workspace: &Workspace) -> Result<Scope> {
    let mut files = git(workspace, &["diff", "--name-only", "HEAD"])?;
    files.extend(git(workspace, &["ls-files", "--others", "--exclude-standard"])?);
    Ok(scope(&files, &workspace.metadata()?, &workspace.root))
}

fn git(workspace: &Workspace, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let output = workspace.command("git").args(arguments).stderr(Stdio::inherit()).output().context("run git")?;
    if !output.status.success() {
        bail!("git {} failed", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
}

fn scope(files: &[PathBuf], metadata: &Metadata, root: &Path) -> Scope {
    if files.iter().any(|file| governs_everything(file)) {
        return Scope::Everything;
    }
    let owned = |folder: &Path| files.iter().any(|file| file.starts_with(folder));
    let changed = metadata.packages.iter().filter(|package| owned(package.folder(root))).map(|package| package.name.clone());
    let examples = owned(Path::new(EXAMPLES));
    let mut packages = with_dependents(changed.chain(examples.then(|| EXAMPLES.to_owned())).collect(), metadata);
    packages.remove(EXAMPLES);
    Scope::Part(Part { packages, examples })
}

/// Files that every crate is built or checked with.
fn governs_everything(file: &Path) -> bool {
    let shared = ["Cargo.toml", "Cargo.lock", "clippy.toml", "rustfmt.toml", "deny.toml"];
    file.starts_with(".cargo") || file.starts_with(".ci") || shared.iter().any(|name| file == Path::new(name))
}

fn with_dependents(mut packages: BTreeSet<String>, metadata: &Metadata) -> BTreeSet<String> {
    loop {
        let depends = |package: &&crate::workspace::Package| {
            package.dependencies.iter().any(|one| packages.contains(&one.name))
                || RUNS.iter().any(|(tests, run)| package.name == *tests && packages.contains(*run))
        };
        let more: BTreeSet<String> = metadata.packages.iter().filter(depends).map(|package| package.name.clone()).collect();
        if more.is_subset(&packages) {
            return packages;
        }
        packages.extend(more);
    }
}

// === impl Part ===

impl Part {
    /// Whether nothing that can be built or run has changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.examples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let package = |name: &str, needs: &[&str]| {
            let needs: Vec<String> = needs.iter().map(|need| format!(r#"{{"name":"{need}","kind":null,"path":"/w/{need}"}}"#)).collect();
            format!(r#"{{"name":"{name}","manifest_path":"/w/{name}/Cargo.toml","dependencies":[{}],"targets":[]}}"#, needs.join(","))
        };
        let packages = [
            package("core", &[]),
            package("fabric", &["core"]),
            package("strobe-node-agent", &["fabric"]),
            package("crds", &[]),
            package("strobe-cli", &["crds"]),
        ];
        serde_json::from_str(&format!(r#"{{"packages":[{}]}}"#, packages.join(","))).unwrap()
    }

    fn scope_of(file: &str) -> Scope {
        scope(&[PathBuf::from(file)], &metadata(), Path::new("/w"))
    }

    fn part(packages: &[&str], examples: bool) -> Scope {
        Scope::Part(Part { packages: packages.iter().map(|&name| name.to_owned()).collect(), examples })
    }

    #[test]
    fn a_change_reaches_all_dependents() {
        assert_eq!(scope_of("fabric/src/lib.rs"), part(&["fabric", "strobe-node-agent", "strobe-cli"], false));
        assert_eq!(scope_of("core/src/lib.rs"), part(&["core", "fabric", "strobe-node-agent", "strobe-cli"], false));
        assert_eq!(scope_of("crds/src/lib.rs"), part(&["crds", "strobe-cli"], false));
    }

    #[test]
    fn examples_are_run_by_tests_and_documents_by_none() {
        assert_eq!(scope_of("examples/sor/sor.c"), part(&["strobe-cli"], true));
        assert_eq!(scope_of("docs/glossary.md"), part(&[], false));
    }

    #[test]
    fn what_governs_all_crates_checks_all() {
        for file in ["Cargo.lock", "clippy.toml", ".cargo/config.toml", ".ci/run"] {
            assert_eq!(scope_of(file), Scope::Everything, "{file}");
        }
        assert_eq!(scope_of("crds/Cargo.toml"), part(&["crds", "strobe-cli"], false));
    }
}
