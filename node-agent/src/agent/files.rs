//! What outlives the agent: its promise, and what it started.
//!
//! The folder lies on a tmpfs or in the run folder: it survives the agent, not the machine, and that is what a seal needs.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use serde::{Deserialize, Serialize};
use strobe_core::model::{GangRun, Term};
use strobe_proto::agent::Launch;

use super::gang::PeerEntry;
use crate::cgroup::CgroupPath;

const SEAL_FILE: &str = "seal";
const GANGS_FOLDER: &str = "gangs";
const SOCKET_FILE: &str = "agent.sock";

/// The agent's folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or folder could not be read or written.
    #[error("cannot {operation} {path}")]
    Access {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The seal file holds no term: nothing may be obeyed, because what was promised is not known.
    #[error("{path} holds no term; the node can only be used again under a new partition or after it is emptied by hand")]
    BadSeal {
        /// The file.
        path: PathBuf,
    },
}

/// A gang that was started on this node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StartedGang {
    /// What was started.
    pub gang: Launch,
    /// Its supervisor's process. None when the agent ended before it could note it: then there may be one, or not.
    pub supervisor: Option<i32>,
    /// Every rank of it here has exited with status 0.
    pub completed: bool,
    /// The cgroup of its container, when it is a pod's and its supervisor was seen.
    pub container: Option<CgroupPath>,
    /// Where its ranks here are reached, when that was said.
    pub entry: Option<PeerEntry>,
}

/// The same as it is written down, behind the supervisor's number: four bytes, 0 for none.
#[derive(Serialize, Deserialize)]
struct Note {
    gang: Vec<u8>,
    completed: bool,
    container: Option<String>,
    entry: Option<PeerEntry>,
}

impl Files {
    /// The folder, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(directory: PathBuf) -> Result<Self, FilesError> {
        let gangs = directory.join(GANGS_FOLDER);
        fs::create_dir_all(&gangs).map_err(|source| FilesError::Access { operation: "make", path: gangs, source })?;
        Ok(Self { directory })
    }

    /// Where supervisors connect.
    #[must_use]
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET_FILE)
    }

    /// The highest term that any life of the agent has promised; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no term.
    pub(super) fn sealed(&self) -> Result<Option<Term>, FilesError> {
        let path = self.directory.join(SEAL_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(|term| Some(Term(term))).map_err(|_| FilesError::BadSeal { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FilesError::Access { operation: "read", path, source }),
        }
    }

    /// Writes the promise; when this returns it is on the file system, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_seal(&self, term: Term) -> Result<(), FilesError> {
        write_whole(&self.directory.join(SEAL_FILE), term.to_string().as_bytes())
    }

    /// Notes a gang that is about to be started, without a supervisor, and once more with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_gang(&self, run: GangRun, started: &StartedGang) -> Result<(), FilesError> {
        let note = Note {
            gang: started.gang.encode_to_vec(),
            completed: started.completed,
            container: started.container.as_ref().map(ToString::to_string),
            entry: started.entry,
        };
        let mut bytes = started.supervisor.unwrap_or(0).to_le_bytes().to_vec();
        bytes.extend(postcard::to_stdvec(&note).expect("a vector grows"));
        write_whole(&self.gang_path(run), &bytes)
    }

    /// Forgets a gang.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub(super) fn remove_gang(&self, run: GangRun) -> Result<(), FilesError> {
        let path = self.gang_path(run);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FilesError::Access { operation: "remove", path, source: error }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The gangs that earlier lives of the agent started and did not forget. A gang is noted before
    /// its supervisor is started; so a file that cannot be understood was being written as that life ended, and there is no
    /// supervisor: it is removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn gangs(&self) -> Result<Vec<StartedGang>, FilesError> {
        let folder = self.directory.join(GANGS_FOLDER);
        let access = |source| FilesError::Access { operation: "read", path: folder.clone(), source };
        let mut gangs = Vec::new();
        for entry in fs::read_dir(&folder).map_err(access)? {
            let path = entry.map_err(access)?.path();
            match fs::read(&path).ok().as_deref().and_then(started_gang) {
                Some(started) => gangs.push(started),
                None => fs::remove_file(&path).map_err(access)?,
            }
        }
        Ok(gangs)
    }

    fn gang_path(&self, run: GangRun) -> PathBuf {
        self.directory.join(GANGS_FOLDER).join(run.to_string())
    }
}

fn started_gang(bytes: &[u8]) -> Option<StartedGang> {
    let (supervisor, rest) = bytes.split_at_checked(4)?;
    let supervisor = Some(i32::from_le_bytes(supervisor.try_into().ok()?)).filter(|number| *number > 0);
    let note: Note = postcard::from_bytes(rest).ok()?;
    let container = note.container.map(|path| CgroupPath::parse(&path)).transpose().ok()?;
    let gang = Launch::decode(note.gang.as_slice()).ok()?;
    Some(StartedGang { gang, supervisor, completed: note.completed, container, entry: note.entry })
}

/// Writes beside the file and renames: a reader sees the old content or the new, whole.
///
/// # Errors
/// [`FilesError::Access`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| FilesError::Access { operation: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_read_as_written_and_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().to_owned()).unwrap();
        assert_eq!(files.sealed().unwrap(), None);
        files.write_seal(Term(7)).unwrap();
        assert_eq!(files.sealed().unwrap(), Some(Term(7)));
        fs::write(folder.path().join(SEAL_FILE), "").unwrap();
        assert!(matches!(files.sealed(), Err(FilesError::BadSeal { .. })));
    }

    #[test]
    fn started_gangs_are_found_again_and_half_written_ones_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().to_owned()).unwrap();
        let run = GangRun { gang: strobe_core::model::GangId(3), incarnation: strobe_core::model::GangIncarnation(1) };
        let started = StartedGang {
            gang: Launch { run: Some(run.into()), name: "sor".into(), ..Launch::default() },
            supervisor: Some(42),
            completed: true,
            container: Some(CgroupPath::parse("/kubepods/pod1/2").unwrap()),
            entry: PeerEntry::at([127, 0, 0, 1].into()).ok(),
        };
        files.write_gang(run, &started).unwrap();
        fs::write(folder.path().join(GANGS_FOLDER).join("4-1"), [1]).unwrap();
        assert_eq!(files.gangs().unwrap(), [started]);
        files.remove_gang(run).unwrap();
        files.remove_gang(run).unwrap();
        assert_eq!(files.gangs().unwrap(), []);
    }
}
