//! PyPI's MPICH in images: the version that the project pins, which does not depend on the machine that makes the image. Debian 12's own
//! often does not end where ranks are in several pods (docs/spikes/f-mpi-between-pods.md).

use std::path::Path;

use anyhow::{Context, Result};

use crate::files;
use crate::libraries::Root;
use crate::oci::Layer;

/// Where it is in images.
pub(super) const FOLDER: &str = "opt/mpich";

/// The library, and another name by which programs that were linked with Debian's ask for it: the two have one binary interface.
const LIBRARY: &str = "libmpi.so.12";
const OTHER_NAME: &str = "libmpich.so.12";

/// The folder in which the library looks for its transports, beside itself.
const TRANSPORTS: &str = "mpich";

/// The compiler for programs that find it in an image and not where it is installed here, as make's `MPICC`. The library comes before the
/// sources that need it: a linker may have been made to forget such a one.
pub(super) fn compiler(installed: &Path) -> String {
    let installed = installed.display();
    format!("cc -I{installed}/include -L{installed}/lib -Wl,-rpath,/{FOLDER} -Wl,--no-as-needed -lmpi")
}

/// Adds the library, its transports and what they load.
///
/// # Errors
/// A file of it is missing.
pub(super) fn add(layer: &mut Layer, installed: &Path) -> Result<()> {
    let folder = installed.join("lib");
    let library = folder.join(LIBRARY);
    layer.file(&format!("{FOLDER}/{LIBRARY}"), &library, 0o755).link(&format!("{FOLDER}/{OTHER_NAME}"), LIBRARY);
    let transports = folder.join(TRANSPORTS);
    for file in files::beneath(&transports)? {
        layer.file(&format!("{FOLDER}/{TRANSPORTS}/{}", file.display()), &transports.join(&file), 0o755);
    }
    let library = library.to_str().with_context(|| format!("{} is not UTF-8", library.display()))?;
    let machine = Root::of_machine();
    let mut libraries = machine.libraries_of([library])?;
    libraries.retain(|library| !Path::new(library).starts_with(&folder));
    machine.add(layer, libraries.iter().map(String::as_str))
}
