//! How an answer is printed: as a table for people, or as what it is made of.

use std::io::{self, Write as _};

use serde::Serialize;

use super::error::ClusterError;
use crate::arguments::OutputFormat;
use crate::terminal::{self, Line};

/// Prints a table, or its rows. Notes go to standard error: what is printed may be read by a program.
///
/// # Errors
/// When it cannot be written.
pub(super) fn show(format: Option<OutputFormat>, answer: &impl Serialize, table: &[Line], notes: &[String]) -> Result<(), ClusterError> {
    for note in notes {
        eprintln!("note: {note}");
    }
    let text = match format {
        None => return terminal::print(table).map_err(ClusterError::Write),
        Some(OutputFormat::Json) => serde_json::to_string_pretty(answer).expect("texts and numbers are JSON") + "\n",
        Some(OutputFormat::Yaml) => serde_saphyr::to_string(answer).map_err(ClusterError::Yaml)?,
    };
    io::stdout().lock().write_all(text.as_bytes()).map_err(ClusterError::Write)
}
