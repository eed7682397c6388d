//! What a node keeps of the files that it is given: written part after part beside its place, and put there when all of it is right.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use strobe_core::model::{AgentIncarnation, NodeIncarnation, NodeIndex, PartitionUid};
use strobe_fabric::blocks::BlockBytes;
use strobe_proto::files;

use super::file_part::FilePart;

/// The store of a node, a folder.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: Option<PathBuf>,
    partition: PartitionUid,
    /// What each node has begun to give and not ended.
    unfinished: BTreeMap<NodeIndex, Unfinished>,
    /// The last part of each giver that was kept: it may come again, when its giver has not heard that it was put.
    kept: BTreeMap<NodeIndex, PartName>,
}

/// What tells a part from others of the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartName {
    giver: AgentIncarnation,
    file: u64,
    offset: u64,
}

#[derive(Debug)]
struct Unfinished {
    giver: AgentIncarnation,
    number: u64,
    path: PathBuf,
    file: File,
    written: u64,
    digest: Sha256,
    /// It has its place.
    placed: bool,
}

/// Why a part was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// This node was given no folder for files.
    #[error("this node has no store")]
    NoStore,
    /// Another block was put in its place before it was read.
    #[error("another part was put in its place")]
    Replaced,
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
    /// A store in that folder, which is made when the first file comes. What an earlier life of the agent has begun there is removed.
    pub(super) fn new(folder: Option<PathBuf>, partition: PartitionUid) -> Self {
        if let Some(folder) = &folder {
            files::remove_parts(folder, partition);
        }
        Self { folder, partition, unfinished: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// Writes a part of a file; with the last one it is in its place. What was written is on the disk.
    ///
    /// # Errors
    /// See [`KeepError`]. Nothing of the file is left then, and its further parts are refused; but where the folder alone could not be synchronised
    /// all of it is in its place.
    pub(super) fn keep(&mut self, giver: NodeIncarnation, block: &BlockBytes) -> Result<(), KeepError> {
        let folder = self.folder.clone().ok_or(KeepError::NoStore)?;
        let (part, bytes) = FilePart::of(block).ok_or(KeepError::NoPart)?;
        let name = PartName { giver: giver.incarnation, file: part.file, offset: part.offset };
        if self.kept.get(&giver.node) == Some(&name) {
            return Ok(());
        }
        let is_its = |known: &Unfinished| known.giver == giver.incarnation && known.number == part.file;
        // Of what cannot go on nothing stays.
        let begun = self.unfinished.remove(&giver.node).filter(|_| part.offset > 0).filter(is_its);
        let mut unfinished = match begun {
            Some(begun) if begun.written == part.offset => begun,
            None if part.offset == 0 => {
                let path = folder.join(files::part_name(&part.name, self.partition, giver.node));
                Unfinished::begin(giver.incarnation, &folder, path, &part)?
            }
            begun => {
                let written = begun.map_or(0, |begun| begun.written);
                return Err(KeepError::Missing { name: part.name, offset: part.offset, written });
            }
        };
        unfinished.write(&bytes)?;
        match part.checksum {
            Some(checksum) => unfinished.end(&folder, &part, checksum)?,
            None => drop(self.unfinished.insert(giver.node, unfinished)),
        }
        self.kept.insert(giver.node, name);
        Ok(())
    }
}

impl Unfinished {
    fn begin(giver: AgentIncarnation, folder: &Path, path: PathBuf, part: &FilePart) -> Result<Self, KeepError> {
        if !files::is_name(&part.name) {
            return Err(KeepError::BadName(part.name.clone()));
        }
        fs::create_dir_all(folder).map_err(|source| KeepError::Write { operation: "make", path: folder.to_owned(), source })?;
        // A link that somebody has put there is removed, and never followed.
        let _none = fs::remove_file(&path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = made.map_err(|source| KeepError::Write { operation: "make", path: path.clone(), source })?;
        Ok(Self { giver, number: part.file, path, file, written: 0, digest: Sha256::new(), placed: false })
    }

    /// It is on the disk when this returns: many parts at a time would take longer than their giver waits for the last one.
    fn write(&mut self, chunks: &[Bytes]) -> Result<(), KeepError> {
        let Self { file, digest, written, path, .. } = self;
        let mut write = || {
            for chunk in chunks {
                file.write_all(chunk)?;
                digest.update(chunk);
                *written += chunk.len() as u64;
            }
            file.sync_data()
        };
        write().map_err(|source| KeepError::Write { operation: "write", path: path.clone(), source })
    }

    /// *Guarantees*: whoever finds a file under its name finds all of it, also after a power cut.
    fn end(mut self, folder: &Path, part: &FilePart, checksum: [u8; 32]) -> Result<(), KeepError> {
        if self.written != part.length || self.digest.finalize_reset().as_slice() != checksum {
            return Err(KeepError::Different(part.name.clone()));
        }
        let place = folder.join(&part.name);
        let finished = self
            .file
            .set_permissions(Permissions::from_mode(part.mode & 0o777))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.path, &place));
        self.placed = finished.is_ok();
        let finished = finished.and_then(|()| File::open(folder)?.sync_all());
        finished.map_err(|source| KeepError::Write { operation: "finish", path: place, source })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.placed {
            // The agent's next life removes it otherwise.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const CALLER: NodeIncarnation = NodeIncarnation { node: NodeIndex(1), incarnation: AgentIncarnation(1) };
    const OTHER: NodeIncarnation = NodeIncarnation { node: NodeIndex(2), incarnation: AgentIncarnation(1) };
    const PARTITION: PartitionUid = PartitionUid(7);

    fn keeper(folder: &Path) -> Keeper {
        Keeper::new(Some(folder.to_owned()), PARTITION)
    }

    /// The parts of file number `file` of a giver.
    fn parts(file: u64, name: &str, whole: &[u8], size: usize) -> Vec<BlockBytes> {
        let count = whole.len().div_ceil(size).max(1);
        let part = |index: usize| {
            let bytes = &whole[index * size..whole.len().min((index + 1) * size)];
            let checksum = (index + 1 == count).then(|| Sha256::digest(whole).into());
            let (length, offset) = (whole.len() as u64, (index * size) as u64);
            FilePart { file, name: name.to_owned(), mode: 0o750, length, offset, checksum }.block(Bytes::copy_from_slice(bytes))
        };
        (0..count).map(part).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_several_givers_come_part_by_part_also_under_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let mut keeper = keeper(&store);
        let (first, second) = (parts(1, "name", b"0123456789", 4), parts(1, "name", b"abcdef", 4));
        keeper.keep(CALLER, &first[0]).unwrap();
        keeper.keep(OTHER, &second[0]).unwrap();
        keeper.keep(CALLER, &first[1]).unwrap();
        let begun = [CALLER, OTHER].map(|giver| files::part_name("name", PARTITION, giver.node));
        assert_eq!(names(&store), begun, "nothing is there before its end");
        keeper.keep(OTHER, &second[1]).unwrap();
        assert_eq!(fs::read(store.join("name")).unwrap(), b"abcdef");
        keeper.keep(CALLER, &first[2]).unwrap();
        assert_eq!(fs::read(store.join("name")).unwrap(), b"0123456789", "who ends last");
        keeper.keep(CALLER, &parts(2, "empty", b"", 4)[0]).unwrap();
        assert_eq!(names(&store), ["empty", "name"]);
        assert_eq!(fs::metadata(store.join("name")).unwrap().permissions().mode() & 0o7777, 0o750);
    }

    #[test]
    fn a_part_that_comes_again_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = keeper(folder.path());
        for part in parts(1, "file", b"0123456789", 4) {
            keeper.keep(CALLER, &part).unwrap();
            keeper.keep(CALLER, &part).unwrap();
        }
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"0123456789");
        // The same file once more, and the same of the giver's next life, are others.
        fs::remove_file(folder.path().join("file")).unwrap();
        keeper.keep(CALLER, &parts(2, "file", b"0123456789", 10)[0]).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
        fs::remove_file(folder.path().join("file")).unwrap();
        let next_life = NodeIncarnation { incarnation: AgentIncarnation(2), ..CALLER };
        keeper.keep(next_life, &parts(2, "file", b"0123456789", 10)[0]).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_file_of_which_a_part_is_missing_or_another_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = keeper(folder.path());
        let whole = parts(1, "file", b"0123456789", 4);
        assert!(matches!(keeper.keep(CALLER, &whole[1]), Err(KeepError::Missing { offset: 4, written: 0, .. })));
        keeper.keep(CALLER, &whole[0]).unwrap();
        assert!(matches!(keeper.keep(CALLER, &whole[2]), Err(KeepError::Missing { offset: 8, written: 4, .. })));
        assert!(matches!(keeper.keep(CALLER, &whole[1]), Err(KeepError::Missing { .. })), "the file is given up");
        let right = parts(2, "file", b"0123456789", 10);
        let (described, _) = FilePart::of(&right[0]).unwrap();
        let torn = FilePart { checksum: Some([0; 32]), ..described }.block(Bytes::from_static(b"0123456789"));
        assert!(matches!(keeper.keep(CALLER, &torn), Err(KeepError::Different(_))));
        assert_eq!(names(folder.path()), Vec::<String>::new());
        keeper.keep(CALLER, &right[0]).unwrap();
        assert_eq!(names(folder.path()), ["file"], "and can be given again");
    }

    #[test]
    fn of_what_was_begun_and_not_ended_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = keeper(folder.path());
        first.keep(CALLER, &parts(1, "abandoned", b"0123456789", 4)[0]).unwrap();
        first.keep(CALLER, &parts(2, "next", b"0123456789", 4)[0]).unwrap();
        assert_eq!(names(folder.path()), [files::part_name("next", PARTITION, CALLER.node)]);
        drop(first);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        // As an agent that was killed leaves it, and as another partition's does.
        let (own, others) = (files::part_name("x", PARTITION, CALLER.node), files::part_name("x", PartitionUid(8), CALLER.node));
        for name in [&own, &others] {
            fs::write(folder.path().join(name), "begun").unwrap();
        }
        drop(keeper(folder.path()));
        assert_eq!(names(folder.path()), [others]);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, precious) = (folder.path().join("store"), folder.path().join("precious"));
        fs::create_dir(&store).unwrap();
        fs::write(&precious, "precious").unwrap();
        let mut keeper = keeper(&store);
        symlink(&precious, store.join(files::part_name("file", PARTITION, CALLER.node))).unwrap();
        symlink(&precious, store.join("file")).unwrap();
        keeper.keep(CALLER, &parts(1, "file", b"bytes", 10)[0]).unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert!(fs::symlink_metadata(store.join("file")).unwrap().is_file());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = keeper(folder.path());
        for name in ["", "..", ".hidden", "a/b"] {
            assert!(matches!(keeper.keep(CALLER, &parts(1, name, b"x", 1)[0]), Err(KeepError::BadName(_))), "{name:?}");
        }
        assert!(matches!(keeper.keep(CALLER, &BlockBytes::from(vec![1, 2])), Err(KeepError::NoPart)));
        assert!(matches!(Keeper::new(None, PARTITION).keep(CALLER, &parts(1, "file", b"x", 1)[0]), Err(KeepError::NoStore)));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = Keeper::new(Some(file), PARTITION).keep(CALLER, &parts(1, "file", b"x", 1)[0]);
        assert!(matches!(refused, Err(KeepError::Write { operation: "make", .. })));
    }
}
