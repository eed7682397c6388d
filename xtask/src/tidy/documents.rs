//! Links between documents lead somewhere, and every decision record stands in the index.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Finding, Tree};

const INDEX: &str = "docs/adr/README.md";
const RECORDS: &str = "docs/adr";
/// Digits of a record's number.
const NUMBER_DIGITS: usize = 4;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = check_index(tree);
    for document in tree.with_extension("md") {
        let text = tree.text(document).unwrap_or_default();
        for (line, target) in links(&text) {
            findings.extend(judge_link(tree, document, &target).map(|advice| Finding::new(document, line, "link", advice)));
        }
    }
    findings
}

fn check_index(tree: &Tree) -> Vec<Finding> {
    let index = tree.text(Path::new(INDEX)).unwrap_or_default();
    let listed: BTreeSet<String> = links(&index).into_iter().map(|(_, target)| target).collect();
    let mut numbers = BTreeSet::new();
    let mut findings = Vec::new();
    for record in tree.with_extension("md").filter(|file| file.parent() == Some(Path::new(RECORDS)) && *file != Path::new(INDEX)) {
        let name = record.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !listed.contains(&name) {
            findings.push(Finding::new(record, 1, "ADR index", format!("add a line with a link to it in {INDEX}")));
        }
        match number(&name) {
            None => findings.push(Finding::new(record, 1, "ADR name", "four digits, a hyphen, a title: `0012-what-was-decided.md`")),
            Some(number) if !numbers.insert(number.to_owned()) => {
                findings.push(Finding::new(record, 1, "ADR name", format!("number {number} is taken: use the next free one")));
            }
            Some(_) => {}
        }
    }
    findings
}

/// The number of `0001-title.md`.
fn number(name: &str) -> Option<&str> {
    let (number, title) = name.split_once('-')?;
    let fits = number.len() == NUMBER_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit()) && title.len() > ".md".len();
    fits.then_some(number)
}

/// What is wrong with a link, if anything.
fn judge_link(tree: &Tree, document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    if target.starts_with('/') {
        return Some(format!("{target}: write it relative to this document"));
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { document.to_path_buf() } else { resolve(document, path)? };
    if !tree.root().join(&file).exists() {
        return Some(format!("{target}: there is no {}", file.display()));
    }
    let anchor = anchor.filter(|_| file.extension().is_some_and(|end| end == "md"))?;
    let missing = !anchors(&tree.text(&file).unwrap_or_default()).contains(anchor);
    missing.then(|| format!("{target}: {} has no heading of that name", file.display()))
}

/// A link's file, relative to the root. A link that leads out of the tree gives a path that does not exist in it.
fn resolve(document: &Path, path: &str) -> Option<PathBuf> {
    let mut file = document.parent()?.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if file.pop() => {}
            Component::ParentDir => return Some(PathBuf::from(path)),
            Component::Normal(name) => file.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(file)
}

/// The targets of all links, with their line: `[text](target)`, pictures, and `[name]: target`. Code is no link.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, clean(target)));
        }
        for (start, opening) in line.match_indices("](") {
            let rest = &line[start + opening.len()..];
            found.extend(rest.split_once(')').map(|(target, _)| (number, clean(target))));
        }
    }
    found
}

/// Without a title and without angle brackets.
fn clean(target: &str) -> String {
    let target = target.trim().split(' ').next().unwrap_or_default();
    target.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// A line without its code between backticks.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().filter(|(index, _)| index % 2 == 0).map(|(_, part)| part).collect()
}

/// The names of all headings, as they stand in links: lower case, spaces as hyphens, no other signs; repeated ones numbered.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
        let name: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let copies = (1..).map(|copy| format!("{name}-{copy}"));
        let free = std::iter::once(name.clone()).chain(copies).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn found(fixture: &Fixture) -> Vec<(String, usize, &'static str)> {
        check(&fixture.tree).iter().map(|finding| (finding.path.display().to_string(), finding.line, finding.rule)).collect()
    }

    #[test]
    fn good_links_of_every_kind_pass() {
        let text = "# A page\n[b](b.md) [c](<../README.md> \"title\") [d](#a-page) [e](b.md#two--words-1)\n\
            ![p](picture.svg)\n[name]: b.md\n[out](https://example.com/x#y)\n";
        let fixture = Fixture::good()
            .with("docs/a.md", text)
            .with("docs/b.md", "## Two, & words\n## Two, & words\n")
            .with("docs/picture.svg", "<svg/>")
            .with("README.md", "# Strobe\n");
        assert_eq!(found(&fixture), []);
    }

    #[test]
    fn bad_links_of_every_kind_are_found() {
        let text = "[a](gone.md)\n[b](#nowhere)\n[c](b.md#nowhere)\n[d](/docs/b.md)\n[e]: gone.md\n[f](../../outside.md)\n";
        let fixture = Fixture::good().with("docs/a.md", text).with("docs/b.md", "# B\n");
        let lines: Vec<usize> = found(&fixture).iter().map(|(_, line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn code_is_no_link() {
        let fixture = Fixture::good().with("docs/a.md", "`[a](gone.md)`\n```\n[a](gone.md)\n```\n");
        assert_eq!(found(&fixture), []);
    }

    #[test]
    fn a_record_must_be_in_the_index_under_a_number_of_its_own() {
        let index = "[1](0001-first.md) [2](0001-second.md) [3](third.md)\n# Decisions\n";
        let fixture = Fixture::good()
            .with(INDEX, index)
            .with("docs/adr/0001-second.md", "")
            .with("docs/adr/third.md", "")
            .with("docs/adr/0004-fourth.md", "");
        let mut findings = found(&fixture);
        findings.sort();
        let expected = [("0001-second.md", "ADR name"), ("0004-fourth.md", "ADR index"), ("third.md", "ADR name")];
        assert_eq!(findings, expected.map(|(file, rule)| (format!("docs/adr/{file}"), 1, rule)));
    }
}
