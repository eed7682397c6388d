//! The poll loop: turns readiness into inputs of [`Life`], and its effects into system calls.

mod open_mpi;
mod owner;

use std::{
    collections::VecDeque,
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{DumpableBehavior, Signal, WaitOptions, kill_process_group, set_child_subreaper, set_dumpable_behavior, wait},
};

use super::{
    agent_link::AgentLink,
    arguments::RunArguments,
    environment::{EnvironmentInput, rank_environment},
    error::SupervisorError,
    journal::say,
    life::{Effect, Input, Life, Moment},
    limits::LAST_OUTPUT,
    network::{Tables, await_running, own_place},
    output::Naming,
    pmi_service::PmiService,
    probe_service::ProbeService,
    program,
    rank_process::{ForkInput, RankProcess, kill_orphans, rank_end},
    signals::{Signals, kernel_signal},
    sink::Sink,
};
use open_mpi::OpenMpiWatch;

use crate::{
    pmi::{BarrierError, GroupEntered, LocalRank, PmiEffect},
    supervisor_protocol::{
        Configure, Freezer, LaunchError, LaunchFailure, LaunchProtocol, PeerTable, ProtocolError, Rank, ToAgent, ToSupervisor,
    },
};

struct Supervisor {
    started: Instant,
    naming: Naming,
    command: Vec<OsString>,
    log_directory: Option<PathBuf>,
    life: Life,
    inputs: VecDeque<Input>,
    link: AgentLink,
    signals: Signals,
    owner: Option<OwnedFd>,
    sink: Sink,
    configure: Option<Configure>,
    ranks: Vec<RankProcess>,
    pmi: Option<PmiService>,
    thaw: Option<OwnedFd>,
    probes: Option<ProbeService>,
    open_mpi: Option<OpenMpiWatch>,
    ending: Option<Ending>,
}

/// All is decided; only output and orphans are left.
#[derive(Debug, Clone, Copy)]
struct Ending {
    code: u8,
    give_up_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Agent,
    SocketDirectory,
    Owner,
    Probes,
    Sink,
    Control(usize),
    Output(usize, usize),
    Pmi(LocalRank),
}

/// Supervises until all is over; the exit code is 0 if every rank exited 0, else that of the first rank to
/// fail (128 plus the signal that ended it).
///
/// *Caveats*: must be called from the process's only thread; takes over its signal handlers.
///
/// # Errors
/// [`SupervisorError`] where it cannot begin, or the kernel refuses what it cannot do without; ranks that
/// were forked die with it.
pub fn run(arguments: RunArguments) -> Result<u8, SupervisorError> {
    // Ranks must not reach the thaw descriptor through ptrace or /proc.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(SupervisorError::kernel("prctl(PR_SET_DUMPABLE)"))?;
    set_child_subreaper(Some(rustix::process::getpid())).map_err(SupervisorError::kernel("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    let mut supervisor = Supervisor::new(arguments)?;
    loop {
        supervisor.try_connect();
        supervisor.look_for_open_mpi();
        supervisor.work_off()?;
        if let Some(code) = supervisor.ended() {
            return Ok(code);
        }
        for source in supervisor.wait()? {
            supervisor.ready(source);
        }
        supervisor.inputs.push_back(Input::Tick);
    }
}

impl Supervisor {
    fn new(arguments: RunArguments) -> Result<Self, SupervisorError> {
        let (gang, incarnation) = arguments.gang()?;
        let mut inputs = VecDeque::new();
        let owner = match arguments.owner_pid {
            None => None,
            Some(pid) => owner::open(pid, &mut inputs)?,
        };
        Ok(Self {
            started: Instant::now(),
            life: Life::new(gang.clone(), incarnation, std::process::id()),
            naming: Naming::new(gang, &arguments.output),
            command: arguments.command,
            log_directory: arguments.log_directory,
            inputs,
            link: AgentLink::new(&arguments.socket)?,
            signals: Signals::register()?,
            owner,
            sink: Sink::open(&arguments.output)?,
            configure: None,
            ranks: Vec::new(),
            pmi: None,
            thaw: None,
            probes: arguments.probe_socket.as_deref().map(ProbeService::open).transpose()?,
            open_mpi: None,
            ending: None,
        })
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    fn try_connect(&mut self) {
        let now = self.now();
        if self.ending.is_none() && self.link.try_connect(now) {
            self.inputs.push_back(Input::Connected);
        }
    }

    /// Takes every waiting input to its end.
    fn work_off(&mut self) -> Result<(), SupervisorError> {
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            let now = self.now();
            self.life.step(now, input, &mut effects);
            for effect in effects.drain(..) {
                self.apply(effect)?;
            }
        }
        self.sink.flush();
        Ok(())
    }

    fn apply(&mut self, effect: Effect) -> Result<(), SupervisorError> {
        match effect {
            Effect::Send(message) => self.send(&message, None),
            Effect::SendStub(report) => {
                if let Some(process) = self.ranks.iter().find(|process| process.rank == report.rank) {
                    let pidfd = rustix::io::fcntl_dupfd_cloexec(&process.pidfd, 3).map_err(SupervisorError::kernel("fcntl"))?;
                    self.send(&ToAgent::Stub(report), Some(pidfd));
                }
            }
            Effect::SendReachable => {
                if let Some((address, port)) = own_place() {
                    self.send(&ToAgent::Reachable { address, port }, None);
                }
            }
            Effect::Disconnect => self.disconnect(),
            Effect::StartStubs(configure) => self.start_stubs(configure)?,
            Effect::Release(peers) => self.release(&peers)?,
            Effect::Thaw => self.thaw(),
            Effect::Pass(signal) => self.signal_ranks(kernel_signal(signal)),
            Effect::Kill => self.signal_ranks(Signal::KILL),
            Effect::BarrierComplete { number, block } => {
                if let Some((effects, result)) = self.pmi.as_mut().map(|pmi| pmi.barrier_complete(number, &block)) {
                    self.pmi_said(effects);
                    log_refusal(Some(result));
                }
            }
            Effect::GroupBarrierComplete { ticket, block } => {
                if let Some((effects, result)) = self.pmi.as_mut().map(|pmi| pmi.group_complete(ticket, &block)) {
                    self.pmi_said(effects);
                    // An answer that came twice is nothing to speak of: it is repeated until it is acknowledged.
                    log_refusal(Some(result).filter(|result| !matches!(result, Err(BarrierError::NotWaiting { .. }))));
                }
                self.send(&ToAgent::PmiGroupBarrierTaken { ticket }, None);
            }
            Effect::BarrierFailed { number, explanation } => {
                log_refusal(self.pmi.as_mut().map(|pmi| pmi.barrier_failed(number, &explanation)));
            }
            Effect::RepeatBarriers => self.repeat_barriers(),
        }
        Ok(())
    }

    fn send(&mut self, message: &ToAgent, descriptor: Option<OwnedFd>) {
        if let Err(error) = self.link.send(message, descriptor) {
            self.lost(&error);
        }
    }

    fn lost(&mut self, error: &ProtocolError) {
        if !matches!(error, ProtocolError::Closed) {
            say(format_args!("connection to the agent dropped: {error}"));
        }
        self.disconnect();
    }

    fn disconnect(&mut self) {
        if self.link.connection().is_some() {
            self.link.disconnect(self.now());
            self.inputs.push_back(Input::Disconnected);
        }
    }

    fn start_stubs(&mut self, configure: Configure) -> Result<(), SupervisorError> {
        let name = self.command.first().cloned().unwrap_or_default();
        if let Err(error) = program::find(&name, std::env::var_os("PATH")) {
            self.launch_failed(None, error);
            return Ok(());
        }
        let wants_pmi = configure.protocol == LaunchProtocol::Pmi1;
        let mut pmi = wants_pmi.then(|| PmiService::new(&configure));
        for index in 0..configure.rank_count {
            let rank = Rank(configure.first_rank.0 + index);
            let (process, connection) = RankProcess::fork(ForkInput {
                rank,
                name: self.naming.of(rank, configure.rank_count).as_deref(),
                cpus: configure.cpus.get(index as usize).map_or(&[], Vec::as_slice),
                command: &self.command,
                log_directory: self.log_directory.as_deref(),
                wants_pmi,
            })?;
            if let (Some(pmi), Some(connection)) = (pmi.as_mut(), connection) {
                pmi.add(connection);
            }
            let pid = process.pid.as_raw_pid().unsigned_abs();
            self.inputs.push_back(Input::StubStarted { rank: process.rank, pid });
            self.ranks.push(process);
        }
        self.pmi = pmi;
        self.configure = Some(configure);
        Ok(())
    }

    fn launch_failed(&mut self, rank: Option<Rank>, error: LaunchError) {
        let program = self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let failure = LaunchFailure { rank, program, error };
        say(format_args!("{failure}"));
        self.inputs.push_back(Input::LaunchFailed(failure));
    }

    fn release(&mut self, peers: &PeerTable) -> Result<(), SupervisorError> {
        let Some(configure) = &self.configure else { return Ok(()) };
        let network = Tables::read();
        let own = peers.addresses.get(configure.node_index as usize).and_then(|&address| network.interface_of(address));
        if let Some(interface) = own
            && !await_running(&interface)
        {
            say(format_args!("interface {interface} does not run, and the ranks may not reach other nodes"));
        }
        for process in &mut self.ranks {
            let input =
                EnvironmentInput { configure, peers, network: &network, rank: process.rank, pmi_descriptor: process.pmi_descriptor };
            process.release(&rank_environment(input, |name| std::env::var_os(name).is_some()))?;
        }
        self.watch_for_open_mpi();
        Ok(())
    }

    fn thaw(&mut self) {
        match self.configure.as_ref().map(|configure| configure.freezer) {
            Some(Freezer::Cgroup) => {
                if let Some(descriptor) = &self.thaw
                    && let Err(error) = rustix::io::write(descriptor, b"0")
                {
                    say(format_args!("cannot thaw the rank cgroup: {error}"));
                }
            }
            Some(Freezer::Signal) => {
                for process in self.ranks.iter().filter(|process| process.end.is_none()) {
                    let _ended = kill_process_group(process.pid, Signal::CONT);
                }
            }
            None => {}
        }
    }

    fn signal_ranks(&self, signal: Signal) {
        for process in &self.ranks {
            process.signal(signal);
        }
    }

    fn repeat_barriers(&mut self) {
        let waiting = self.pmi.as_ref().and_then(PmiService::waiting_barrier);
        if let Some((number, block)) = waiting.map(|(number, block)| (number, block.to_vec())) {
            self.send(&ToAgent::PmiBarrier { number, block }, None);
        }
        let groups: Vec<GroupEntered> = self.pmi.iter().flat_map(PmiService::waiting_groups).collect();
        for GroupEntered { ticket, group, block } in groups {
            self.send(&ToAgent::PmiGroupBarrier { ticket, group, block }, None);
        }
    }

    /// Waits for readiness or the next deadline.
    fn wait(&self) -> Result<Vec<Source>, SupervisorError> {
        let interests = self.interests();
        let mut descriptors: Vec<PollFd<'_>> =
            interests.iter().map(|(_, descriptor, flags)| PollFd::from_borrowed_fd(*descriptor, *flags)).collect();
        match poll(&mut descriptors, self.time_out().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(source) => return Err(SupervisorError::Kernel { operation: "poll", source }),
        }
        let ready = |(interest, descriptor): (&(Source, _, _), &PollFd<'_>)| (!descriptor.revents().is_empty()).then_some(interest.0);
        Ok(interests.iter().zip(&descriptors).filter_map(ready).collect())
    }

    fn interests(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let write_if = |wants_write| if wants_write { PollFlags::OUT } else { PollFlags::empty() };
        let mut interests = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        match self.link.connection() {
            Some((descriptor, wants_write)) => interests.push((Source::Agent, descriptor, PollFlags::IN | write_if(wants_write))),
            None => interests.push((Source::SocketDirectory, self.link.directory_descriptor(), PollFlags::IN)),
        }
        interests.extend(self.probes.iter().map(|probes| (Source::Probes, probes.as_fd(), PollFlags::IN)));
        if let Some(owner) = &self.owner {
            interests.push((Source::Owner, owner.as_fd(), PollFlags::IN));
        }
        if let Some(descriptor) = self.sink.descriptor().filter(|_| self.sink.wants_write()) {
            interests.push((Source::Sink, descriptor, PollFlags::OUT));
        }
        for (rank, descriptor, wants_write) in self.pmi.iter().flat_map(PmiService::connections) {
            let flags = if wants_write { PollFlags::OUT } else { PollFlags::IN };
            interests.push((Source::Pmi(rank), descriptor, flags));
        }
        for (index, process) in self.ranks.iter().enumerate() {
            interests.extend(process.control().map(|descriptor| (Source::Control(index), descriptor, PollFlags::IN)));
            for (stream, output) in process.streams.iter().enumerate().filter(|_| self.sink.has_room()) {
                interests.extend(output.descriptor().map(|descriptor| (Source::Output(index, stream), descriptor, PollFlags::IN)));
            }
        }
        interests
    }

    fn time_out(&self) -> Option<Timespec> {
        let retry = self.link.retry_at().filter(|_| self.ending.is_none());
        let give_up = self.ending.map(|ending| ending.give_up_at);
        let look = self.open_mpi.as_ref().and_then(OpenMpiWatch::next_look);
        let deadline = [self.life.next_deadline().filter(|_| self.ending.is_none()), retry, give_up, look].into_iter().flatten().min()?;
        let duration = deadline.saturating_sub(self.now());
        Timespec::try_from(duration).ok()
    }

    fn ready(&mut self, source: Source) {
        match source {
            Source::Signals => {
                let signals = self.signals.take();
                self.inputs.extend(signals.into_iter().map(Input::Signal));
                self.reap();
            }
            Source::Agent => self.agent_ready(),
            Source::SocketDirectory => self.link.directory_changed(self.now()),
            Source::Owner => {
                self.owner = None;
                self.inputs.push_back(Input::OwnerGone);
            }
            Source::Probes => self.probes.iter().for_each(|probes| probes.answer(self.life.is_released(), self.thaw.as_ref())),
            Source::Sink => self.sink.flush(),
            Source::Control(index) => self.control_ready(index),
            Source::Output(index, stream) => {
                // Several pipes may be ready at once; the room is looked at before each.
                if self.sink.has_room() {
                    self.ranks[index].streams[stream].carry(&mut self.sink);
                }
            }
            Source::Pmi(rank) => self.pmi_ready(rank),
        }
    }

    fn agent_ready(&mut self) {
        if let Err(error) = self.link.flush() {
            return self.lost(&error);
        }
        loop {
            match self.link.receive() {
                Ok(Some(received)) => {
                    if matches!(received.message, ToSupervisor::Welcome { .. } | ToSupervisor::Configure(_) | ToSupervisor::Adopt { .. }) {
                        self.link.welcomed();
                    }
                    if matches!(received.message, ToSupervisor::Configure(_) | ToSupervisor::Adopt { .. }) && received.descriptor.is_some()
                    {
                        self.thaw = received.descriptor;
                    }
                    self.inputs.push_back(Input::Message(received.message));
                }
                Ok(None) => return,
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn control_ready(&mut self, index: usize) {
        if let Some(number) = self.ranks[index].read_report() {
            let rank = self.ranks[index].rank;
            self.launch_failed(Some(rank), LaunchError::from_error_number(number));
        }
    }

    fn pmi_ready(&mut self, rank: LocalRank) {
        // A rank that speaks PMI-1 has no use for PMIx.
        self.open_mpi = None;
        let effects = self.pmi.as_mut().map(|pmi| pmi.ready(rank)).unwrap_or_default();
        self.pmi_said(effects);
    }

    fn pmi_said(&mut self, effects: Vec<PmiEffect>) {
        let first = self.configure.as_ref().map_or(0, |configure| configure.first_rank.0);
        for effect in effects {
            match effect {
                PmiEffect::BarrierEntered { number, block } => self.inputs.push_back(Input::PmiBarrierEntered { number, block }),
                PmiEffect::GroupEntered(entered) => self.inputs.push_back(Input::PmiGroupEntered(entered)),
                PmiEffect::BarrierFailed { fault } => self.inputs.push_back(Input::PmiBarrierFailed { fault }),
                PmiEffect::Aborted { rank, code, explanation } => {
                    self.inputs.push_back(Input::PmiAborted { rank: Rank(first + rank.0), code, explanation });
                }
                PmiEffect::Reply { .. } => {}
            }
        }
    }

    /// Reaps every ended child: ranks, and orphans that came here because this is their subreaper. Whether
    /// living children are left.
    fn reap(&mut self) -> bool {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) => return true,
                Err(_no_child) => return false,
            };
            let ended = (0..).zip(&mut self.ranks).find(|(_, process)| process.pid == pid && process.end.is_none());
            let Some((index, process)) = ended else { continue };
            let (rank, end) = (process.rank, rank_end(status));
            process.end = Some(end);
            // A rank that aborts says so and ends: the word comes before the end.
            let effects = self.pmi.as_mut().map(|pmi| pmi.ended(LocalRank(index))).unwrap_or_default();
            self.pmi_said(effects);
            self.inputs.push_back(Input::RankEnded { rank, end });
        }
    }

    /// The exit code once the last output is out and the last orphan is gone.
    fn ended(&mut self) -> Option<u8> {
        let now = self.now();
        let Some(ending) = self.ending else {
            let code = self.life.exit_code(now)?;
            self.ending = Some(Ending { code, give_up_at: now + LAST_OUTPUT });
            self.link.flush().unwrap_or_else(|error| say(format_args!("the agent was not told the last: {error}")));
            return self.ended();
        };
        kill_orphans();
        let has_children = self.reap();
        let drained = !has_children && self.ranks.iter().all(RankProcess::is_drained) && !self.sink.wants_write();
        if drained {
            return Some(ending.code);
        }
        if now >= ending.give_up_at {
            self.sink.abandon();
            // The reader is given up; the log files get what is in the pipes yet.
            self.ranks.iter_mut().for_each(|process| process.read_the_rest(&mut self.sink));
            say(format_args!("the last output was not taken, or what the ranks left behind does not die"));
            return Some(ending.code);
        }
        None
    }
}

fn log_refusal(result: Option<Result<(), BarrierError>>) {
    if let Some(Err(error)) = result {
        say(format_args!("{error}"));
    }
}
