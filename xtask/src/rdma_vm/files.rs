//! The machine's folder: what it writes while it runs, and its snapshot. Only one machine of a user runs at a time.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::image::Image;
use crate::files::replace_json;
use crate::limits::{SOCKET_NAME_BYTES, SSH_SOCKET_SUFFIX_BYTES};
use crate::lock::Lock;
use crate::tool::cache_folder;

/// What of the machine must be the same where a snapshot of it is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) image: Image,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
}

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

// === impl Shape ===

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} CPUs, {} MiB, {}", self.cpus, self.memory_mib, self.image)
    }
}

// === impl Files ===

impl Files {
    /// The folder of this user's machine, made if need be; nobody else may look into it.
    ///
    /// # Errors
    /// No cache folder, one whose name is too long for sockets in it, or it cannot be written to.
    pub(super) fn of_this_user() -> Result<Self> {
        Self::at(cache_folder()?.join("rdma-vm"))
    }

    pub(super) fn at(folder: PathBuf) -> Result<Self> {
        let files = Self { folder };
        let longest = files.control().as_os_str().as_bytes().len() + SSH_SOCKET_SUFFIX_BYTES;
        ensure!(
            longest <= SOCKET_NAME_BYTES,
            "{} is too long a name for sockets in it, by {} bytes: choose a shorter cache folder with XDG_CACHE_HOME",
            files.folder.display(),
            longest - SOCKET_NAME_BYTES
        );
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&files.folder);
        made.with_context(|| format!("make {}", files.folder.display()))?;
        Ok(files)
    }

    /// Keeps other recipes of this user from changing the machine; waits while one of them does so.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub(super) fn lock(&self) -> Result<Lock> {
        Lock::take(&self.folder)
    }

    /// Where all of it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk: what differs from the image's, and the snapshot.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    /// The emulator's socket for commands.
    pub(super) fn monitor(&self) -> PathBuf {
        self.folder.join("monitor")
    }

    /// The socket at which the machine says that it can be reached.
    pub(super) fn ready(&self) -> PathBuf {
        self.folder.join("ready")
    }

    /// The socket of the one connection into the machine.
    pub(super) fn control(&self) -> PathBuf {
        self.folder.join("ssh")
    }

    /// For clients of the cluster in the machine.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The cluster's control plane: its certificates, its store, what its programs print.
    pub(super) fn control_plane(&self) -> PathBuf {
        self.folder.join("control-plane")
    }

    /// What the making of that cluster printed.
    pub(super) fn cluster_log(&self) -> PathBuf {
        self.folder.join("cluster.log")
    }

    /// What the machine's kernel printed.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// What emulator and ssh printed.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The shape of the running machine, there once it has been reached.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn running(&self) -> Result<Option<Shape>> {
        read(&self.running_file())
    }

    /// Notes that the machine has been reached.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn note_running(&self, shape: &Shape) -> Result<()> {
        replace_json(&self.running_file(), shape)
    }

    /// The shape of the machine whose snapshot is on the disk.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn snapshot(&self) -> Result<Option<Shape>> {
        read(&self.snapshot_file())
    }

    /// Notes that a snapshot is on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn note_snapshot(&self, shape: &Shape) -> Result<()> {
        replace_json(&self.snapshot_file(), shape)
    }

    /// Notes that none is, or that it cannot be relied on.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub(super) fn forget_snapshot(&self) -> Result<()> {
        remove(&self.snapshot_file())
    }

    /// Removes what a machine leaves that has ended, its disk too unless a snapshot is on it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(super) fn clear(&self) -> Result<()> {
        let connections = [self.monitor(), self.ready(), self.control()];
        let said = [self.running_file(), self.kubeconfig(), self.cluster_log(), self.console(), self.log()];
        connections.iter().chain(&said).try_for_each(|file| remove(file))?;
        self.clear_control_plane()?;
        if self.snapshot()?.is_none() { remove(&self.disk()) } else { Ok(()) }
    }

    /// Its programs end soon after the emulator, and write until then.
    fn clear_control_plane(&self) -> Result<()> {
        let folder = self.control_plane();
        let _ended = if folder.exists() { Some(Lock::take(&folder)?) } else { None };
        gone(&folder, fs::remove_dir_all(&folder))
    }

    fn running_file(&self) -> PathBuf {
        self.folder.join("running.json")
    }

    fn snapshot_file(&self) -> PathBuf {
        self.folder.join("snapshot.json")
    }
}

fn read(file: &Path) -> Result<Option<Shape>> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged: remove it", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

fn remove(file: &Path) -> Result<()> {
    gone(file, fs::remove_file(file))
}

/// What was not there is gone, too.
fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn shape() -> Shape {
        Shape { image: Image::for_test("/image"), memory_mib: 512, cpus: 2 }
    }

    #[test]
    fn nobody_else_may_look_into_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let files = Files::at(parent.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(&files.folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_name_too_long_for_sockets_is_refused_with_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let error = Files::at(parent.path().join("n".repeat(SOCKET_NAME_BYTES))).unwrap_err();
        assert!(error.to_string().contains("XDG_CACHE_HOME"), "{error}");
    }

    #[test]
    fn a_disk_with_a_snapshot_outlives_its_machine_and_one_without_does_not() {
        let parent = tempfile::tempdir().unwrap();
        let files = Files::at(parent.path().join("m")).unwrap();
        let leave = || {
            fs::write(files.disk(), "").unwrap();
            fs::write(files.monitor(), "").unwrap();
            files.note_running(&shape()).unwrap();
        };
        leave();
        files.note_snapshot(&shape()).unwrap();
        files.clear().unwrap();
        assert_eq!((files.disk().exists(), files.monitor().exists(), files.running().unwrap()), (true, false, None));
        assert_eq!(files.snapshot().unwrap(), Some(shape()));
        leave();
        files.forget_snapshot().unwrap();
        files.clear().unwrap();
        assert!(!files.disk().exists());
    }
}
