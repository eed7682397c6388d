//! What a test of the laboratory runs over several MPIs: the examples and NetPIPE, which were linked with this machine's MPICH, the MPICH of
//! PyPI, which is another version with other transports and takes the same programs, and what starts the ranks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Content, examples, mpi};
use crate::libraries::Root;
use crate::oci::Layer;
use crate::third_party;

/// NetPIPE for MPICH, as the distribution's package has it.
const NETPIPE: &str = "/usr/bin/NPmpich2";

/// Where PyPI's MPICH is in the image.
const PYPI: &str = "opt/mpich-pypi";

/// The image of the examples' programs in the first folder and of this launcher.
///
/// # Errors
/// NetPIPE or PyPI's MPICH is not installed, or a library is missing.
pub(super) fn content(built: &Path, launcher: &Path) -> Result<Content> {
    ensure!(Path::new(NETPIPE).is_file(), "{NETPIPE} is missing: run `cargo xtask check-prerequisites --with-third-party`");
    let mut layer = Layer::default();
    examples::add(&mut layer, built)?;
    mpi::add_libraries(&mut layer, [NETPIPE])?;
    layer.file("usr/local/bin/NPmpich2", Path::new(NETPIPE), 0o755);
    layer.file("usr/local/bin/pmi-over-tcp", launcher, 0o755);
    add_pypi(&mut layer, &third_party::folder()?.join("lib"))?;
    Ok(Content { layer, entrypoint: Vec::new() })
}

/// Adds PyPI's MPICH, under the name too by which this machine's programs ask for theirs: the two have one binary interface.
fn add_pypi(layer: &mut Layer, folder: &Path) -> Result<()> {
    let library = folder.join("libmpi.so.12");
    ensure!(library.is_file(), "{} is missing: run `cargo xtask third-party`", library.display());
    layer.file(&format!("{PYPI}/libmpi.so.12"), &library, 0o755).link(&format!("{PYPI}/libmpich.so.12"), "libmpi.so.12");
    let library = library.to_str().with_context(|| format!("{} is not UTF-8", library.display()))?;
    let machine = Root::of_machine();
    let mut libraries = machine.libraries_of([library])?;
    libraries.retain(|library| !Path::new(library).starts_with(folder));
    machine.add(layer, libraries.iter().map(String::as_str))?;
    for file in files(&folder.join("mpich"))? {
        let name = file.strip_prefix(folder).context("a file lies in its folder")?.display().to_string();
        layer.file(&format!("{PYPI}/{name}"), &file, 0o755);
    }
    Ok(())
}

/// All files beneath a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
