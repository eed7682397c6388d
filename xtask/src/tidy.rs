//! The rules of the code that no compiler checks. Each finding says where, which rule, and what would be right.

mod direction;
mod documents;
#[cfg(test)]
mod fixture;
mod generated;
mod length;
mod modules;
mod purity;
mod source;
mod tree;
mod words;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{Metadata, Workspace};
use source::Source;
use tree::Tree;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the root.
    path: PathBuf,
    /// From 1.
    line: usize,
    rule: &'static str,
    /// What is there, and what would be right.
    advice: String,
}

/// Checks the work tree, new files included, and prints the findings.
///
/// # Errors
/// The tree cannot be read, or a generator does not run. Broken rules are in the exit code.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let tree = Tree::of_checkout(workspace)?;
    let mut findings = check(&tree, &workspace.metadata()?);
    findings.extend(generated::check(workspace, &tree)?);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", tree.files().len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every check that only reads.
fn check(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    let (sources, mut findings) = source::parse_all(tree);
    let modules = modules::reach(tree, metadata, &sources);
    findings.extend(direction::check(tree, metadata));
    findings.extend(purity::check(tree, metadata, &sources, &modules));
    findings.extend(modules::check(tree, metadata, &modules));
    findings.extend(length::check(&sources, &modules));
    findings.extend(words::check(tree, &sources));
    findings.extend(documents::check(tree));
    findings
}

// === impl Finding ===

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Self { path: path.into(), line, rule, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}: {}", self.path.display(), self.line, self.rule, self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_good_tree_has_no_findings() {
        let fixture = Fixture::good();
        assert_eq!(check(&fixture.tree, &fixture.metadata), []);
    }

    #[test]
    fn all_checks_run_on_one_bad_tree() {
        let fixture = Fixture::good()
            .with("core/src/orphan.rs", "//! Nobody's.\n")
            .with("core/src/lib.rs", "//! Core.\nmod part;\nuse std::fs;\n")
            .with("docs/adr/0002-second.md", "# Not in the index\n")
            .with("fabric/src/lib.rs", "//! Fabric.\n#[test]\n#[ignore]\nfn later() {}\n");
        let rules: Vec<&str> = check(&fixture.tree, &fixture.metadata).iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["purity", "orphan file", "ignored test", "ADR index"]);
    }

    #[test]
    fn a_finding_reads_as_a_place_and_advice() {
        let finding = Finding::new("core/src/lib.rs", 3, "rule", "what would be right");
        assert_eq!(finding.to_string(), "core/src/lib.rs:3: rule: what would be right");
    }
}
