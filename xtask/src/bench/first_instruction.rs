//! The large static program whose first instruction is waited for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::workspace::Workspace;

/// Its name.
pub(crate) const NAME: &str = "first-instruction";
const SOURCE: &str = "xtask/src/bench/first_instruction.c";
/// Its least size.
const BYTES: u64 = 12 << 20;

/// Builds it into a folder.
///
/// # Errors
/// It does not compile, or is too small.
pub(crate) fn build(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let built = folder.join(NAME);
    let mut compiler = workspace.command("cc");
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"]).arg(&built).arg(SOURCE);
    process::run(compiler)?;
    let size = fs::metadata(&built).context("look at the large program")?.len();
    ensure!(size >= BYTES, "the large program has only {size} bytes");
    Ok(built)
}
