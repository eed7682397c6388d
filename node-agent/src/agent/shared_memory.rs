//! Shared memory that MPI libraries keep as files beneath `/dev/shm` and that stays there when their ranks are killed.
//!
//! The name of such a file does not tell its gang (ADR 0002), so the agent notes which of them its ranks have mapped while
//! they live. When they are gone it unlinks what it has noted, if all of this holds: the file is of a kind that an MPI
//! library makes for one life of one gang and never to keep something in, it was not there before the gang, it is still
//! the same file, it belongs to the ranks' user, and nobody has it open or mapped, which the kernel says by granting a lease
//! of it. What is in doubt is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::Pid,
};
use strobe_core::model::{GangRun, Instant};

use super::{
    Agent,
    limits::{SHARED_MEMORY_FILES_MAX, SHARED_MEMORY_LOOK_MAX, SHARED_MEMORY_LOOK_MIN},
};
use crate::sys::lease::take_write_lease;

/// Where such files are.
const FOLDER: &str = "/dev/shm";

/// How names begin of files that serve one life of one gang: MPICH's own (`mpich_shm_` and a hash). A program may keep
/// anything else beneath `/dev/shm`, such as a checkpoint for its next life.
const TRANSIENT: [&str; 1] = ["mpich_shm_"];

/// What is known of the shared memory of one gang here.
#[derive(Debug)]
pub(super) struct SharedMemory {
    folder: PathBuf,
    /// Files that were there before the gang.
    before: BTreeSet<FileId>,
    noted: BTreeMap<FileId, PathBuf>,
    look_at: Instant,
    pause: Duration,
}

/// Names a file as long as it is there: its device, as major and minor number, and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    device: (u32, u32),
    inode: u64,
}

/// A mapping, as a line of `/proc/PID/maps` shows it (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    file: FileId,
    path: &'a Path,
}

// === impl Agent ===

impl Agent {
    /// Notes what the ranks of the gangs here have mapped, where it is time to look again.
    pub(super) fn note_shared_memory(&mut self, now: Instant) {
        for gang in self.gangs.values_mut().filter(|gang| gang.released_at.is_some()) {
            if gang.shared_memory.as_ref().is_some_and(|memory| memory.look_at <= now) {
                gang.note_shared_memory();
                gang.shared_memory.iter_mut().for_each(|memory| memory.look_later(now));
            }
        }
    }
}

// === impl SharedMemory ===

impl SharedMemory {
    /// To be called before the gang's ranks begin. None where it cannot be seen what is there already: then nothing is
    /// removed.
    pub(super) fn before_the_gang() -> Option<Self> {
        Self::beneath(Path::new(FOLDER))
    }

    fn beneath(folder: &Path) -> Option<Self> {
        let mut before = BTreeSet::new();
        for entry in fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            if is_transient(&entry.path()) {
                before.insert(FileId::of(&entry.metadata().ok()?));
            }
        }
        let look_at = Instant::ORIGIN;
        Some(Self { folder: folder.to_owned(), before, noted: BTreeMap::new(), look_at, pause: SHARED_MEMORY_LOOK_MIN })
    }

    /// Notes what the processes have mapped that `processes` names both before and after it was looked at: a number that
    /// means another process by then is in one of the two no more.
    pub(super) fn note(&mut self, processes: impl Fn() -> Vec<Pid>) {
        let found: Vec<(Pid, Vec<(FileId, PathBuf)>)> = processes().into_iter().map(|pid| (pid, self.mapped_by(pid))).collect();
        if found.iter().all(|(_, files)| files.is_empty()) {
            return;
        }
        let still = processes();
        for (file, path) in found.into_iter().filter(|(pid, _)| still.contains(pid)).flat_map(|(_, files)| files) {
            if self.noted.len() < SHARED_MEMORY_FILES_MAX {
                self.noted.insert(file, path);
            }
        }
    }

    fn look_later(&mut self, now: Instant) {
        self.look_at = now + self.pause;
        self.pause = (self.pause * 2).min(SHARED_MEMORY_LOOK_MAX);
    }

    /// The files of a process that may have to be removed one day.
    fn mapped_by(&self, pid: Pid) -> Vec<(FileId, PathBuf)> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let ours = |mapping: &Mapping<'_>| {
            let here = mapping.path.parent() == Some(&self.folder) && is_transient(mapping.path);
            here && !self.before.contains(&mapping.file)
        };
        let mappings = maps.lines().filter_map(Mapping::parse).filter(ours);
        let found: BTreeMap<FileId, PathBuf> = mappings.map(|mapping| (mapping.file, mapping.path.to_owned())).collect();
        // Whose the file is must not be found out later, when the process is gone.
        let owner = user_of(pid);
        found.into_iter().filter(|(file, path)| owner.is_some() && owner_of(path, *file) == owner).collect()
    }

    /// Removes what the gang has left, now that its ranks are gone.
    pub(super) fn remove_unused(self, run: GangRun) {
        for (file, path) in self.noted {
            match remove_unused(file, &path) {
                Ok(()) => tracing::debug!(%run, path = %path.display(), "shared memory that ranks had left is removed"),
                // It is the ranks' own to remove, and mostly they have.
                Err(Errno::NOENT | Errno::LOOP) => {}
                Err(Errno::AGAIN) => tracing::debug!(%run, path = %path.display(), "shared memory of the gang is in use: it stays"),
                Err(error) => tracing::info!(%run, path = %path.display(), %error, "shared memory of the gang is left behind"),
            }
        }
    }
}

/// Unlinks the file at that path if it is still that one and nobody uses it. Nobody begins to meanwhile: the lease holds who
/// opens it.
fn remove_unused(file: FileId, path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let is_it = |found: io::Result<fs::Metadata>| found.is_ok_and(|found| found.is_file() && FileId::of(&found) == file);
    if !is_it(opened.metadata()) {
        return Err(Errno::NOENT);
    }
    take_write_lease(&opened)?;
    // The name may have become another file's since it was opened.
    if is_it(fs::symlink_metadata(path)) { rustix::fs::unlink(path) } else { Err(Errno::NOENT) }
}

/// The owner of the file at that path, if it is that one: a regular file, and no link to one.
fn owner_of(path: &Path, file: FileId) -> Option<u32> {
    let found = fs::symlink_metadata(path).ok()?;
    (found.is_file() && FileId::of(&found) == file).then(|| found.uid())
}

fn is_transient(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    TRANSIENT.iter().any(|prefix| name.starts_with(prefix))
}

/// The effective user of a process: with it, files are made.
fn user_of(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

// === impl FileId ===

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        let device = metadata.dev();
        Self { device: (rustix::fs::major(device), rustix::fs::minor(device)), inode: metadata.ino() }
    }
}

// === impl Mapping ===

impl<'a> Mapping<'a> {
    /// Reads `FROM-TO PERMISSIONS OFFSET MAJOR:MINOR INODE PATH`. None for what is no file, or is unlinked already.
    fn parse(line: &'a str) -> Option<Self> {
        let mut rest = line;
        let mut field = || {
            let (field, after) = rest.trim_start().split_once(' ')?;
            rest = after;
            Some(field)
        };
        let (_range, _permissions, _offset) = (field()?, field()?, field()?);
        let (major, minor) = field()?.split_once(':')?;
        let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
        let inode = field()?.parse().ok()?;
        let path = rest.trim_start();
        let linked = path.starts_with('/') && !path.ends_with(" (deleted)");
        linked.then(|| Self { file: FileId { device, inode }, path: Path::new(path) })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        process::{Child, Command, Stdio},
    };

    use strobe_core::model::{GangId, GangIncarnation};

    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

    /// A process that has the file mapped, until it is dropped: a shell's own program text is one.
    struct Mapper(Child);

    impl Mapper {
        fn of(path: &Path) -> Self {
            let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // Its first line says that it runs the program and not this one any more.
            let mut line = String::new();
            use std::io::{BufRead, BufReader, Write};
            child.stdin.as_mut().unwrap().write_all(b"begun\n").unwrap();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            Self(child)
        }

        fn pid(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Mapper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// A folder as `/dev/shm`, and how a "shared memory file" is made in it: a copy of `cat`, which who runs it maps.
    fn folder() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, move |name: &str| {
            let file = path.join(name);
            // By another process: a child that another test forks meanwhile would hold the copy open for writing, and what is
            // open for writing is not executed.
            assert!(Command::new("cp").arg("/bin/cat").arg(&file).status().unwrap().success());
            file
        })
    }

    fn memory_of(file: &Path) -> SharedMemory {
        SharedMemory::beneath(file.parent().unwrap()).unwrap()
    }

    #[test]
    fn a_file_that_a_dead_rank_had_mapped_is_removed() {
        let (folder, make) = folder();
        let mut memory = SharedMemory::beneath(&folder.path().canonicalize().unwrap()).unwrap();
        let (file, beside) = (make("mpich_shm_1"), make("mpich_shm_2"));
        let rank = Mapper::of(&file);
        memory.note(|| vec![rank.pid()]);
        drop(rank);
        memory.remove_unused(RUN);
        assert!(!file.exists() && beside.exists());
    }

    #[test]
    fn what_a_stranger_has_mapped_stays() {
        let (folder, make) = folder();
        let mut memory = SharedMemory::beneath(&folder.path().canonicalize().unwrap()).unwrap();
        let file = make("mpich_shm_1");
        let (rank, stranger) = (Mapper::of(&file), Mapper::of(&file));
        memory.note(|| vec![rank.pid()]);
        drop(rank);
        memory.remove_unused(RUN);
        assert!(file.exists());
        drop(stranger);
    }

    #[test]
    fn what_was_there_before_or_may_hold_something_stays() {
        let (_folder, make) = folder();
        let old = make("mpich_shm_old");
        let mut memory = memory_of(&old);
        let checkpoint = make("checkpoint");
        let ranks = [Mapper::of(&old), Mapper::of(&checkpoint)];
        memory.note(|| ranks.iter().map(Mapper::pid).collect());
        assert_eq!(memory.noted.len(), 0);
        drop(ranks);
        memory.remove_unused(RUN);
        assert!(old.exists() && checkpoint.exists());
    }

    #[test]
    fn another_file_of_the_same_name_stays_and_so_does_what_a_link_names() {
        let (folder, make) = folder();
        let mut memory = SharedMemory::beneath(&folder.path().canonicalize().unwrap()).unwrap();
        let (file, other) = (make("mpich_shm_1"), make("other"));
        let rank = Mapper::of(&file);
        memory.note(|| vec![rank.pid()]);
        assert_eq!(memory.noted.len(), 1);
        drop(rank);
        fs::rename(&other, &file).unwrap();
        memory.remove_unused(RUN);
        assert!(file.exists(), "it is another file");
        let link = folder.path().join("mpich_shm_link");
        symlink(&file, &link).unwrap();
        let linked = FileId::of(&fs::metadata(&file).unwrap());
        assert_eq!((remove_unused(linked, &link), owner_of(&link, linked)), (Err(Errno::LOOP), None));
        assert!(file.exists());
    }

    #[test]
    fn a_number_that_means_another_process_by_now_is_not_believed() {
        let (folder, make) = folder();
        let mut memory = SharedMemory::beneath(&folder.path().canonicalize().unwrap()).unwrap();
        let file = make("mpich_shm_1");
        let process = Mapper::of(&file);
        let asked = std::cell::Cell::new(0);
        memory.note(|| {
            asked.set(asked.get() + 1);
            if asked.get() == 1 { vec![process.pid()] } else { Vec::new() }
        });
        assert_eq!((asked.get(), memory.noted.len()), (2, 0));
    }

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7f1c6c000000-7f1c6c021000 rw-s 00000000 00:1a 77                         /dev/shm/mpich_shm_a b";
        let file = FileId { device: (0, 0x1a), inode: 77 };
        assert_eq!(Mapping::parse(line), Some(Mapping { file, path: Path::new("/dev/shm/mpich_shm_a b") }));
        assert_eq!(Mapping::parse(&format!("{line} (deleted)")), None);
        assert_eq!(Mapping::parse("7ffd1000-7ffd2000 rw-p 00000000 00:00 0                 [stack]"), None);
        assert_eq!(Mapping::parse("7ffd1000-7ffd2000 rw-p 00000000 00:00 0 "), None);
    }
}
