//! What is wrong with a manifest: where, what, and what would be right.

use std::fmt;

use thiserror::Error;

use super::Kind;
use crate::limits::MAX_PROBLEMS;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, as the caller named it.
    pub file: String,
    /// Number of the document in its file, from 1; 0 for the file as a whole.
    pub document: usize,
    /// Line of the file, from 1; `None` if not known.
    pub line: Option<u64>,
    /// Kind and name of the document, such as `ParallelJob "sor"`; `None` if not known.
    pub object: Option<String>,
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub origin: Origin,
    /// Path of the field, such as `spec.ranksPerNode`; empty for the document as a whole.
    pub path: String,
    /// What is wrong, ready to follow the path: "is 0".
    pub what: String,
    /// What would be right, ready to follow "must".
    pub right: String,
}

/// Everything that is wrong with a set of manifests, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", render(.problems, *.more))]
pub struct ManifestError {
    /// The problems, at most [`MAX_PROBLEMS`], never none.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub more: usize,
}

// === impl ManifestError ===

impl ManifestError {
    /// Keeps the first problems and counts the rest.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        Self { problems, more }
    }
}

impl From<Problem> for ManifestError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], more: 0 }
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn of_file(file: &str, what: String, right: String) -> Self {
        let origin = Origin { file: file.to_owned(), document: 0, line: None, object: None };
        Self { origin, path: String::new(), what, right }
    }

    /// A document that is not YAML at all, or cut off.
    pub(super) fn of_yaml(origin: Origin, error: &serde_saphyr::Error) -> Self {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        let origin = Origin { line, ..origin };
        if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
            let what = format!("has the field {} twice", key.as_deref().unwrap_or_default());
            return Self { origin, path: String::new(), what, right: "have each field once".to_owned() };
        }
        let text = error.to_string();
        // The location is told in our own form.
        let reason = text.split(" at line ").next().unwrap_or_default();
        let what = format!("is not readable as YAML ({reason})");
        let right = "be complete, well-formed YAML; the mistake is at this line or just before it".to_owned();
        Self { origin, path: String::new(), what, right }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.document > 0 {
            write!(formatter, ": document {}", self.document)?;
        }
        match (&self.object, self.line) {
            (Some(object), Some(line)) => write!(formatter, " ({object}, line {line})"),
            (Some(object), None) => write!(formatter, " ({object})"),
            (None, Some(line)) => write!(formatter, " (line {line})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.origin)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        write!(formatter, "{}; must {}", self.what, self.right)
    }
}

/// Kind and name as messages show them.
pub(super) fn describe(kind: Kind, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{kind:?} {name:?}"),
        None => format!("{kind:?} without a name"),
    }
}

fn render(problems: &[Problem], more: usize) -> String {
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}
