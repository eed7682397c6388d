//! Which part of the workspace a change touches: for daily work, where only that part is checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace::{Metadata, Workspace};

/// Whose tests run what another crate, or the folder of examples, builds, or read what lies in a folder: edges that cargo does not know.
const RUNS: [(&str, &str); 3] = [("strobe-cli", "strobe-node-agent"), ("strobe-cli", EXAMPLES), ("strobe-operator", MANIFESTS)];

const EXAMPLES: &str = "examples";

/// What is written from the chart.
const MANIFESTS: &str = "deploy";

/// What the check of the chart reads; the custom resources are linked into it.
const CHART: [&str; 3] = ["helm", MANIFESTS, "crds/generated"];

/// What the check of the laboratory's own programs reads.
const LABORATORY: &str = "e2e/lab";

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
    pub(crate) chart: bool,
    /// The laboratory's own programs, which no crate holds.
    pub(crate) laboratory: bool,
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
    let touched = |folder: &Path| files.iter().any(|file| file.starts_with(folder));
    let changed = metadata.packages.iter().filter(|package| touched(package.folder(root))).map(|package| package.name.clone());
    let folders = [EXAMPLES, MANIFESTS].into_iter().filter(|folder| touched(Path::new(folder))).map(str::to_owned);
    let mut packages = with_dependents(changed.chain(folders).collect(), metadata);
    let examples = packages.remove(EXAMPLES);
    packages.remove(MANIFESTS);
    let chart = CHART.iter().any(|folder| touched(Path::new(folder)));
    Scope::Part(Part { packages, examples, chart, laboratory: touched(Path::new(LABORATORY)) })
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
            package("e2e", &[]),
            package("strobe-operator", &["e2e"]),
        ];
        serde_json::from_str(&format!(r#"{{"packages":[{}]}}"#, packages.join(","))).unwrap()
    }

    fn scope_of(file: &str) -> Scope {
        scope(&[PathBuf::from(file)], &metadata(), Path::new("/w"))
    }

    fn packages(names: &[&str]) -> Part {
        Part { packages: names.iter().map(|&name| name.to_owned()).collect(), ..Part::default() }
    }

    #[test]
    fn a_change_reaches_all_dependents() {
        assert_eq!(scope_of("fabric/src/lib.rs"), Scope::Part(packages(&["fabric", "strobe-node-agent", "strobe-cli"])));
        assert_eq!(scope_of("core/src/lib.rs"), Scope::Part(packages(&["core", "fabric", "strobe-node-agent", "strobe-cli"])));
        assert_eq!(scope_of("crds/src/lib.rs"), Scope::Part(packages(&["crds", "strobe-cli"])));
    }

    #[test]
    fn examples_are_run_by_tests_and_documents_by_none() {
        assert_eq!(scope_of("examples/sor/sor.c"), Scope::Part(Part { examples: true, ..packages(&["strobe-cli"]) }));
        assert_eq!(scope_of("docs/glossary.md"), Scope::Part(packages(&[])));
    }

    #[test]
    fn a_folder_of_no_crate_is_checked_by_what_reads_it() {
        let chart = |names: &[&str]| Scope::Part(Part { chart: true, ..packages(names) });
        assert_eq!(scope_of("helm/strobe/values.yaml"), chart(&[]));
        assert_eq!(scope_of("deploy/strobe.yaml"), chart(&["strobe-operator"]));
        assert_eq!(scope_of("crds/generated/partition.yaml"), chart(&["crds", "strobe-cli"]));
        let laboratory = Part { laboratory: true, ..packages(&["e2e", "strobe-operator"]) };
        assert_eq!(scope_of("e2e/lab/programs/cmd/pause/main.go"), Scope::Part(laboratory));
    }

    #[test]
    fn what_governs_all_crates_checks_all() {
        for file in ["Cargo.lock", "clippy.toml", ".cargo/config.toml", ".ci/run"] {
            assert_eq!(scope_of(file), Scope::Everything, "{file}");
        }
        assert_eq!(scope_of("crds/Cargo.toml"), Scope::Part(packages(&["crds", "strobe-cli"])));
    }
}
