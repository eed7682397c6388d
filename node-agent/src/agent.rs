//! The agent: hosts the member and the manager of its node, and joins them to the fabric, the authority, the supervisors
//! and the strobe thread.
//!
//! One task owns everything here and takes one event after the other; nothing is locked. What may take long (waiting for
//! killed processes to be gone) runs beside it and comes back as an event.

mod addresses;
mod barrier;
mod bootstrap;
mod by_signals;
mod calls;
mod cpu_manager;
mod deliveries;
mod effects;
mod error;
mod event;
mod figures;
mod files;
mod frames;
mod gang;
mod idle;
mod killing;
mod launch;
mod leaving;
mod limits;
mod mailbox;
mod metrics;
mod pinning;
mod pods;
mod process_time;
mod refusals;
mod session;
mod shared_memory;
mod store;
mod supervision;
mod supervisors;
mod surroundings;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
};

pub use bootstrap::{BootstrapError, bootstrap_from_standard_input};
pub use error::AgentError;
pub use files::FilesError;
pub(crate) use files::write_whole;
pub(crate) use leaving::LeavingReason;
pub(crate) use mailbox::{Mailbox, mailbox};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
pub use session::ServeError;
pub(crate) use session::listen;
use strobe_core::{
    machine::{Machine, Outbox},
    manager::{Manager, ManagerEffect, ManagerInput},
    message::{AgentState, PartitionReport, SwitcherReport},
    model::{GangRun, Instant, NodeIncarnation, Term},
    node::{Member, MemberConfiguration, MemberEffect, MemberInput},
};
use strobe_fabric::{
    blocks::{self, BlockStaged, Blocks},
    datagram::{DatagramCounters, DatagramSocket},
    identity::{CertificateBundle, TlsIdentity},
    limits::STALL,
    tcp::{TcpOptions, TcpTransport},
    transport::Endpoint,
};
use strobe_proto::{
    agent::AgentMessage,
    bootstrap::{Bootstrap, Listening},
};
pub(crate) use surroundings::{ClusterNode, Ports, Surroundings};
use tokio::{io::unix::AsyncFd, net::TcpListener, sync::mpsc};

use crate::{
    cgroup::{CgroupPath, CgroupTree},
    health::{Occupation, Serving},
    strobe_thread::{StrobeReport, StrobeReports, StrobeThread, StrobeThreadOptions},
    sys::{clock::monotonic_now, descriptor::register},
};
use addresses::AddressBook;
use barrier::Barriers;
use calls::{Calls, Primitives};
use event::Event;
use figures::FigureCollector;
use files::Files;
use gang::Gang;
use leaving::Leaving;
use limits::DATAGRAM_KEYS_MAX;
use pods::Cluster;
use store::Store;

/// See the module.
struct Agent {
    bootstrap: Bootstrap,
    files: Files,
    own: NodeIncarnation,
    addresses: AddressBook,
    own_address: addresses::AgentAddress,
    member: Member,
    manager: Manager,
    member_effects: Outbox<MemberEffect>,
    manager_effects: Outbox<ManagerEffect>,
    /// Inputs that one machine here has for another, in order.
    pending: VecDeque<Pending>,
    strobe: StrobeThread,
    transport: Arc<TcpTransport>,
    /// The task that carries the bytes of blocks.
    blocks: Blocks,
    /// The term whose links are open.
    link_term: Option<Term>,
    cgroups: Option<(CgroupTree, CgroupPath)>,
    ports: Ports,
    /// Until it is served.
    session_listener: Option<TcpListener>,
    cluster: Option<Cluster>,
    gangs: BTreeMap<GangRun, Gang>,
    /// Connections whose first message has not come.
    strangers: BTreeMap<supervisors::ConnectionId, supervisors::Connection>,
    barriers: Barriers,
    calls: Calls,
    store: Store,
    session: Option<mpsc::Sender<AgentMessage>>,
    report: Option<PartitionReport>,
    figures: FigureCollector,
    state: AgentState,
    idle: idle::IdleRequest,
    metrics: metrics::Metrics,
    refusals: refusals::Refusals,
    /// Of the strobe thread's socket.
    datagrams: Arc<DatagramCounters>,
    events: mpsc::Sender<Event>,
    ending: bool,
    leaving: Option<Leaving>,
}

/// An input for a machine of this agent.
enum Pending {
    Member(MemberInput),
    Manager(ManagerInput),
}

/// What the loop waits for.
struct Sources {
    events: mpsc::Receiver<Event>,
    control: strobe_fabric::transport::ControlInbox,
    /// What became of blocks.
    staged: mpsc::Receiver<BlockStaged>,
    reports: AsyncFd<StrobeReports>,
    owner: Option<AsyncFd<OwnedFd>>,
}

/// Runs an agent of local mode until its run is over.
///
/// # Errors
/// When it cannot begin: a socket, a file, a certificate or the strobe thread is refused.
pub async fn run(bootstrap: Bootstrap) -> Result<(), AgentError> {
    run_in(bootstrap, Surroundings::of_local_mode()).await.map(drop)
}

/// Runs an agent until its run is over, or until it leaves for the reason that is returned; then its gangs run on.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_in(bootstrap: Bootstrap, surroundings: Surroundings) -> Result<Option<LeavingReason>, AgentError> {
    let (mut agent, mut sources) = Agent::begin(bootstrap, surroundings).await?;
    let listening = match agent.start_serving(&mut sources).await {
        Ok(listening) => listening,
        Err(error) => {
            // What an earlier life left stays, with its supervisors; what this one has made for itself goes.
            agent.leave();
            return Err(error);
        }
    };
    println!("{}", serde_json::to_string(&listening).expect("two numbers are JSON"));
    while !agent.is_over() {
        agent.turn(&mut sources).await?;
    }
    let reason = agent.leaving.map(|leaving| leaving.reason);
    agent.leave();
    Ok(reason)
}

impl Agent {
    async fn begin(bootstrap: Bootstrap, surroundings: Surroundings) -> Result<(Self, Sources), AgentError> {
        let Surroundings { mailbox, inbox, ports, session: session_listener, node } = surroundings;
        let cluster = node.map(Cluster::new).transpose()?;
        let files = Files::open(bootstrap.directory.clone())?;
        let sealed = files.sealed()?;
        let bundle = bundle(&bootstrap);
        let own = NodeIncarnation { node: bootstrap.node, incarnation: bootstrap.incarnation };
        let listen = SocketAddr::new(bootstrap.address, ports.fabric);
        let options = TcpOptions { listen, identity: TlsIdentity::new(&bundle)?, jitter_seed: jitter_seed(own), faults: None };
        let Endpoint { transport, control, bulk } = TcpTransport::bind(options).await?;
        let transport = Arc::new(transport);
        let (blocks, staged) = blocks::carry(Arc::clone(&transport), bulk, STALL);
        let datagrams = Arc::new(DatagramCounters::default());
        let socket = DatagramSocket::bind(listen, DATAGRAM_KEYS_MAX, Arc::clone(&datagrams)).map_err(AgentError::Datagrams)?;
        let datagram = socket.local_address().map_err(AgentError::Datagrams)?;
        let own_address = addresses::AgentAddress { stream: transport.local_address(), datagram };
        let (strobe, reports) = spawn_strobe_thread(&bootstrap, socket)?;
        let mut member_effects = Outbox::default();
        let settings = bootstrap.settings.clone();
        let heartbeat = settings.heartbeat;
        let configuration =
            MemberConfiguration { partition: bootstrap.partition, node: own.node, incarnation: own.incarnation, sealed, settings };
        let member = Member::new(configuration, &mut member_effects);
        let store =
            Store::begin(bootstrap.store.clone(), bootstrap.partition, blocks.clone(), Primitives { events: mailbox.events.clone() });
        let reports = register(reports).map_err(AgentError::Register)?;
        let owner = bootstrap.owner.map(open_process).transpose().map_err(AgentError::Owner)?;
        let agent = Self {
            cgroups: open_cgroups(&bootstrap),
            ports,
            session_listener,
            cluster,
            metrics: metrics::Metrics::new(own.node, strobe.scheduler(), &mailbox.refusals),
            refusals: mailbox.refusals,
            datagrams,
            bootstrap,
            files,
            own,
            addresses: AddressBook::new(),
            own_address,
            member,
            manager: Manager::default(),
            member_effects,
            manager_effects: Outbox::default(),
            pending: VecDeque::new(),
            strobe,
            transport,
            store,
            blocks,
            link_term: None,
            gangs: BTreeMap::new(),
            strangers: BTreeMap::new(),
            barriers: Barriers::new(heartbeat),
            calls: Calls::default(),
            session: None,
            report: None,
            figures: FigureCollector::default(),
            state: AgentState::Unsealed,
            idle: idle::IdleRequest::default(),
            events: mailbox.events,
            ending: false,
            leaving: None,
        };
        Ok((agent, Sources { events: inbox.0, control, staged, reports, owner }))
    }

    async fn start_serving(&mut self, sources: &mut Sources) -> Result<Listening, AgentError> {
        self.adopt(sources).await?;
        self.listen().await
    }

    /// Serves the contract and the metrics.
    async fn listen(&mut self) -> Result<Listening, AgentError> {
        let listener = match self.session_listener.take() {
            Some(listener) => listener,
            None => listen(SocketAddr::new(self.bootstrap.address, 0)).await?,
        };
        let expected = session::Expected {
            partition: self.bootstrap.partition,
            settings: self.bootstrap.settings.clone(),
            leaves_at_other_settings: self.cluster.is_some(),
        };
        let session_port = session::serve(listener, expected, &bundle(&self.bootstrap), self.mailbox())?;
        let metrics_port = match &self.cluster {
            Some(cluster) => {
                let serving = Serving { metrics: self.metrics.registry(), trace: cluster.trace.clone() };
                cluster.health.occupied(Occupation::Serving(Arc::new(serving)));
                self.ports.health
            }
            None => metrics::serve(&self.metrics).await.map_err(AgentError::Metrics)?,
        };
        let node = self.own.node;
        tracing::info!(%node, session_port, metrics_port, "the contract and the metrics are served");
        Ok(Listening { session_port, metrics_port })
    }

    /// The way in, for what serves others beside the loop.
    fn mailbox(&self) -> Mailbox {
        Mailbox { events: self.events.clone(), refusals: self.refusals.clone() }
    }

    /// Waits for one thing that happens, and does all that follows from it.
    async fn turn(&mut self, sources: &mut Sources) -> Result<(), AgentError> {
        let timer = self.sleep_to_deadline();
        tokio::select! {
            biased;
            reports = sources.reports.readable_mut() => {
                let mut guard = reports.map_err(AgentError::Register)?;
                guard.get_inner().clear_wake();
                guard.clear_ready();
                while let Some(report) = guard.get_inner_mut().pop() {
                    self.strobe_reported(report);
                }
                if guard.get_inner().is_over() {
                    return Err(AgentError::StrobeEnded);
                }
            }
            delivery = sources.control.next() => self.delivered(delivery.ok_or(AgentError::FabricEnded)?).await?,
            staged = sources.staged.recv() => {
                let BlockStaged { operation, held } = staged.ok_or(AgentError::FabricEnded)?;
                self.pending.push_back(Pending::Member(MemberInput::Staged { operation, held }));
            }
            event = sources.events.recv() => self.happened(event.ok_or(AgentError::FabricEnded)?),
            () = ended(sources.owner.as_ref()), if !self.ending => self.happened(Event::OwnerEnded),
            () = timer => self.timers(),
        }
        if let Some(cluster) = &self.cluster {
            cluster.health.turned();
        }
        self.settle().await
    }

    fn sleep_to_deadline(&self) -> impl Future<Output = ()> + use<> {
        let machines = [self.member.next_deadline(), self.manager.next_deadline(), self.barriers.next_deadline()];
        let deadlines = machines.into_iter().chain([Some(self.figures.due()), self.leaving.and_then(Leaving::deadline)]);
        let next = deadlines.flatten().min().unwrap_or(Instant::ORIGIN);
        tokio::time::sleep(next.since(monotonic_now()))
    }

    fn timers(&mut self) {
        let now = monotonic_now();
        if self.member.next_deadline().is_some_and(|at| at <= now) {
            self.pending.push_back(Pending::Member(MemberInput::Timer));
        }
        if self.manager.next_deadline().is_some_and(|at| at <= now) {
            self.pending.push_back(Pending::Manager(ManagerInput::Timer));
        }
        if self.barriers.next_deadline().is_some_and(|at| at <= now) {
            self.repeat_barriers();
        }
        if self.figures.due() <= now {
            self.send_figures(now);
            self.ping_supervisors();
        }
    }

    /// Steps the machines until none has anything left for another, carrying out effects in order.
    async fn settle(&mut self) -> Result<(), AgentError> {
        self.carry_out_member_effects().await?;
        while let Some(pending) = self.pending.pop_front() {
            let now = monotonic_now();
            match pending {
                Pending::Member(input) => self.member.step(now, input, &mut self.member_effects),
                Pending::Manager(input) => self.manager.step(now, input, &mut self.manager_effects),
            }
            self.carry_out_member_effects().await?;
            self.carry_out_manager_effects()?;
        }
        Ok(())
    }

    fn strobe_reported(&mut self, report: StrobeReport) {
        match report {
            StrobeReport::Switcher(SwitcherReport::State(state)) => self.state = state,
            StrobeReport::Switcher(report) => self.pending.push_back(Pending::Member(MemberInput::Switcher(report))),
            StrobeReport::Announcer(report) => self.pending.push_back(Pending::Manager(ManagerInput::Announcer(report))),
            StrobeReport::Sample(record) => {
                self.metrics.switched(&record);
                self.figures.take(&record);
            }
            StrobeReport::Returned(returned) => drop(returned),
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::SessionOpened(session) => self.session_opened(session),
            Event::Addresses(book) => self.addresses_known(book),
            Event::Appointed(appointment) => {
                let settings = self.bootstrap.settings.clone();
                self.pending.push_back(Pending::Manager(ManagerInput::Appointed { appointment: *appointment, settings }));
            }
            Event::Introduced(record) => self.pending.push_back(Pending::Member(MemberInput::Introduced(*record))),
            Event::Plan(plan) => self.pending.push_back(Pending::Manager(ManagerInput::Plan(plan))),
            Event::Lost(nodes) => self.pending.push_back(Pending::Manager(ManagerInput::Lost(nodes))),
            Event::Launch(gang) => self.launch(&gang),
            Event::Remove(run) => self.remove(run),
            Event::StageFile(file) => self.stage_file(file),
            Event::Staging(staging) => self.staging_goes_on(staging),
            Event::Call(call) => self.called(*call),
            Event::Store(cell, value) => self.pending.push_back(Pending::Member(MemberInput::Store { cell, value })),
            Event::Supervisor(event) => self.supervisor_event(event),
            Event::SupervisorEnded(run) => self.supervisor_ended(run),
            Event::SupervisorOverdue(run) => self.supervisor_overdue(run),
            Event::GraceOver(run) => self.kill_ranks(run),
            Event::GangGone { run, cpu_seconds } => self.gang_gone(run, cpu_seconds),
            Event::Shutdown | Event::OwnerEnded => self.end_everything(),
            Event::PodAwaited { pod, answer } => self.pod_awaited(pod, answer),
            Event::Leave(reason) => self.begin_to_leave(reason),
        }
    }

    /// Ends every gang here; the agent leaves once they are gone, and their supervisors with the last output.
    fn end_everything(&mut self) {
        if !self.ending {
            tracing::info!("the run is over: ending every gang");
            self.ending = true;
            let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
            for run in runs {
                self.kill_ranks(run);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.has_handed_over() || self.ending && self.gangs.values().all(Gang::is_over)
    }
}

fn spawn_strobe_thread(bootstrap: &Bootstrap, socket: DatagramSocket) -> Result<(StrobeThread, StrobeReports), AgentError> {
    let thread = StrobeThreadOptions {
        node: bootstrap.node,
        incarnation: bootstrap.incarnation,
        settings: bootstrap.settings.clone(),
        cpus: bootstrap.cpus.clone(),
        socket,
    };
    let (strobe, reports) = StrobeThread::spawn(thread)?;
    if let Err(error) = strobe.pinned() {
        tracing::warn!(error = error as &dyn std::error::Error, "the strobe thread does not stay on its node's CPUs");
    }
    Ok((strobe, reports))
}

fn bundle(bootstrap: &Bootstrap) -> CertificateBundle {
    CertificateBundle {
        certificate_pem: bootstrap.certificate_pem.clone(),
        key_pem: bootstrap.key_pem.clone(),
        roots_pem: bootstrap.roots_pem.clone(),
    }
}

/// Differs between nodes and between lives, which is all that jitter needs.
const fn jitter_seed(own: NodeIncarnation) -> u64 {
    own.incarnation.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(own.node.0 as u64)
}

/// The cgroup tree and the folder of this agent in it. None, said once, when gangs are to be stopped by signals.
fn open_cgroups(bootstrap: &Bootstrap) -> Option<(CgroupTree, CgroupPath)> {
    let path = bootstrap.cgroup.as_deref()?;
    let open = || {
        let tree = CgroupTree::find()?;
        let path = CgroupPath::parse(path)?;
        tree.create(&path)?;
        Ok::<_, crate::cgroup::CgroupError>((tree, path))
    };
    match open() {
        Ok(cgroups) => Some(cgroups),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no right to cgroups: gangs are stopped by signals");
            None
        }
    }
}

fn open_process(process: i32) -> std::io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(process).ok_or(rustix::io::Errno::INVAL)?;
    register(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Waits until the process of a pidfd has ended; for ever without one.
async fn ended(process: Option<&AsyncFd<OwnedFd>>) {
    match process {
        Some(process) => {
            // An error here means that the runtime ends, and the agent with it.
            let _runtime_ends = process.readable().await;
        }
        None => std::future::pending().await,
    }
}
