//! Manifests of local mode: files of YAML documents, read as strictly as an API server with strict field validation.
//!
//! Every document is compared with the same schema that the CRD carries, so that a field, a type or a bound cannot
//! be right here and wrong in a cluster. All problems of a file are reported at once, each with its place.

mod local;
mod problem;
mod strict;
mod tree;

use std::collections::BTreeMap;

use serde_json::Value;

pub use local::fields_not_used;
pub use problem::{ManifestError, Origin, Problem};

use crate::API_VERSION;
use crate::limits::{MAX_ALIAS_EVENTS, MAX_MANIFEST_BYTES, MAX_MANIFEST_DEPTH};
use crate::parallel_job::ParallelJob;
use crate::partition::Partition;
use crate::rules::Violation;
use tree::Tree;

/// One document of a file: decoded, its rules not yet checked (see [`crate::validate`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it describes. May be changed, by command line options for example, before it is validated.
    pub object: Object,
    /// Where it stands.
    pub origin: Origin,
    lines: BTreeMap<String, u64>,
}

/// What a document describes.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A partition.
    Partition(Box<Partition>),
    /// A job.
    ParallelJob(Box<ParallelJob>),
}

/// Reads all documents of a file. Empty documents are skipped and not numbered. `file` is only used in messages.
///
/// # Errors
/// Every problem of every document, at most [`crate::limits::MAX_PROBLEMS`]; with one problem no document is returned.
pub fn parse(file: &str, text: &str) -> Result<Vec<Document>, ManifestError> {
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    if text.len() > MAX_MANIFEST_BYTES {
        let what = format!("has {} bytes", text.len());
        return Err(Problem::of_file(file, what, format!("have at most {MAX_MANIFEST_BYTES}")).into());
    }
    let mut reader = text.as_bytes();
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_MANIFEST_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
        with_snippet: false,
    };
    let trees = serde_saphyr::read_with_options::<_, Tree>(&mut reader, options);
    for (index, tree) in trees.enumerate() {
        let origin = Origin { file: file.to_owned(), document: index + 1, line: None, object: None };
        match tree {
            Ok(tree) => match decode(origin, &tree) {
                Ok(document) => documents.push(document),
                Err(found) => problems.extend(found),
            },
            Err(error) => problems.push(Problem::of_yaml(origin, &error)),
        }
    }
    if documents.is_empty() && problems.is_empty() {
        let right = "hold Partition and ParallelJob documents".to_owned();
        problems.push(Problem::of_file(file, "has no documents".to_owned(), right));
    }
    if problems.is_empty() { Ok(documents) } else { Err(ManifestError::new(problems)) }
}

// === impl Document ===

impl Document {
    /// Where a field stands: its own line, or that of the nearest field around it that is written down.
    #[must_use]
    pub fn origin_of(&self, path: &str) -> Origin {
        let mut path = path;
        let line = loop {
            match (self.lines.get(path), path.rfind(['.', '['])) {
                (Some(line), _) => break Some(*line),
                (None, Some(end)) => path = &path[..end],
                (None, None) => break self.origin.line,
            }
        };
        Origin { line, ..self.origin.clone() }
    }

    /// The problem that a broken rule makes of this document.
    #[must_use]
    pub fn problem(&self, violation: Violation) -> Problem {
        let origin = self.origin_of(&violation.path);
        Problem { origin, path: violation.path, what: violation.what, right: violation.right }
    }
}

// === impl Object ===

impl Object {
    /// `Partition` or `ParallelJob`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Partition(_) => "Partition",
            Self::ParallelJob(_) => "ParallelJob",
        }
    }

    /// The name; the schema of manifests demands one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The namespace, if one is stated.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.metadata().namespace.as_deref()
    }

    const fn metadata(&self) -> &kube::core::ObjectMeta {
        match self {
            Self::Partition(partition) => &partition.metadata,
            Self::ParallelJob(job) => &job.metadata,
        }
    }
}

/// Checks one document against its schema and decodes it.
fn decode(origin: Origin, tree: &Tree) -> Result<Document, Vec<Problem>> {
    let origin = Origin { line: Some(tree.line), ..origin };
    let kind = kind_of(&origin, tree).map_err(|problem| vec![*problem])?;
    let name = tree.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Tree::as_text);
    let origin = Origin { object: Some(problem::describe(kind, name)), ..origin };
    let problems = strict::check(&origin, tree, kind);
    if !problems.is_empty() {
        return Err(problems);
    }
    let object = build(kind, tree.to_json()).map_err(|error| {
        let right = "be a document that Kubernetes would take".to_owned();
        vec![Problem { origin: origin.clone(), path: String::new(), what: format!("cannot be read: {error}"), right }]
    })?;
    let mut lines = BTreeMap::new();
    strict::collect_lines(tree, String::new(), &mut lines);
    Ok(Document { object, origin, lines })
}

fn build(kind: Kind, json: Value) -> Result<Object, serde_json::Error> {
    Ok(match kind {
        Kind::Partition => Object::Partition(serde_json::from_value(json)?),
        Kind::ParallelJob => Object::ParallelJob(serde_json::from_value(json)?),
    })
}

/// The kinds that manifests may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Partition,
    ParallelJob,
}

/// Finds out which kind a document has; its API version must be ours.
fn kind_of(origin: &Origin, tree: &Tree) -> Result<Kind, Box<Problem>> {
    let problem = |field: &str, what: String, right: &str| {
        let line = tree.get(field).map_or(tree.line, |value| value.line);
        let origin = Origin { line: Some(line), ..origin.clone() };
        Box::new(Problem { origin, path: field.to_owned(), what, right: right.to_owned() })
    };
    if !tree.is_map() {
        return Err(problem("", tree.describe(), "be a Partition or a ParallelJob, which begins with apiVersion and kind"));
    }
    let stated = |field: &str| tree.get(field).map_or_else(|| "is missing".to_owned(), Tree::describe);
    if tree.get("apiVersion").and_then(Tree::as_text) != Some(API_VERSION) {
        return Err(problem("apiVersion", stated("apiVersion"), &format!("be {API_VERSION}")));
    }
    match tree.get("kind").and_then(Tree::as_text) {
        Some("Partition") => Ok(Kind::Partition),
        Some("ParallelJob") => Ok(Kind::ParallelJob),
        _ => Err(problem("kind", stated("kind"), "be Partition or ParallelJob")),
    }
}
