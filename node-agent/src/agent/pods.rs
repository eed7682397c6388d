//! Gangs in pods: kubelet starts their supervisors, which connect by the socket of their pod's volume.

use rustix::process::Pid;
use strobe_core::model::GangRun;
use strobe_core::node::MemberInput;
use tokio::sync::oneshot;

use super::{
    Agent, AgentError,
    cpu_manager::CpuManager,
    files::StartedGang,
    gang::{Gang, PeerEntry, SupervisorProcess},
    launch::cgroup_name,
    limits::{KILL_TIME_MAX, PODS_AWAITED_MAX},
    supervisors::PodProcess,
    surroundings::ClusterNode,
};
use crate::{
    cgroup::{CgroupError, CgroupPath, CgroupTree, Leftover, PodUid, RankCgroup, cgroup_of},
    health::Health,
    switch_trace::SwitchTrace,
    systemd::Systemd,
};

/// What an agent keeps in a cluster beside its gangs.
#[derive(Debug)]
pub(super) struct Cluster {
    tree: CgroupTree,
    pub(super) health: Health,
    pub(super) trace: SwitchTrace,
    /// Which owns the containers' cgroups on many nodes.
    pub(super) systemd: Systemd,
    pub(super) cpu_manager: CpuManager,
    /// Who waits until a gang has a part in a pod.
    awaited: Vec<(PodUid, oneshot::Sender<()>)>,
}

// === impl Cluster ===

impl Cluster {
    /// # Errors
    /// [`AgentError::Cgroups`] where no cgroup v2 tree is mounted: pods are frozen by cgroups alone.
    pub(super) fn new(ClusterNode { health, kubelet }: ClusterNode) -> Result<Self, AgentError> {
        let tree = CgroupTree::find().map_err(AgentError::Cgroups)?;
        Ok(Self {
            tree,
            health,
            trace: SwitchTrace::default(),
            systemd: Systemd::start(),
            cpu_manager: CpuManager::new(&kubelet),
            awaited: Vec::new(),
        })
    }

    /// Makes a gang's rank cgroup in its container's, or takes over the one that an earlier life has made for a supervisor that
    /// lives. What a life left that had not come so far holds no rank, and goes.
    fn rank_cgroup(&self, run: GangRun, container: &CgroupPath, is_configured: bool) -> Result<RankCgroup, CgroupError> {
        let name = cgroup_name(run)?;
        match self.leftover(run, container)? {
            Some(leftover) if is_configured => return leftover.adopt(&self.tree),
            Some(leftover) => leftover.remove(KILL_TIME_MAX)?,
            None => {}
        }
        RankCgroup::create(&self.tree, container, &name)
    }

    fn leftover(&self, run: GangRun, container: &CgroupPath) -> Result<Option<Leftover>, CgroupError> {
        let path = container.child(&cgroup_name(run)?);
        Ok(self.tree.leftovers(container)?.into_iter().find(|leftover| *leftover.path() == path))
    }
}

// === impl Agent ===

impl Agent {
    /// Answers at once where the gang is known, and else when its launch comes.
    pub(super) fn pod_awaited(&mut self, pod: PodUid, answer: oneshot::Sender<()>) {
        let is_launched = self.gangs.values().any(|gang| gang.launched.as_ref().and_then(|launched| launched.pod()) == Some(&pod));
        let Some(cluster) = &mut self.cluster else { return };
        if is_launched {
            // Who waits no more asks again.
            let _nobody_waits = answer.send(());
            return;
        }
        cluster.awaited.retain(|(_, answer)| !answer.is_closed());
        if cluster.awaited.len() < PODS_AWAITED_MAX {
            cluster.awaited.push((pod, answer));
        } else {
            tracing::warn!(%pod, "too many pods are waited for; this one is to be asked for again");
        }
    }

    /// The authority has asked for a gang with a part in this pod.
    pub(super) fn pod_launched(&mut self, pod: &PodUid) {
        let Some(cluster) = &mut self.cluster else { return };
        for (_, answer) in cluster.awaited.extract_if(.., |(awaited, _)| awaited == pod) {
            let _nobody_waits = answer.send(());
        }
    }

    /// A supervisor of a pod is known now: it and its container are noted before it is told anything, so that a next life of the
    /// agent finds what this one has begun.
    pub(super) fn note_place(&mut self, run: GangRun, place: &PodProcess) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.container = Some(place.container.clone());
        }
        self.note(run);
    }

    /// Writes down what a next life of the agent has to know of a gang.
    pub(super) fn note(&self, run: GangRun) {
        let Some(started) = self.gangs.get(&run).and_then(Gang::note) else { return };
        if let Err(error) = self.files.write_gang(run, &started) {
            tracing::warn!(%run, error = &error as &dyn std::error::Error, "a restarted agent will not know this of the gang");
        }
    }

    /// Where the ranks of a pod are reached, as their supervisor says.
    pub(super) fn reachable(&mut self, run: GangRun, entry: PeerEntry) {
        let Some(gang) = self.gangs.get_mut(&run).filter(|gang| gang.container.is_some()) else { return };
        if gang.entry.replace(entry) != Some(entry) {
            self.note(run);
        }
    }

    /// Makes the rank cgroup of a gang in a pod, once its supervisor is known. False where it cannot run here; true also for a
    /// gang in no pod.
    pub(super) fn has_rank_cgroup(&mut self, run: GangRun) -> bool {
        let (Some(cluster), Some(gang)) = (&self.cluster, self.gangs.get_mut(&run)) else { return true };
        let Some(container) = &gang.container else { return true };
        if gang.cgroup.is_some() {
            // An earlier life of the agent made it, and took what it knew of the container with it.
            if gang.cpu_set.is_none() {
                self.find_container(run);
            }
            return true;
        }
        let is_configured = gang.hello.as_ref().is_some_and(|hello| hello.configured);
        match cluster.rank_cgroup(run, container, is_configured) {
            Ok(cgroup) => {
                gang.cgroup = Some(cgroup);
                self.insert_cgroup_freezer(run);
                self.find_container(run);
                true
            }
            Err(error) => {
                tracing::error!(%run, error = &error as &dyn std::error::Error, "no rank cgroup: the gang cannot run here");
                self.member_hears(MemberInput::SupervisorLost(run));
                false
            }
        }
    }

    /// The supervisor of a noted gang, if it lives and is the process that was noted; with it the rank cgroup. What is left of a
    /// gang whose supervisor is gone is ended.
    pub(super) fn find_in_pod(&self, run: GangRun, started: &StartedGang) -> (Option<SupervisorProcess>, Option<RankCgroup>) {
        let (Some(cluster), Some(container)) = (&self.cluster, &started.container) else { return (None, None) };
        // The descriptor first: what is looked at then is the process that it means.
        let process = started.supervisor.and_then(|process| SupervisorProcess::open(process).ok());
        let process = process.filter(|process| is_in(process.pid, container));
        let left = cluster.leftover(run, container).inspect_err(|error| {
            tracing::warn!(%run, error = error as &dyn std::error::Error, "the rank cgroup of an earlier life cannot be looked for");
        });
        let Some(left) = left.ok().flatten() else { return (process, None) };
        let taken = match process {
            Some(_) if !started.completed => left.adopt(&cluster.tree).map(Some),
            Some(_) | None => left.remove(KILL_TIME_MAX).map(|()| None),
        };
        let cgroup = taken.unwrap_or_else(|error| {
            tracing::warn!(%run, error = &error as &dyn std::error::Error, "a leftover cgroup could not be taken over or removed");
            None
        });
        (process, cgroup)
    }
}

/// Whether a process is in this very cgroup: a supervisor stays where its container began.
fn is_in(process: i32, container: &CgroupPath) -> bool {
    Pid::from_raw(process).is_some_and(|process| cgroup_of(process).is_ok_and(|found| found == *container))
}
