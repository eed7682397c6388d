//! Words that must not stand where they stand: `unsafe` outside its module, ignored tests, unfinished work, paths of one machine.

use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{Finding, Source, Tree};

/// Where `unsafe` may stand: one module that wraps the operating system and one that wraps libibverbs, one operation a block.
const UNSAFE_ALLOWED: [&str; 4] = ["node-agent/src/sys.rs", "node-agent/src/sys", "fabric/src/verbs.rs", "fabric/src/verbs"];
/// Tests that cannot be written without it, each with its reason.
const UNSAFE_TESTS: [&str; 4] = [
    // Each counts allocations, and an allocator is an unsafe trait.
    "core/tests/strobe_path_allocations.rs",
    "fabric/tests/datagram_allocations.rs",
    "node-agent/tests/freezer_kernel/allocation.rs",
    "node-agent/tests/strobe_thread_allocation.rs",
];

/// Marks of unfinished work; in two parts, so that this file does not bear them.
const UNFINISHED: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
/// Macros of unfinished work.
const UNFINISHED_MACROS: [&str; 2] = ["todo", "unimplemented"];
/// Folders that belong to one person's machine; in two parts for the same reason.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
/// Texts that are not ours to change, or that tools write.
const NOT_READ: [&str; 2] = ["LICENSE", "Cargo.lock"];

pub(super) fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = sources.iter().flat_map(check_tokens).collect();
    for file in tree.files().iter().filter(|file| !NOT_READ.iter().any(|name| file.as_path() == Path::new(name))) {
        findings.extend(check_text(tree, file));
    }
    findings
}

fn check_tokens(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unsafe_allowed = UNSAFE_ALLOWED.iter().chain(&UNSAFE_TESTS).any(|place| source.path.starts_with(place));
    walk(source.tokens.clone(), &mut |before, token, after| {
        let found = match token {
            TokenTree::Ident(word) if word == "unsafe" && !unsafe_allowed => {
                Some(("unsafe", format!("only in {}: give it a safe wrapper there", UNSAFE_ALLOWED.join(", "))))
            }
            TokenTree::Ident(word) if UNFINISHED_MACROS.iter().any(|name| word == name) && is_punctuation(after, '!') => {
                Some(("unfinished work", "do it now, or leave it out and say so in an issue".to_owned()))
            }
            TokenTree::Group(group) if is_punctuation(before, '#') && ignores(group.stream()) => {
                Some(("ignored test", "a test that does not run proves nothing: make it run everywhere, or delete it".to_owned()))
            }
            _ => None,
        };
        findings.extend(found.map(|(rule, advice)| Finding::new(&source.path, token.span().start().line, rule, advice)));
    });
    findings
}

/// Calls `judge` for every token with its neighbours, groups and their content alike. Strings and comments are no tokens of code.
fn walk(tokens: TokenStream, judge: &mut impl FnMut(Option<&TokenTree>, &TokenTree, Option<&TokenTree>)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        judge(index.checked_sub(1).map(|before| &tokens[before]), token, tokens.get(index + 1));
        if let TokenTree::Group(group) = token {
            walk(group.stream(), judge);
        }
    }
}

fn is_punctuation(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punctuation)) if punctuation.as_char() == sign)
}

/// Whether an attribute's content is `ignore…` or `cfg_attr(…, ignore…)`.
fn ignores(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), _) if name == "ignore" => true,
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(group)))
            if name == "cfg_attr" && group.delimiter() == Delimiter::Parenthesis =>
        {
            group.stream().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "ignore"))
        }
        _ => false,
    }
}

fn check_text(tree: &Tree, file: &Path) -> Vec<Finding> {
    let Some(text) = tree.text(file) else { return Vec::new() };
    let checkout = tree.root().to_string_lossy();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let found = judge_line(line, &checkout);
        findings.extend(found.into_iter().map(|(rule, advice)| Finding::new(file, index + 1, rule, advice)));
    }
    findings
}

fn judge_line(line: &str, checkout: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(mark) = UNFINISHED.iter().find(|mark| has_word(line, mark)) {
        found.push(("unfinished work", format!("{mark}: do it now, or file an issue and leave no mark")));
    }
    if let Some(home) = HOMES.iter().find(|home| has_path(line, home)) {
        found.push(("machine's path", format!("{home}… is one machine's: use a relative path or the environment")));
    }
    if checkout.matches('/').count() > 1 && has_path(line, checkout) {
        found.push(("machine's path", "this checkout's own place: use a relative path".to_owned()));
    }
    let comment = line.trim_start();
    if (comment.starts_with("///") || comment.starts_with("//!")) && comment.contains("```ignore") {
        found.push(("ignored test", "an example that is not compiled goes stale: make it compile, or mark it `text`".to_owned()));
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |sign: Option<char>| sign.is_some_and(|sign| sign.is_alphanumeric() || sign == '_');
    line.match_indices(word)
        .any(|(start, _)| !part_of_word(line[..start].chars().next_back()) && !part_of_word(line[start + word.len()..].chars().next()))
}

/// Whether an absolute path begins so: `a/home/b` and `example.com/home/b` do not.
fn has_path(line: &str, path: &str) -> bool {
    let inside = |sign: Option<char>| sign.is_some_and(|sign| sign.is_alphanumeric() || "._-}/)".contains(sign));
    line.match_indices(path).any(|(start, _)| !inside(line[..start].chars().next_back()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::source;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        let fixture = Fixture::good().with(path, text);
        let (sources, _) = source::parse_all(&fixture.tree);
        check(&fixture.tree, &sources).iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn unsafe_has_one_place() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(found("core/src/part.rs", text), [(2, "unsafe")]);
        assert_eq!(found("node-agent/src/sys.rs", text), []);
        assert_eq!(found("node-agent/src/sys/cgroup.rs", text), []);
        assert_eq!(found("node-agent/src/system.rs", text), [(2, "unsafe")]);
        assert_eq!(found("fabric/src/verbs/device.rs", text), []);
        assert_eq!(found("fabric/src/tcp.rs", text), [(2, "unsafe")]);
    }

    #[test]
    fn the_word_in_text_is_no_code_but_in_a_macro_it_is() {
        assert_eq!(found("core/src/part.rs", "// unsafe\nconst A: &str = \"unsafe\";\n#![deny(unsafe_code)]\n"), []);
        assert_eq!(found("core/src/part.rs", "macro_rules! m { () => { unsafe { f() } } }\n"), [(1, "unsafe")]);
    }

    #[test]
    fn ignored_tests_are_found_in_every_form() {
        assert_eq!(found("core/src/part.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n"), [(2, "ignored test")]);
        assert_eq!(found("core/src/part.rs", "#[cfg_attr(miri, ignore)]\nfn a() {}\n"), [(1, "ignored test")]);
        assert_eq!(found("core/src/part.rs", "/// ```ignore\n/// a\n/// ```\nfn a() {}\n"), [(1, "ignored test")]);
        assert_eq!(found("core/src/part.rs", "fn ignore() { let a = [ignore]; }\n"), []);
    }

    #[test]
    fn unfinished_work_is_found_in_every_kind_of_file() {
        for mark in UNFINISHED {
            assert_eq!(found("examples/a.c", &format!("\n/* {mark}: later */\n")), [(2, "unfinished work")]);
        }
        assert_eq!(found("core/src/part.rs", &format!("fn a() {{ {}!() }}\n", UNFINISHED_MACROS[0])), [(1, "unfinished work")]);
        assert_eq!(found("run.sh", &format!("mktemp /tmp/a.{0}{0}\n", UNFINISHED[2])), []);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for home in HOMES {
            assert_eq!(found("docs/a.md", &format!("see {home}me/strobe\n")), [(1, "machine's path")]);
            assert_eq!(found("docs/a.md", &format!("see docs{home}page\n")), []);
        }
    }

    #[test]
    fn the_checkout_s_own_place_is_found() {
        let fixture = Fixture::good();
        let text = format!("cd {}\n", fixture.tree.root().display());
        let fixture = fixture.with("run.sh", &text);
        assert_eq!(check(&fixture.tree, &[]).iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["machine's path"]);
    }
}
