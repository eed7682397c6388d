//! What the documents of all measurements share: tables, goals, files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::goal::Goal;

/// Writes files by their names into a folder.
///
/// # Errors
/// One cannot be written.
pub(super) fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("write {}", folder.join(name).display()))?;
    }
    Ok(())
}

/// Raw results: one record a line, so that a difference shows which cells changed.
///
/// # Errors
/// A record cannot be written as JSON.
pub(super) fn raw(head: &Value, records: &[impl Serialize]) -> Result<String> {
    let lines: Vec<String> = records.iter().map(serde_json::to_string).collect::<Result<_, _>>().context("write the records")?;
    Ok(format!("{{\"head\": {head:#},\n\"records\": [\n{}\n]}}\n", lines.join(",\n")))
}

/// The section of the goals.
pub(super) fn goals(goals: &[Goal]) -> String {
    let mut text = "## Goals\n\n| what | goal | measured | verdict |\n|---|---|---|---|\n".to_owned();
    for goal in goals {
        row(&mut text, &[goal.name.clone(), goal.bound_text(), goal.measured_text(), goal.verdict().to_string()]);
    }
    text
}

/// A row of a table.
pub(super) fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(text, "| {} |", cells.join(" | ")).expect("a text takes every text");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Columns of every row of every table of a page, table by table.
    pub(in super::super) fn columns(page: &str) -> Vec<Vec<usize>> {
        let tables = page.split("\n\n").filter(|block| block.starts_with('|'));
        tables.map(|table| table.lines().map(|line| line.matches('|').count()).collect()).collect()
    }

    #[test]
    fn a_bar_in_a_cell_ends_no_column() {
        let mut text = String::new();
        row(&mut text, &["a|b".to_owned(), "c".to_owned()]);
        assert_eq!(text, "| a\\|b | c |\n");
    }

    #[test]
    fn raw_results_are_json_and_have_a_line_each() {
        let text = raw(&serde_json::json!({ "seed": 1 }), &[1, 2]).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["head"]["seed"], &read["records"][1]), (&serde_json::json!(1), &serde_json::json!(2)));
        assert!(text.ends_with("[\n1,\n2\n]}\n"), "{text}");
    }
}
