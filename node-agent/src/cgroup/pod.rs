//! Pods as the cgroup tree shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::POD_UID_BYTES_MAX;
use super::{CgroupError, CgroupPath};

/// The UID of a Pod object, as the API server gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodUid(String);

// === impl PodUid ===

impl PodUid {
    /// Checks a UID: letters, digits and dashes, so that it is a part of a cgroup's name and of nothing else.
    ///
    /// # Errors
    /// [`CgroupError::InvalidName`].
    pub fn new(uid: impl Into<String>) -> Result<Self, CgroupError> {
        let uid = uid.into();
        let valid = (1..=POD_UID_BYTES_MAX).contains(&uid.len()) && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid { Ok(Self(uid)) } else { Err(CgroupError::InvalidName { name: uid }) }
    }

    /// The pod's cgroup, which has to be this one or above it: `podUID` by kubelet's cgroupfs driver, `...-podUID.slice` with
    /// underscores by its systemd driver. None where it is not.
    #[must_use]
    pub fn cgroup_above(&self, cgroup: &CgroupPath) -> Option<CgroupPath> {
        let (plain, slice) = (format!("pod{}", self.0), format!("-pod{}.slice", self.0.replace('-', "_")));
        let is_pod = |path: &CgroupPath| path.as_str().rsplit('/').next().is_some_and(|name| name == plain || name.ends_with(&slice));
        std::iter::successors(Some(cgroup.clone()), CgroupPath::parent).find(is_pod)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0f3c-22";

    fn above(cgroup: &str) -> Option<String> {
        PodUid::new(UID).unwrap().cgroup_above(&CgroupPath::parse(cgroup).unwrap()).map(|path| path.to_string())
    }

    #[test]
    fn a_pod_is_found_by_either_driver_of_kubelet() {
        assert_eq!(above("/kubepods/burstable/pod0f3c-22/8a1").as_deref(), Some("/kubepods/burstable/pod0f3c-22"));
        let slice = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable-pod0f3c_22.slice";
        assert_eq!(above(&format!("{slice}/cri-containerd-8a1.scope/container")).as_deref(), Some(slice));
    }

    #[test]
    fn nothing_else_is_that_pod() {
        for other in ["/", "/kubepods/pod0f3c-221/8a1", "/kubepods/xpod0f3c-22", "/a-pod0f3c_22.slices", "/kubepods/8a1/0f3c-22"] {
            assert_eq!(above(other), None, "{other}");
        }
    }

    #[test]
    fn a_uid_is_no_path() {
        for bad in ["", "a/b", "..", "a_b", "a.slice", &"a".repeat(POD_UID_BYTES_MAX + 1)] {
            assert!(PodUid::new(bad).is_err(), "{bad}");
        }
    }
}
