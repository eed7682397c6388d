//! Ranks are pinned to the CPUs of their gang before they begin, but a rank may reset that by itself, as some OpenMP runtimes
//! do (ARCHITECTURE section 5). Escapes are looked for with every figures, taken back and counted.

use rustix::{io::Errno, process::Pid};
use strobe_core::model::CpuIndex;

use super::{Agent, Gang};
use crate::{
    cgroup::RankCgroup,
    sys::affinity::{AffinityError, confine},
};

impl Agent {
    /// Confines every thread of the released gangs to its gang's CPUs here. Without cgroups a gang's processes are not
    /// known, and none is looked at.
    pub(super) fn confine_ranks(&self) {
        for (run, gang) in &self.gangs {
            let escaped = self.cpus_of(gang).map_or(0, |cpus| confine_all(gang, &cpus));
            if escaped > 0 {
                tracing::info!(%run, escaped, "threads of the gang had left its CPUs; they are pinned again");
                self.metrics.escaped(escaped);
            }
        }
    }

    /// The CPUs that a gang has here; none before its release, when stubs pin themselves, and none when it has no part here.
    fn cpus_of(&self, gang: &Gang) -> Option<Vec<CpuIndex>> {
        let launched = gang.launched.as_ref().filter(|_| gang.released_at.is_some() && !gang.is_gone())?;
        let here = launched.placement.iter().find(|placement| placement.node == self.own.node)?;
        Some(here.cpus.iter().collect::<Vec<_>>()).filter(|cpus| !cpus.is_empty())
    }
}

/// How many threads of a gang had left the CPUs.
fn confine_all(gang: &Gang, cpus: &[CpuIndex]) -> u64 {
    let processes = gang.cgroup.as_ref().map(RankCgroup::processes).and_then(Result::ok).unwrap_or_default();
    let escaped = |thread: &Pid| match confine(*thread, cpus) {
        Ok(escaped) => escaped,
        // It has ended since it was listed.
        Err(AffinityError::Read { source: Errno::SRCH, .. } | AffinityError::Set { source: Errno::SRCH, .. }) => false,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a thread cannot be held to its gang's CPUs");
            false
        }
    };
    processes.into_iter().flat_map(threads_of).filter(escaped).count() as u64
}

/// The threads of a process; none when it has ended.
fn threads_of(process: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}
