//! The image of the examples: MPI programs with the MPICH of this machine.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Content, mpi};
use crate::oci::Layer;

/// The programs.
const PROGRAMS: [&str; 4] = ["sor", "quicksort", "tsp", "grain"];

/// Where the programs are in the image.
const FOLDER: &str = "usr/local/bin";

/// The image of the programs that lie in this folder.
///
/// # Errors
/// A program or a library is missing.
pub(super) fn content(built: &Path) -> Result<Content> {
    let mut layer = Layer::default();
    add(&mut layer, built)?;
    // The manifests name the programs as local mode finds them: relative to where it was started. Here that is the root.
    layer.link("target/examples", &format!("../{FOLDER}"));
    Ok(Content { layer, entrypoint: Vec::new() })
}

/// Adds the programs with what they load.
///
/// # Errors
/// Those of [`content`].
pub(super) fn add(layer: &mut Layer, built: &Path) -> Result<()> {
    let built = built.to_str().with_context(|| format!("{} is not UTF-8", built.display()))?;
    let programs = PROGRAMS.map(|name| format!("{built}/{name}"));
    mpi::add_libraries(layer, programs.iter().map(String::as_str))?;
    for (name, program) in PROGRAMS.iter().zip(&programs) {
        layer.file(&format!("{FOLDER}/{name}"), Path::new(program), 0o755);
    }
    Ok(())
}
