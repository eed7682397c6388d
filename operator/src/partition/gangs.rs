//! The lives of gangs: their pods are made, told to the agents, let go, looked at, and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use strobe_core::authority::{AuthorityInput, LaunchFailure, PlacementFailure};
use strobe_core::message::PartitionReport;
use strobe_core::model::{GangRun, GangState, Instant, NodeIncarnation, NodeIndex, NodePlacement, NodeSet};
use strobe_proto::agent::{Figures, Launch, LaunchFailed, PodSupervisor, authority_message::Message, launch::Supervisor};

use super::event::GivenUp;
use super::making::{self, Made, MakeError, Wanted};
use super::pods::{self, Seen};
use super::{Event, Partition, pod, pod_groups, shares};
use crate::limits::LET_GO_AGAIN;
use crate::names::GATE;

/// One life of a gang, from its admission until it is known dead.
#[derive(Debug)]
pub(super) struct Gang {
    /// Its nodes, in the order of its ranks.
    pub(super) nodes: Vec<NodeIndex>,
    /// UIDs of its pods, once all are made.
    pub(super) uids: BTreeMap<NodeIndex, String>,
    /// Nodes whose pods were seen once: what is not seen any more is gone.
    pub(super) shown: NodeSet,
    /// True while only an earlier authority's word is known of it: how far it came a manager has to tell.
    resumed: bool,
    /// True once its pods are deleted, because they did not all come to their nodes.
    given_up: bool,
    /// When its pods were let go, the last time.
    let_go: Option<Instant>,
    /// By when all of them have to be bound, with their images; none once they are.
    bound_by: Option<Instant>,
    /// What is seen of it.
    pub(super) seen: Seen,
}

// === impl Gang ===

impl Gang {
    fn new(nodes: Vec<NodeIndex>) -> Self {
        let (uids, shown, seen) = (BTreeMap::new(), NodeSet::EMPTY, Seen::default());
        Self { nodes, uids, shown, resumed: false, given_up: false, let_go: None, bound_by: None, seen }
    }

    /// One that an earlier authority has launched, with what is there of its pods.
    pub(super) fn known(nodes: Vec<NodeIndex>, pods: &[(usize, String)]) -> Self {
        let uids = pods.iter().filter_map(|(index, uid)| Some((*nodes.get(*index)?, uid.clone()))).collect();
        // Gates that the earlier authority left closed are opened soon.
        Self { uids, resumed: true, let_go: Some(Instant::ORIGIN), ..Self::new(nodes) }
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
        let (groups, patience) = (self.context.pod_groups.clone(), self.valid.placement_timeout);
        tokio::spawn(async move {
            let asked = async {
                let cpu = shares::cpu(&client, &parts).await?;
                let grouped = pod_groups::Place { run, partition_uid: &partition_uid, pods: parts.len() };
                let group = match &groups {
                    Some(groups) => groups.group(&object, &grouped).await?,
                    None => None,
                };
                Ok((cpu, group))
            };
            let made = match asked.await {
                Ok((cpu, group)) => {
                    let place = |index: usize| pod::Place {
                        run,
                        index,
                        node: Some(&parts[index].node),
                        partition_uid: &partition_uid,
                        cpu: cpu[index],
                        rows,
                        is_grouped: group.is_some(),
                    };
                    let pods = indices.iter().enumerate().map(|(index, node)| (*node, pod::pod(&object, &place(index)))).collect();
                    making::make(&client, Wanted { namespace, group, pods }, patience).await
                }
                Err(error) => Err(MakeError::Unavailable(Box::new(error))),
            };
            // The receiver is gone only when the partition is.
            let _gone = events.send(Event::Made(run, made)).await;
        });
    }

    /// Its pods are there: the agents are told whose they are, and the scheduler may bind them.
    pub(super) fn made(&mut self, run: GangRun, result: Result<Made, MakeError>) {
        let bound_by = self.now() + self.valid.placement_timeout;
        let Some(gang) = self.gangs.get_mut(&run) else {
            // It has ended meanwhile, and nothing else would delete them before their job is deleted.
            if let Ok(made) = result {
                tokio::spawn(making::unmake(self.context.client.clone(), made));
            }
            return;
        };
        match result {
            Ok(Made { pods, .. }) => {
                gang.uids = pods.into_iter().map(|(node, (_, uid))| (node, uid)).collect();
                gang.bound_by = Some(bound_by);
                let nodes = gang.nodes.clone();
                for agent in nodes.into_iter().filter_map(|node| self.contacts.agent(node)).collect::<Vec<_>>() {
                    self.launch_on(agent, run);
                }
                self.look_at_pods();
                self.let_go(run);
            }
            Err(error) => {
                tracing::warn!(%run, error = &error as &dyn std::error::Error, "the pods of a gang cannot be made");
                // None of them was let go. What refused them is no node: it keeps away from all.
                (gang.given_up, gang.seen.pods) = (true, 0);
                let empty = gang.nodes.iter().copied().collect();
                let blamed = self.keeper.kept().nodes.iter().map(|node| node.index).collect();
                self.note_problem(run, error.to_string());
                self.step(AuthorityInput::NotPlaced { run, failure: PlacementFailure::Refused, blamed, empty });
            }
        }
    }

    /// Tells an agent to expect the supervisor of its part of a gang, unless that is dead: the node may have died and come back while the
    /// pods were made.
    pub(super) fn launch_on(&mut self, agent: NodeIncarnation, run: GangRun) {
        if self.authority.part(run, agent.node).is_none() {
            return;
        }
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

    /// A life is over: its agents forget it. Pods with logs stay while their job has no later life; others go, and then their group.
    pub(super) fn remove(&mut self, run: GangRun) {
        self.launches.end(run);
        self.gangs.remove(&run);
        let keeps = self.authority.job(run.gang).is_some_and(|status| status.state.is_terminal());
        let Some(job) = self.jobs.get(&run.gang) else { return };
        let released = job.has_released(run);
        let gone = self.pods_of(run).into_iter().filter(|(_, pod)| !keeps || !pods::has_logs(pod, released));
        let gone = gone.filter_map(|(_, pod)| Some((pod.name_any(), pod.uid()?))).collect();
        let (client, groups, object) = (self.context.client.clone(), self.context.pod_groups.clone(), Arc::clone(&job.object));
        let removed = pods::remove(client, job.namespace(), gone);
        tokio::spawn(async move {
            removed.await;
            if let Some(groups) = groups {
                groups.remove(&object, run).await;
            }
        });
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
                job.measured(run, agent, gang);
            }
        }
        for run in self.launches.take_over(agent.node) {
            self.contacts.say(agent.node, Message::Remove(run.into()));
        }
    }

    // === what is seen of the pods ===

    /// The pods of a gang's life, with their places in the gang.
    pub(super) fn pods_of(&self, run: GangRun) -> Vec<(usize, Arc<Pod>)> {
        let Some(job) = self.jobs.get(&run.gang) else { return Vec::new() };
        self.pods.state().into_iter().filter_map(|pod| Some((pods::place(&pod, &job.object, run)?, pod))).collect()
    }

    /// What is seen of a life that is over: pods with logs are kept.
    pub(super) fn seen_of(&self, run: GangRun) -> Seen {
        seen_in(&self.pods_of(run))
    }

    pub(super) fn look_at_pods(&mut self) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        let patience = self.now() + self.valid.placement_timeout;
        for run in runs {
            let pods = self.pods_of(run);
            let seen = seen_in(&pods);
            let Some(gang) = self.gangs.get_mut(&run) else { continue };
            if gang.uids.is_empty() || seen.bound.len() == gang.nodes.len() && seen.without_image.is_empty() {
                gang.bound_by = None;
            } else {
                gang.bound_by.get_or_insert(patience);
            }
            let before = std::mem::replace(&mut gang.seen, seen);
            if !gang.given_up {
                self.look_for_evictions(run, &pods, &before);
                self.look_for_early_ends(run);
            }
        }
    }

    /// A manager has told how far these gangs came. True when that was not known of one.
    pub(super) fn resumed_are_known(&mut self, report: &PartitionReport) -> bool {
        let mut any = false;
        for reported in &report.gangs {
            if let Some(gang) = self.gangs.get_mut(&reported.run) {
                any |= std::mem::take(&mut gang.resumed);
            }
        }
        any
    }

    /// A pod that has ended before the ranks were released never will have any: nothing of the gang lives there. One that kubelet did not
    /// take is no failure of the gang.
    fn look_for_early_ends(&mut self, run: GangRun) {
        let Some(status) = self.authority.job(run.gang).filter(|status| status.incarnation == run.incarnation) else { return };
        if !matches!(status.state, GangState::Placed | GangState::Launching) {
            return;
        }
        let Some(gang) = self.gangs.get(&run) else { return };
        // The pods of a gang that came to its end while there was no authority have ended too.
        if gang.resumed {
            return;
        }
        if !gang.seen.rejected.is_empty() {
            return self.rejected(run);
        }
        let ended: Vec<NodeIndex> = gang.seen.ended.iter().filter_map(|index| gang.nodes.get(*index).copied()).collect();
        for node in ended {
            self.step(AuthorityInput::LaunchFailed { run, node, failure: LaunchFailure::NotStarted(0) });
        }
    }

    /// Kubelet does not take a pod: the gang waits again, and keeps away from that node. Its pods are deleted when it has ended elsewhere.
    fn rejected(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        (gang.given_up, gang.bound_by) = (true, None);
        let blamed = gang.seen.rejected.iter().filter_map(|index| gang.nodes.get(*index).copied()).collect();
        let words = gang.seen.trouble.as_ref().map(|trouble| trouble.words().to_owned());
        self.note_problem(run, words.unwrap_or_default());
        self.step(AuthorityInput::NotPlaced { run, failure: PlacementFailure::Rejected, blamed, empty: NodeSet::EMPTY });
    }

    /// What time brings about: gates that are still closed, pods that nobody binds.
    pub(super) fn look_at_gangs(&mut self, now: Instant) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        for run in runs {
            let Some(gang) = self.gangs.get(&run) else { continue };
            if gang.bound_by.is_some_and(|by| now >= by) && !gang.given_up && self.is_launching(run) {
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

    /// True until the first report that a gang's ranks were released.
    fn is_launching(&self, run: GangRun) -> bool {
        let status = self.authority.job(run.gang).filter(|status| status.incarnation == run.incarnation);
        status.is_some_and(|status| matches!(status.state, GangState::Placed | GangState::Launching))
    }

    /// Not all pods were bound in time, with their images: those that are not bound are deleted, before anything else.
    fn give_up(&mut self, run: GangRun) {
        let pods = self.pods_of(run);
        let (Some(job), Some(gang)) = (self.jobs.get(&run.gang), self.gangs.get_mut(&run)) else { return };
        (gang.given_up, gang.bound_by) = (true, None);
        let seen = &gang.seen;
        let late = seen.late(gang.nodes.len()).into_iter().map(|index| gang.nodes[index]).collect();
        let failure = if seen.bound.len() == gang.nodes.len() { PlacementFailure::Image } else { PlacementFailure::TimedOut };
        let words = seen.trouble.as_ref().map(|trouble| trouble.words().to_owned());
        let pods = pods.into_iter().filter_map(|(index, pod)| Some((*gang.nodes.get(index)?, pod))).collect();
        let (client, namespace, events) = (self.context.client.clone(), job.namespace(), self.events.clone());
        tokio::spawn(async move {
            let empty = pods::give_up(&client, &namespace, pods).await;
            let given_up = GivenUp { failure, blamed: late, empty };
            // The receiver is gone only when the partition is.
            let _gone = events.send(Event::GivenUp(run, given_up)).await;
        });
        self.note_problem(run, words.unwrap_or_default());
    }

    /// The pods of a gang that was given up are deleted, where they were not bound.
    pub(super) fn given_up(&mut self, run: GangRun, given_up: GivenUp) {
        let GivenUp { failure, blamed, empty } = given_up;
        self.step(AuthorityInput::NotPlaced { run, failure, blamed, empty });
    }
}

/// What is seen of a gang in its pods.
fn seen_in(pods: &[(usize, Arc<Pod>)]) -> Seen {
    pods::seen(pods.iter().map(|(index, pod)| (*index, &**pod)))
}
