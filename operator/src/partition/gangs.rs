//! The lives of gangs: their pods are made, told to the agents, let go, looked at, and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use strobe_core::authority::{AuthorityInput, LaunchFailure};
use strobe_core::model::{GangRun, GangState, Instant, NodeIncarnation, NodeIndex, NodePlacement};
use strobe_proto::agent::{Figures, Launch, LaunchFailed, PodSupervisor, authority_message::Message, launch::Supervisor};

use super::pods::{self, MakeError, Seen};
use super::{Event, Partition, pod, shares};
use crate::limits::LET_GO_AGAIN;
use crate::names::GATE;

/// One life of a gang, from its admission until it is known dead.
#[derive(Debug)]
pub(super) struct Gang {
    /// Its nodes, in the order of its ranks.
    nodes: Vec<NodeIndex>,
    /// UIDs of its pods, once all are made.
    uids: BTreeMap<NodeIndex, String>,
    /// When its pods were let go, the last time.
    let_go: Option<Instant>,
    /// By when all of them have to be bound; none once they are.
    bound_by: Option<Instant>,
    /// What is seen of it.
    pub(super) seen: Seen,
}

// === impl Gang ===

impl Gang {
    fn new(nodes: Vec<NodeIndex>) -> Self {
        Self { nodes, uids: BTreeMap::new(), let_go: None, bound_by: None, seen: Seen::default() }
    }

    /// One that an earlier authority has launched, with what is there of its pods.
    pub(super) fn known(nodes: Vec<NodeIndex>, pods: &[(usize, String)]) -> Self {
        let uids = pods.iter().filter_map(|(index, uid)| Some((*nodes.get(*index)?, uid.clone()))).collect();
        Self { uids, ..Self::new(nodes) }
    }
}

// === impl Partition ===

impl Partition {
    /// A gang has its place: its pods are made, which wait at the gate.
    pub(super) fn launch(&mut self, run: GangRun, placement: Vec<NodePlacement>) {
        let Some(job) = self.jobs.get(&run.gang) else { return };
        let rows = self.valid.rows;
        let parts = shares::parts(self.keeper.kept(), rows, &placement);
        let nodes = self.launches.begin(run, placement);
        let (object, indices) = (Arc::clone(&job.object), nodes.clone());
        let partition_uid = self.object.uid().unwrap_or_default();
        self.gangs.insert(run, Gang::new(nodes));
        let (client, namespace, events) = (self.context.client.clone(), job.namespace(), self.events.clone());
        tokio::spawn(async move {
            let made = match shares::cpu(&client, &parts).await {
                Ok(cpu) => {
                    let place = |index: usize| pod::Place {
                        run,
                        index,
                        node: Some(&parts[index].node),
                        partition_uid: &partition_uid,
                        cpu: cpu[index],
                        rows,
                    };
                    let pods = indices.iter().enumerate().map(|(index, node)| (*node, pod::pod(&object, &place(index))));
                    pods::make(&client, &namespace, pods.collect()).await
                }
                Err(error) => Err(MakeError::Unavailable(Box::new(error))),
            };
            // The receiver is gone only when the partition is.
            let _gone = events.send(Event::Made(run, made)).await;
        });
    }

    /// Its pods are there: the agents are told whose they are, and the scheduler may bind them.
    pub(super) fn made(&mut self, run: GangRun, result: Result<BTreeMap<NodeIndex, String>, MakeError>) {
        let bound_by = self.now() + self.valid.placement_timeout;
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        match result {
            Ok(uids) => {
                (gang.uids, gang.bound_by) = (uids, Some(bound_by));
                let nodes = gang.nodes.clone();
                for agent in nodes.into_iter().filter_map(|node| self.contacts.agent(node)).collect::<Vec<_>>() {
                    self.launch_on(agent, run);
                }
                self.look_at_pods();
                self.let_go(run);
            }
            Err(error) => {
                tracing::warn!(%run, error = &error as &dyn std::error::Error, "the pods of a gang cannot be made");
                let failure = if matches!(error, MakeError::Forbidden(_)) { LaunchFailure::Forbidden } else { LaunchFailure::TimedOut };
                let nodes = gang.nodes.clone();
                self.note_problem(run, error.to_string());
                for node in nodes {
                    self.step(AuthorityInput::LaunchFailed { run, node, failure });
                }
            }
        }
    }

    /// Tells an agent to expect the supervisor of its part of a gang.
    pub(super) fn launch_on(&mut self, agent: NodeIncarnation, run: GangRun) {
        let (Some(job), Some(gang)) = (self.jobs.get(&run.gang), self.gangs.get(&run)) else { return };
        let Some(pod_uid) = gang.uids.get(&agent.node).cloned() else { return };
        let Some((placement, _)) = self.launches.tell(agent, run) else { return };
        let launch = Launch {
            run: Some(run.into()),
            name: job.object.name_any(),
            protocol: strobe_authority::protocol(job.valid.launch).to_owned(),
            placement: placement.iter().map(Into::into).collect(),
            cpus_per_rank: job.valid.cpus_per_rank.get(),
            supervisor: Some(Supervisor::Pod(PodSupervisor { pod_uid })),
        };
        self.contacts.say(agent.node, Message::Launch(launch));
    }

    /// Takes our gate from its pods.
    fn let_go(&mut self, run: GangRun) {
        let now = self.now();
        let (Some(job), Some(gang)) = (self.jobs.get(&run.gang), self.gangs.get_mut(&run)) else { return };
        gang.let_go = Some(now);
        let named = gang.nodes.iter().enumerate().filter_map(|(index, node)| {
            let uid = gang.uids.get(node)?.clone();
            Some((pod::name(&job.object, run, index), uid))
        });
        tokio::spawn(pods::free(self.context.client.clone(), job.namespace(), named.collect()));
    }

    /// A life is over: its agents forget it. Pods that have ended stay for their logs while their job has no later life; others go.
    pub(super) fn remove(&mut self, run: GangRun) {
        self.launches.end(run);
        self.gangs.remove(&run);
        let keeps = self.authority.job(run.gang).is_some_and(|status| status.state.is_terminal());
        let Some(job) = self.jobs.get(&run.gang).filter(|_| !keeps) else { return };
        let names: Vec<String> = self.pods_of(run).iter().map(|(_, pod)| pod.name_any()).collect();
        tokio::spawn(pods::remove(self.context.client.clone(), job.namespace(), names));
    }

    pub(super) fn launch_failed(&mut self, failed: LaunchFailed) {
        // A program that cannot be started is a rank's end, which the manager reports: here is only its text.
        if let Some(run) = failed.run.map(GangRun::from) {
            self.note_problem(run, failed.message);
        }
    }

    pub(super) fn measured(&mut self, agent: NodeIncarnation, figures: &Figures) {
        for gang in &figures.gangs {
            if let Some(run) = gang.run.map(GangRun::from)
                && let Some(job) = self.jobs.get_mut(&run.gang)
            {
                job.measured(run, agent.node, gang.cpu_seconds);
            }
        }
        for run in self.launches.take_over(agent.node) {
            self.contacts.say(agent.node, Message::Remove(run.into()));
        }
    }

    // === what is seen of the pods ===

    /// The pods of a gang's life, with their places in the gang.
    fn pods_of(&self, run: GangRun) -> Vec<(usize, Arc<Pod>)> {
        let Some(job) = self.jobs.get(&run.gang) else { return Vec::new() };
        self.pods.state().into_iter().filter_map(|pod| Some((pods::place(&pod, &job.object, run)?, pod))).collect()
    }

    pub(super) fn look_at_pods(&mut self) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        for run in runs {
            let pods = self.pods_of(run);
            let seen = pods::seen(pods.iter().map(|(index, pod)| (*index, &**pod)));
            let Some(gang) = self.gangs.get_mut(&run) else { continue };
            if seen.bound.len() == gang.nodes.len() {
                gang.bound_by = None;
            }
            gang.seen = seen;
            self.look_for_early_ends(run);
        }
    }

    /// A pod that has ended before the ranks were released never will have any: nothing of the gang lives there.
    fn look_for_early_ends(&mut self, run: GangRun) {
        let Some(status) = self.authority.job(run.gang).filter(|status| status.incarnation == run.incarnation) else { return };
        if !matches!(status.state, GangState::Placed | GangState::Launching) {
            return;
        }
        let Some(gang) = self.gangs.get(&run) else { return };
        let ended: Vec<NodeIndex> = gang.seen.ended.iter().filter_map(|index| gang.nodes.get(*index).copied()).collect();
        for node in ended {
            self.step(AuthorityInput::LaunchFailed { run, node, failure: LaunchFailure::NotStarted(0) });
        }
    }

    /// What time brings about: gates that are still closed, pods that nobody binds.
    pub(super) fn look_at_gangs(&mut self, now: Instant) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        for run in runs {
            let Some(gang) = self.gangs.get(&run) else { continue };
            if gang.bound_by.is_some_and(|by| now >= by) {
                self.give_up(run);
            } else if gang.let_go.is_some_and(|at| now >= at + LET_GO_AGAIN) && self.is_gated(run) {
                self.let_go(run);
            }
        }
    }

    fn is_gated(&self, run: GangRun) -> bool {
        let is_ours = |pod: &Pod| pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).any(|gate| gate.name == GATE);
        self.pods_of(run).iter().any(|(_, pod)| is_ours(pod))
    }

    /// Not all pods were bound in time: all are deleted, before anything else.
    fn give_up(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        gang.bound_by = None;
        let is_bound = |index: &usize| gang.seen.bound.contains(index);
        let unbound: Vec<NodeIndex> = gang.nodes.iter().enumerate().filter(|(index, _)| !is_bound(index)).map(|(_, node)| *node).collect();
        let trouble = gang.seen.trouble.clone();
        let names: Vec<String> = self.pods_of(run).iter().map(|(_, pod)| pod.name_any()).collect();
        let Some(job) = self.jobs.get(&run.gang) else { return };
        tokio::spawn(pods::remove(self.context.client.clone(), job.namespace(), names));
        if let Some(pods::Trouble::Unschedulable(message) | pods::Trouble::Image(message)) = trouble {
            self.note_problem(run, message);
        }
        for node in unbound {
            self.step(AuthorityInput::LaunchFailed { run, node, failure: LaunchFailure::TimedOut });
        }
    }
}
