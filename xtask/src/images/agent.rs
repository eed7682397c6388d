//! The agent's image: the agent with the libraries that it loads, and beside it, where it looks for it, the static supervisor.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Content;
use crate::libraries::Root;
use crate::oci::Layer;

/// Where the programs are in the image.
const FOLDER: &str = "usr/local/bin";

/// The image of these two: agent, supervisor.
///
/// # Errors
/// A library is missing.
pub(super) fn content((agent, supervisor): &(PathBuf, PathBuf)) -> Result<Content> {
    let libraries = Root::of_machine().libraries_of([text(agent)?])?;
    let mut layer = Layer::default();
    layer.file(&format!("{FOLDER}/strobe-agent"), agent, 0o755);
    layer.file(&format!("{FOLDER}/strobe-init"), supervisor, 0o755);
    Root::of_machine().add(&mut layer, libraries.iter().map(String::as_str))?;
    Ok(Content { layer, entrypoint: vec![format!("/{FOLDER}/strobe-agent")], user: None })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
