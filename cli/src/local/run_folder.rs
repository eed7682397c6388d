//! The folder of one run: agents' folders, sockets, pipes, records and logs. On a file system in memory where there is one.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{limits::SOCKET_PATH, processes::Process};

/// What every run's folder and cgroup is called first.
pub(super) const NAME_PREFIX: &str = "strobe-";

/// The file that says whose run it is. Without it a folder holds only what was kept for its user.
const OWNER: &str = "owner";

/// One run's folder.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    name: String,
    logs: PathBuf,
}

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Something could not be made.
    #[error("cannot make {path}")]
    Make {
        /// What.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Unix sockets have short names.
    #[error("{path} is too long for the sockets in it; choose a shorter --run-directory")]
    TooLong {
        /// The folder.
        path: PathBuf,
    },
    /// No random numbers.
    #[error("cannot read random numbers")]
    Random(#[source] io::Error),
}

impl RunFolder {
    /// Makes a folder of a new name in `parent`, and the folder of the logs, elsewhere when `logs` says so.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(super) fn make(parent: &Path, logs: Option<&Path>) -> Result<Self, FolderError> {
        let owner = Process::this().map_or_else(String::new, Process::to_line);
        let name = format!("{NAME_PREFIX}{}-{}-{:06x}", std::process::id(), process_namespace(), random()? & 0xff_ffff);
        let path = parent.join(&name);
        fs::create_dir_all(parent).map_err(cannot_make(parent))?;
        // The logs' folder may be named from where the user is; agents are elsewhere.
        let logs = logs.map_or_else(|| Ok(path.join("logs")), std::path::absolute).map_err(cannot_make(&path))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(cannot_make(&path))?;
        let folder = Self { path, name, logs };
        match folder.fill(&owner) {
            Ok(()) => Ok(folder),
            Err(error) => {
                folder.remove(Keep::Nothing);
                Err(error)
            }
        }
    }

    fn fill(&self, owner: &str) -> Result<(), FolderError> {
        if self.node(strobe_core::limits::MEMBERS_MAX as u16).join("agent.sock").as_os_str().len() >= SOCKET_PATH {
            return Err(FolderError::TooLong { path: self.path.clone() });
        }
        fs::write(self.path.join(OWNER), owner).map_err(cannot_make(&self.path))?;
        for inner in [&self.logs, &self.pipes()] {
            fs::create_dir_all(inner).map_err(cannot_make(inner))?;
        }
        Ok(())
    }

    /// The run's name: of its folder, and of its cgroup.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An agent's folder. It outlives the agent's lives.
    pub(super) fn node(&self, node: u16) -> PathBuf {
        self.path.join(format!("node-{node}"))
    }

    /// The file that tells the process of a node's agent.
    pub(super) fn agent(&self, node: u16) -> PathBuf {
        self.path.join(format!("agent-{node}"))
    }

    /// The authority's record.
    pub(super) fn record(&self) -> PathBuf {
        self.path.join("record.json")
    }

    /// Where gangs' output passes through.
    pub(super) fn pipes(&self) -> PathBuf {
        self.path.join("pipes")
    }

    /// Where logs are.
    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Removes the folder, or all of it but the logs, when there are any. Gives back where kept logs are.
    pub(super) fn remove(self, keep: Keep) -> Option<PathBuf> {
        let inside = self.logs.starts_with(&self.path);
        let none = fs::read_dir(&self.logs).map_or(true, |mut entries| entries.next().is_none());
        if keep == Keep::Nothing || !inside || none {
            // What cannot be removed now is found by the next run.
            let _left = fs::remove_dir_all(&self.path);
            return (!inside).then_some(self.logs);
        }
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten().filter(|entry| entry.path() != self.logs) {
            let path = entry.path();
            let _left = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        Some(self.logs)
    }
}

fn cannot_make(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Make { path, source }
}

/// What stays of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The logs.
    Logs,
    /// Nothing.
    Nothing,
}

/// The folder for runs: the one that the user names, or one for run-time files, or the one for temporary files.
pub(super) fn parent(stated: Option<&Path>) -> PathBuf {
    let is_root = rustix::process::geteuid().is_root();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    let system = (is_root && Path::new("/run").is_dir()).then(|| PathBuf::from("/run"));
    stated
        .map(|stated| std::path::absolute(stated).unwrap_or_else(|_| stated.to_owned()))
        .or(runtime)
        .or(system)
        .unwrap_or_else(std::env::temp_dir)
}

/// The owner of a folder that looks like a run's; none when it is no run's, or only keeps logs.
pub(super) fn owner(folder: &Path) -> Option<Process> {
    Process::from_line(&fs::read_to_string(folder.join(OWNER)).ok()?)
}

/// True when the folder is this user's, and nobody else can have written into it.
pub(super) fn is_own(folder: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0)
}

/// Names the namespace that process numbers of this run belong to, see pid_namespaces(7).
pub(super) fn process_namespace() -> String {
    // Without /proc no process is found anyhow, and nothing is taken for dead by its number.
    fs::metadata("/proc/self/ns/pid").map_or_else(|_| "none".to_owned(), |found| format!("{:x}", found.ino()))
}

/// A random number, for names that nobody else has.
///
/// # Errors
/// When the system gives none.
pub(super) fn random() -> Result<u128, FolderError> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(FolderError::Random)?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_tells_its_owner_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::make(parent.path(), None).unwrap();
        let path = folder.path().to_owned();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(owner(&path), Process::this());
        assert_eq!(folder.remove(Keep::Nothing), None);
        assert!(!path.exists());
    }

    #[test]
    fn kept_logs_are_nobodys_leftovers() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::make(parent.path(), None).unwrap();
        let path = folder.path().to_owned();
        fs::write(folder.logs().join("agent-0.log"), "text").unwrap();
        assert_eq!(folder.remove(Keep::Logs), Some(path.join("logs")));
        assert_eq!(owner(&path), None);
        assert!(path.join("logs/agent-0.log").is_file());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_too_deep_for_sockets_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("x".repeat(90));
        assert!(matches!(RunFolder::make(&deep, None), Err(FolderError::TooLong { .. })));
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }
}
