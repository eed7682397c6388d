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
        AgentIncarnation, Appointment, CpuIndex, Desire, GangRun, MatrixVersion, NodeIncarnation, NodeIndex, NodePlacement, NodeSet,
        PartitionUid, Plan, PlannedGang, RankIndex, RowIndex, RowSet, Settings, Term, TermRecord,
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
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

/// The agents of one test and what they say.
pub(crate) struct Nodes {
    partition: PartitionUid,
    agents: Vec<Agent>,
    said: mpsc::Receiver<(NodeIndex, FromAgent)>,
    switches: u64,
    folder: tempfile::TempDir,
}

struct Agent {
    process: Child,
    session: mpsc::Sender<AuthorityMessage>,
}

/// A gang in row 0, on another CPU on each node where the machine has so many.
pub(crate) fn gang(run: GangRun, nodes: u16, desire: Desire) -> PlannedGang {
    let placement = placement(nodes);
    PlannedGang { run, desire, rows: [RowIndex(0)].into_iter().collect(), placement }
}

/// The gang in another row.
pub(crate) fn in_row(gang: PlannedGang, row: u8) -> PlannedGang {
    PlannedGang { rows: RowSet::from_bits(1 << row), ..gang }
}

fn placement(nodes: u16) -> Vec<NodePlacement> {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| u16::try_from(cpus.get()).unwrap_or(u16::MAX));
    let on = |node: u16| NodePlacement {
        node: NodeIndex(node),
        cpus: [CpuIndex(node % cpus)].into_iter().collect(),
        first_rank: RankIndex(node.into()),
        ranks: 1,
    };
    (0..nodes).map(on).collect()
}

impl Nodes {
    pub(crate) async fn start(nodes: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let partition = PartitionUid(u128::from(std::process::id()) << 64 | u128::from(rand_seed(&folder)));
        let authority = LocalAuthority::new(partition).expect("a certificate authority can be made");
        let (said_sender, said) = mpsc::channel(1024);
        let mut agents = Vec::new();
        for node in 0..nodes {
            agents.push(Agent::start(NodeIndex(node), partition, &authority, &folder, said_sender.clone()).await);
        }
        let mut nodes = Self { partition, agents, said, switches: 0, folder };
        nodes.introduce_addresses().await;
        nodes
    }

    /// Tells every agent where the others are.
    async fn introduce_addresses(&mut self) {
        let mut book = BTreeMap::new();
        while book.len() < self.agents.len() {
            let (node, message) = self.said.recv().await.expect("agents speak");
            if let FromAgent::Hello(hello) = message {
                let address = agent::NodeAddress {
                    node: node.0.into(),
                    stream_address: hello.stream_address,
                    datagram_address: hello.datagram_address,
                };
                book.insert(node, address);
            }
        }
        self.say_to_all(&Message::Addresses(agent::AddressBook { nodes: book.into_values().collect() })).await;
    }

    /// Appoints the first agent for the term, with a plan of these gangs.
    pub(crate) async fn command(&mut self, term: u64, gangs: &[PlannedGang]) {
        let member = |node: usize| NodeIncarnation { node: NodeIndex(u16::try_from(node).expect("few nodes")), incarnation: AgentIncarnation(1) };
        let record = TermRecord {
            partition: self.partition,
            term: Term(term),
            manager: member(0),
            members: (0..self.agents.len()).map(member).collect(),
            established: None,
            since: Vec::new(),
        };
        self.say_to_all(&Message::Introduction((&record).into())).await;
        let plan = Arc::new(Plan { version: MatrixVersion(1), gangs: gangs.to_vec() });
        let appointment = Appointment { record, dead: NodeSet::EMPTY, plan };
        self.agents[0].say(Message::Appointment((&appointment).into())).await;
    }

    /// Starts a shell script as every rank of the gang.
    pub(crate) async fn launch(&mut self, run: GangRun, nodes: u16, script: &str) {
        self.launch_program(run, nodes, "env", &["/bin/sh", "-c", script]).await;
    }

    /// Compiles an MPI program and starts it as every rank of the gang.
    pub(crate) async fn launch_mpi(&mut self, run: GangRun, nodes: u16, source: &str) {
        let program = self.folder.path().join("program");
        let status = Command::new("mpicc").arg("-O2").arg("-o").arg(&program).arg(source).status();
        let status = status.expect("this test needs mpicc: install the packages mpich and libmpich-dev");
        assert!(status.success(), "mpicc failed");
        self.launch_program(run, nodes, "pmi1", &[&program.display().to_string()]).await;
    }

    async fn launch_program(&mut self, run: GangRun, nodes: u16, protocol: &str, command: &[&str]) {
        let gang = agent::LocalGang {
            run: Some(run.into()),
            name: "job".into(),
            command: command.iter().map(ToString::to_string).collect(),
            environment: vec![agent::EnvironmentVariable { name: "PATH".into(), value: "/usr/bin:/bin".into() }],
            working_directory: "/".into(),
            protocol: protocol.into(),
            placement: placement(nodes).iter().map(Into::into).collect(),
            cpus_per_rank: 1,
            ..agent::LocalGang::default()
        };
        for node in 0..usize::from(nodes) {
            let output = self.output_path(run, node);
            std::fs::write(&output, "").expect("an output file can be made");
            let gang = agent::LocalGang { output: output.display().to_string(), ..gang.clone() };
            self.agents[node].say(Message::Launch(gang)).await;
        }
    }

    fn output_path(&self, run: GangRun, node: usize) -> PathBuf {
        self.folder.path().join(format!("output-{run}-{node}"))
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

    /// Waits until a report gives an answer.
    pub(crate) async fn wait_for(&mut self, patience: Duration, answer: impl Fn(&PartitionReport) -> Option<GangPhase>) -> GangPhase {
        let mut last = None;
        let waiting = async {
            loop {
                let (_, message) = self.said.recv().await.expect("agents speak");
                self.count_switches(&message);
                match message {
                    FromAgent::Report(report) => {
                        let report = PartitionReport::try_from(report).expect("a report can be read");
                        if let Some(phase) = answer(&report) {
                            return phase;
                        }
                        last = Some(report);
                    }
                    FromAgent::Figures(_) | FromAgent::Hello(_) => {}
                    FromAgent::LaunchFailed(failure) => panic!("launch failed: {failure:?}"),
                }
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(phase) => phase,
            Err(_) => panic!("not in {patience:?}; the last report was {last:#?}"),
        }
    }

    /// Waits until the agents have told of so many switches that thawed a gang.
    pub(crate) async fn wait_for_switches(&mut self, patience: Duration, least: u64) {
        let waiting = async {
            while self.switches < least {
                let (_, message) = self.said.recv().await.expect("agents speak");
                self.count_switches(&message);
            }
        };
        tokio::time::timeout(patience, waiting).await.expect("the gangs are switched");
    }

    fn count_switches(&mut self, message: &FromAgent) {
        if let FromAgent::Figures(figures) = message {
            self.switches += figures.samples.iter().filter(|sample| !sample.thaw.is_empty()).count() as u64;
        }
    }

    async fn say_to_all(&self, message: &Message) {
        for agent in &self.agents {
            agent.say(message.clone()).await;
        }
    }

    /// Ends the agents; each must leave by itself.
    pub(crate) async fn stop(mut self) {
        self.say_to_all(&Message::Shutdown(agent::Shutdown {})).await;
        for agent in self.agents.iter_mut() {
            let status = agent.process.wait().expect("an agent can be waited for");
            assert!(status.success(), "an agent left with {status}");
        }
    }
}

impl Agent {
    async fn start(
        node: NodeIndex,
        partition: PartitionUid,
        authority: &LocalAuthority,
        folder: &tempfile::TempDir,
        said: mpsc::Sender<(NodeIndex, FromAgent)>,
    ) -> Self {
        let bundle = authority.issue_node(node).expect("a certificate can be issued");
        let bootstrap = Bootstrap {
            partition,
            node,
            incarnation: AgentIncarnation(1),
            settings: Settings { quantum: Duration::from_millis(5), ..Settings::default() },
            address: [127, 0, 0, 1].into(),
            directory: folder.path().join(format!("node-{node}")),
            cgroup: Some(cgroup_path(partition, node)),
            supervisor: env!("CARGO_BIN_EXE_strobe-init").into(),
            owner: i32::try_from(std::process::id()).ok(),
            certificate_pem: bundle.certificate_pem,
            key_pem: bundle.key_pem,
            roots_pem: bundle.roots_pem,
        };
        let mut process = Command::new(env!("CARGO_BIN_EXE_strobe-agent"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the agent's program can be started");
        let document = serde_json::to_vec(&bootstrap).expect("a bootstrap document is JSON");
        process.stdin.take().expect("it was piped").write_all(&document).expect("the agent reads its document");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it was piped")).read_line(&mut line).expect("the agent says where it listens");
        let listening: Listening = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no listening line: {error}"));
        let session = open_session(node, partition, authority, listening, said).await;
        Self { process, session }
    }

    async fn say(&self, message: Message) {
        self.session.send(AuthorityMessage { message: Some(message) }).await.expect("the session is open");
    }
}

impl Drop for Nodes {
    /// A failed test leaves no cgroup.
    fn drop(&mut self) {
        let agents = self.agents.drain(..).count();
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
    format!("/strobe-test-{:x}/node-{node}", partition.0)
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

async fn open_session(
    node: NodeIndex,
    partition: PartitionUid,
    authority: &LocalAuthority,
    listening: Listening,
    said: mpsc::Sender<(NodeIndex, FromAgent)>,
) -> mpsc::Sender<AuthorityMessage> {
    let bundle = authority.issue_authority().expect("a certificate can be issued");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&bundle.roots_pem))
        .identity(Identity::from_pem(&bundle.certificate_pem, &bundle.key_pem))
        .domain_name(PeerIdentity::node(partition, node).server_name());
    let address = format!("https://127.0.0.1:{}", listening.session_port);
    let endpoint = Channel::from_shared(address).expect("an address").tls_config(tls).expect("usable certificates");
    let mut client = AgentClient::new(endpoint.connect().await.expect("the agent accepts its authority"));
    let (session, queue) = mpsc::channel(64);
    let hello = agent::AuthorityHello {
        version_min: *VERSIONS.start(),
        version_max: *VERSIONS.end(),
        partition: partition_bytes(partition),
        settings: Some((&Settings::default()).into()),
    };
    session.send(AuthorityMessage { message: Some(Message::Hello(hello)) }).await.expect("the queue is open");
    let mut answers = client.session(ReceiverStream::new(queue)).await.expect("a session is opened").into_inner();
    tokio::spawn(async move {
        while let Ok(Some(AgentMessage { message: Some(message) })) = answers.message().await {
            if said.send((node, message)).await.is_err() {
                return;
            }
        }
    });
    session
}

/// Tells the tests of one process apart.
fn rand_seed(folder: &tempfile::TempDir) -> u64 {
    let name = folder.path().as_os_str().as_encoded_bytes();
    name.iter().fold(7, |seed, byte| seed * 31 + u64::from(*byte) & 0x00ff_ffff_ffff_ffff)
}
