//! The conversation with the supervisors of this node's gangs.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use strobe_core::{
    model::{BarrierFailure, GangIncarnation, GangRun, RankIndex, RankOutcome},
    node::{AdoptedLife, MemberInput},
    primitives::Payload,
};
use strobe_proto::agent::{LaunchFailed, RankAborted, agent_message};

use super::{
    Agent, Pending,
    frames::GroupBlock,
    gang::{Gang, PeerEntry, Removal, SupervisorProcess, peer_table},
    killing::RankProcess,
    limits::{GRACE_MARGIN, STRANGERS_MAX, SUPERVISOR_END_MAX},
    refusals::SupervisorRefusal,
    supervisors::{Connection, ConnectionId, SupervisorEvent},
};
use crate::{
    cgroup::{MemoryKills, process_of},
    supervisor_protocol::{
        BarrierFault, Freezer, Hello, LaunchError, LaunchFailure, Rank, RankEnd, RankPhase, RankReport, ToAgent, ToSupervisor, VersionRange,
    },
    sys::clock::monotonic_now,
};

/// The signal by which the kernel ends a process for lack of memory.
const SIGKILL: u8 = 9;

impl Agent {
    pub(super) fn supervisor_event(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Connected(connection) => self.strangers_in(connection),
            SupervisorEvent::Message { connection, message, descriptor } => self.supervisor_said(connection, message, descriptor),
            SupervisorEvent::Closed { connection } => {
                self.strangers.remove(&connection);
                if let Some(gang) = self.gang_of(connection).and_then(|run| self.gangs.get_mut(&run)) {
                    gang.hello = None;
                    gang.connection = None;
                }
            }
        }
    }

    /// Keeps a connection until its first message says whose it is.
    fn strangers_in(&mut self, connection: Connection) {
        if self.strangers.len() < STRANGERS_MAX {
            self.strangers.insert(connection.id, connection);
        } else {
            tracing::warn!(pid = connection.process.pid, "too many connections say nothing; another is closed");
            self.refusals.supervisor(SupervisorRefusal::TooMany);
        }
    }

    fn gang_of(&self, connection: ConnectionId) -> Option<GangRun> {
        self.gangs.iter().find(|(_, gang)| gang.connection.as_ref().is_some_and(|held| held.id == connection)).map(|(run, _)| *run)
    }

    fn supervisor_said(&mut self, connection: ConnectionId, message: ToAgent, descriptor: Option<OwnedFd>) {
        if let ToAgent::Hello(hello) = message {
            return self.hello(connection, hello);
        }
        let Some(run) = self.gang_of(connection) else { return };
        match message {
            ToAgent::Hello(_) | ToAgent::Resumed | ToAgent::Pong { .. } => {}
            ToAgent::Stub(report) => self.stub(run, report, descriptor),
            ToAgent::SupervisorUp => self.supervisor_up(run),
            ToAgent::Reachable { address, port } => self.reachable(run, PeerEntry::of(address, port)),
            ToAgent::LaunchFailed(failure) => self.launch_failed(run, &failure),
            ToAgent::Released => {
                if let Some(gang) = self.gangs.get_mut(&run) {
                    gang.released_at.get_or_insert_with(monotonic_now);
                }
            }
            ToAgent::RankExited { rank, end } => self.rank_exited(run, rank, outcome_of(end)),
            ToAgent::Held => self.member_hears(MemberInput::HoldAcknowledged(run)),
            ToAgent::PmiBarrier { number, block } => self.barrier_entered(run, number, block),
            ToAgent::PmiAborted { rank, code, explanation } => {
                tracing::warn!(%run, rank = rank.0, code, explanation, "a rank called MPI_Abort");
                self.say(agent_message::Message::RankAborted(RankAborted { run: Some(run.into()), rank: rank.0, message: explanation }));
                self.member_hears(MemberInput::RankEnded { run, rank: RankIndex(rank.0), outcome: RankOutcome::Aborted(code) });
            }
            ToAgent::PmiGroupBarrier { ticket, group, block } => {
                self.group_entered(GroupBlock { run, node: self.own.node, ticket, group, block });
            }
            ToAgent::PmiGroupBarrierTaken { ticket } => self.group_keys_taken(run, ticket),
            ToAgent::PmiBarrierFailed { fault } => {
                tracing::warn!(%run, %fault, "a PMI barrier failed: its gang fails");
                self.member_hears(MemberInput::BarrierFailed { run, reason: reason_of(fault) });
            }
            ToAgent::Refused { explanation } => tracing::warn!(%run, explanation, "the supervisor refuses a message"),
        }
    }

    fn rank_exited(&mut self, run: GangRun, rank: Rank, outcome: RankOutcome) {
        let index = RankIndex(rank.0);
        let outcome = self.told_from_memory(run, outcome);
        self.told_of(run, index);
        self.note_end(run, index, outcome);
        self.tell(run, ToSupervisor::RankExitAcknowledged { rank });
        self.member_hears(MemberInput::RankEnded { run, rank: index, outcome });
    }

    /// The kernel's own SIGKILL for lack of memory is told from anybody else's by the count of its container.
    fn told_from_memory(&mut self, run: GangRun, outcome: RankOutcome) -> RankOutcome {
        let kills = self.gangs.get_mut(&run).and_then(|gang| gang.memory_kills.as_mut());
        let lacked = outcome == RankOutcome::Signalled(SIGKILL) && kills.is_some_and(MemoryKills::has_grown);
        if lacked { RankOutcome::OutOfMemory } else { outcome }
    }

    /// Notes that all ranks here have completed before the last of them is acknowledged: the supervisor ends then, and nobody
    /// else could tell a next life of the agent.
    fn note_end(&mut self, run: GangRun, rank: RankIndex, outcome: RankOutcome) {
        let node = self.own.node;
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        if gang.ended.iter().all(|(known, _)| *known != rank) {
            gang.ended.push((rank, outcome));
        }
        // Without a cgroup the supervisor alone knows what ended ranks have used.
        gang.count_cpu_time();
        let Some(launched) = &gang.launched else { return };
        let all = launched.ranks_on(node).is_some_and(|ranks| gang.ended.len() == ranks as usize);
        if gang.completed || !all || gang.ended.iter().any(|(_, outcome)| *outcome != RankOutcome::Exited(0)) {
            return;
        }
        gang.completed = true;
        self.note(run);
    }

    pub(super) fn member_hears(&mut self, input: MemberInput) {
        self.pending.push_back(Pending::Member(input));
    }

    /// Sends to the gang's supervisor. One that does not read loses its connection, and is told again at the next.
    pub(super) fn tell(&mut self, run: GangRun, message: ToSupervisor) {
        self.tell_with(run, message, None);
    }

    fn tell_with(&mut self, run: GangRun, message: ToSupervisor, descriptor: Option<OwnedFd>) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.connection.take_if(|connection| !connection.send(message, descriptor));
        }
    }

    /// Finds the gang that a supervisor is of, by its process or by the name that it was started with.
    fn hello(&mut self, id: ConnectionId, hello: Hello) {
        let Some(connection) = self.strangers.remove(&id) else { return };
        let named = self.gangs.iter().find(|(run, gang)| is_supervisor_of(**run, gang, &hello, &connection));
        let Some(run) = named.map(|(run, _)| *run) else {
            tracing::warn!(gang = hello.gang.0, pid = connection.process.pid, "a supervisor of a gang that is not this agent's; refused");
            self.refusals.supervisor(SupervisorRefusal::UnknownGang);
            connection.send(ToSupervisor::Refuse { explanation: "this agent was not asked to run the gang".into() }, None);
            return;
        };
        let Some(version) = VersionRange::OURS.common(hello.versions) else {
            self.refusals.supervisor(SupervisorRefusal::WrongVersion);
            connection.send(ToSupervisor::Refuse { explanation: "no version of the protocol in common".into() }, None);
            return;
        };
        connection.send(ToSupervisor::Welcome { version }, None);
        if self.gangs.get(&run).is_some_and(|gang| gang.supervisor.is_none()) {
            self.take_over(run, &connection.process);
            if let Some(place) = &connection.place {
                self.note_place(run, place);
            }
        }
        let gang = self.gangs.entry(run).or_default();
        gang.connection = Some(connection);
        gang.ended = ended_ranks(&hello);
        gang.expect_ranks(&hello);
        let configured = hello.configured;
        gang.hello = Some(hello);
        if gang.removal == Removal::None {
            self.supervisor_may_begin(run);
        } else {
            self.tell_of_the_end(run, configured);
        }
    }

    /// A supervisor that this life of the agent did not start: a pod's, or one that an earlier life could not note. It is no child,
    /// and its end is to be told too.
    fn take_over(&mut self, run: GangRun, process: &SupervisorProcess) {
        self.watch(run, process);
        let held = process.try_clone().inspect_err(|error| tracing::warn!(%run, %error, "a supervisor cannot be held on to"));
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.supervisor = held.ok();
        }
    }

    /// The gang has ended while its supervisor was away: it hears so, and tells again which ranks have ended.
    fn tell_of_the_end(&mut self, run: GangRun, configured: bool) {
        if configured {
            let watchdog_milliseconds = u64::try_from(self.bootstrap.settings.watchdog.as_millis()).unwrap_or(u64::MAX);
            self.tell(run, ToSupervisor::Adopt { watchdog_milliseconds });
        }
        self.tell(run, ToSupervisor::Kill);
    }

    /// The supervisor is there and the member has given its gang a slot: it is told what to run, or taken over.
    pub(super) fn supervisor_may_begin(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        if gang.slot.is_none() || gang.connection.is_none() || gang.launched.is_none() || gang.removal != Removal::None {
            return;
        }
        if !self.has_rank_cgroup(run) {
            return;
        }
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        let Some(hello) = gang.hello.as_ref() else { return };
        let watchdog = self.bootstrap.settings.watchdog;
        let (freezer, descriptor) = thaw_descriptor(run, gang);
        if hello.configured {
            let watchdog_milliseconds = u64::try_from(watchdog.as_millis()).unwrap_or(u64::MAX);
            self.tell_with(run, ToSupervisor::Adopt { watchdog_milliseconds }, descriptor);
            self.bring_up_to_date(run);
        } else {
            let key_space = format!("strobe-{:08x}-{run}", self.bootstrap.partition.0 as u32);
            let configure = gang.launched.as_ref().and_then(|launched| launched.configure(self.own.node, key_space, freezer, watchdog));
            let Some(configure) = configure else { return };
            self.tell_with(run, ToSupervisor::Configure(configure), descriptor);
        }
    }

    /// A supervisor that was taken over hears what it missed. That it is up it says itself.
    fn bring_up_to_date(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get(&run) else { return };
        let Some(hello) = gang.hello.clone() else { return };
        let (released, held) = (gang.released.clone(), gang.held);
        if let Some(table) = released.filter(|_| !hello.released) {
            self.tell(run, ToSupervisor::Release(table));
        }
        match (held, hello.held) {
            (true, false) => self.tell(run, ToSupervisor::Hold),
            (false, true) if self.gangs.get(&run).is_some_and(|gang| gang.released.is_some()) => self.tell(run, ToSupervisor::Resume),
            (true, true) | (false, _) => {}
        }
        self.group_keys_came(run);
    }

    /// Takes a stub (or a living rank, at an adoption) into the rank cgroup, checked before and after.
    fn stub(&mut self, run: GangRun, report: RankReport, descriptor: Option<OwnedFd>) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        let rank = report.rank;
        let Some(process) = descriptor else {
            return self.tell(run, ToSupervisor::StubRefused { rank, explanation: "no pidfd came with the stub".into() });
        };
        let admitted = match &gang.cgroup {
            _ if gang.removal != Removal::None => {
                return self.tell(run, ToSupervisor::StubRefused { rank, explanation: "the gang is ending".into() });
            }
            Some(cgroup) => cgroup.admit(process.as_fd(), &gang.stubs_are_below()),
            None => process_of(process.as_fd()),
        };
        match admitted {
            Ok(pid) => {
                // A supervisor that lost its connection tells of its living ranks again.
                gang.stubs.retain(|known| known.pid != pid);
                gang.stubs.push(RankProcess { pid, descriptor: process });
                self.tell(run, ToSupervisor::StubAccepted { rank });
                self.told_of(run, RankIndex(rank.0));
            }
            Err(error) => {
                tracing::error!(%run, rank = rank.0, error = &error as &dyn std::error::Error, "a stub cannot be taken in");
                self.tell(run, ToSupervisor::StubRefused { rank, explanation: error.to_string() });
            }
        }
    }

    fn supervisor_up(&mut self, run: GangRun) {
        self.insert_signal_freezer(run);
        match self.gangs.get(&run).and_then(|gang| self.entry_of(gang)) {
            Some(entry) => self.member_hears(MemberInput::SupervisorUp { run, entry: entry.payload() }),
            None => {
                tracing::error!(%run, "the gang has no address here, or no port of it is free for its rank 0");
                self.member_hears(MemberInput::SupervisorLost(run));
            }
        }
    }

    fn launch_failed(&mut self, run: GangRun, failure: &LaunchFailure) {
        let error_number = error_number(&failure.error);
        let first = self.gangs.get(&run).and_then(|gang| gang.launched.as_ref()).and_then(|launched| {
            launched.placement.iter().find(|placement| placement.node == self.own.node).map(|placement| placement.first_rank)
        });
        let rank = failure.rank.map(|rank| RankIndex(rank.0)).or(first).unwrap_or_default();
        self.say(agent_message::Message::LaunchFailed(LaunchFailed {
            run: Some(run.into()),
            program: failure.program.clone(),
            error_number: error_number.into(),
            message: failure.to_string(),
        }));
        self.member_hears(MemberInput::RankEnded { run, rank, outcome: RankOutcome::NotStarted(error_number) });
    }

    pub(super) fn release_ranks(&mut self, run: GangRun, peers: &[Payload]) {
        let Some(table) = peer_table(peers) else {
            tracing::error!(%run, "the peer table is damaged: the gang cannot run");
            return self.member_hears(MemberInput::SupervisorLost(run));
        };
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.released = Some(table.clone());
        }
        self.tell(run, ToSupervisor::Release(table));
    }

    pub(super) fn announce_hold(&mut self, run: GangRun) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.held = true;
        }
        self.tell(run, ToSupervisor::Hold);
    }

    pub(super) fn announce_resume(&mut self, run: GangRun) {
        if let Some(gang) = self.gangs.get_mut(&run) {
            gang.held = false;
        }
        self.tell(run, ToSupervisor::Resume);
    }

    /// SIGTERM through the supervisor; the rank cgroup is killed when the grace is over, whatever became of it.
    pub(super) fn terminate_ranks(&mut self, run: GangRun, grace: Duration) {
        // Ranks that the signal ends leave what they have mapped.
        self.gangs.entry(run).or_default().note_shared_memory();
        self.tell(run, ToSupervisor::Terminate { grace_milliseconds: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) });
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace + GRACE_MARGIN).await;
            // The receiver is gone only when the agent ends.
            let _agent_ends = events.send(super::event::Event::GraceOver(run)).await;
        });
    }

    /// The supervisor is gone: ranks that are left are killed, and the end is confirmed.
    pub(super) fn supervisor_ended(&mut self, run: GangRun) {
        let Some(gang) = self.gangs.get_mut(&run) else { return };
        gang.supervisor_ended = true;
        gang.connection = None;
        self.member_hears(MemberInput::SupervisorLost(run));
        self.kill_ranks(run);
        self.remove_if_over(run);
    }

    /// A supervisor that is still there so long after its ranks is killed, whatever it waits for.
    pub(super) fn supervisor_overdue(&mut self, run: GangRun) {
        if let Some(gang) = self.gangs.get(&run).filter(|gang| gang.has_supervisor()) {
            tracing::warn!(%run, "a supervisor did not end within {SUPERVISOR_END_MAX:?} of its ranks; it is killed");
            gang.kill_supervisor();
            // Nobody may have told of its end: the agent would wait for it for ever.
            if let Some(process) = &gang.supervisor {
                self.watch(run, process);
            }
        }
    }

    pub(super) fn ping_supervisors(&mut self) {
        let runs: Vec<GangRun> = self.gangs.iter().filter(|(_, gang)| gang.connection.is_some()).map(|(run, _)| *run).collect();
        for run in runs {
            self.tell(run, ToSupervisor::Ping { number: 0 });
        }
    }
}

/// A pod is one gang's, whatever its supervisor calls itself; of several processes there, the first to report in. The agent's own are
/// known by the name that they were started with, and by their process once that is noted.
fn is_supervisor_of(run: GangRun, gang: &Gang, hello: &Hello, connection: &Connection) -> bool {
    let Some(launched) = &gang.launched else { return false };
    let named = match (&connection.place, launched.pod()) {
        (Some(place), Some(pod)) => place.uid == *pod,
        (None, None) => {
            let incarnation = GangIncarnation(u32::try_from(hello.incarnation.0).unwrap_or(u32::MAX));
            launched.gang.name == hello.gang.0 && run.incarnation == incarnation
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    named && gang.supervisor.as_ref().is_none_or(|process| process.pid == connection.process.pid)
}

/// How the gang is stopped, and the descriptor with which its supervisor thaws it.
fn thaw_descriptor(run: GangRun, gang: &Gang) -> (Freezer, Option<OwnedFd>) {
    match gang.cgroup.as_ref().map(crate::cgroup::RankCgroup::open_thaw_descriptor) {
        Some(Ok(descriptor)) => (Freezer::Cgroup, Some(descriptor)),
        Some(Err(error)) => {
            tracing::error!(%run, error = &error as &dyn std::error::Error, "the supervisor will not be able to thaw the gang");
            (Freezer::Signal, None)
        }
        None => (Freezer::Signal, None),
    }
}

/// How far a gang has come that has so many ranks here, as its supervisor says: it forks their stubs one after the other.
pub(super) fn adopted_life(hello: &Hello, ranks: u32) -> AdoptedLife {
    let waiting = hello.ranks.iter().filter(|rank| rank.phase == RankPhase::Accepted).count();
    if hello.released {
        AdoptedLife::Released
    } else if waiting == ranks as usize {
        AdoptedLife::Up
    } else {
        AdoptedLife::Starting
    }
}

/// The ranks that have ended, as the supervisor says.
pub(super) fn ended_ranks(hello: &Hello) -> Vec<(RankIndex, RankOutcome)> {
    let ended = |report: &RankReport| match report.phase {
        RankPhase::Ended(end) => Some((RankIndex(report.rank.0), outcome_of(end))),
        RankPhase::Stub | RankPhase::Accepted | RankPhase::Running => None,
    };
    hello.ranks.iter().filter_map(ended).collect()
}

const fn outcome_of(end: RankEnd) -> RankOutcome {
    match end {
        RankEnd::Exited(status) => RankOutcome::Exited(status),
        RankEnd::Signalled(signal) => RankOutcome::Signalled(signal),
    }
}

const fn reason_of(fault: BarrierFault) -> BarrierFailure {
    match fault {
        BarrierFault::SpaceFull => BarrierFailure::SpaceFull,
        BarrierFault::Damaged => BarrierFailure::KeysDamaged,
        BarrierFault::RankLeft => BarrierFailure::RankLeft,
    }
}

fn error_number(error: &LaunchError) -> u16 {
    use rustix::io::Errno;
    let number = match error {
        LaunchError::NotFound => Errno::NOENT.raw_os_error(),
        LaunchError::PermissionDenied => Errno::ACCESS.raw_os_error(),
        LaunchError::NotExecutable => Errno::NOEXEC.raw_os_error(),
        LaunchError::Other(number) => *number,
    };
    u16::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor_protocol::{GangName, Incarnation};

    fn hello(released: bool, phases: &[RankPhase]) -> Hello {
        let report = |(index, phase): (u32, &RankPhase)| RankReport { rank: Rank(index), pid: 100 + index, phase: *phase };
        Hello {
            versions: VersionRange::OURS,
            gang: GangName("job".into()),
            incarnation: Incarnation(1),
            supervisor_pid: 1,
            configured: true,
            released,
            held: false,
            ranks: (0..).zip(phases).map(report).collect(),
        }
    }

    #[test]
    fn a_supervisor_is_up_when_every_rank_of_its_node_waits() {
        use RankPhase::{Accepted, Ended, Running, Stub};
        let killed = Ended(RankEnd::Signalled(9));
        for starting in [&[][..], &[Accepted], &[Accepted, Stub], &[Accepted, killed]] {
            assert_eq!(adopted_life(&hello(false, starting), 2), AdoptedLife::Starting, "{starting:?}");
        }
        assert_eq!(adopted_life(&hello(false, &[Accepted, Accepted]), 2), AdoptedLife::Up);
        assert_eq!(adopted_life(&hello(true, &[Running, killed]), 2), AdoptedLife::Released);
    }
}
