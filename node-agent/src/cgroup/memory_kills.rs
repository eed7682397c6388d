//! Processes of a container that the kernel has ended for lack of memory: it kills by the same signal as anybody, and tells by a count alone.

use std::{fs, path::PathBuf};

use rustix::process::Pid;

use super::{
    CgroupPath, CgroupTree, PodUid,
    first_version::{FirstVersionError, folder_of},
};

/// What the kernel counts of a container, and how much of it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryKills {
    /// `memory.oom_control` of version 1 (Linux 4.13 and later) or `memory.events` of version 2: both have a line `oom_kill`.
    file: PathBuf,
    seen: u64,
}

impl MemoryKills {
    /// Those of the container in which a process of this pod is, from now on.
    ///
    /// # Errors
    /// As [`super::CpuSet::of`].
    pub fn of(process: Pid, pod: &PodUid, container: &CgroupPath) -> Result<Self, FirstVersionError> {
        let file = match folder_of("memory", process, pod)? {
            Some(folder) => folder.join("memory.oom_control"),
            // The count is of the whole tree below, in which the ranks' cgroup is.
            None => CgroupTree::find()?.on_disk(container)?.join("memory.events"),
        };
        let seen = count(&file);
        Ok(Self { file, seen })
    }

    /// True when there was one more since the last look.
    pub fn has_grown(&mut self) -> bool {
        let now = count(&self.file);
        std::mem::replace(&mut self.seen, now) < now
    }
}

/// Zero where nothing is counted: no such controller, or a container that is gone.
fn count(file: &std::path::Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_growth_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        fs::write(&file, "low 0\noom 3\noom_kill 1\noom_group_kill 0\n").unwrap();
        let mut kills = MemoryKills { seen: count(&file), file: file.clone() };
        assert!(!kills.has_grown());
        fs::write(&file, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
        assert_eq!([kills.has_grown(), kills.has_grown()], [true, false]);
        fs::remove_file(&file).unwrap();
        assert!(!kills.has_grown());
    }
}
