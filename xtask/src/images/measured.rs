//! What the benchmark of a cluster runs: the image of the trial of MPIs, whose programs find each other with Strobe and without, and the large
//! static program, which no test has to load.

use anyhow::Result;

use super::{Content, examples, mpi_trial};
use crate::artefacts::Profile;
use crate::bench::first_instruction;
use crate::workspace::Workspace;

/// Builds the programs, and makes the image of them.
///
/// # Errors
/// Those of the other image, or the large program does not compile.
pub(super) fn content(workspace: &Workspace, profile: Profile) -> Result<Content> {
    let mut content = mpi_trial::content(workspace, profile)?;
    let large = first_instruction::build(workspace, &workspace.target().join("images/measured"))?;
    content.layer.file(&format!("{}/{}", examples::FOLDER, first_instruction::NAME), &large, 0o755);
    Ok(content)
}
