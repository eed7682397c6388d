//! Ranks are pinned to the CPUs of their gang before they begin, but a rank may reset that by itself, as some OpenMP runtimes
//! do (ARCHITECTURE section 5). Escapes are looked for with every figures, taken back and counted.

use rustix::{io::Errno, process::Pid};
use strobe_core::model::{CpuIndex, GangRun};

use super::{Agent, Gang, gang::Removal};
use crate::{
    cgroup::{CpuSet, CpuSetError, MemoryKills, RankCgroup},
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

    /// Gives a pod's container the CPUs of its gang, and notes what is counted of it, before any rank runs there.
    pub(super) fn find_container(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        let (Some(launched), Some(container), Some(supervisor)) = (&gang.launched, &gang.container, &gang.supervisor) else { return };
        let (Some(pod), Some(process)) = (launched.pod(), Pid::from_raw(supervisor.pid)) else { return };
        match MemoryKills::of(process, pod, container) {
            Ok(kills) => gang.memory_kills = Some(kills),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%run, error, "ranks that lack memory are told as killed");
            }
        }
        match CpuSet::of(process, pod, container) {
            Ok(set) => gang.cpu_set = Some(set),
            Err(error) => warn_of_all_cpus(run, &error),
        }
        let mended = self.confine_containers();
        self.metrics.mended(mended);
    }

    /// Looks whether each container still has the CPUs of its gang: others write there too. Returns how many were mended after they
    /// had been right.
    pub(super) fn confine_containers(&mut self) -> u64 {
        let node = self.own.node;
        let Some(cluster) = &self.cluster else { return 0 };
        let mut mended = 0;
        for (run, gang) in &mut self.gangs {
            let Some(set) = gang.cpu_set.as_mut().filter(|_| gang.removal == Removal::None) else { continue };
            let here = gang.launched.as_ref().and_then(|launched| launched.placement.iter().find(|placement| placement.node == node));
            let cpus: Vec<CpuIndex> = here.map(|here| here.cpus.iter().collect()).unwrap_or_default();
            if cpus.is_empty() {
                continue;
            }
            match set.confine(&cpus) {
                Ok(look) => {
                    mended += u64::from(look.was_lost);
                    if look.in_vain {
                        tracing::warn!(%run, "systemd was told the gang's CPUs, and its container still has others");
                    }
                    if let Some(unit) = look.tell {
                        cluster.systemd.confine(unit, &cpus);
                    }
                }
                Err(error) => {
                    warn_of_all_cpus(*run, &error);
                    gang.cpu_set = None;
                }
            }
        }
        mended
    }

    /// The CPUs that a gang has here; none before its release, when stubs pin themselves, and none when it has no part here.
    fn cpus_of(&self, gang: &Gang) -> Option<Vec<CpuIndex>> {
        let launched = gang.launched.as_ref().filter(|_| gang.released_at.is_some() && !gang.is_gone())?;
        let here = launched.placement.iter().find(|placement| placement.node == self.own.node)?;
        Some(here.cpus.iter().collect::<Vec<_>>()).filter(|cpus| !cpus.is_empty())
    }
}

fn warn_of_all_cpus(run: GangRun, error: &CpuSetError) {
    tracing::warn!(%run, error = error as &dyn std::error::Error, "the gang's container keeps all CPUs that its node gives it");
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
