//! The tree of cgroup v2, as far as recipes use it: a cgroup of their own, ended with all that is in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::limits::KILLED;

/// Where the tree is mounted, and which of its cgroups is seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) disk: PathBuf,
    visible: String,
}

/// A cgroup that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// From the root of the tree.
    pub(crate) path: String,
    pub(crate) disk: PathBuf,
}

// === impl Mount ===

impl Mount {
    /// None where no tree of cgroup v2 is mounted.
    pub(crate) fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounts.lines().filter_map(Self::from_line).min_by_key(|mount| mount.visible.len())
    }

    /// Reads a line of proc(5) `mountinfo`: `ID PARENT DEVICE ROOT POINT … - TYPE …`.
    fn from_line(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (visible, disk) = (fields.next()?.to_owned(), PathBuf::from(fields.next()?));
        kind.starts_with("cgroup2 ").then_some(Self { disk, visible })
    }

    /// Makes a cgroup below the root of what is seen, or else below this process's own.
    ///
    /// # Errors
    /// This user may do neither.
    pub(crate) fn make(&self, name: &str) -> io::Result<Cgroup> {
        let below = |parent: &str| self.cgroup(&format!("{}/{name}", parent.trim_end_matches('/')));
        let places = [below(&self.visible), own().as_deref().and_then(below)];
        let mut answer = Err(io::ErrorKind::NotFound.into());
        for cgroup in places.into_iter().flatten() {
            answer = fs::create_dir(&cgroup.disk).map(|()| cgroup);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// The cgroups where [`Mount::make`] makes them, by their names.
    pub(crate) fn named(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Cgroup> {
        let parents = [Some(self.visible.clone()), own()].into_iter().flatten();
        let parents = parents.filter_map(|path| self.cgroup(&path));
        let mut found: Vec<PathBuf> = parents.flat_map(|parent| children(&parent.disk)).collect();
        found.retain(|disk| disk.file_name().and_then(|name| name.to_str()).is_some_and(&is_wanted));
        found.sort();
        found.dedup();
        found.into_iter().map(|disk| Cgroup { path: String::new(), disk }).collect()
    }

    fn cgroup(&self, path: &str) -> Option<Cgroup> {
        let below = path.strip_prefix(self.visible.trim_end_matches('/'))?;
        let inside = below.is_empty() || below.starts_with('/');
        inside.then(|| Cgroup { path: path.to_owned(), disk: self.disk.join(below.trim_start_matches('/')) })
    }
}

// === impl Cgroup ===

impl Cgroup {
    /// What lies below it, parents before children.
    pub(crate) fn below(&self) -> Vec<PathBuf> {
        let mut all = children(&self.disk);
        let mut next = 0;
        while let Some(parent) = all.get(next) {
            let found = children(parent);
            all.extend(found);
            next += 1;
        }
        all
    }

    /// Kills what is in it and below it, frozen or not, and removes it.
    ///
    /// # Errors
    /// Something does not end within [`KILLED`], or the kernel has no `cgroup.kill` (before Linux 5.14).
    pub(crate) fn end(&self) -> io::Result<()> {
        self.empty()?;
        fs::remove_dir(&self.disk)
    }

    /// Kills what is in it and below it and removes what lies below it.
    ///
    /// # Errors
    /// Those of [`Cgroup::end`].
    pub(crate) fn empty(&self) -> io::Result<()> {
        fs::write(self.disk.join("cgroup.kill"), "1")?;
        wait_until_empty(&self.disk)?;
        self.below().iter().rev().try_for_each(fs::remove_dir)
    }
}

/// Waits until no process is in a cgroup or below it; the kernel tells of a change of `cgroup.events` like of urgent data.
fn wait_until_empty(disk: &Path) -> io::Result<()> {
    let deadline = Instant::now() + KILLED;
    let path = disk.join("cgroup.events");
    let events = File::open(&path)?;
    // Read through the name: each look is at the present state, and one after the descriptor was opened misses no change.
    while fs::read_to_string(&path)?.lines().any(|line| line == "populated 1") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left = Timespec::try_from(left).unwrap_or_default();
        poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left))?;
    }
    Ok(())
}

/// This process's cgroup, from the root of the tree.
fn own() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
}

fn children(disk: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(disk).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_a_part_of_the_tree_shows_only_that_part() {
        let mount = Mount::from_line("9 2 0:2 /pods/a /v2 rw - cgroup2 x rw").unwrap();
        assert_eq!(mount.cgroup("/pods/a/strobe").unwrap().disk, Path::new("/v2/strobe"));
        assert_eq!(mount.cgroup("/pods/ab"), None);
        assert_eq!(Mount::from_line("31 23 0:28 / /sys rw - tmpfs tmpfs rw"), None);
    }
}
