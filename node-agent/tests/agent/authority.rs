//! A scripted authority: starts agents, appoints the first, and says what a test wants.

mod clean_up;
mod heard;
mod launching;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use strobe_core::model::{
    AgentIncarnation, Appointment, EstablishedTerm, GangRun, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, PartitionUid, Plan,
    PlannedGang, Settings, Term, TermRecord,
};
use strobe_fabric::{authority::LocalAuthority, identity::PeerIdentity};
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

use clean_up::cgroup_path;
pub(crate) use heard::Heard;
pub(crate) use launching::{Shape, gang, gang_of, in_row};

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

/// Tells the tests of one process apart.
fn rand_seed(folder: &tempfile::TempDir) -> u64 {
    let name = folder.path().as_os_str().as_encoded_bytes();
    name.iter().fold(7, |seed, byte| (seed * 31 + u64::from(*byte)) & 0x00ff_ffff_ffff_ffff)
}
