//! A scripted authority: starts agents, appoints the first, and says what a test wants.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use strobe_core::{
    message::PartitionReport,
    model::{
        AgentIncarnation, Appointment, CpuIndex, Desire, EndCause, EstablishedTerm, GangRun, MatrixVersion, NodeIncarnation, NodeIndex,
        NodePlacement, NodeSet, PartitionUid, Plan, PlannedGang, RankIndex, RowIndex, RowSet, Settings, Term, TermRecord,
    },
    primitives::GangPhase,
};
use strobe_fabric::{authority::LocalAuthority, identity::PeerIdentity};
use strobe_node_agent::{
    agent::{Bootstrap, Listening},
    cgroup::{CgroupPath, CgroupTree},
};
use strobe_proto::{
    VERSIONS,
    agent::{
        self, AgentMessage, AuthorityMessage, agent_client::AgentClient, agent_message::Message as FromAgent, authority_message::Message,
    },
    partition_bytes,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use crate::observe::{PATIENCE, Ranks, eventually, processes_naming};

/// Plans of one term at most: a later term's are newer than all of them.
const PLANS_OF_A_TERM: u64 = 100;

/// The agents of one test and what they say.
pub(crate) struct Nodes {
    partition: PartitionUid,
    authority: LocalAuthority,
    options: Options,
    agents: Vec<Agent>,
    addresses: BTreeMap<NodeIndex, agent::NodeAddress>,
    record: Option<TermRecord>,
    said: mpsc::Receiver<(NodeIndex, FromAgent)>,
    said_sender: mpsc::Sender<(NodeIndex, FromAgent)>,
    heard: Heard,
    folder: tempfile::TempDir,
}

/// What a test may want otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Times and policy.
    pub(crate) settings: Settings,
    /// The process whose end is the end of the run.
    pub(crate) owner: u32,
    /// Ranks are stopped by signals, as where nobody may use cgroups.
    pub(crate) by_signals: bool,
}

/// What the agents have said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The newest report.
    pub(crate) report: Option<PartitionReport>,
    /// The newest figures of each node, and how many came.
    pub(crate) figures: BTreeMap<u16, (u64, agent::Figures)>,
    /// What ranks said as they called MPI_Abort.
    pub(crate) last_words: Vec<String>,
    /// Switches that thawed a gang.
    switches: u64,
}

struct Agent {
    process: Child,
    incarnation: AgentIncarnation,
    listening: Listening,
    session: mpsc::Sender<AuthorityMessage>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings { quantum: Duration::from_millis(5), ..Settings::default() },
            owner: std::process::id(),
            by_signals: false,
        }
    }
}

impl Heard {
    /// The phase of a gang in the newest report.
    pub(crate) fn phase(&self, run: GangRun) -> Option<GangPhase> {
        self.report.as_ref()?.gangs.iter().find(|gang| gang.run == run).map(|gang| gang.phase)
    }

    /// How a gang has ended.
    pub(crate) fn ended(&self, run: GangRun) -> Option<EndCause> {
        match self.phase(run)? {
            GangPhase::Ended(cause) => Some(cause),
            GangPhase::Launching | GangPhase::Released | GangPhase::Ending(_) => None,
        }
    }

    fn take(&mut self, node: NodeIndex, message: FromAgent) {
        match message {
            FromAgent::Report(report) => self.report = Some(PartitionReport::try_from(report).expect("a report can be read")),
            FromAgent::Figures(figures) => {
                self.switches += figures.samples.iter().filter(|sample| !sample.thaw.is_empty()).count() as u64;
                let count = self.figures.get(&node.0).map_or(0, |(count, _)| *count);
                self.figures.insert(node.0, (count + 1, figures));
            }
            FromAgent::Hello(_) => {}
            FromAgent::RankAborted(aborted) => self.last_words.push(aborted.message),
            FromAgent::LaunchFailed(failure) => panic!("launch failed: {failure:?}"),
        }
    }
}

/// A gang in row 0, on another CPU on each node where the machine has so many.
pub(crate) fn gang(run: GangRun, nodes: u16, desire: Desire) -> PlannedGang {
    gang_of(Shape { nodes, ranks: 1 }, run, desire)
}

/// The same with more ranks on a node.
pub(crate) fn gang_of(shape: Shape, run: GangRun, desire: Desire) -> PlannedGang {
    PlannedGang { run, desire, rows: [RowIndex(0)].into_iter().collect(), placement: shape.placement() }
}

/// The gang in another row.
pub(crate) fn in_row(gang: PlannedGang, row: u8) -> PlannedGang {
    PlannedGang { rows: RowSet::from_bits(1 << row), ..gang }
}

/// How many nodes a gang has, and ranks on each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: u16,
    pub(crate) ranks: u32,
}

impl Shape {
    fn placement(self) -> Vec<NodePlacement> {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| u16::try_from(cpus.get()).unwrap_or(u16::MAX));
        let on = |node: u16| NodePlacement {
            node: NodeIndex(node),
            cpus: [CpuIndex(node % cpus)].into_iter().collect(),
            first_rank: RankIndex(u32::from(node) * self.ranks),
            ranks: self.ranks,
        };
        (0..self.nodes).map(on).collect()
    }
}

impl Nodes {
    pub(crate) async fn start(nodes: u16) -> Self {
        Self::start_with(nodes, Options::default()).await
    }

    pub(crate) async fn start_with(nodes: u16, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let partition = PartitionUid(u128::from(std::process::id()) << 64 | u128::from(rand_seed(&folder)));
        let authority = LocalAuthority::new(partition).expect("a certificate authority can be made");
        let (said_sender, said) = mpsc::channel(1024);
        let mut started = Self {
            partition,
            authority,
            options,
            agents: Vec::new(),
            addresses: BTreeMap::new(),
            record: None,
            said,
            said_sender,
            heard: Heard::default(),
            folder,
        };
        for node in 0..nodes {
            let agent = started.start_agent(NodeIndex(node), AgentIncarnation(1)).await;
            started.agents.push(agent);
        }
        started.introduce_addresses(usize::from(nodes)).await;
        started
    }

    async fn start_agent(&self, node: NodeIndex, incarnation: AgentIncarnation) -> Agent {
        let bundle = self.authority.issue_node(node).expect("a certificate can be issued");
        let bootstrap = Bootstrap {
            partition: self.partition,
            node,
            incarnation,
            settings: self.options.settings.clone(),
            cpus: Vec::new(),
            address: [127, 0, 0, 1].into(),
            directory: self.folder.path().join(format!("node-{node}")),
            cgroup: (!self.options.by_signals).then(|| cgroup_path(self.partition, node)),
            supervisor: env!("CARGO_BIN_EXE_strobe-init").into(),
            owner: i32::try_from(self.options.owner).ok(),
            certificate_pem: bundle.certificate_pem,
            key_pem: bundle.key_pem,
            roots_pem: bundle.roots_pem,
        };
        let (process, listening) = start_process(&bootstrap);
        let hello = self.hello();
        let (session, mut answers) = self.open_session(node, &listening, hello).await.expect("a session is opened");
        let said = self.said_sender.clone();
        tokio::spawn(async move {
            while let Ok(Some(AgentMessage { message: Some(message) })) = answers.message().await {
                if said.send((node, message)).await.is_err() {
                    return;
                }
            }
        });
        Agent { process, incarnation, listening, session }
    }

    /// What the authority says first.
    pub(crate) fn hello(&self) -> agent::AuthorityHello {
        agent::AuthorityHello {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            partition: partition_bytes(self.partition),
            settings: Some((&self.options.settings).into()),
        }
    }

    /// How an agent answers a first message: with nothing while it accepts it, with a status when it refuses.
    pub(crate) async fn refusal(&self, node: u16, hello: agent::AuthorityHello) -> Option<tonic::Status> {
        let listening = &self.agents[usize::from(node)].listening;
        self.open_session(NodeIndex(node), listening, hello).await.err()
    }

    async fn open_session(
        &self,
        node: NodeIndex,
        listening: &Listening,
        hello: agent::AuthorityHello,
    ) -> Result<(mpsc::Sender<AuthorityMessage>, Streaming<AgentMessage>), tonic::Status> {
        let bundle = self.authority.issue_authority().expect("a certificate can be issued");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&bundle.roots_pem))
            .identity(Identity::from_pem(&bundle.certificate_pem, &bundle.key_pem))
            .domain_name(PeerIdentity::node(self.partition, node).server_name());
        let address = format!("https://127.0.0.1:{}", listening.session_port);
        let endpoint = Channel::from_shared(address).expect("an address").tls_config(tls).expect("usable certificates");
        let mut client = AgentClient::new(endpoint.connect().await.expect("the agent accepts its authority"));
        let (session, queue) = mpsc::channel(64);
        session.send(AuthorityMessage { message: Some(Message::Hello(hello)) }).await.expect("the queue is open");
        let answers = client.session(ReceiverStream::new(queue)).await?;
        Ok((session, answers.into_inner()))
    }

    /// The roots of the run, as PEM, and the name that an agent's certificate has.
    pub(crate) fn trust(&self, node: u16) -> (String, String) {
        let bundle = self.authority.issue_authority().expect("a certificate can be issued");
        (bundle.roots_pem, PeerIdentity::node(self.partition, NodeIndex(node)).server_name())
    }

    /// Where an agent listens.
    pub(crate) fn listening(&self, node: u16) -> &Listening {
        &self.agents[usize::from(node)].listening
    }

    /// Tells an agent to forget a gang that is over.
    pub(crate) async fn remove(&self, run: GangRun, node: u16) {
        self.agents[usize::from(node)].say(Message::Remove(run.into())).await;
    }

    /// Tells every agent where the others are, once so many have said so.
    async fn introduce_addresses(&mut self, hellos: usize) {
        let mut said_hello = 0;
        while said_hello < hellos {
            let (node, message) = self.said.recv().await.expect("agents speak");
            if let FromAgent::Hello(hello) = message {
                let address = agent::NodeAddress {
                    node: node.0.into(),
                    stream_address: hello.stream_address,
                    datagram_address: hello.datagram_address,
                };
                self.addresses.insert(node, address);
                said_hello += 1;
            }
        }
        let book = agent::AddressBook { nodes: self.addresses.values().cloned().collect() };
        self.say_to_living(&Message::Addresses(book)).await;
    }

    /// Appoints the first agent for the term, with a plan of these gangs.
    pub(crate) async fn command(&mut self, term: u64, gangs: &[PlannedGang]) {
        let member = |(node, agent): (usize, &Agent)| NodeIncarnation {
            node: NodeIndex(u16::try_from(node).expect("few nodes")),
            incarnation: agent.incarnation,
        };
        let members: Vec<NodeIncarnation> = self.agents.iter().enumerate().map(member).collect();
        let established = self.record.as_ref().map(|before| EstablishedTerm { term: before.term, members: before.member_nodes() });
        let record =
            TermRecord { partition: self.partition, term: Term(term), manager: members[0], members, established, since: Vec::new() };
        self.say_to_living(&Message::Introduction((&record).into())).await;
        let plan = Arc::new(Plan { version: MatrixVersion(term * PLANS_OF_A_TERM), gangs: gangs.to_vec() });
        let appointment = Appointment { record: record.clone(), dead: NodeSet::EMPTY, plan };
        self.record = Some(record);
        self.agents[0].say(Message::Appointment((&appointment).into())).await;
    }

    /// Sends the manager the plan of that number after the term's first.
    pub(crate) async fn plan(&mut self, number: u64, gangs: &[PlannedGang]) {
        let term = self.record.as_ref().expect("a term was begun").term.0;
        let plan = Plan { version: MatrixVersion(term * PLANS_OF_A_TERM + number), gangs: gangs.to_vec() };
        self.agents[0].say(Message::Plan((&plan).into())).await;
    }

    /// The process of a node's agent.
    pub(crate) fn agent_process(&self, node: u16) -> u32 {
        self.agents[usize::from(node)].process.id()
    }

    /// Kills a node's agent as -9 does.
    pub(crate) fn kill_agent(&mut self, node: u16) {
        let process = &mut self.agents[usize::from(node)].process;
        process.kill().expect("an own child can be killed");
        process.wait().expect("a killed child can be waited for");
    }

    /// Waits for an agent that leaves by itself.
    pub(crate) fn wait_for_agent(&mut self, node: u16) -> std::process::ExitStatus {
        self.agents[usize::from(node)].process.wait().expect("an agent can be waited for")
    }

    /// Starts the next life of a node's agent in the same folder, and tells it of the newest term.
    pub(crate) async fn restart_agent(&mut self, node: u16) {
        let incarnation = AgentIncarnation(self.agents[usize::from(node)].incarnation.0 + 1);
        let agent = self.start_agent(NodeIndex(node), incarnation).await;
        self.agents[usize::from(node)] = agent;
        self.introduce_addresses(1).await;
        if let Some(record) = &self.record {
            self.agents[usize::from(node)].say(Message::Introduction(record.into())).await;
        }
    }

    /// A folder of the test's own.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The rank cgroup of a gang on a node.
    pub(crate) fn ranks(&self, run: GangRun, node: u16) -> Ranks {
        Ranks::of(&format!("{}/gang-{run}", cgroup_path(self.partition, NodeIndex(node))))
    }

    /// Fails unless nothing of the run is left: no supervisor and no cgroup.
    pub(crate) async fn assert_nothing_left(&self) {
        let folder = self.folder.path().to_owned();
        eventually("no process of the run is left", || processes_naming(&folder).is_empty()).await;
        let cgroups: Vec<_> = (0..self.agents.len()).map(|node| format!("{}/node-{node}", run_cgroup(self.partition))).collect();
        eventually("no cgroup of the run is left", || cgroups.iter().all(|path| !Ranks::of(path).exists())).await;
    }

    /// Starts a shell script as every rank of the gang.
    pub(crate) async fn launch(&mut self, run: GangRun, nodes: u16, script: &str) {
        self.launch_program(run, Shape { nodes, ranks: 1 }, "env", &["/bin/sh", "-c", script]).await;
    }

    /// Compiles an MPI program and starts it as every rank of the gang.
    pub(crate) async fn launch_mpi(&mut self, run: GangRun, nodes: u16, source: &str) {
        self.launch_mpi_of(Shape { nodes, ranks: 1 }, run, source).await;
    }

    /// The same with more ranks on a node.
    pub(crate) async fn launch_mpi_of(&mut self, shape: Shape, run: GangRun, source: &str) {
        let program = self.folder.path().join("program");
        let status = Command::new("mpicc").arg("-O2").arg("-o").arg(&program).arg(source).status();
        let status = status.expect("this test needs mpicc: install the packages mpich and libmpich-dev");
        assert!(status.success(), "mpicc failed");
        self.launch_program(run, shape, "pmi1", &[&program.display().to_string()]).await;
    }

    async fn launch_program(&mut self, run: GangRun, shape: Shape, protocol: &str, command: &[&str]) {
        let gang = agent::LocalGang {
            run: Some(run.into()),
            name: format!("job-{}", run.gang.0),
            command: command.iter().map(ToString::to_string).collect(),
            environment: vec![agent::EnvironmentVariable { name: "PATH".into(), value: "/usr/bin:/bin".into() }],
            working_directory: "/".into(),
            protocol: protocol.into(),
            placement: shape.placement().iter().map(Into::into).collect(),
            cpus_per_rank: 1,
            ..agent::LocalGang::default()
        };
        for node in 0..usize::from(shape.nodes) {
            let output = self.output_path(run, node);
            std::fs::write(&output, "").expect("an output file can be made");
            let gang = agent::LocalGang { output: output.display().to_string(), ..gang.clone() };
            self.agents[node].say(Message::Launch(gang)).await;
        }
    }

    fn output_path(&self, run: GangRun, node: usize) -> PathBuf {
        self.folder.path().join(format!("output-{run}-{node}"))
    }

    /// Waits until every node's ranks of a gang have printed something: they have begun, and got a turn.
    pub(crate) async fn wait_for_output(&self, run: GangRun, nodes: u16) {
        for node in 0..usize::from(nodes) {
            let path = self.output_path(run, node);
            let printed = || std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
            eventually("the ranks print that they have begun", printed).await;
        }
    }

    /// What the ranks have printed, sorted.
    pub(crate) fn output_lines(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        let paths = files.map(|entry| entry.expect("the folder is readable").path());
        let outputs = paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("output-")));
        let mut lines: Vec<String> = outputs
            .flat_map(|path| std::fs::read_to_string(path).expect("an output file is text").lines().map(String::from).collect::<Vec<_>>())
            .collect();
        lines.sort();
        lines
    }

    /// Waits until what the agents have said gives an answer.
    pub(crate) async fn wait_for<T>(&mut self, what: &str, answer: impl Fn(&Heard) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(answer) = answer(&self.heard) {
                    return answer;
                }
                let (node, message) = self.said.recv().await.expect("agents speak");
                self.heard.take(node, message);
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(answer) => answer,
            Err(_) => panic!("{what}: not in {PATIENCE:?}; heard so far: {:#?}", self.heard.report),
        }
    }

    /// Waits until the agents have told of so many switches that thawed a gang.
    pub(crate) async fn wait_for_switches(&mut self, least: u64) {
        self.wait_for("the gangs are switched", |heard| (heard.switches >= least).then_some(())).await;
    }

    /// Waits until an agent has sent so many figures after all that came until now: it has lived on for a while.
    pub(crate) async fn wait_for_figures(&mut self, node: u16, count: u64) -> agent::Figures {
        while let Ok((from, message)) = self.said.try_recv() {
            self.heard.take(from, message);
        }
        let before = self.heard.figures.get(&node).map_or(0, |(count, _)| *count);
        let newer = |heard: &Heard| heard.figures.get(&node).filter(|(now, _)| *now >= before + count).map(|(_, figures)| figures.clone());
        self.wait_for("the agent sends figures", newer).await
    }

    /// Says it to every agent that lives.
    async fn say_to_living(&self, message: &Message) {
        for agent in &self.agents {
            // A killed agent's session is over; its next life is told anew.
            let _session_over = agent.session.send(AuthorityMessage { message: Some(message.clone()) }).await;
        }
    }

    /// Ends the agents; each must leave by itself, and nothing may be left.
    pub(crate) async fn stop(mut self) {
        self.say_to_living(&Message::Shutdown(agent::Shutdown {})).await;
        for node in 0..self.agents.len() {
            let status = self.wait_for_agent(u16::try_from(node).expect("few nodes"));
            assert!(status.success(), "an agent left with {status}");
        }
        self.assert_nothing_left().await;
    }
}

impl Agent {
    async fn say(&self, message: Message) {
        self.session.send(AuthorityMessage { message: Some(message) }).await.expect("the session is open");
    }
}

/// Starts an agent and hears where it listens.
fn start_process(bootstrap: &Bootstrap) -> (Child, Listening) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_strobe-agent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the agent's program can be started");
    let document = serde_json::to_vec(bootstrap).expect("a bootstrap document is JSON");
    process.stdin.take().expect("it was piped").write_all(&document).expect("the agent reads its document");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("it was piped")).read_line(&mut line).expect("the agent says where it listens");
    let listening = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no listening line: {error}"));
    (process, listening)
}

impl Drop for Nodes {
    /// A failed test leaves no cgroup.
    fn drop(&mut self) {
        let agents = self.agents.drain(..).count();
        for process in processes_naming(self.folder.path()) {
            // It may have ended since it was looked for.
            let _gone = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        let Ok(tree) = CgroupTree::find() else { return };
        for node in 0..u16::try_from(agents).expect("few nodes") {
            let parent = CgroupPath::parse(&cgroup_path(self.partition, NodeIndex(node))).expect("a path of our own");
            for leftover in tree.leftovers(&parent).unwrap_or_default() {
                leftover.remove(Duration::from_secs(10)).expect("a rank cgroup of the test can be removed");
            }
            tree.remove_unused(&parent, &CgroupPath::root()).expect("an empty cgroup of the test can be removed");
        }
    }
}

fn cgroup_path(partition: PartitionUid, node: NodeIndex) -> String {
    format!("{}/node-{node}", run_cgroup(partition))
}

fn run_cgroup(partition: PartitionUid) -> String {
    format!("/strobe-test-{:x}", partition.0)
}

impl Drop for Agent {
    /// A failed test leaves no agent: its supervisors end their ranks when the test's process is gone.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.process.kill().expect("an own child can be killed");
            self.process.wait().expect("a killed child can be waited for");
        }
    }
}

/// Tells the tests of one process apart.
fn rand_seed(folder: &tempfile::TempDir) -> u64 {
    let name = folder.path().as_os_str().as_encoded_bytes();
    name.iter().fold(7, |seed, byte| (seed * 31 + u64::from(*byte)) & 0x00ff_ffff_ffff_ffff)
}
