//! Which freezer a run on this machine will have: cgroup v2 where it is mounted and may be written, else stop signals.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) enum Freezer {
    /// Cgroups can be made below this folder.
    Cgroup(PathBuf),
    /// Why only signals are left.
    Signal(String),
}

/// Tries it: makes an empty cgroup and removes it.
pub(super) fn find() -> Freezer {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(root) = mount_point(&mounts) else {
        return Freezer::Signal("cgroup v2 is mounted nowhere".to_owned());
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let places = [Some(root.clone()), own_cgroup(&own).map(|path| root.join(path))];
    match places.into_iter().flatten().find(|place| may_write(place)) {
        Some(place) => Freezer::Cgroup(place),
        None => Freezer::Signal(format!("no permission to make cgroups below {}", root.display())),
    }
}

/// Where cgroup v2 is mounted, from the text of `/proc/self/mountinfo` (proc(5): the type stands after a lone `-`).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let v2 = mountinfo.lines().find(|line| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup2 ")))?;
    v2.split(' ').nth(4).map(PathBuf::from)
}

/// This process's v2 cgroup relative to the mount point, from the text of `/proc/self/cgroup`.
fn own_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn may_write(place: &Path) -> bool {
    let trial = place.join(format!("strobe-check-{}", std::process::id()));
    fs::create_dir(&trial).is_ok() && fs::remove_dir(&trial).is_ok()
}

// === impl Freezer ===

impl fmt::Display for Freezer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup(place) => write!(formatter, "cgroup v2 below {}", place.display()),
            Self::Signal(reason) => write!(formatter, "stop signals ({reason}): gangs switch, but less exactly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn finds_v2_beside_v1() {
        assert_eq!(mount_point(HYBRID), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn v1_alone_is_not_v2() {
        let v1: String = HYBRID.lines().take(2).map(|line| format!("{line}\n")).collect();
        assert_eq!(mount_point(&v1), None);
    }

    #[test]
    fn the_own_cgroup_is_the_line_of_hierarchy_zero() {
        assert_eq!(own_cgroup("4:cpu:/a\n0::/user.slice/b\n"), Some("user.slice/b"));
        assert_eq!(own_cgroup("4:cpu:/a\n"), None);
    }
}
