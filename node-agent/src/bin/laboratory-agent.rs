//! What an agent does with the ranks of a pod, one step at a time, for the laboratory's tests: it takes a real supervisor's stubs
//! into a rank cgroup, measures how long that takes to freeze, and asks for the real-time class. All of it by the agent's own
//! library, so that what is tried is what will run.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use rustix::process::Pid;
use strobe_core::model::CpuIndex;
use strobe_node_agent::cgroup::{CgroupName, CgroupPath, CgroupTree, PodUid, RankCgroup, cgroup_of};
use strobe_node_agent::freezer::{CgroupFreezer, Freezer as PreparedFreezer, Observed};
use strobe_node_agent::supervisor_protocol::{
    AgentEndpoint, Configure, Freezer, KeySpace, LaunchProtocol, PeerTable, ProtocolError, Rank, Received, ToAgent, ToSupervisor,
    VersionRange,
};
use strobe_node_agent::sys::scheduler::{STROBE_PRIORITY, Scheduler, become_fifo};
use strobe_node_agent::systemd::confine_once;

/// Longest wait for a word of the supervisor, before the ranks are released.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Silence after which a supervisor thaws, which here shall only ever be the end of the connection.
const WATCHDOG_MILLISECONDS: u64 = 60_000;

/// A cgroup that is not frozen by then will not be.
const FROZEN_WITHIN: Duration = Duration::from_secs(5);

/// How long ranks run between two measurements.
const RUNNING: Duration = Duration::from_millis(5);

/// Sleeps between two looks, as the strobe thread's.
const PAUSES: [Duration; 4] = [Duration::from_micros(20), Duration::from_micros(40), Duration::from_micros(80), Duration::from_micros(100)];

/// The rank cgroup's name in the container's.
const RANKS: &str = "strobe-ranks";

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Serve one supervisor: admit its ranks, release them, and give signs of life until it goes
    Hold(Hold),
    /// Freeze and thaw a cgroup again and again; say how long it takes until it is frozen
    Measure(Measure),
    /// Ask for the real-time class of the strobe thread, and say what came of it
    BecomeFifo,
    /// Have systemd confine one of its units to CPUs
    Confine {
        /// The unit
        unit: String,
        /// The CPUs
        #[arg(required = true)]
        cpus: Vec<u16>,
    },
}

#[derive(Args)]
struct Hold {
    /// Where to listen
    #[arg(long)]
    socket: PathBuf,
    /// UID of the pod whose ranks these shall be
    #[arg(long)]
    pod: String,
    /// How many ranks it shall start
    #[arg(long, default_value_t = 1)]
    ranks: u32,
}

#[derive(Args)]
struct Measure {
    /// The cgroup, as /proc/PID/cgroup names it
    cgroup: String,
    /// How often
    times: usize,
    /// How to look
    #[arg(long, value_enum, default_value_t = Looking::Sleeping)]
    looking: Looking,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Looking {
    /// Without a pause, which starves ranks on the same CPU when the looking thread is a real-time one
    Spinning,
    /// With short sleeps between, as the strobe thread does
    Sleeping,
}

/// The connection to a supervisor.
struct Supervisor(AgentEndpoint);

/// A cgroup that is thawed when this value goes, whatever happened.
struct Thawed(PreparedFreezer);

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Step::Hold(options) => hold(&options),
        Step::Measure(options) => measure(&options),
        Step::BecomeFifo => become_real_time(),
        Step::Confine { unit, cpus } => confine_unit(&unit, &cpus),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn confine_unit(unit: &str, cpus: &[u16]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("make a runtime")?;
    let cpus: Vec<CpuIndex> = cpus.iter().copied().map(CpuIndex).collect();
    Ok(runtime.block_on(confine_once(unit, &cpus))?)
}

// === ranks of a pod ===

/// The last line it prints is `released`; nobody reads what would come after it.
fn hold(options: &Hold) -> Result<()> {
    let mut supervisor = Supervisor::accept(&listen_at(&options.socket)?)?;
    // There will be no second one, and the node shall keep nothing.
    fs::remove_file(&options.socket).context("remove the socket")?;
    let ranks = match rank_cgroup(&supervisor, &options.pod) {
        Ok(ranks) => ranks,
        Err(error) => {
            supervisor.send(&ToSupervisor::Refuse { explanation: format!("{error:#}") }, None)?;
            return Err(error);
        }
    };
    let pod = pod_of(ranks.path(), &options.pod)?;
    println!("agent {}", std::process::id());
    println!("cgroup {}", ranks.path());
    println!("directory {}", ranks.disk_path().display());
    supervisor.send(&ToSupervisor::Configure(configuration(options.ranks)), Some(ranks.open_thaw_descriptor()?))?;
    for _ in 0..options.ranks {
        let (rank, process) = supervisor.admit_stub(&ranks, &pod)?;
        println!("rank {} {}", rank.0, process.as_raw_pid());
    }
    supervisor.await_message(|message| *message == ToAgent::SupervisorUp)?;
    supervisor.send(&ToSupervisor::Release(peers()), None)?;
    supervisor.await_message(|message| *message == ToAgent::Released)?;
    println!("released");
    supervisor.give_signs_of_life()
}

/// Anybody may connect: the pod's user is not the agent's. Who it is is asked of the kernel.
fn listen_at(socket: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::PermissionsExt as _;
    let _absent = fs::remove_file(socket);
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).context("make a socket")?;
    bind(&listener, &SocketAddrUnix::new(socket)?).with_context(|| format!("bind {}", socket.display()))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).context("let everybody connect")?;
    listen(&listener, 1).context("listen")?;
    Ok(listener)
}

/// Makes the rank cgroup in the cgroup in which the supervisor itself is: that is the container's.
fn rank_cgroup(supervisor: &Supervisor, pod: &str) -> Result<RankCgroup> {
    let process = supervisor.0.peer().context("ask who connected")?.pid;
    let process = Pid::from_raw(process).context("the supervisor has no number in this PID namespace: is this a hostPID pod?")?;
    let container = cgroup_of(process).context("find the supervisor's cgroup")?;
    pod_of(&container, pod)?;
    println!("container {container}");
    RankCgroup::create(&CgroupTree::find()?, &container, &CgroupName::new(RANKS)?).context("make the rank cgroup")
}

fn pod_of(cgroup: &CgroupPath, uid: &str) -> Result<CgroupPath> {
    PodUid::new(uid)?.cgroup_above(cgroup).with_context(|| format!("{cgroup} is outside pod {uid}"))
}

fn configuration(ranks: u32) -> Configure {
    Configure {
        first_rank: Rank(0),
        rank_count: ranks,
        world_size: ranks,
        nodes: 1,
        node_index: 0,
        ranks_per_node: ranks,
        cpus: Vec::new(),
        protocol: LaunchProtocol::Environment,
        key_space: KeySpace("laboratory".to_owned()),
        freezer: Freezer::Cgroup,
        watchdog_milliseconds: WATCHDOG_MILLISECONDS,
    }
}

fn peers() -> PeerTable {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    PeerTable { addresses: vec![address], master_address: address, master_port: 29_500 }
}

// === impl Supervisor ===

impl Supervisor {
    fn accept(listener: &OwnedFd) -> Result<Self> {
        ensure!(is_ready(listener, PollFlags::IN, PATIENCE)?, "no supervisor connects in {PATIENCE:?}");
        let socket = accept_with(listener, SocketFlags::CLOEXEC).context("accept a supervisor")?;
        let mut supervisor = Self(AgentEndpoint::new(socket)?);
        let ToAgent::Hello(hello) = supervisor.next()?.message else { bail!("the first message is no Hello") };
        let version = VersionRange::OURS.common(hello.versions).context("no version in common")?;
        supervisor.send(&ToSupervisor::Welcome { version }, None)?;
        Ok(supervisor)
    }

    fn send(&mut self, message: &ToSupervisor, descriptor: Option<OwnedFd>) -> Result<()> {
        self.0.queue(message, descriptor)?;
        self.0.flush()?;
        ensure!(!self.0.wants_write(), "the supervisor does not read");
        Ok(())
    }

    fn next(&mut self) -> Result<Received<ToAgent>> {
        loop {
            if let Some(received) = self.0.receive()? {
                return Ok(received);
            }
            ensure!(is_ready(&self.0, PollFlags::IN, PATIENCE)?, "the supervisor says nothing for {PATIENCE:?}");
        }
    }

    fn await_message(&mut self, is_wanted: impl Fn(&ToAgent) -> bool) -> Result<Received<ToAgent>> {
        loop {
            let received = self.next()?;
            match received.message {
                ToAgent::LaunchFailed(failure) => bail!("{failure}"),
                ToAgent::Refused { explanation } => bail!("the supervisor refuses: {explanation}"),
                ref message if is_wanted(message) => return Ok(received),
                _ => {}
            }
        }
    }

    fn admit_stub(&mut self, ranks: &RankCgroup, pod: &CgroupPath) -> Result<(Rank, Pid)> {
        let received = self.await_message(|message| matches!(message, ToAgent::Stub(_)))?;
        let ToAgent::Stub(report) = received.message else { bail!("not a stub") };
        let pidfd = received.descriptor.context("a stub comes with its pidfd")?;
        let process = ranks.admit(pidfd.as_fd(), pod).context("admit a stub")?;
        self.send(&ToSupervisor::StubAccepted { rank: report.rank }, None)?;
        Ok((report.rank, process))
    }

    /// Until the supervisor goes.
    fn give_signs_of_life(&mut self) -> Result<()> {
        for number in 0.. {
            self.send(&ToSupervisor::Ping { number }, None)?;
            is_ready(&self.0, PollFlags::HUP, HEARTBEAT)?;
            loop {
                match self.0.receive() {
                    Ok(None) => break,
                    Ok(Some(Received { message: ToAgent::RankExited { rank, .. }, .. })) => {
                        self.send(&ToSupervisor::RankExitAcknowledged { rank }, None)?;
                    }
                    Ok(Some(_)) => {}
                    Err(ProtocolError::Closed) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

fn is_ready(descriptor: impl AsFd, flags: PollFlags, within: Duration) -> Result<bool> {
    let time_out = Timespec::try_from(within)?;
    Ok(poll(&mut [PollFd::new(&descriptor, flags)], Some(&time_out)).context("wait for the supervisor")? > 0)
}

// === measuring ===

fn measure(options: &Measure) -> Result<()> {
    let cgroup = RankCgroup::open(&CgroupTree::find()?, &CgroupPath::parse(&options.cgroup)?)?;
    let freezer = Thawed(PreparedFreezer::Cgroup(CgroupFreezer::open(&cgroup)?));
    let mut spans = Vec::with_capacity(options.times);
    for _ in 0..options.times {
        spans.push(time_to_freeze(&freezer.0, options.looking)?);
        freezer.0.thaw().context("thaw")?;
        sleep(RUNNING);
    }
    println!("{}", quantiles(&mut spans));
    Ok(())
}

/// From before the command is written to the look that finds the cgroup frozen.
fn time_to_freeze(freezer: &PreparedFreezer, looking: Looking) -> Result<Duration> {
    let began = Instant::now();
    freezer.freeze().context("freeze")?;
    let longest = PAUSES[PAUSES.len() - 1];
    for pause in PAUSES.into_iter().chain(std::iter::repeat(longest)) {
        if looking == Looking::Sleeping {
            sleep(pause);
        }
        match freezer.observe().context("look")? {
            Observed::Frozen => return Ok(began.elapsed()),
            Observed::Gone => bail!("the cgroup is gone"),
            Observed::Running => ensure!(began.elapsed() < FROZEN_WITHIN, "not frozen in {FROZEN_WITHIN:?}"),
        }
    }
    bail!("the looks have no end")
}

fn quantiles(spans: &mut [Duration]) -> String {
    spans.sort_unstable();
    let mut text = format!("times {}", spans.len());
    for (name, percent) in [("p10", 10), ("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
        let at = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
        let span = spans.get(at).copied().unwrap_or_default();
        write!(text, " {name} {} us", span.as_micros()).expect("a string takes everything");
    }
    text
}

// === impl Thawed ===

impl Drop for Thawed {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw() {
            eprintln!("the cgroup may be left frozen: {error}");
        }
    }
}

// === the real-time class ===

fn become_real_time() -> Result<()> {
    let scheduler = become_fifo(STROBE_PRIORITY);
    println!("scheduler {}", scheduler.label());
    match scheduler {
        Scheduler::Fifo { moved_to_root } => println!("moved {moved_to_root}"),
        Scheduler::Other { reason } => println!("reason {reason}"),
    }
    println!("policy {}", own_policy()?);
    let groups = fs::read_to_string("/proc/thread-self/cgroup").context("read this thread's cgroups")?;
    groups.lines().for_each(|line| println!("group {line}"));
    Ok(())
}

/// Field `policy` of proc(5)'s `stat`: 0 ordinary, 1 SCHED_FIFO.
fn own_policy() -> Result<String> {
    const FIELDS_AFTER_THE_NAME: usize = 38;
    let stat = fs::read_to_string("/proc/thread-self/stat").context("read this thread's state")?;
    let (_, after_name) = stat.rsplit_once(") ").context("no name in this thread's state")?;
    after_name.split(' ').nth(FIELDS_AFTER_THE_NAME).map(str::to_owned).context("no policy in this thread's state")
}
