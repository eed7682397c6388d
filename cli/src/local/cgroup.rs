//! The run's cgroup: made for the agents, which make their rank cgroups below it, and removed when they could not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use strobe_core::model::Instant;

use super::{clock, limits::KILLED};

/// How long a cgroup whose processes were killed is left alone between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A cgroup of one run, with one below it for each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunCgroup {
    /// From the root of the tree.
    path: String,
    disk: PathBuf,
}

/// Where the v2 tree is mounted, and which of its cgroups is seen there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    disk: PathBuf,
    visible: String,
}

impl RunCgroup {
    /// Makes it, below the cgroup that is stated, or else below the root of the tree or this process's own cgroup.
    ///
    /// # Errors
    /// This user may do none of it.
    pub(super) fn make(name: &str, stated: Option<&str>) -> Result<Self, io::Error> {
        let mount = Mount::find().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 tree is mounted"))?;
        let mut answer = Err(io::ErrorKind::NotFound.into());
        for parent in mount.parents(stated) {
            let made = mount.at(&format!("{}/{name}", parent.trim_end_matches('/')));
            answer = match made {
                Some(made) => fs::create_dir(&made.disk).map(|()| made),
                None => continue,
            };
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// The cgroup of a node, from the root of the tree.
    pub(super) fn node(&self, node: u16) -> String {
        format!("{}/node-{node}", self.path)
    }

    /// True while a process lives in the node's cgroup or below it.
    pub(super) fn node_is_populated(&self, node: u16) -> bool {
        is_populated(&self.disk.join(format!("node-{node}")))
    }

    /// Kills what is in it and below it, and removes it. False when something is left.
    pub(super) fn remove(&self) -> bool {
        remove(&self.disk)
    }
}

/// The cgroups on disk that carry the name of a run, where runs make them that are told the same.
pub(super) fn of_runs(stated: Option<&str>, is_run: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Some(mount) = Mount::find() else { return Vec::new() };
    let parents = mount.parents(stated).into_iter().filter_map(|path| mount.at(&path));
    let mut found: Vec<PathBuf> = parents.flat_map(|parent| children(&parent.disk)).collect();
    found.retain(|disk| disk.file_name().and_then(|name| name.to_str()).is_some_and(&is_run));
    found.sort();
    found.dedup();
    found
}

/// Kills what is in a cgroup and below it, thaws it and removes it. False when something is left.
pub(super) fn remove(disk: &Path) -> bool {
    let deadline = clock::now() + KILLED;
    let mut all = vec![disk.to_owned()];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        let below = children(parent);
        all.extend(below);
        next += 1;
    }
    for cgroup in &all {
        // Killing works on frozen ones too; a kernel without cgroup.kill is handled process by process.
        if fs::write(cgroup.join("cgroup.kill"), "1").is_err() {
            kill_each(cgroup);
        }
        let _thawed = fs::write(cgroup.join("cgroup.freeze"), "0");
    }
    all.iter().rev().all(|cgroup| remove_one(cgroup, deadline))
}

/// Removes one cgroup; the kernel refuses until the last killed process in it is gone.
fn remove_one(disk: &Path, deadline: Instant) -> bool {
    loop {
        match fs::remove_dir(disk) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) if clock::now() >= deadline => return false,
            // Its notifications come at most every 10 ms, so that looking is no worse than waiting for them.
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

fn kill_each(disk: &Path) {
    let text = fs::read_to_string(disk.join("cgroup.procs")).unwrap_or_default();
    for process in text.lines().filter_map(|line| super::processes::Process::find(line.parse().ok()?)) {
        process.kill();
    }
}

fn is_populated(disk: &Path) -> bool {
    fs::read_to_string(disk.join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

fn children(disk: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(disk).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// This process's cgroup, from the root of the tree.
fn own() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
}

impl Mount {
    /// Of several mounts the one that shows most of the tree.
    fn find() -> Option<Self> {
        Self::among(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    fn among(mounts: &str) -> Option<Self> {
        mounts.lines().filter_map(Self::from_line).min_by_key(|mount| mount.visible.len())
    }

    /// Reads a line of proc(5) `mountinfo`: `ID PARENT DEVICE ROOT POINT … - TYPE …`. Blanks in names are written `\040`.
    fn from_line(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3).map(|field| field.replace("\\040", " "));
        let (visible, disk) = (fields.next()?, PathBuf::from(fields.next()?));
        (kind.split(' ').next() == Some("cgroup2")).then_some(Self { disk, visible })
    }

    /// Where runs make their cgroups, the first choice first.
    fn parents(&self, stated: Option<&str>) -> Vec<String> {
        stated.map_or_else(|| [Some(self.visible.clone()), own()].into_iter().flatten().collect(), |stated| vec![stated.to_owned()])
    }

    /// A cgroup by its path from the root of the tree; none when this mount does not show it.
    fn at(&self, path: &str) -> Option<RunCgroup> {
        let below = path.strip_prefix(self.visible.trim_end_matches('/'))?;
        let inside = below.is_empty() || below.starts_with('/');
        inside.then(|| RunCgroup { path: path.to_owned(), disk: self.disk.join(below.trim_start_matches('/')) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_beside_v1_and_where_only_a_part_is_mounted() {
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n31 23 0:28 / /sys rw - tmpfs tmpfs rw";
        let mount = Mount::among(hybrid).unwrap();
        assert_eq!(mount.at("/strobe-1").unwrap().disk, Path::new("/sys/fs/cgroup/unified/strobe-1"));
        let part = Mount::among("9 2 0:2 /pods/a /some\\040where rw - cgroup2 x rw").unwrap();
        assert_eq!(part.at("/pods/a/strobe-1").unwrap().disk, Path::new("/some where/strobe-1"));
        assert_eq!(part.at("/pods/ab"), None);
        assert_eq!(Mount::among("31 23 0:28 / /sys rw - tmpfs tmpfs rw"), None);
    }

    #[test]
    fn a_cgroup_that_is_gone_is_removed_and_empty() {
        assert!(remove(Path::new("/nowhere/strobe-1")));
        assert!(!is_populated(Path::new("/nowhere/strobe-1")));
    }
}
