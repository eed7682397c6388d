//! Which files the compiler reaches, and through which modules: a file in no `mod` is dead, however alive it looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, LitStr, Meta};

use super::source::only_for_tests;
use super::{Finding, Source, Tree};
use crate::workspace::Metadata;

/// Folders of a package whose Rust files must be reached.
const COMPILED: [&str; 4] = ["src", "tests", "benches", "examples"];

/// What a file is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Product,
    Test,
}

/// The files that some target reaches.
#[derive(Debug, Default)]
pub(super) struct Modules {
    reached: BTreeMap<PathBuf, Use>,
}

/// A file on the way, with the folder where its modules are looked for.
struct Step {
    file: PathBuf,
    folder: PathBuf,
    purpose: Use,
}

/// Follows every `mod`, `#[path]` and `include!` from the packages' targets.
pub(super) fn reach(tree: &Tree, metadata: &Metadata, sources: &[Source]) -> Modules {
    let sources: BTreeMap<&Path, &Source> = sources.iter().map(|source| (source.path.as_path(), source)).collect();
    let mut modules = Modules::default();
    let mut open = roots(tree, metadata);
    while let Some(step) = open.pop() {
        if modules.reached.get(&step.file).is_some_and(|&known| known <= step.purpose) {
            continue;
        }
        modules.reached.insert(step.file.clone(), step.purpose);
        if let Some(source) = sources.get(step.file.as_path()) {
            open.extend(next(source, &step));
        }
    }
    modules
}

/// Orphans, and the layout that we do not use.
pub(super) fn check(tree: &Tree, metadata: &Metadata, modules: &Modules) -> Vec<Finding> {
    let compiled: Vec<PathBuf> =
        metadata.packages.iter().flat_map(|package| COMPILED.map(|part| package.folder(tree.root()).join(part))).collect();
    let mut findings = Vec::new();
    for file in tree.with_extension("rs") {
        if file.ends_with("mod.rs") {
            findings.push(Finding::new(file, 1, "mod.rs", "name the file after its module, beside the module's folder: `foo.rs` + `foo/`"));
        }
        if compiled.iter().any(|folder| file.starts_with(folder)) && !modules.reached.contains_key(file) {
            findings.push(Finding::new(file, 1, "orphan file", "no `mod` reaches it, so it is never compiled: declare or delete it"));
        }
    }
    findings
}

fn roots(tree: &Tree, metadata: &Metadata) -> Vec<Step> {
    let files = metadata.packages.iter().flat_map(|package| package.targets.iter().map(move |target| (package, target)));
    let step = |(package, target): (&crate::workspace::Package, &crate::workspace::Target)| {
        let file = target.src_path.strip_prefix(tree.root()).ok()?.to_path_buf();
        let inside = file.strip_prefix(package.folder(tree.root())).ok()?;
        let purpose = if inside.starts_with("tests") || inside.starts_with("benches") { Use::Test } else { Use::Product };
        Some(Step { folder: file.parent()?.to_path_buf(), file, purpose })
    };
    files.filter_map(step).collect()
}

/// The files that one file names.
fn next(source: &Source, step: &Step) -> Vec<Step> {
    let purpose = if only_for_tests(&source.syntax.attrs) { Use::Test } else { step.purpose };
    let mut search = Search { file: &step.file, folder: step.folder.clone(), purpose, found: Vec::new() };
    search.visit_file(&source.syntax);
    search.found
}

struct Search<'a> {
    file: &'a Path,
    folder: PathBuf,
    purpose: Use,
    found: Vec<Step>,
}

impl Search<'_> {
    fn beside(&self, path: &str) -> PathBuf {
        normal(&self.file.parent().unwrap_or(Path::new("")).join(path))
    }

    fn declared(&mut self, item: &ItemMod, purpose: Use) {
        if let Some(path) = path_attribute(&item.attrs) {
            let file = self.beside(&path);
            let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
            self.found.push(Step { file, folder, purpose });
            return;
        }
        let folder = self.folder.join(item.ident.to_string());
        // Both layouts are followed: the other one is refused by its name, not as an orphan.
        for file in [folder.with_extension("rs"), folder.join("mod.rs")] {
            self.found.push(Step { file, folder: folder.clone(), purpose });
        }
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let purpose = if only_for_tests(&item.attrs) { Use::Test } else { self.purpose };
        let Some((_, items)) = &item.content else { return self.declared(item, purpose) };
        let outer = (self.folder.clone(), self.purpose);
        self.folder.push(item.ident.to_string());
        self.purpose = purpose;
        items.iter().for_each(|item: &Item| self.visit_item(item));
        (self.folder, self.purpose) = outer;
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        if invocation.path.is_ident("include")
            && let Ok(path) = syn::parse2::<LitStr>(invocation.tokens.clone())
        {
            let file = self.beside(&path.value());
            self.found.push(Step { file, folder: self.folder.clone(), purpose: self.purpose });
        }
        visit::visit_macro(self, invocation);
    }
}

/// The value of `#[path = "…"]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        Meta::NameValue(_) | Meta::Path(_) | Meta::List(_) => None,
    })
}

/// Without `..` and `.`, as the tree's own paths are.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

// === impl Modules ===

impl Modules {
    /// Whether a file is compiled for tests only.
    pub(super) fn is_test(&self, file: &Path) -> bool {
        self.reached.get(file) == Some(&Use::Test)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::source;
    use super::*;

    fn modules(fixture: &Fixture) -> Modules {
        let (sources, _) = source::parse_all(&fixture.tree);
        reach(&fixture.tree, &fixture.metadata, &sources)
    }

    fn rules(fixture: &Fixture) -> Vec<(PathBuf, &'static str)> {
        let findings = check(&fixture.tree, &fixture.metadata, &modules(fixture));
        findings.into_iter().map(|finding| (finding.path, finding.rule)).collect()
    }

    #[test]
    fn nested_modules_are_reached_in_every_layout_that_we_use() {
        let fixture = Fixture::good()
            .with("core/src/lib.rs", "mod outer;\nmod inline { mod deep; }\n#[path = \"odd/name.rs\"]\nmod odd;\ninclude!(\"text.rs\");\n")
            .with("core/src/outer.rs", "mod inner;\n")
            .with("core/src/outer/inner.rs", "")
            .with("core/src/inline/deep.rs", "")
            .with("core/src/odd/name.rs", "mod sibling;\n")
            .with("core/src/odd/sibling.rs", "")
            .with("core/src/text.rs", "");
        let without = rules(&fixture);
        assert_eq!(without, [(PathBuf::from("core/src/part.rs"), "orphan file")]);
    }

    #[test]
    fn a_test_of_its_own_and_its_modules_are_reached() {
        let fixture = Fixture::good()
            .target("strobe-core", "core/tests/life.rs")
            .with("core/tests/life.rs", "mod support;\n")
            .with("core/tests/support.rs", "")
            .with("core/tests/forgotten/helper.rs", "");
        assert_eq!(rules(&fixture), [(PathBuf::from("core/tests/forgotten/helper.rs"), "orphan file")]);
        assert!(modules(&fixture).is_test(Path::new("core/tests/support.rs")));
    }

    #[test]
    fn files_behind_cfg_test_are_tests_unless_reached_otherwise() {
        let fixture = Fixture::good()
            .with("core/src/lib.rs", "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"part.rs\"]\nmod again;\nmod part;\n")
            .with("core/src/tests.rs", "mod more;\n")
            .with("core/src/tests/more.rs", "");
        let modules = modules(&fixture);
        assert!(modules.is_test(Path::new("core/src/tests/more.rs")));
        assert!(!modules.is_test(Path::new("core/src/part.rs")));
    }

    #[test]
    fn mod_rs_is_refused_by_name_only() {
        let fixture = Fixture::good().with("core/src/part.rs", "mod a;\n").with("core/src/part/a/mod.rs", "");
        assert_eq!(rules(&fixture), [(PathBuf::from("core/src/part/a/mod.rs"), "mod.rs")]);
    }
}
