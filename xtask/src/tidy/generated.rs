//! Files that a program writes are checked in, so that people can read and apply them; so they must be what the program writes today.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::{Finding, Tree};
use crate::artefacts::EXAMPLE;
use crate::process;
use crate::workspace::Workspace;

const FOLDER: &str = "crds/generated";
const RULE: &str = "generated file";
const ADVICE: &str = "not what the program writes: `cargo run --package strobe-crds --example print-crds -- --write`";
/// What parts the documents that the generator prints.
const SEPARATOR: &str = "---\n";

/// Compares the checked-in CRDs with what their generator prints. (The transition snapshots of core are its own plain tests.)
///
/// # Errors
/// The generator cannot be built or run.
pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    let printed = print(workspace)?;
    let written = tree.with_extension("yaml").filter(|file| file.starts_with(FOLDER));
    Ok(compare(&printed, &written.map(|file| (file.to_path_buf(), tree.text(file).unwrap_or_default())).collect()))
}

/// Builds with the features that the whole workspace unifies, as the tests do: so the large Kubernetes types are built once.
fn print(workspace: &Workspace) -> Result<String> {
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--locked", "--workspace", "--example", EXAMPLE]);
    process::run(build)?;
    let program = workspace.target().join("debug/examples").join(EXAMPLE);
    let output = workspace.command(&program).stderr(Stdio::inherit()).output().with_context(|| format!("run {}", program.display()))?;
    if !output.status.success() {
        bail!("the generator of the CRDs failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("the CRDs are text")
}

fn compare(printed: &str, written: &BTreeMap<PathBuf, String>) -> Vec<Finding> {
    let printed = documents(printed);
    let stale = written.iter().filter(|(_, text)| !printed.contains(&text.as_str()));
    let mut findings: Vec<Finding> = stale.map(|(path, _)| Finding::new(path, 1, RULE, ADVICE)).collect();
    if printed.len() > written.len() {
        findings.push(Finding::new(
            Path::new(FOLDER),
            1,
            RULE,
            format!("{} of {} files are missing. {ADVICE}", printed.len() - written.len(), printed.len()),
        ));
    }
    findings
}

/// The documents of a stream, each without the separator before it.
fn documents(stream: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut rest = stream.strip_prefix(SEPARATOR).unwrap_or(stream);
    while let Some((document, after)) = rest.split_once("\n---\n").map(|(document, after)| (&rest[..=document.len()], after)) {
        documents.push(document);
        rest = after;
    }
    documents.push(rest);
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "---\na: 1\n---\nb: 2\n";

    fn written(texts: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        texts.iter().map(|(name, text)| (Path::new(FOLDER).join(name), (*text).to_owned())).collect()
    }

    #[test]
    fn current_files_pass_in_any_order() {
        assert_eq!(compare(PRINTED, &written(&[("a.yaml", "b: 2\n"), ("b.yaml", "a: 1\n")])), []);
    }

    #[test]
    fn a_stale_and_a_surplus_file_are_named() {
        let findings = compare(PRINTED, &written(&[("a.yaml", "a: 1\n"), ("b.yaml", "b: 3\n"), ("c.yaml", "c: 1\n")]));
        let names: Vec<_> = findings.iter().map(|finding| finding.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["b.yaml", "c.yaml"]);
    }

    #[test]
    fn a_missing_file_is_said() {
        let findings = compare(PRINTED, &written(&[("a.yaml", "a: 1\n")]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.starts_with("1 of 2 files"), "{}", findings[0]);
    }
}
