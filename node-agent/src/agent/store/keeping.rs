//! What a node keeps of the files that it is given: written part after part beside its place, and put there when all of it is right.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use strobe_core::model::NodeIncarnation;
use strobe_fabric::blocks::BlockBytes;

use super::file_block::FilePart;

/// The store of a node, a folder.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: Option<PathBuf>,
    /// What each caller has begun to give and not ended.
    unfinished: BTreeMap<NodeIncarnation, Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    name: String,
    path: PathBuf,
    file: File,
    written: u64,
    digest: Sha256,
}

/// Why a part was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// This node was given no folder for files.
    #[error("this node has no store")]
    NoStore,
    /// The block is no part of a file.
    #[error("what was put is no part of a file")]
    NoPart,
    /// The name is a path, or none at all.
    #[error("{0:?} is no name of a file")]
    BadName(String),
    /// Parts before it have not come to this life of the agent.
    #[error("a part of {name} begins at byte {offset}, and {written} bytes are there")]
    Missing {
        /// The file.
        name: String,
        /// Where the part begins.
        offset: u64,
        /// What is there.
        written: u64,
    },
    /// The file is not what was read.
    #[error("{0} is not what was given: its checksum is another")]
    Different(String),
    /// The store cannot be written.
    #[error("cannot {operation} {path}")]
    Write {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Keeper {
    /// A store in that folder, which is made when the first file comes.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, unfinished: BTreeMap::new() }
    }

    /// Writes a part of a file of `caller`; with the last one it is in its place.
    ///
    /// # Errors
    /// See [`KeepError`]. Nothing of the file is left then, and its further parts are refused.
    pub(super) fn keep(&mut self, caller: NodeIncarnation, block: &BlockBytes) -> Result<(), KeepError> {
        let kept = self.write(caller, block);
        if kept.is_err()
            && let Some(unfinished) = self.unfinished.remove(&caller)
        {
            // It is overwritten by the next file of that name otherwise.
            let _stays = fs::remove_file(&unfinished.path);
        }
        kept
    }

    fn write(&mut self, caller: NodeIncarnation, block: &BlockBytes) -> Result<(), KeepError> {
        let folder = self.folder.as_deref().ok_or(KeepError::NoStore)?;
        let (part, bytes) = FilePart::of(block).ok_or(KeepError::NoPart)?;
        if part.offset == 0 {
            self.unfinished.insert(caller, Unfinished::begin(folder, &part)?);
        }
        let written = self.unfinished.get(&caller).filter(|unfinished| unfinished.name == part.name).map_or(0, |known| known.written);
        let unfinished = self.unfinished.get_mut(&caller).filter(|known| known.name == part.name && known.written == part.offset);
        let Some(unfinished) = unfinished else {
            return Err(KeepError::Missing { name: part.name, offset: part.offset, written });
        };
        unfinished.write(&bytes)?;
        if let Some(checksum) = part.checksum {
            let unfinished = self.unfinished.remove(&caller).expect("it was written to");
            unfinished.end(folder, &part, checksum)?;
        }
        Ok(())
    }
}

impl Unfinished {
    fn begin(folder: &Path, part: &FilePart) -> Result<Self, KeepError> {
        let is_name = !part.name.is_empty() && !part.name.starts_with('.') && !part.name.contains(['/', '\0']);
        if !is_name {
            return Err(KeepError::BadName(part.name.clone()));
        }
        fs::create_dir_all(folder).map_err(|source| KeepError::Write { operation: "make", path: folder.to_owned(), source })?;
        let path = folder.join(format!(".{}.part", part.name));
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = made.map_err(|source| KeepError::Write { operation: "make", path: path.clone(), source })?;
        Ok(Self { name: part.name.clone(), path, file, written: 0, digest: Sha256::new() })
    }

    fn write(&mut self, chunks: &[bytes::Bytes]) -> Result<(), KeepError> {
        for chunk in chunks {
            let write = |source| KeepError::Write { operation: "write", path: self.path.clone(), source };
            self.file.write_all(chunk).map_err(write)?;
            self.digest.update(chunk);
            self.written += chunk.len() as u64;
        }
        Ok(())
    }

    /// *Guarantees*: whoever finds a file under its name finds all of it, also after a power cut.
    fn end(self, folder: &Path, part: &FilePart, checksum: [u8; 32]) -> Result<(), KeepError> {
        let Self { path, file, written, digest, .. } = self;
        let remove = |error| {
            // As in `keep`.
            let _stays = fs::remove_file(&path);
            Err(error)
        };
        if written != part.length || digest.finalize().as_slice() != checksum {
            return remove(KeepError::Different(part.name.clone()));
        }
        let place = folder.join(&part.name);
        let finished = file
            .set_permissions(Permissions::from_mode(part.mode & 0o777))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&path, &place))
            .and_then(|()| File::open(folder)?.sync_all());
        finished.or_else(|source| remove(KeepError::Write { operation: "finish", path: place, source }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use strobe_core::model::{AgentIncarnation, NodeIndex};

    use super::*;

    const CALLER: NodeIncarnation = NodeIncarnation { node: NodeIndex(1), incarnation: AgentIncarnation(1) };
    const OTHER: NodeIncarnation = NodeIncarnation { node: NodeIndex(2), incarnation: AgentIncarnation(1) };

    fn parts(name: &str, whole: &[u8], size: usize) -> Vec<BlockBytes> {
        let count = whole.len().div_ceil(size).max(1);
        let part = |index: usize| {
            let bytes = &whole[index * size..whole.len().min((index + 1) * size)];
            let checksum = (index + 1 == count).then(|| Sha256::digest(whole).into());
            let part = FilePart { name: name.to_owned(), mode: 0o750, length: whole.len() as u64, offset: (index * size) as u64, checksum };
            part.block(Bytes::copy_from_slice(bytes))
        };
        (0..count).map(part).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_several_callers_come_part_by_part() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(Some(folder.path().join("store")));
        let (first, second) = (parts("first", b"0123456789", 4), parts("second", b"abcdef", 4));
        keeper.keep(CALLER, &first[0]).unwrap();
        keeper.keep(OTHER, &second[0]).unwrap();
        keeper.keep(CALLER, &first[1]).unwrap();
        assert_eq!(names(&folder.path().join("store")), [".first.part", ".second.part"], "nothing is there before its end");
        keeper.keep(OTHER, &second[1]).unwrap();
        keeper.keep(CALLER, &first[2]).unwrap();
        keeper.keep(CALLER, &parts("empty", b"", 4)[0]).unwrap();
        let store = folder.path().join("store");
        assert_eq!(names(&store), ["empty", "first", "second"]);
        assert_eq!(fs::read(store.join("first")).unwrap(), b"0123456789");
        assert_eq!(fs::read(store.join("second")).unwrap(), b"abcdef");
        assert_eq!(fs::metadata(store.join("first")).unwrap().permissions().mode() & 0o7777, 0o750);
    }

    #[test]
    fn a_file_of_which_a_part_is_missing_or_another_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(Some(folder.path().to_owned()));
        let whole = parts("file", b"0123456789", 4);
        assert!(matches!(keeper.keep(CALLER, &whole[1]), Err(KeepError::Missing { offset: 4, written: 0, .. })));
        keeper.keep(CALLER, &whole[0]).unwrap();
        assert!(matches!(keeper.keep(CALLER, &whole[2]), Err(KeepError::Missing { offset: 8, written: 4, .. })));
        assert!(matches!(keeper.keep(CALLER, &whole[1]), Err(KeepError::Missing { .. })), "the file is given up");
        let mut torn = parts("file", b"0123456789", 10);
        torn.push(FilePart { checksum: Some([0; 32]), ..FilePart::of(&torn[0]).unwrap().0 }.block(Bytes::from_static(b"0123456789")));
        assert!(matches!(keeper.keep(CALLER, &torn[1]), Err(KeepError::Different(_))));
        assert_eq!(names(folder.path()), Vec::<String>::new());
        keeper.keep(CALLER, &torn[0]).unwrap();
        assert_eq!(names(folder.path()), ["file"], "and can be given again");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(Some(folder.path().to_owned()));
        for name in ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b"] {
            assert!(matches!(keeper.keep(CALLER, &parts(name, b"x", 1)[0]), Err(KeepError::BadName(_))), "{name:?}");
        }
        assert!(matches!(keeper.keep(CALLER, &BlockBytes::from(vec![1, 2])), Err(KeepError::NoPart)));
        assert!(matches!(Keeper::new(None).keep(CALLER, &parts("file", b"x", 1)[0]), Err(KeepError::NoStore)));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = Keeper::new(Some(file)).keep(CALLER, &parts("file", b"x", 1)[0]);
        assert!(matches!(refused, Err(KeepError::Write { operation: "make", .. })));
    }
}
