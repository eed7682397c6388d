//! One run: a loop that owns everything, takes one event after the other, and goes from start to end in phases.

mod commands;
mod ending;
mod file;
mod picture;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::Duration,
};

use file::FileTask;
pub(super) use file::{FileEnding, FileOptions, rate};
use strobe_authority::SessionOptions;
use strobe_core::{
    authority::{AuthorityInput, Launches, PartitionConfiguration, TermPhase},
    matrix::NodeCapacity,
    model::{Instant, NodeIndex, PartitionUid},
};
use strobe_fabric::authority::{AuthorityError, LocalAuthority};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{
    agent_process::{AgentOptions, AgentStartError, Programs},
    agents::{Agents, Happening},
    authority_shell::AuthorityShell,
    cgroup::RunCgroup,
    clock,
    event::Event,
    jobs::{Jobs, specification},
    limits::{ENDING_MARGIN, EVENTS, START_UP, TICK},
    manifests::Prepared,
    output::Outputs,
    record::{RecordError, RecordFile},
    report::Report,
    run_folder::{FolderError, RunFolder, random},
    screen::{Mode, Screen},
    statistics::Statistics,
    trace::{Trace, TraceError},
};

/// What a run is of.
#[derive(Debug)]
pub(super) struct RunOptions<'a> {
    /// What to run.
    pub prepared: &'a Prepared,
    /// With which programs.
    pub programs: Programs,
    /// In which folder.
    pub folder: &'a RunFolder,
    /// Where the trace goes.
    pub trace: Option<&'a Path>,
    /// The cgroup below which the run makes its own, when it is stated.
    pub cgroup: Option<&'a str>,
    /// Nodes whose agents are not started again.
    pub down: BTreeSet<u16>,
    /// A file that is given to all nodes, beside the jobs.
    pub file: Option<&'a FileOptions>,
    /// How it is shown.
    pub mode: Mode,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// The report.
    pub report: Report,
    /// A job failed, the file was not given, or the run was cut off.
    pub failed: bool,
    /// What became of the file, where there was one.
    pub file: Option<FileEnding>,
}

/// Why a run was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Certificates.
    #[error("no certificates could be made")]
    Certificates(#[from] AuthorityError),
    /// Random numbers.
    #[error("the partition has no name")]
    Partition(#[source] FolderError),
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The system refuses something that every run needs.
    #[error("cannot {operation}")]
    System {
        /// What.
        operation: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// An agent does not begin.
    #[error("the agent of node {node} does not begin, see its log")]
    Agent {
        /// The node.
        node: NodeIndex,
        /// Why, the last time.
        #[source]
        source: AgentStartError,
    },
    /// There is no machine manager.
    #[error("the agents have no manager {0:?} after their start, see their logs")]
    StartUp(Duration),
}

/// See the module.
struct Run<'a> {
    options: &'a RunOptions<'a>,
    cgroup: Option<RunCgroup>,
    agents: Agents,
    shell: AuthorityShell,
    jobs: Jobs,
    file: Option<FileTask<'a>>,
    launches: Launches,
    outputs: Outputs,
    statistics: Statistics,
    trace: Option<Trace>,
    screen: Screen,
    phase: Phase,
    began: Instant,
    start_up: Duration,
    next_tick: Instant,
    /// How often the user has asked for the end.
    interrupts: u32,
    /// When a run that is asked to end is cut off.
    cut_off_at: Option<Instant>,
    cut_off: bool,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Until the first term is established.
    Starting,
    /// Until every job is at rest.
    Running,
    /// Until so many more figures of these nodes are there, or long enough after the instant.
    Measuring { missing: BTreeMap<NodeIndex, u8>, since: Instant },
    /// Until every agent has ended, or long enough after the instant.
    Leaving(Instant),
    /// Until the last line is read, or long enough after the instant.
    Draining(Instant),
    /// Nothing is left to do.
    Over,
}

/// The signals that end a run.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Runs to the end.
///
/// # Errors
/// See [`RunError`]. Processes and cgroups are gone in any case.
pub(super) async fn execute(options: &RunOptions<'_>) -> Result<Ending, RunError> {
    let (events, mut queue) = mpsc::channel(EVENTS);
    let mut interrupts = Interrupts::new().map_err(|source| RunError::System { operation: "wait for signals", source })?;
    let mut run = Run::new(options, events)?;
    let driven = run.drive(&mut queue, &mut interrupts).await;
    // What still sends events does not wait for this loop.
    drop(queue);
    run.conclude(driven).await
}

impl<'a> Run<'a> {
    fn new(options: &'a RunOptions<'a>, events: mpsc::Sender<Event>) -> Result<Self, RunError> {
        let RunOptions { prepared, folder, .. } = *options;
        let partition = PartitionUid(random().map_err(RunError::Partition)?);
        let certificates = LocalAuthority::new(partition)?;
        let trace = options.trace.map(Trace::create).transpose()?;
        let mut screen = Screen::start(options.mode).map_err(|source| RunError::System { operation: "start a thread", source })?;
        let cgroup = match RunCgroup::make(folder.name(), options.cgroup) {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                screen.say(format!("warning: no right to cgroups ({error}): gangs are stopped by signals"));
                None
            }
        };
        let sessions = SessionOptions { partition, settings: (&prepared.settings).into(), certificate: certificates.issue_authority()? };
        let agents = agent_options(options, partition, &certificates, cgroup.as_ref())?;
        let mut shell = AuthorityShell::new(RecordFile::new(folder.record()));
        let now = clock::now();
        let configuration = PartitionConfiguration::new(partition, prepared.settings.clone(), prepared.nodes.clone());
        for input in [AuthorityInput::Configure(configuration), AuthorityInput::Recovered(None)] {
            let commands = shell.step(now, input)?;
            assert!(commands.is_empty(), "an authority without agents and jobs wants nothing");
        }
        Ok(Self {
            agents: Agents::new(agents, &options.down, sessions, cgroup.clone(), events.clone()),
            outputs: Outputs::new(folder.pipes(), events, screen.pictures()),
            file: options.file.map(|file| FileTask::new(file, partition)),
            jobs: Jobs::new(prepared.jobs.iter().map(|job| &job.job)),
            launches: Launches::default(),
            statistics: Statistics::new(prepared.nodes.len()),
            phase: Phase::Starting,
            began: now,
            start_up: Duration::ZERO,
            next_tick: now,
            interrupts: 0,
            cut_off_at: None,
            cut_off: false,
            options,
            cgroup,
            shell,
            trace,
            screen,
        })
    }

    async fn drive(&mut self, queue: &mut mpsc::Receiver<Event>, interrupts: &mut Interrupts) -> Result<(), RunError> {
        while self.phase != Phase::Over {
            let next = self.shell.next_deadline().map_or(self.next_tick, |deadline| deadline.min(self.next_tick));
            let sleep = tokio::time::sleep(next.since(clock::now()));
            tokio::select! {
                biased;
                () = interrupts.next() => self.interrupted()?,
                event = queue.recv() => match event {
                    Some(event) => self.happened(event)?,
                    None => unreachable!("the agents hold a sender"),
                },
                () = sleep => {}
            }
            self.look_at_the_clock()?;
            self.advance()?;
            self.screen.flush();
        }
        Ok(())
    }

    fn look_at_the_clock(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        if self.shell.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(AuthorityInput::Timer)?;
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            let happenings = self.agents.tick(now);
            self.follow(happenings)?;
            self.draw(now);
        }
        Ok(())
    }

    fn interrupted(&mut self) -> Result<(), RunError> {
        self.interrupts += 1;
        if self.interrupts > 1 || self.phase != Phase::Running {
            self.screen.say("interrupted: killing everything".to_owned());
            self.cut_off();
            return Ok(());
        }
        self.screen.say("interrupted: ending every gang; interrupt again to kill them at once".to_owned());
        self.cut_off_at = Some(clock::now() + self.options.prepared.longest_grace() + ENDING_MARGIN);
        let gangs: Vec<_> = self.jobs.iter().map(|job| job.gang).collect();
        gangs.into_iter().try_for_each(|gang| self.step(AuthorityInput::Cancel { gang }))
    }

    /// Goes to the next phase when this one is over.
    fn advance(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        if self.cut_off_at.is_some_and(|at| at <= now) && !self.cut_off {
            self.screen.say("the gangs did not end in time: killing everything".to_owned());
            self.cut_off();
        }
        match &self.phase {
            Phase::Starting if matches!(self.shell.term_phase(), TermPhase::Confirming | TermPhase::Established) => {
                (self.phase, self.start_up) = (Phase::Running, now.since(self.began));
                self.ask_for_file(now);
                self.submit(now)
            }
            Phase::Starting if now >= self.began + START_UP => Err(RunError::StartUp(START_UP)),
            Phase::Running if self.jobs.at_rest() && self.file_is_over() => {
                // A node's samples are told a little after its counters: a trace is whole with the figures after the next.
                let rounds = if self.trace.is_some() { 2 } else { 1 };
                self.phase =
                    Phase::Measuring { missing: self.agents.reached().into_iter().map(|node| (node, rounds)).collect(), since: now };
                Ok(())
            }
            Phase::Starting | Phase::Running | Phase::Over => Ok(()),
            Phase::Measuring { .. } | Phase::Leaving(_) | Phase::Draining(_) => {
                self.advance_to_the_end(now);
                Ok(())
            }
        }
    }

    /// Who ends a run does not wait for its file.
    fn file_is_over(&self) -> bool {
        self.interrupts > 0 || self.file.as_ref().is_none_or(FileTask::is_over)
    }

    fn submit(&mut self, now: Instant) -> Result<(), RunError> {
        for (index, prepared) in self.options.prepared.jobs.iter().enumerate() {
            let specification = specification(index, &prepared.job);
            if let Some(job) = self.jobs.get_mut(specification.gang) {
                job.submitted = Some(now);
            }
            self.step(AuthorityInput::Submit(specification))?;
        }
        Ok(())
    }

    fn follow(&mut self, happenings: Vec<Happening>) -> Result<(), RunError> {
        for happening in happenings {
            match happening {
                Happening::Unreachable(agent) => self.step(AuthorityInput::AgentUnreachable { agent })?,
                Happening::ProvenDead(node) => self.step(AuthorityInput::NodeProvenDead { node })?,
                Happening::Status(line) => self.screen.say(line),
                Happening::GivenUp(node, source) => return Err(RunError::Agent { node, source }),
            }
        }
        Ok(())
    }
}

fn agent_options(
    options: &RunOptions<'_>,
    partition: PartitionUid,
    certificates: &LocalAuthority,
    cgroup: Option<&RunCgroup>,
) -> Result<Vec<AgentOptions>, RunError> {
    let folder = options.folder;
    let one = |capacity: &NodeCapacity| {
        let node = capacity.node;
        Ok(AgentOptions {
            programs: options.programs.clone(),
            partition,
            settings: options.prepared.settings.clone(),
            node,
            cpus: capacity.cpus.iter().collect(),
            directory: folder.node(node.0),
            store: options.file.map(|file| file.store(node)),
            cgroup: cgroup.map(|cgroup| cgroup.node(node.0)),
            certificate: certificates.issue_node(node)?,
            log: folder.logs().join(format!("agent-{node}.log")),
            process_file: folder.agent(node.0),
        })
    };
    options.prepared.nodes.iter().map(one).collect()
}

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
