//! The cgroup v2 tree of this machine and the way from a path in it to a directory on disk.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use super::directory::{children, is_gone};
use super::limits::CREATE_ATTEMPTS_MAX;
use super::{CgroupError, CgroupPath, Leftover, Operation};

/// A mounted cgroup v2 tree: alone at `/sys/fs/cgroup`, beside the v1 hierarchies at `/sys/fs/cgroup/unified`, or
/// wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupTree {
    mount_point: PathBuf,
    /// The cgroup that is visible at the mount point; all others are reached below it.
    visible: CgroupPath,
}

// === impl CgroupTree ===

impl CgroupTree {
    /// Finds the tree among this process's mounts; of several, the one that shows most of it.
    ///
    /// # Errors
    /// [`CgroupError::NoTree`] where none is mounted.
    pub fn find() -> Result<Self, CgroupError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|source| CgroupError::Mounts { source })?;
        Self::among(&mounts).ok_or(CgroupError::NoTree)
    }

    /// The directory of a cgroup on disk, whether it exists or not.
    ///
    /// # Errors
    /// [`CgroupError::InvalidPath`] when the cgroup lies outside what the mount shows.
    pub fn on_disk(&self, path: &CgroupPath) -> Result<PathBuf, CgroupError> {
        if !self.visible.holds(path) {
            return Err(CgroupError::InvalidPath { path: path.to_string() });
        }
        let below = &path.as_str()[self.visible.as_str().trim_end_matches('/').len()..];
        Ok(self.mount_point.join(below.trim_start_matches('/')))
    }

    /// Where the tree is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Makes a cgroup and those above it, where they do not exist yet.
    ///
    /// # Errors
    /// [`CgroupError::NotPermitted`] and [`CgroupError::Refused`]; what was made stays.
    pub fn create(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        let disk = self.on_disk(path)?;
        let mut above: Vec<_> = std::iter::successors(Some(path.clone()), CgroupPath::parent).collect();
        above.retain(|path| self.visible.holds(path) && *path != self.visible);
        let mut answer = Ok(());
        for _ in 0..CREATE_ATTEMPTS_MAX {
            answer = above.iter().rev().try_for_each(|path| self.make(path));
            if answer != Err(Errno::NOENT) {
                break;
            }
        }
        answer.map_err(|source| CgroupError::kernel(Operation::Create, disk, source))
    }

    /// Removes a cgroup that holds nothing, then those above it that hold nothing either, up to but without `keep`.
    ///
    /// # Guarantees
    /// Touches nothing that is in use: the kernel refuses to remove a cgroup with a process or a child.
    ///
    /// # Errors
    /// [`CgroupError::NotPermitted`] and [`CgroupError::Refused`], except for one that is in use or gone.
    pub fn remove_unused(&self, path: &CgroupPath, keep: &CgroupPath) -> Result<(), CgroupError> {
        let mut candidate = Some(path.clone());
        while let Some(path) = candidate.filter(|path| path != keep && keep.holds(path)) {
            let disk = self.on_disk(&path)?;
            match unlinkat(CWD, &disk, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(()),
                Err(source) => return Err(CgroupError::kernel(Operation::Remove, disk, source)),
            }
            candidate = path.parent();
        }
        Ok(())
    }

    /// What stands right below `parent`: asked at start, it is what earlier runs left. None where `parent` does not
    /// exist.
    ///
    /// # Errors
    /// Where the tree cannot be listed.
    pub fn leftovers(&self, parent: &CgroupPath) -> Result<Vec<Leftover>, CgroupError> {
        let mut found = Vec::new();
        for disk in children(&self.on_disk(parent)?)? {
            match Leftover::new(parent, disk) {
                Ok(leftover) => found.push(leftover),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Makes one cgroup where it does not exist yet.
    fn make(&self, path: &CgroupPath) -> Result<(), Errno> {
        let disk = self.on_disk(path).map_err(|_| Errno::INVAL)?;
        match mkdirat(CWD, disk, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn among(mounts: &str) -> Option<Self> {
        let trees = mounts.lines().filter_map(Self::from_mount);
        trees.min_by_key(|tree| tree.visible.as_str().len())
    }

    /// The tree of a `mountinfo` line, if it mounts one (proc(5)).
    fn from_mount(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        if file_system.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let visible = CgroupPath::parse(&unescaped(fields.next()?)).ok()?;
        Some(Self { mount_point: PathBuf::from(unescaped(fields.next()?)), visible })
    }
}

/// A `mountinfo` field with its escapes (`\040` and so on: space, tab, newline, backslash) undone.
fn unescaped(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const PURE: &str = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const PARTIAL: &str = "99 22 0:26 /kubepods/a /some\\040where/v2 rw - cgroup2 cgroup rw\n";

    fn path(text: &str) -> CgroupPath {
        CgroupPath::parse(text).unwrap()
    }

    #[test]
    fn the_tree_is_found_on_pure_and_hybrid_machines() {
        let tree = CgroupTree::among(HYBRID).unwrap();
        assert_eq!(tree.on_disk(&path("/strobe/a")).unwrap(), Path::new("/sys/fs/cgroup/unified/strobe/a"));
        let tree = CgroupTree::among(PURE).unwrap();
        assert_eq!(tree.on_disk(&CgroupPath::root()).unwrap(), Path::new("/sys/fs/cgroup/"));
        assert_eq!(CgroupTree::among("31 23 0:28 / /sys rw - tmpfs tmpfs rw"), None);
    }

    #[test]
    fn a_mount_of_a_part_shows_only_that_part() {
        let tree = CgroupTree::among(PARTIAL).unwrap();
        assert_eq!(tree.on_disk(&path("/kubepods/a/b")).unwrap(), Path::new("/some where/v2/b"));
        assert!(tree.on_disk(&path("/kubepods/ab")).is_err());
        let both = format!("{PARTIAL}{PURE}");
        assert_eq!(CgroupTree::among(&both).unwrap().mount_point(), Path::new("/sys/fs/cgroup"));
    }
}
