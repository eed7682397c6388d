//! Mounts: made aside, protected there, and only then shown to the node.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_remount, unmount},
};

use super::error::PluginError;

/// Mounts `folder` at `target` so that the very first appearance of the mount there is read-only: one that is protected afterwards is
/// protected only here, while the node has got a writable copy already.
///
/// # Errors
/// [`PluginError::Access`]; nothing stays at `target`.
pub(super) fn mount_read_only(folder: &Path, target: &Path, aside: &Path) -> Result<(), PluginError> {
    fs::create_dir_all(aside).map_err(PluginError::at("make", aside))?;
    mount_bind(folder, aside).map_err(PluginError::at("mount the volume at", aside))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    let mounted = mount_change(aside, MountPropagationFlags::PRIVATE)
        .and_then(|()| mount_remount(aside, flags, ""))
        .map_err(PluginError::at("protect the mount at", aside))
        .and_then(|()| mount_bind(aside, target).map_err(PluginError::at("mount the volume at", target)));
    unmount(aside, UnmountFlags::DETACH).map_err(PluginError::at("unmount", aside))?;
    fs::remove_dir(aside).map_err(PluginError::at("remove", aside))?;
    mounted
}

/// Unmounts what is mounted at a path, however often it is, and does nothing where nothing is.
///
/// # Errors
/// [`PluginError::Access`], for example when somebody uses it.
pub(super) fn unmount_all(path: &Path) -> Result<(), PluginError> {
    loop {
        match unmount(path, UnmountFlags::empty()) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(PluginError::at("unmount", path)(error)),
        }
    }
}

/// Whether both are one folder, which a mounted one and its source are.
pub(super) fn is_same(folder: &Path, target: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    identity(folder).is_some_and(|found| identity(target) == Some(found))
}

/// Takes what is not there for removed.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
