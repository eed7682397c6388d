//! Controllers that a machine still has in hierarchies of version 1, beside the tree of version 2 (cgroups(7)): where a pod's container
//! stands there.

use std::{fs, io, path::PathBuf};

use rustix::process::Pid;

use super::{CgroupError, CgroupPath, PodUid};

/// Why a container's place is not known.
#[derive(Debug, thiserror::Error)]
pub enum FirstVersionError {
    /// What the kernel tells cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What the kernel tells is no path.
    #[error("the container's place cannot be found")]
    Path(#[from] CgroupError),
    /// The process is in no cgroup of the container's own there.
    #[error("its container has no cgroup of its own in the hierarchy of {controller}")]
    Outside {
        /// The controller.
        controller: &'static str,
    },
}

/// The folder of the container in which a process of this pod is, in the hierarchy of a controller; none where the machine has no such
/// hierarchy, so that version 2 has the controller if anything has.
///
/// # Errors
/// [`FirstVersionError`]; never the folder of a cgroup that is not the pod's.
pub(super) fn folder_of(controller: &'static str, process: Pid, pod: &PodUid) -> Result<Option<PathBuf>, FirstVersionError> {
    let Some(mount) = mount_of(controller, &read("/proc/self/mountinfo".to_owned())?) else { return Ok(None) };
    let groups = read(format!("/proc/{}/cgroup", process.as_raw_pid()))?;
    let outside = || FirstVersionError::Outside { controller };
    let cgroup = CgroupPath::parse(path_of(controller, &groups).ok_or_else(outside)?)?;
    pod.cgroup_above(&cgroup).filter(|pod| *pod != cgroup).ok_or_else(outside)?;
    Ok(Some(mount.join(cgroup.as_str().trim_start_matches('/'))))
}

fn read(path: String) -> Result<String, FirstVersionError> {
    fs::read_to_string(&path).map_err(|source| FirstVersionError::Read { path, source })
}

/// Where the hierarchy of this controller is mounted whole (proc(5)).
fn mount_of(controller: &str, mounts: &str) -> Option<PathBuf> {
    let mount = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut described = file_system.split(' ');
        let is_it = described.next() == Some("cgroup") && described.nth(1)?.split(',').any(|option| option == controller);
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (is_it && root == "/").then(|| PathBuf::from(point))
    };
    mounts.lines().find_map(mount)
}

/// The path in that hierarchy, of a `/proc/PID/cgroup`.
fn path_of<'a>(controller: &str, groups: &'a str) -> Option<&'a str> {
    let path = |line: &'a str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|found| found == controller).then_some(path)
    };
    groups.lines().find_map(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_and_the_place_in_it_are_found() {
        let mounts =
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup none rw,cpuset\n";
        assert_eq!(mount_of("cpuset", mounts), Some(PathBuf::from("/sys/fs/cgroup/cpuset")));
        assert_eq!(mount_of("memory", mounts), None);
        assert_eq!(mount_of("cpuset", "29 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
        assert_eq!(path_of("cpuset", "4:cpu,cpuacct:/a\n3:cpuset:/kubepods/pod1/2\n0::/b\n"), Some("/kubepods/pod1/2"));
        assert_eq!(path_of("cpu", "4:cpuset:/b\n3:cpu,cpuacct:/a\n"), Some("/a"));
        assert_eq!(path_of("cpuset", "0::/b\n"), None);
    }
}
