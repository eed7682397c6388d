//! Rust files, parsed once for all checks.

use std::path::PathBuf;

use proc_macro2::TokenStream;
use syn::Attribute;

use super::{Finding, Tree};

/// One Rust file.
pub(super) struct Source {
    /// Relative to the root.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) syntax: syn::File,
    pub(super) tokens: TokenStream,
}

/// Parses every Rust file; one that does not parse is a finding.
pub(super) fn parse_all(tree: &Tree) -> (Vec<Source>, Vec<Finding>) {
    let (mut sources, mut findings) = (Vec::new(), Vec::new());
    for path in tree.with_extension("rs") {
        let text = tree.text(path).unwrap_or_default();
        match parse(&text) {
            Ok((syntax, tokens)) => sources.push(Source { path: path.to_path_buf(), text, syntax, tokens }),
            Err(error) => findings.push(Finding::new(path, error.span().start().line, "syntax", error.to_string())),
        }
    }
    (sources, findings)
}

fn parse(text: &str) -> syn::Result<(syn::File, TokenStream)> {
    Ok((syn::parse_file(text)?, text.parse::<TokenStream>()?))
}

/// Whether the attributes keep an item for tests only: `#[cfg(test)]`, `#[cfg(all(test, …))]`.
pub(super) fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test"
                || (condition.starts_with("all") && condition.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test"))
        }
        syn::Meta::List(_) | syn::Meta::Path(_) | syn::Meta::NameValue(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_file_that_does_not_parse_is_a_finding_at_its_line() {
        let fixture = Fixture::good().with("core/src/lib.rs", "//! Core.\n\nfn broken( {}\n");
        let (_, findings) = parse_all(&fixture.tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].rule), (3, "syntax"));
    }

    #[test]
    fn test_only_items_are_told_by_their_condition() {
        let is = |text: &str| only_for_tests(&syn::parse_str::<syn::ItemMod>(&format!("{text} mod m;")).unwrap().attrs);
        assert!(is("#[cfg(test)]") && is("#[cfg(all(test, target_os = \"linux\"))]"));
        assert!(!is("#[cfg(not(test))]") && !is("#[cfg(feature = \"test\")]") && !is("#[test]"));
    }
}
