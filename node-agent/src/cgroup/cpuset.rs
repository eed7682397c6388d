//! The CPUs of a container, set from outside (docs/adr/0015): its own cgroup's, never those of one above it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::Pid;
use strobe_core::model::CpuIndex;

use super::{
    CgroupError, CgroupPath, CgroupTree, PodUid,
    first_version::{FirstVersionError, folder_of},
};

/// The CPU set of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet {
    setter: Setter,
    /// What holds.
    effective: PathBuf,
    /// Whether the last look has found it right.
    was_right: bool,
    /// How often systemd was told since it was right, and looks until it is told again: as many more each time.
    told: u32,
    looks_left: u32,
}

/// How a CPU set is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setter {
    /// By writing this file, which on v1 also says what holds.
    File(PathBuf),
    /// By telling systemd of this unit.
    Unit(String),
}

/// What a look at a CPU set has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// Whether it had been right before, and was not any more.
    pub was_lost: bool,
    /// The unit whose CPUs systemd has to be told.
    pub tell: Option<&'a str>,
    /// Whether systemd was told several times and nothing came of it; true once.
    pub in_vain: bool,
}

/// Tellings after which one more is said to be in vain.
const TOLD_IN_VAIN: u32 = 3;

/// Most looks between two tellings: with five looks a second not quite a minute.
const LOOKS_BETWEEN_MAX: u32 = 256;

/// Why a container's CPUs cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum CpuSetError {
    /// Where the container is.
    #[error("the container's place cannot be found")]
    Place(#[from] CgroupError),
    /// Where it is in the v1 hierarchy.
    #[error("no cpuset of the container's own is found")]
    FirstVersion(#[from] FirstVersionError),
    /// The controller of v2 does not have it.
    #[error("no cpuset of the container's own: the node has no such controller, or its runtime does not use it")]
    None,
    /// A file.
    #[error("cannot {operation} {path}")]
    Access {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What the kernel shows is no list of CPUs.
    #[error("{path} holds no list of CPUs")]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
}

// === impl CpuSet ===

impl CpuSet {
    /// The CPU set of the container in which a process of this pod is: of the v1 hierarchy where that is mounted, else of v2.
    ///
    /// # Errors
    /// [`CpuSetError`]; a cgroup that is not the pod's is never touched.
    pub fn of(process: Pid, pod: &PodUid, container: &CgroupPath) -> Result<Self, CpuSetError> {
        if let Some(folder) = folder_of("cpuset", process, pod)? {
            let file = folder.join("cpuset.cpus");
            return Ok(Self::new(Setter::File(file.clone()), file));
        }
        let folder = CgroupTree::find()?.on_disk(container)?;
        let (file, effective) = (folder.join("cpuset.cpus"), folder.join("cpuset.cpus.effective"));
        if !effective.exists() {
            return Err(CpuSetError::None);
        }
        let unit = container.as_str().rsplit('/').next().filter(|name| name.ends_with(".scope"));
        let setter = unit.map_or(Setter::File(file), |unit| Setter::Unit(unit.to_owned()));
        Ok(Self::new(setter, effective))
    }

    const fn new(setter: Setter, effective: PathBuf) -> Self {
        Self { setter, effective, was_right: false, told: 0, looks_left: 0 }
    }

    /// Sets it where it is another, or says who has to be told.
    ///
    /// # Errors
    /// [`CpuSetError::Access`], for example when the container is gone, and [`CpuSetError::Unreadable`].
    pub fn confine(&mut self, cpus: &[CpuIndex]) -> Result<Look<'_>, CpuSetError> {
        let text = fs::read_to_string(&self.effective).map_err(|source| self.access("read", &self.effective, source))?;
        let mut wanted: Vec<u16> = cpus.iter().map(|cpu| cpu.0).collect();
        wanted.sort_unstable();
        let found = parse_list(text.trim()).ok_or_else(|| CpuSetError::Unreadable { path: self.effective.clone() })?;
        if found == wanted {
            (self.was_right, self.told, self.looks_left) = (true, 0, 0);
            return Ok(Look { was_lost: false, tell: None, in_vain: false });
        }
        let was_lost = std::mem::take(&mut self.was_right);
        match &self.setter {
            Setter::File(file) => {
                let list: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                fs::write(file, list.join(",")).map_err(|source| self.access("write", file, source))?;
                Ok(Look { was_lost, tell: None, in_vain: false })
            }
            Setter::Unit(_) if self.looks_left > 0 => {
                self.looks_left -= 1;
                Ok(Look { was_lost, tell: None, in_vain: false })
            }
            Setter::Unit(unit) => {
                self.told += 1;
                self.looks_left = 1_u32.checked_shl(self.told).unwrap_or(LOOKS_BETWEEN_MAX).min(LOOKS_BETWEEN_MAX);
                Ok(Look { was_lost, tell: Some(unit), in_vain: self.told == TOLD_IN_VAIN })
            }
        }
    }

    fn access(&self, operation: &'static str, path: &Path, source: io::Error) -> CpuSetError {
        CpuSetError::Access { operation, path: path.to_owned(), source }
    }
}

/// A list as the kernel writes it: numbers and ranges with commas between.
fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut list = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        list.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("0-x"), None);
    }

    #[test]
    fn systemd_is_told_again_after_growing_pauses_until_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let effective = folder.path().join("cpuset.cpus.effective");
        let shows = |list: &str| fs::write(&effective, list).unwrap();
        let mut set = CpuSet::new(Setter::Unit("a.scope".to_owned()), effective.clone());
        shows("0-1\n");
        let mut told_at = Vec::new();
        for look in 0..20 {
            let found = set.confine(&[CpuIndex(0)]).unwrap();
            assert!(!found.was_lost, "it was never right");
            assert_eq!(found.in_vain, told_at.len() == 2 && found.tell.is_some());
            told_at.extend(found.tell.map(|_| look));
        }
        assert_eq!(told_at, [0, 3, 8, 17]);
        shows("0\n");
        assert_eq!(set.confine(&[CpuIndex(0)]).unwrap(), Look { was_lost: false, tell: None, in_vain: false });
        shows("0-1\n");
        assert_eq!(set.confine(&[CpuIndex(0)]).unwrap(), Look { was_lost: true, tell: Some("a.scope"), in_vain: false });
    }

    #[test]
    fn a_file_is_written_at_every_look_that_finds_it_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cpuset.cpus");
        let mut set = CpuSet::new(Setter::File(file.clone()), file.clone());
        for (shown, was_lost) in [("0-1\n", false), ("1\n", false), ("0-1\n", true), ("1\n", false)] {
            fs::write(&file, shown).unwrap();
            assert_eq!(set.confine(&[CpuIndex(1)]).unwrap().was_lost, was_lost, "{shown:?}");
            assert_eq!(fs::read_to_string(&file).unwrap().trim(), "1");
        }
    }
}
