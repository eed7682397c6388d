//! Cgroups that an earlier run, or an earlier life of this agent, left behind.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::directory::Directory;
use super::{CgroupError, CgroupName, CgroupPath, CgroupState, CgroupTree, RankCgroup, removal};

/// A cgroup found at start.
///
/// # Expected flow
/// The agent adopts those whose supervisor lives and removes the others before it makes any rank cgroup: one that was
/// left frozen would stop the next process that joins it.
#[derive(Debug)]
pub struct Leftover {
    path: CgroupPath,
    directory: Directory,
    state: CgroupState,
    processes: Vec<Pid>,
}

// === impl Leftover ===

impl Leftover {
    pub(super) fn new(parent: &CgroupPath, disk: PathBuf) -> Result<Self, CgroupError> {
        let name = disk.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = parent.child(&CgroupName::new(name)?);
        let directory = Directory::open(disk)?;
        let state = directory.state()?;
        let processes = directory.all_processes()?;
        Ok(Self { path, directory, state, processes })
    }

    /// Its path in the tree.
    #[must_use]
    pub const fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// What the kernel said of it when it was found.
    #[must_use]
    pub const fn state(&self) -> CgroupState {
        self.state
    }

    /// The processes in it and below it when it was found.
    #[must_use]
    pub fn processes(&self) -> &[Pid] {
        &self.processes
    }

    /// Takes it over as a rank cgroup, in whatever state it is.
    ///
    /// # Errors
    /// When it has gone meanwhile.
    pub fn adopt(self, tree: &CgroupTree) -> Result<RankCgroup, CgroupError> {
        RankCgroup::open(tree, &self.path)
    }

    /// Kills what is in it, thaws it and removes it with all below, within `within`.
    ///
    /// # Errors
    /// As [`RankCgroup::remove`].
    pub fn remove(self, within: Duration) -> Result<(), CgroupError> {
        removal::remove(&self.directory, within)
    }
}
