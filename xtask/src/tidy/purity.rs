//! core decides and touches nothing: its dependencies are an allow-list, and its sources name none of the standard library's
//! clocks, files, sockets, threads or hash-ordered collections. `core/clippy.toml` says the same by type; this also catches what
//! clippy would only see when called.

use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use super::modules::Modules;
use super::source::only_for_tests;
use super::{Finding, Source, Tree};
use crate::workspace::{Dependency, Metadata};

const RULE: &str = "purity";
const PACKAGE: &str = "strobe-core";
const SOURCES: &str = "core/src";

/// What core may use.
const DEPENDENCIES: [&str; 4] = ["arrayvec", "serde", "thiserror", "twox-hash"];
/// What its tests may use besides.
const TEST_DEPENDENCIES: [&str; 2] = ["proptest", "serde_json"];

/// Paths that core's sources must not name, nor anything below them.
const REFUSED: [&str; 18] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map",
    "std::collections::hash_set",
    "std::env",
    "std::fs",
    "std::hash::RandomState",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

pub(super) fn check(tree: &Tree, metadata: &Metadata, sources: &[Source], modules: &Modules) -> Vec<Finding> {
    let product = |source: &&Source| source.path.starts_with(SOURCES) && !modules.is_test(&source.path);
    let mut findings = check_dependencies(tree, metadata);
    findings.extend(sources.iter().filter(product).flat_map(check_source));
    findings
}

fn check_dependencies(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    let manifest = Path::new("core/Cargo.toml");
    let core = metadata.packages.iter().filter(|package| package.name == PACKAGE);
    let refused = core.flat_map(|package| &package.dependencies).filter(|dependency| !is_allowed(dependency));
    let describe = |dependency: &Dependency| {
        let allowed = DEPENDENCIES.join(", ");
        let advice = format!("core may use {allowed} (its tests also {}), not {}", TEST_DEPENDENCIES.join(", "), dependency.name);
        Finding::new(manifest, tree.line_of(manifest, &dependency.name), RULE, advice)
    };
    refused.map(describe).collect()
}

fn is_allowed(dependency: &Dependency) -> bool {
    let name = dependency.name.as_str();
    match dependency.kind.as_deref() {
        None => DEPENDENCIES.contains(&name),
        Some("dev") => DEPENDENCIES.contains(&name) || TEST_DEPENDENCIES.contains(&name),
        Some(_) => false,
    }
}

fn check_source(source: &Source) -> Vec<Finding> {
    let mut search = Search { source, findings: Vec::new() };
    search.visit_file(&source.syntax);
    search.findings
}

struct Search<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Search<'_> {
    fn judge(&mut self, path: &str, line: usize) {
        let below = |refused: &&&str| path.strip_prefix(**refused).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        if let Some(refused) = REFUSED.iter().find(below) {
            let advice = format!("core names {refused}: take the value as an input, return the effect, use ordered collections");
            self.findings.push(Finding::new(&self.source.path, line, RULE, advice));
        }
    }

    fn judge_use(&mut self, prefix: &str, tree: &UseTree) {
        let join = |name: &syn::Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        match tree {
            UseTree::Path(path) => self.judge_use(&join(&path.ident), &path.tree),
            UseTree::Name(name) => self.judge(&join(&name.ident).replace("::self", ""), name.ident.span().start().line),
            UseTree::Rename(rename) => self.judge(&join(&rename.ident), rename.ident.span().start().line),
            UseTree::Glob(glob) => self.judge(prefix, glob.star_token.spans[0].start().line),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.judge_use(prefix, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !item_is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.judge_use("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.judge(&names.join("::"), first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }
}

fn item_is_for_tests(item: &Item) -> bool {
    match item {
        Item::Mod(item) => only_for_tests(&item.attrs),
        Item::Fn(item) => only_for_tests(&item.attrs),
        Item::Use(item) => only_for_tests(&item.attrs),
        Item::Impl(item) => only_for_tests(&item.attrs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::{modules, source};
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let fixture = Fixture::good().with("core/src/lib.rs", text);
        let (sources, _) = source::parse_all(&fixture.tree);
        let modules = modules::reach(&fixture.tree, &fixture.metadata, &sources);
        check(&fixture.tree, &fixture.metadata, &sources, &modules).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn durations_ordered_maps_and_tests_are_free() {
        let text = "use std::collections::{BTreeMap, BTreeSet};\nuse std::time::Duration;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(lines(text), [0; 0]);
    }

    #[test]
    fn every_way_to_name_a_refused_path_is_found() {
        assert_eq!(lines("use std::{\n    fmt,\n    fs::File,\n};\n"), [3]);
        assert_eq!(lines("use std::collections::HashMap as Map;\n"), [1]);
        assert_eq!(lines("use std::sync::mpsc::*;\n"), [1]);
        assert_eq!(lines("use std::thread::{self};\n"), [1]);
        assert_eq!(lines("fn now() -> u64 {\n    std::time::Instant::now().elapsed().as_secs()\n}\n"), [2]);
    }

    #[test]
    fn a_name_that_only_begins_like_a_refused_one_is_free() {
        assert_eq!(lines("use std::environment::x;\nuse crate::fs::File;\n"), [0; 0]);
    }

    #[test]
    fn a_dependency_outside_the_list_is_found_also_for_the_build() {
        let fixture = Fixture::good().depends("strobe-core", "tokio", None, false).depends("strobe-core", "serde", Some("build"), false);
        let found = check_dependencies(&fixture.tree, &fixture.metadata);
        assert_eq!(found.len(), 2);
        assert!(found[0].advice.contains("not tokio"), "{}", found[0]);
    }

    #[test]
    fn tests_may_use_what_the_crate_may_and_a_little_more() {
        let fixture = Fixture::good().depends("strobe-core", "proptest", Some("dev"), false).depends("strobe-core", "serde", None, false);
        assert_eq!(check_dependencies(&fixture.tree, &fixture.metadata), []);
    }
}
