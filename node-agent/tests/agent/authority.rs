//! A scripted authority: starts agents, appoints the first, and says what a test wants.

mod certificates;
mod clean_up;
mod heard;
mod launching;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use strobe_core::model::{
    AgentIncarnation, Appointment, EstablishedTerm, GangRun, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, PartitionUid, Plan,
    PlannedGang, Settings, Term, TermRecord,
};
use strobe_fabric::identity::{CertificateBundle, PeerIdentity};
use strobe_proto::{
    VERSIONS,
    agent::{
        self, AgentMessage, AuthorityMessage, agent_client::AgentClient, agent_message::Message as FromAgent, authority_message::Message,
    },
    bootstrap::{Bootstrap, Listening},
    partition_bytes,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use crate::{
    kubelet::{Kubelet, open_to_all},
    operator::{Operator, token},
};
pub(crate) use certificates::{Certificates, OPERATOR};
use clean_up::cgroup_path;
pub(crate) use heard::Heard;
pub(crate) use launching::{Shape, gang, gang_of, in_row};

/// Plans of one term at most: a later term's are newer than all of them.
const PLANS_OF_A_TERM: u64 = 100;

/// The agents of one test and what they say.
pub(crate) struct Nodes {
    partition: PartitionUid,
    certificates: Arc<Certificates>,
    /// Of a cluster.
    operator: Option<Operator>,
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
    /// The agents are those of a cluster's nodes, and kubelet is played.
    pub(crate) in_cluster: bool,
}

struct Agent {
    process: Child,
    incarnation: AgentIncarnation,
    output: BufReader<ChildStdout>,
    listening: Listening,
    session: mpsc::Sender<AuthorityMessage>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings { quantum: Duration::from_millis(5), ..Settings::default() },
            owner: std::process::id(),
            by_signals: false,
            in_cluster: false,
        }
    }
}

impl Nodes {
    pub(crate) async fn start(nodes: u16) -> Self {
        Self::start_with(nodes, Options::default()).await
    }

    pub(crate) async fn start_with(nodes: u16, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let partition = PartitionUid(u128::from(std::process::id()) << 64 | u128::from(rand_seed(&folder)));
        let certificates = Arc::new(Certificates::new(partition));
        let operator = match options.in_cluster {
            true => Some(Operator::start(&certificates, Some((partition, options.settings.clone()))).await),
            false => None,
        };
        open_to_all(folder.path());
        let (said_sender, said) = mpsc::channel(1024);
        let mut started = Self {
            partition,
            certificates,
            operator,
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
        let (process, mut output) = match &self.operator {
            Some(operator) => self.start_pod(node, operator).await,
            None => start_process(&self.bootstrap(node, incarnation)),
        };
        let listening = listening(&mut output);
        let session = self.follow(node, &listening).await;
        Agent { process, incarnation, output, listening, session }
    }

    /// Opens a session, whose messages are heard from now on.
    async fn follow(&self, node: NodeIndex, listening: &Listening) -> mpsc::Sender<AuthorityMessage> {
        let (session, mut answers) = self.open_session(node, listening, self.hello()).await.expect("a session is opened");
        let said = self.said_sender.clone();
        tokio::spawn(async move {
            while let Ok(Some(AgentMessage { message: Some(message) })) = answers.message().await {
                if said.send((node, message)).await.is_err() {
                    return;
                }
            }
        });
        session
    }

    fn bootstrap(&self, node: NodeIndex, incarnation: AgentIncarnation) -> Bootstrap {
        let bundle = self.certificates.issue_node(node);
        Bootstrap {
            partition: self.partition,
            node,
            incarnation,
            settings: self.options.settings.clone(),
            cpus: Vec::new(),
            address: [127, 0, 0, 1].into(),
            directory: self.folder.path().join(format!("node-{node}")),
            store: Some(self.store(node.0)),
            cgroup: (!self.options.by_signals).then(|| cgroup_path(self.partition, node)),
            supervisor: env!("CARGO_BIN_EXE_strobe-init").into(),
            owner: i32::try_from(self.options.owner).ok(),
            certificate_pem: bundle.certificate_pem,
            key_pem: bundle.key_pem,
            roots_pem: bundle.roots_pem,
        }
    }

    /// Starts an agent as its DaemonSet would, and takes in its plugin as kubelet would.
    async fn start_pod(&self, node: NodeIndex, operator: &Operator) -> (Child, BufReader<ChildStdout>) {
        let mut process = self.pod_command(node, operator).stdout(Stdio::piped()).spawn().expect("the agent's program can be started");
        self.kubelet(node.0).take_in_plugin().await;
        let output = process.stdout.take().expect("it was piped");
        (process, BufReader::new(output))
    }

    /// An agent of a node that waits for nothing.
    pub(crate) fn pod_command(&self, node: NodeIndex, operator: &Operator) -> Command {
        let files = self.folder.path().join(format!("files-{node}"));
        std::fs::create_dir_all(&files).expect("a folder can be made");
        let (roots, token_file) = (files.join("roots.pem"), files.join("token"));
        std::fs::write(&roots, self.certificates.root_pem()).expect("a file can be written");
        std::fs::write(&token_file, token(node)).expect("a file can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_strobe-agent"));
        command
            .args(["node", "--address", "127.0.0.1", "--session-port", "0", "--fabric-port", "0"])
            .env("STROBE_HEALTH_PORT", "0")
            .env("TMPDIR", self.folder.path());
        command.arg("--operator").arg(format!("https://{OPERATOR}:{}", operator.port));
        command.arg("--operator-roots").arg(&roots).arg("--token").arg(&token_file);
        command.arg("--directory").arg(self.folder.path().join(format!("node-{node}")));
        command.arg("--kubelet-directory").arg(self.kubelet(node.0).folder());
        command.arg("--supervisor").arg(env!("CARGO_BIN_EXE_strobe-init"));
        command
    }

    /// The operator of a cluster.
    pub(crate) fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("the test plays a cluster")
    }

    pub(crate) fn partition(&self) -> PartitionUid {
        self.partition
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.options.settings
    }

    /// The partition is another from now on; agents that have enrolled do not know it.
    pub(crate) fn change_settings(&mut self, settings: Settings) {
        self.operator().known.send_replace(Some((self.partition, settings.clone())));
        self.options.settings = settings;
    }

    /// The kubelet of a node.
    pub(crate) fn kubelet(&self, node: u16) -> Kubelet {
        let folder = self.folder.path().join(format!("kubelet-{node}"));
        Kubelet::new(folder, &cgroup_path(self.partition, NodeIndex(node)))
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

    /// How an agent answers somebody with this certificate.
    pub(crate) async fn refusal_of(&self, node: u16, bundle: &CertificateBundle) -> Option<tonic::Status> {
        let listening = &self.agents[usize::from(node)].listening;
        self.open_session_as(bundle, NodeIndex(node), listening, self.hello()).await.err()
    }

    /// Whoever issues the certificates here.
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    async fn open_session(
        &self,
        node: NodeIndex,
        listening: &Listening,
        hello: agent::AuthorityHello,
    ) -> Result<(mpsc::Sender<AuthorityMessage>, Streaming<AgentMessage>), tonic::Status> {
        self.open_session_as(&self.certificates.issue_authority(), node, listening, hello).await
    }

    async fn open_session_as(
        &self,
        bundle: &CertificateBundle,
        node: NodeIndex,
        listening: &Listening,
        hello: agent::AuthorityHello,
    ) -> Result<(mpsc::Sender<AuthorityMessage>, Streaming<AgentMessage>), tonic::Status> {
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
        let bundle = self.certificates.issue_authority();
        (bundle.roots_pem, PeerIdentity::node(self.partition, NodeIndex(node)).server_name())
    }

    /// Where an agent listens.
    pub(crate) fn listening(&self, node: u16) -> &Listening {
        &self.agents[usize::from(node)].listening
    }

    /// Where an agent's fabric listens: for streams, and for datagrams.
    pub(crate) fn fabric(&self, node: u16) -> [SocketAddr; 2] {
        let address = &self.addresses[&NodeIndex(node)];
        [&address.stream_address, &address.datagram_address].map(|address| address.parse().expect("an agent says its address"))
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
                if let Some(agent) = self.agents.get_mut(usize::from(node.0)) {
                    agent.incarnation = AgentIncarnation(hello.incarnation);
                }
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
        let appointment = Appointment { record: record.clone(), dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan };
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

    /// Waits until an agent that leaves by itself lives again in the same process, and tells it of the newest term.
    pub(crate) async fn next_life(&mut self, node: u16) {
        let listening = listening(&mut self.agents[usize::from(node)].output);
        self.kubelet(node).take_in_plugin().await;
        let session = self.follow(NodeIndex(node), &listening).await;
        let agent = &mut self.agents[usize::from(node)];
        (agent.listening, agent.session) = (listening, session);
        self.greet_again(node).await;
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
        self.greet_again(node).await;
    }

    async fn greet_again(&mut self, node: u16) {
        self.introduce_addresses(1).await;
        if let Some(record) = &self.record {
            self.agents[usize::from(node)].say(Message::Introduction(record.into())).await;
        }
    }

    /// The folder in which a node keeps files.
    pub(crate) fn store(&self, node: u16) -> std::path::PathBuf {
        self.folder.path().join(format!("store-{node}"))
    }

    /// Asks a node to give a file to the stores of all.
    pub(crate) async fn stage(&mut self, node: u16, path: &std::path::Path, name: &str) {
        self.heard.request += 1;
        self.stage_again(node, path, name).await;
    }

    /// Asks for it once more, as in a next session.
    pub(crate) async fn stage_again(&mut self, node: u16, path: &std::path::Path, name: &str) {
        let nodes = (0..self.agents.len()).fold(0, |nodes, node| nodes | 1 << node);
        let file = agent::StageFile { request: self.heard.request, path: path.display().to_string(), name: name.to_owned(), nodes };
        self.heard.stagings.remove(name);
        self.agents[usize::from(node)].say(Message::Stage(file)).await;
    }

    /// A folder of the test's own.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Says it to every agent that lives.
    async fn say_to_living(&self, message: &Message) {
        for agent in &self.agents {
            // A killed agent's session is over; its next life is told anew.
            let _session_over = agent.session.send(AuthorityMessage { message: Some(message.clone()) }).await;
        }
    }
}

impl Agent {
    async fn say(&self, message: Message) {
        self.session.send(AuthorityMessage { message: Some(message) }).await.expect("the session is open");
    }
}

/// Starts an agent and hears where it listens.
fn start_process(bootstrap: &Bootstrap) -> (Child, BufReader<ChildStdout>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_strobe-agent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the agent's program can be started");
    let document = serde_json::to_vec(bootstrap).expect("a bootstrap document is JSON");
    process.stdin.take().expect("it was piped").write_all(&document).expect("the agent reads its document");
    let output = process.stdout.take().expect("it was piped");
    (process, BufReader::new(output))
}

/// Reads where an agent listens in its newest life. Whom it asks before is served by other threads meanwhile.
fn listening(output: &mut BufReader<ChildStdout>) -> Listening {
    let mut line = String::new();
    tokio::task::block_in_place(|| output.read_line(&mut line)).expect("the agent says where it listens");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no listening line: {error}"))
}

/// Tells the tests of one process apart.
fn rand_seed(folder: &tempfile::TempDir) -> u64 {
    let name = folder.path().as_os_str().as_encoded_bytes();
    name.iter().fold(7, |seed, byte| (seed * 31 + u64::from(*byte)) & 0x00ff_ffff_ffff_ffff)
}
