//! Starting, killing and forgetting gangs on this node.

use std::{
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
};

use strobe_core::{
    model::{GangId, GangIncarnation, GangRun, GangSlot},
    node::{AdoptedGang, MemberInput},
    primitives::Payload,
};
use strobe_proto::agent::{AgentMessage, Launch, LaunchFailed, LocalSupervisor, agent_message};

use super::{
    Agent, AgentError, Pending, Sources,
    by_signals::used_by,
    event::Event,
    files::{FilesError, StartedGang},
    gang::{Gang, LaunchRefusal, Launched, PeerEntry, Removal, SupervisorProcess},
    killing::{kill_and_remove, kill_groups},
    limits::{ADOPTION_TIME_MAX, KILL_TIME_MAX, SUPERVISOR_END_MAX},
    shared_memory::SharedMemory,
    supervisors::{self, Guard},
};
use crate::{
    cgroup::{CgroupError, CgroupName, RankCgroup},
    freezer::{CgroupFreezer, Freezer},
    strobe_thread::StrobeCommand,
    supervisor_protocol::ToSupervisor,
    sys::descriptor::register,
};

/// Why a gang's supervisor was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Refused(#[from] LaunchRefusal),
    /// Without its note a restarted agent would not know of it.
    #[error("the gang cannot be noted before it is started")]
    Note(#[from] FilesError),
    #[error(transparent)]
    Spawn(#[from] std::io::Error),
}

impl Agent {
    /// Takes over what an earlier life left, serves the supervisors, and tells the member what is there.
    pub(super) async fn adopt(&mut self, sources: &mut Sources) -> Result<(), AgentError> {
        if self.cluster.is_none() {
            let own = Guard::User(rustix::process::geteuid().as_raw());
            supervisors::serve(&self.files.socket(), own, self.mailbox()).map_err(AgentError::Supervisors)?;
        }
        for started in self.files.gangs()? {
            self.find_again(started);
        }
        self.remove_leftovers();
        let deadline = tokio::time::Instant::now() + ADOPTION_TIME_MAX;
        while self.gangs.values().any(|gang| gang.hello.is_none() && !gang.completed && !gang.waits_for_its_pod()) {
            match tokio::time::timeout_at(deadline, sources.events.recv()).await {
                Ok(Some(event)) => self.happened(event),
                Ok(None) => return Err(AgentError::FabricEnded),
                Err(_too_late) => break,
            }
        }
        let inventory = self.inventory();
        self.pending.push_back(Pending::Member(MemberInput::Inventory(inventory)));
        self.settle().await
    }

    /// A gang whose supervisor lives, or may live without being noted, is waited for; of any other nothing may be left.
    fn find_again(&mut self, started: StartedGang) {
        let Some(run) = started.gang.run.map(GangRun::from) else { return };
        let (alive, cgroup) = match self.cluster {
            Some(_) => self.find_in_pod(run, &started),
            None => (self.find_on_machine(&started), None),
        };
        if alive.is_none() && started.supervisor.is_some() && !started.completed {
            return self.remove_note(run);
        }
        if let Some(process) = &alive {
            self.watch(run, process);
        }
        let (container, entry) = (started.container, started.entry);
        let launched = Launched::new(started.gang);
        let launched = launched.inspect_err(|error| tracing::warn!(%run, %error, "a gang of an earlier life is not understood"));
        let completed = started.completed;
        // Its ranks are gone; a supervisor that is still there hears so.
        let removal = if completed { Removal::Done } else { Removal::None };
        let launched = launched.ok();
        let gang = Gang { supervisor: alive, launched, completed, removal, cgroup, container, entry, ..Gang::default() };
        self.gangs.insert(run, gang);
    }

    fn find_on_machine(&self, started: &StartedGang) -> Option<SupervisorProcess> {
        // The descriptor first: what is looked at then is the process that it means.
        let process = started.supervisor.and_then(|process| SupervisorProcess::open(process).ok());
        process.filter(|process| is_supervisor(process.pid, &self.files.socket()))
    }

    /// Tells of the end of a supervisor, also when it is no child of this process and has no connection.
    pub(super) fn watch(&self, run: GangRun, process: &SupervisorProcess) {
        let descriptor = match process.descriptor.try_clone().and_then(register::<OwnedFd>) {
            Ok(descriptor) => descriptor,
            Err(error) => return tracing::warn!(%run, %error, "the end of a supervisor cannot be waited for"),
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            if descriptor.readable().await.is_ok() {
                // The receiver is gone only when the agent ends.
                let _agent_ends = events.send(Event::SupervisorEnded(run)).await;
            }
        });
    }

    fn remove_note(&self, run: GangRun) {
        if let Err(error) = self.files.remove_gang(run) {
            tracing::warn!(%run, %error, "the note of a gang is left behind");
        }
    }

    /// The supervisor of a gang was not noted, and none has reported in: it was never started, and may be now.
    fn never_started(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.remove(&run) else { return };
        if let Some(Err(error)) = gang.cgroup.map(|cgroup| cgroup.remove(KILL_TIME_MAX)) {
            tracing::warn!(%run, error = &error as &dyn std::error::Error, "the rank cgroup of a gang that never ran is left behind");
        }
        self.remove_note(run);
    }

    /// Thaws, kills and removes rank cgroups of earlier lives that no living supervisor has.
    fn remove_leftovers(&mut self) {
        let Some((tree, parent)) = &self.cgroups else { return };
        let leftovers = match tree.leftovers(parent) {
            Ok(leftovers) => leftovers,
            Err(error) => return tracing::warn!(error = &error as &dyn std::error::Error, "leftover cgroups cannot be listed"),
        };
        for leftover in leftovers {
            let run = leftover.path().as_str().rsplit('/').next().and_then(run_of);
            let adopted = run.and_then(|run| self.gangs.get_mut(&run)).filter(|gang| !gang.completed);
            let taken = match adopted {
                Some(gang) => leftover.adopt(tree).map(|cgroup| gang.cgroup = Some(cgroup)),
                None => leftover.remove(KILL_TIME_MAX),
            };
            if let Err(error) = taken {
                tracing::warn!(error = &error as &dyn std::error::Error, "a leftover cgroup could not be taken over or removed");
            }
        }
    }

    /// The gangs whose supervisors reported in; the others are killed.
    fn inventory(&mut self) -> Vec<AdoptedGang> {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        let mut inventory = Vec::new();
        for run in runs {
            let gang = &self.gangs[&run];
            if gang.waits_for_its_pod() && !gang.completed {
                continue;
            }
            if gang.completed {
                let entry = self.peer_entry(gang);
                inventory.extend(gang.launched.as_ref().and_then(|launched| launched.completed_on(self.own.node, entry)));
                continue;
            }
            if gang.hello.is_none() && gang.supervisor.is_none() {
                self.never_started(run);
                continue;
            }
            let Some(hello) = gang.hello.as_ref().filter(|hello| hello.configured) else {
                self.kill_ranks(run);
                continue;
            };
            let Some(ranks) = gang.launched.as_ref().and_then(|launched| launched.ranks_on(self.own.node)) else {
                self.kill_ranks(run);
                continue;
            };
            let hello = hello.clone();
            inventory.push(AdoptedGang {
                run,
                entry: self.peer_entry(gang),
                life: super::supervision::adopted_life(&hello, ranks),
                held: hello.held,
                ranks,
                ended: super::supervision::ended_ranks(&hello),
            });
            if let Some(gang) = self.gangs.get_mut(&run) {
                gang.held = hello.held;
            }
        }
        inventory
    }

    /// This node's entry of a gang's peer table; empty where no port is free, or a pod's supervisor has said nothing.
    fn peer_entry(&self, gang: &Gang) -> Payload {
        self.entry_of(gang).map_or_else(|| Payload::new([]), PeerEntry::payload)
    }

    /// Where a gang's ranks here are reached: in a pod where its supervisor says, else at the node.
    pub(super) fn entry_of(&self, gang: &Gang) -> Option<PeerEntry> {
        match self.cluster {
            Some(_) => gang.entry,
            None => PeerEntry::at(self.bootstrap.address).ok(),
        }
    }

    /// Starts the gang's supervisor here. A repetition changes nothing.
    pub(super) fn launch(&mut self, gang: &Launch) {
        let Some(run) = gang.run.map(GangRun::from) else { return };
        let known = self.gangs.entry(run).or_default();
        // What is ending does not begin any more.
        if known.launched.is_some() || known.removal != Removal::None || self.ending {
            return;
        }
        match self.start(run, gang) {
            Ok((launched, supervisor)) => {
                let pod = launched.pod().cloned();
                let known = self.gangs.entry(run).or_default();
                known.launched = Some(launched);
                known.supervisor = supervisor;
                if let Some(pod) = pod {
                    self.pod_launched(&pod);
                }
            }
            Err(error) => {
                tracing::error!(%run, error = &error as &dyn std::error::Error, "a gang cannot be launched");
                self.say(agent_message::Message::LaunchFailed(LaunchFailed {
                    run: Some(run.into()),
                    program: self.bootstrap.supervisor.display().to_string(),
                    error_number: error.number(),
                    message: error.to_string(),
                }));
                self.remove_note(run);
                self.supervisor_ended(run);
            }
        }
        self.supervisor_may_begin(run);
    }

    /// Notes the gang, starts its supervisor where that is not a pod's, and notes that too: an agent that ends at any point in
    /// between leaves no supervisor that the next one does not look for.
    fn start(&self, run: GangRun, gang: &Launch) -> Result<(Launched, Option<SupervisorProcess>), StartError> {
        let launched = Launched::new(gang.clone())?;
        let command = launched.local_supervisor(self.cluster.is_some())?;
        let command = command.map(|supervisor| self.supervisor_command(run, &gang.name, supervisor));
        let mut started = StartedGang { gang: gang.clone(), supervisor: None, completed: false, container: None, entry: None };
        self.files.write_gang(run, &started)?;
        let Some(command) = command else { return Ok((launched, None)) };
        let mut child = tokio::process::Command::from(command).spawn()?;
        started.supervisor = child.id().and_then(|process| i32::try_from(process).ok());
        // Nobody has waited for it yet: the number is its own.
        let process = started.supervisor.and_then(|process| SupervisorProcess::open(process).ok());
        if let Err(error) = self.files.write_gang(run, &started) {
            tracing::warn!(%run, %error, "a restarted agent has to wait for this gang's supervisor to report in");
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            let status = child.wait().await;
            tracing::debug!(%run, ?status, "a supervisor has ended");
            // The receiver is gone only when the agent ends.
            let _agent_ends = events.send(Event::SupervisorEnded(run)).await;
        });
        Ok((launched, process))
    }

    fn supervisor_command(&self, run: GangRun, name: &str, supervisor: &LocalSupervisor) -> Command {
        let mut command = Command::new(&self.bootstrap.supervisor);
        command.arg("run").arg("--socket").arg(self.files.socket()).arg("--gang").arg(name);
        command.arg("--incarnation").arg(run.incarnation.to_string());
        if !supervisor.log_directory.is_empty() {
            command.arg("--log-directory").arg(&supervisor.log_directory);
        }
        if !supervisor.output.is_empty() {
            command.arg("--output").arg(&supervisor.output);
        }
        if let Some(owner) = self.bootstrap.owner {
            command.arg("--owner-pid").arg(owner.to_string());
        }
        command.arg("--").args(&supervisor.command).env_clear();
        command.envs(supervisor.environment.iter().map(|variable| (&variable.name, &variable.value)));
        // A group of its own: an interrupt typed at the terminal is kubectl-strobe's to answer, not the ranks'.
        command.current_dir(&supervisor.working_directory).stdin(Stdio::null()).process_group(0);
        command
    }

    /// The member has given the gang its slot: its rank cgroup is made (or kept) and the supervisor may begin.
    pub(super) fn configure(&mut self, run: GangRun, slot: GangSlot) {
        let gang = self.gangs.entry(run).or_default();
        gang.slot = Some(slot);
        if gang.removal != Removal::None {
            // Its supervisor was never told what to run, and was killed when this life of the agent began.
            return self.member_hears(MemberInput::SupervisorLost(run));
        }
        // No rank has begun unless the supervisor was taken over from an earlier life of this agent. (A pod's goes with the pod.)
        if self.cluster.is_none() && gang.hello.as_ref().is_none_or(|hello| !hello.configured) && gang.shared_memory.is_none() {
            gang.shared_memory = SharedMemory::before_the_gang();
        }
        if gang.cgroup.is_none()
            && let Some((tree, parent)) = &self.cgroups
        {
            match cgroup_name(run).and_then(|name| RankCgroup::create(tree, parent, &name)) {
                Ok(cgroup) => gang.cgroup = Some(cgroup),
                Err(error) => {
                    tracing::error!(%run, error = &error as &dyn std::error::Error, "no rank cgroup: the gang cannot run here");
                    return self.member_hears(MemberInput::SupervisorLost(run));
                }
            }
        }
        gang.begin_to_count(&self.strobe);
        self.insert_cgroup_freezer(run);
        self.ask_for_awake_cpus();
        self.supervisor_may_begin(run);
    }

    fn ask_for_awake_cpus(&mut self) {
        let in_turns = self.gangs.values().filter(|gang| gang.slot.is_some() && gang.removal == Removal::None).count();
        self.idle.for_gangs(in_turns);
    }

    pub(super) fn insert_cgroup_freezer(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get(&run) else { return };
        let (Some(slot), Some(cgroup)) = (gang.slot, &gang.cgroup) else { return };
        match CgroupFreezer::open(cgroup) {
            Ok(freezer) => self.command(StrobeCommand::InsertGang { slot, freezer: Box::new(Freezer::Cgroup(freezer)) }),
            Err(error) => tracing::error!(%run, error = &error as &dyn std::error::Error, "the gang cannot be frozen"),
        }
    }

    /// Kills every rank, waits beside the loop until none is left, and removes the rank cgroup. The supervisor lives on: it
    /// ends by itself when its ranks' ends are acknowledged and their last output is taken.
    pub(super) fn kill_ranks(&mut self, run: GangRun) {
        let gang = self.gangs.entry(run).or_default();
        match gang.removal {
            Removal::UnderWay => return,
            Removal::Done => return self.pending.push_back(Pending::Member(MemberInput::GangGone(run))),
            Removal::None => {}
        }
        gang.count_thawed(&self.strobe);
        gang.removal = Removal::UnderWay;
        gang.note_shared_memory();
        let shared_memory = gang.shared_memory.take();
        let cgroup = gang.cgroup.take();
        let ranks = if cgroup.is_none() { gang.take_ranks() } else { Vec::new() };
        let supervisor = gang.supervisor.as_ref().and_then(|process| process.try_clone().ok());
        if let Some(connection) = &gang.connection {
            connection.send(ToSupervisor::Kill, None);
        }
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let agent_ends = || events.is_closed();
            let cpu_seconds = match cgroup {
                Some(cgroup) => kill_and_remove(run, cgroup, agent_ends),
                None => {
                    kill_groups(run, &ranks, agent_ends);
                    used_by(supervisor.as_ref(), &ranks).as_secs_f64()
                }
            };
            shared_memory.into_iter().for_each(|memory| memory.remove_unused(run));
            // The receiver is gone only when the agent ends.
            let _agent_ends = events.blocking_send(Event::GangGone { run, cpu_seconds });
        });
        self.ask_for_awake_cpus();
    }

    pub(super) fn gang_gone(&mut self, run: GangRun, cpu_seconds: f64) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.removal = Removal::Done;
            gang.cpu_seconds = gang.cpu_seconds.max(cpu_seconds);
            if gang.has_supervisor() {
                let events = self.events.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(SUPERVISOR_END_MAX).await;
                    // The receiver is gone only when the agent ends.
                    let _agent_ends = events.send(Event::SupervisorOverdue(run)).await;
                });
            }
        }
        self.remove_if_over(run);
        self.pending.push_back(Pending::Member(MemberInput::GangGone(run)));
    }

    /// The member needs the slot no more.
    pub(super) fn forget(&mut self, run: GangRun, slot: Option<GangSlot>) {
        if let Some(slot) = slot {
            self.command(StrobeCommand::RemoveGang { slot });
        }
        self.barriers.forget(run);
        self.remove_note(run);
    }

    /// The authority says that the gang's life is over everywhere. What still lives here is killed, and waited for.
    pub(super) fn remove(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        gang.removed = true;
        if !gang.is_gone() {
            self.kill_ranks(run);
        }
        self.remove_if_over(run);
    }

    pub(super) fn remove_if_over(&mut self, run: GangRun) {
        if self.gangs.get(&run).is_some_and(|gang| gang.removed && gang.is_over()) {
            self.gangs.remove(&run);
            // The member forgets those that it knew; a pod's may never have been planned here.
            self.remove_note(run);
        }
    }

    pub(super) fn say(&self, message: agent_message::Message) {
        if let Some(session) = &self.session
            && session.try_send(AgentMessage { message: Some(message) }).is_err()
        {
            tracing::debug!("the authority does not take messages");
        }
    }
}

impl StartError {
    /// The system's error number; 0 where it was not the system that refused.
    fn number(&self) -> u32 {
        let number = match self {
            Self::Refused(_) | Self::Note(FilesError::BadSeal { .. }) => None,
            Self::Note(FilesError::Access { source, .. }) | Self::Spawn(source) => source.raw_os_error(),
        };
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }
}

/// The name of a gang's rank cgroup; [`run_of`] reads it.
pub(super) fn cgroup_name(run: GangRun) -> Result<CgroupName, CgroupError> {
    CgroupName::new(format!("gang-{run}"))
}

fn run_of(name: &str) -> Option<GangRun> {
    let (gang, incarnation) = name.strip_prefix("gang-")?.split_once('-')?;
    Some(GangRun { gang: GangId(gang.parse().ok()?), incarnation: GangIncarnation(incarnation.parse().ok()?) })
}

/// True when the process is a supervisor of this agent's and not another that has its number by now: it names the agent's
/// socket. (Who runs a supervisor may not ask for its executable unless it is root: supervisors are not dumpable.)
fn is_supervisor(process: i32, socket: &std::path::Path) -> bool {
    let socket = socket.as_os_str().as_encoded_bytes();
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_cgroup_tells_its_gang() {
        let run = GangRun { gang: GangId(12), incarnation: GangIncarnation(3) };
        assert_eq!(run_of(cgroup_name(run).unwrap().as_str()), Some(run));
        assert_eq!(run_of("gang-12"), None);
        assert_eq!(run_of("other-12-3"), None);
    }
}
