//! The operator's image: the operator with the libraries that it loads.

use std::path::Path;

use anyhow::{Context, Result};

use super::Content;
use crate::libraries::Root;
use crate::oci::Layer;

/// Where the program is in the image.
const PROGRAM: &str = "usr/local/bin/strobe-operator";

/// It needs no right on its node and writes no file. A number, since kubelet cannot know that a name is not root's.
pub(crate) const USER: &str = "65532:65532";

/// The image of this operator.
///
/// # Errors
/// A library is missing.
pub(super) fn content(operator: &Path) -> Result<Content> {
    let text = operator.to_str().with_context(|| format!("{} is not UTF-8", operator.display()))?;
    let libraries = Root::of_machine().libraries_of([text])?;
    let mut layer = Layer::default();
    layer.file(PROGRAM, operator, 0o755);
    Root::of_machine().add(&mut layer, libraries.iter().map(String::as_str))?;
    Ok(Content { layer, entrypoint: vec![format!("/{PROGRAM}")], user: Some(USER) })
}
