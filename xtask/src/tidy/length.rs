//! Short functions and short files: what does not fit on a screen is split where its meaning splits.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Block, ItemMod, Signature};

use super::modules::Modules;
use super::source::only_for_tests;
use super::{Finding, Source};
use crate::limits::{FILE_LINES, FUNCTION_LINES};

pub(super) fn check(sources: &[Source], modules: &Modules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(long_functions(source));
        if !modules.is_test(&source.path) {
            findings.extend(long_file(source));
        }
    }
    findings
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let mut search = Functions { source, findings: Vec::new() };
    search.visit_file(&source.syntax);
    search.findings
}

/// Tests inside the file do not count: they grow with care, not with confusion.
fn long_file(source: &Source) -> Option<Finding> {
    let mut search = TestLines { lines: 0 };
    search.visit_file(&source.syntax);
    let lines = source.text.lines().count() - search.lines;
    let advice = || format!("{lines} lines without tests; at most {FILE_LINES}: split it by concern, `foo.rs` + `foo/`");
    (lines > FILE_LINES).then(|| Finding::new(&source.path, 1, "file length", advice()))
}

fn lines_between(first: Span, last: Span) -> usize {
    last.end().line - first.start().line + 1
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &Signature, block: &Block) {
        let (first, last) = (signature.fn_token.span, block.brace_token.span.close());
        let lines = lines_between(first, last);
        if lines > FUNCTION_LINES {
            let advice = format!("`{}` has {lines} lines; at most {FUNCTION_LINES}: split off pure leaves", signature.ident);
            self.findings.push(Finding::new(&self.source.path, first.start().line, "function length", advice));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.judge(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.judge(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.judge(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

struct TestLines {
    lines: usize,
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        match (&item.content, item.attrs.first()) {
            (Some((braces, _)), Some(first)) if only_for_tests(&item.attrs) => {
                self.lines += lines_between(first.pound_token.span, braces.span.close());
            }
            _ => visit::visit_item_mod(self, item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::{modules, source};
    use super::*;

    fn rules(text: &str) -> Vec<(&'static str, usize)> {
        let fixture = Fixture::good().with("core/src/part.rs", text);
        let (sources, _) = source::parse_all(&fixture.tree);
        let modules = modules::reach(&fixture.tree, &fixture.metadata, &sources);
        check(&sources, &modules).iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2))
    }

    #[test]
    fn the_limit_of_a_function_is_inclusive() {
        assert_eq!(rules(&function(FUNCTION_LINES)), []);
        assert_eq!(rules(&format!("\n{}", function(FUNCTION_LINES + 1))), [("function length", 2)]);
    }

    #[test]
    fn methods_and_functions_in_tests_count_too() {
        let method = format!("struct S;\nimpl S {{\n{}}}\n", function(FUNCTION_LINES + 1));
        assert_eq!(rules(&method), [("function length", 3)]);
        let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(FUNCTION_LINES + 1));
        assert_eq!(rules(&test), [("function length", 3)]);
        let default = format!("trait T {{\n{}}}\n", function(FUNCTION_LINES + 1));
        assert_eq!(rules(&default), [("function length", 2)]);
    }

    #[test]
    fn the_tests_of_a_file_are_not_counted() {
        let constants = "const A: u8 = 1;\n".repeat(FILE_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{constants}}}\n");
        assert_eq!(rules(&format!("{constants}{tests}")), []);
        assert_eq!(rules(&format!("{constants}const B: u8 = 1;\n{tests}")), [("file length", 1)]);
    }
}
