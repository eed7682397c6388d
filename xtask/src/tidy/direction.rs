//! Which crate may use which: the shells use the contracts, those use core, never the other way round.

use super::{Finding, Tree};
use crate::workspace::{Dependency, Metadata, Package};

const RULE: &str = "crate direction";

const SHELL_USES: &[&str] = &["strobe-proto", "strobe-crds", "strobe-fabric", "strobe-core"];
/// The tests of both run them at a real API server.
const AUTHORITY_USES: &[&str] = &["strobe-authority", "strobe-proto", "strobe-crds", "strobe-fabric", "strobe-core", "strobe-e2e"];
const CORE: &[&str] = &["strobe-core"];

/// Every crate with those of ours that it may use, in tests too.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("strobe-operator", AUTHORITY_USES),
    ("strobe-node-agent", SHELL_USES),
    ("strobe-authority", SHELL_USES),
    ("strobe-cli", AUTHORITY_USES),
    ("strobe-proto", CORE),
    ("strobe-crds", CORE),
    ("strobe-fabric", CORE),
    ("strobe-sim", CORE),
    ("strobe-core", &[]),
    ("strobe-e2e", &["strobe-crds"]),
    ("xtask", &[]),
];

pub(super) fn check(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    metadata.packages.iter().flat_map(|package| check_package(tree, package)).collect()
}

fn check_package(tree: &Tree, package: &Package) -> Vec<Finding> {
    let manifest = package.folder(tree.root()).join("Cargo.toml");
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
        let advice = format!("{} is unknown: say in xtask/src/tidy/direction.rs which crates it may use", package.name);
        return vec![Finding::new(manifest, tree.line_of(&package.folder(tree.root()).join("Cargo.toml"), "name"), RULE, advice)];
    };
    // A package may name itself to have a feature in its tests.
    let is_allowed = |name: &str| name == package.name || allowed.contains(&name);
    let refused = |dependency: &&Dependency| dependency.path.is_some() && !is_allowed(&dependency.name);
    let describe = |dependency: &Dependency| {
        let allowed = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
        let advice = format!("{} may not use {}; it may use {allowed}", package.name, dependency.name);
        Finding::new(&manifest, tree.line_of(&manifest, &dependency.name), RULE, advice)
    };
    package.dependencies.iter().filter(refused).map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn the_allowed_directions_pass() {
        let fixture = Fixture::good();
        assert_eq!(check(&fixture.tree, &fixture.metadata), []);
    }

    #[test]
    fn core_may_use_no_crate_of_ours_not_even_in_tests() {
        let fixture = Fixture::good().depends("strobe-core", "strobe-fabric", Some("dev"), true);
        let findings = check(&fixture.tree, &fixture.metadata);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.contains("strobe-core may not use strobe-fabric"), "{}", findings[0]);
    }

    #[test]
    fn an_unknown_crate_must_be_placed() {
        let fixture = Fixture::good().package("strobe-new", "new");
        assert!(check(&fixture.tree, &fixture.metadata)[0].advice.contains("strobe-new is unknown"));
    }
}
