//! The supervisor on the node's disk: one file for all pods, named by its content, so that one that runs is never changed.

use std::{
    fmt::Write as _,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::error::PluginError;

/// The program's name in a volume.
pub(super) const PROGRAM: &str = "strobe-init";

/// Copies the supervisor into `folder`, unless it is there, and removes those of earlier agents: pods that have them keep them by their
/// own links.
///
/// # Errors
/// [`PluginError::Access`].
pub(super) fn install(supervisor: &Path, folder: &Path) -> Result<PathBuf, PluginError> {
    let bytes = fs::read(supervisor).map_err(PluginError::at("read", supervisor))?;
    fs::create_dir_all(folder).map_err(PluginError::at("make", folder))?;
    let name = Sha256::digest(&bytes).iter().fold(String::new(), |mut name, byte| {
        write!(name, "{byte:02x}").expect("a string takes everything");
        name
    });
    let program = folder.join(&name);
    if !program.exists() {
        write(&bytes, &program).map_err(PluginError::at("write", &program))?;
    }
    for entry in fs::read_dir(folder).map_err(PluginError::at("list", folder))? {
        let path = entry.map_err(PluginError::at("list", folder))?.path();
        if path != program {
            fs::remove_file(&path).map_err(PluginError::at("remove", &path))?;
        }
    }
    Ok(program)
}

/// Beside it, then renamed: what has the name is whole. The pods' users are anybody, and none may write.
fn write(bytes: &[u8], program: &Path) -> io::Result<()> {
    let beside = program.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o555))?;
    fs::rename(&beside, program)
}
