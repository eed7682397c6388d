//! Controllers that a machine still has in hierarchies of version 1, beside the tree of version 2 (cgroups(7)): where a pod's container
//! stands there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use super::{CgroupError, CgroupPath, PodUid};
use crate::sys::first_version::{mount_of, path_of};

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
    let mounts = read("/proc/self/mountinfo".to_owned())?;
    let Some(mount) = mount_of(controller, &mounts) else { return Ok(None) };
    let groups = read(format!("/proc/{}/cgroup", process.as_raw_pid()))?;
    let outside = || FirstVersionError::Outside { controller };
    let cgroup = CgroupPath::parse(path_of(controller, &groups).ok_or_else(outside)?)?;
    pod.cgroup_above(&cgroup).filter(|pod| *pod != cgroup).ok_or_else(outside)?;
    Ok(Some(Path::new(mount).join(cgroup.as_str().trim_start_matches('/'))))
}

fn read(path: String) -> Result<String, FirstVersionError> {
    fs::read_to_string(&path).map_err(|source| FirstVersionError::Read { path, source })
}
