//! The image of the examples: MPI programs with PyPI's MPICH.

use std::path::Path;

use anyhow::Result;

use super::{Content, mpich};
use crate::artefacts;
use crate::oci::Layer;
use crate::third_party;
use crate::workspace::Workspace;

/// The programs.
pub(super) const PROGRAMS: [&str; 4] = ["sor", "quicksort", "tsp", "grain"];

/// Where programs are in images.
pub(super) const FOLDER: &str = "usr/local/bin";

/// Builds the programs, and makes the image of them.
///
/// # Errors
/// They do not compile, or MPICH cannot be installed.
pub(super) fn content(workspace: &Workspace) -> Result<Content> {
    let installed = third_party::mpich()?;
    let built = workspace.target().join("images/examples");
    artefacts::build_examples_into(workspace, &mpich::compiler(&installed), &built)?;
    let mut layer = Layer::default();
    mpich::add(&mut layer, &installed)?;
    add(&mut layer, &built);
    // The manifests name the programs as local mode finds them: relative to where it was started. Here that is the root.
    layer.link("target/examples", &format!("../{FOLDER}"));
    Ok(Content { layer, entrypoint: Vec::new(), user: None })
}

/// Adds the programs of this folder.
pub(super) fn add(layer: &mut Layer, built: &Path) {
    for name in PROGRAMS {
        layer.file(&format!("{FOLDER}/{name}"), &built.join(name), 0o755);
    }
}
