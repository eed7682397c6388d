//! The agent's side of the protocol, as much as the tests need: real sockets, real supervisors.

#![allow(clippy::needless_pass_by_value, reason = "a test reads better without references")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with},
};
use strobe_node_agent::supervisor_protocol::{
    AgentEndpoint, Configure, Freezer, Hello, KeySpace, LaunchProtocol, PeerTable, ProtocolError, Rank, RankEnd, RankReport, Received,
    ToAgent, ToSupervisor,
};

/// Longest wait for anything; reached only by a failing test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A listening agent.
pub(crate) struct FakeAgent {
    listener: OwnedFd,
    pub(crate) socket: PathBuf,
}

/// An agent's connection to one supervisor.
pub(crate) struct Connection {
    endpoint: AgentEndpoint,
    pub(crate) hello: Hello,
    pub(crate) stubs: Vec<(RankReport, OwnedFd)>,
}

/// How a gang went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) ends: BTreeMap<u32, RankEnd>,
    pub(crate) barriers: u64,
    pub(crate) aborts: Vec<(u32, i32)>,
}

impl FakeAgent {
    pub(crate) fn listen(directory: &Path) -> Self {
        let socket = directory.join("agent.sock");
        let _not_there = std::fs::remove_file(&socket);
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        Self { listener, socket }
    }

    /// Takes the next supervisor in and reads its Hello.
    pub(crate) fn accept(&self) -> Connection {
        wait_for(&self.listener, PollFlags::IN);
        let socket = accept_with(&self.listener, SocketFlags::CLOEXEC).unwrap();
        let mut endpoint = AgentEndpoint::new(socket).unwrap();
        let ToAgent::Hello(hello) = next(&mut endpoint).message else { panic!("the first message must be Hello") };
        let version = hello.versions.common(hello.versions).unwrap();
        let mut connection = Connection { endpoint, hello, stubs: Vec::new() };
        connection.send(ToSupervisor::Welcome { version });
        connection
    }
}

impl Connection {
    pub(crate) fn send(&mut self, message: ToSupervisor) {
        self.send_with(message, None);
    }

    pub(crate) fn send_with(&mut self, message: ToSupervisor, descriptor: Option<OwnedFd>) {
        self.endpoint.queue(&message, descriptor).unwrap();
        while self.endpoint.wants_write() {
            self.endpoint.flush().unwrap();
            if self.endpoint.wants_write() {
                wait_for(&self.endpoint, PollFlags::OUT);
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Received<ToAgent> {
        next(&mut self.endpoint)
    }

    /// Reads until a message satisfies `wanted`; stubs that come by are kept.
    pub(crate) fn until(&mut self, wanted: impl Fn(&ToAgent) -> bool) -> ToAgent {
        loop {
            let received = self.receive();
            if let (ToAgent::Stub(report), Some(pidfd)) = (&received.message, received.descriptor) {
                self.stubs.push((*report, pidfd));
            }
            if wanted(&received.message) {
                return received.message;
            }
        }
    }

    /// Configures, accepts every stub, waits for SupervisorUp.
    pub(crate) fn bring_up(&mut self, configure: Configure, thaw: Option<OwnedFd>) {
        let count = configure.rank_count;
        self.send_with(ToSupervisor::Configure(configure), thaw);
        for _ in 0..count {
            let ToAgent::Stub(report) = self.until(|message| matches!(message, ToAgent::Stub(_))) else { unreachable!() };
            self.send(ToSupervisor::StubAccepted { rank: report.rank });
        }
        self.until(|message| *message == ToAgent::SupervisorUp);
    }

    pub(crate) fn bring_up_and_release(&mut self, configure: Configure, thaw: Option<OwnedFd>) {
        let nodes = configure.nodes;
        self.bring_up(configure, thaw);
        self.send(ToSupervisor::Release(peers(nodes)));
        self.until(|message| *message == ToAgent::Released);
    }

    /// Acknowledges the ends of all ranks and gives them.
    pub(crate) fn drain(&mut self, count: usize) -> BTreeMap<u32, RankEnd> {
        let mut ends = BTreeMap::new();
        while ends.len() < count {
            if let ToAgent::RankExited { rank, end } = self.until(|message| matches!(message, ToAgent::RankExited { .. })) {
                ends.insert(rank.0, end);
                self.send(ToSupervisor::RankExitAcknowledged { rank });
            }
        }
        ends
    }
}

/// Runs a released gang to its end: merges barriers of all nodes, acknowledges ends.
pub(crate) fn run_gang(connections: &mut [Connection], ranks: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut blocks: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    while outcome.ends.len() < ranks {
        let Some((node, message)) = any(connections) else { continue };
        match message {
            ToAgent::PmiBarrier { number, block } => {
                blocks.insert(node, block);
                if blocks.len() == connections.len() {
                    outcome.barriers = number;
                    let block: Vec<u8> = std::mem::take(&mut blocks).into_values().flatten().collect();
                    for connection in connections.iter_mut() {
                        connection.send(ToSupervisor::PmiBarrierComplete { number, block: block.clone() });
                    }
                }
            }
            ToAgent::RankExited { rank, end } => {
                outcome.ends.insert(rank.0, end);
                connections[node].send(ToSupervisor::RankExitAcknowledged { rank });
            }
            ToAgent::PmiAborted { rank, code, .. } => outcome.aborts.push((rank.0, code)),
            other => panic!("node {node} says {other:?}"),
        }
    }
    outcome
}

fn any(connections: &mut [Connection]) -> Option<(usize, ToAgent)> {
    for (node, connection) in connections.iter_mut().enumerate() {
        match connection.endpoint.receive() {
            Ok(Some(received)) => return Some((node, received.message)),
            Ok(None) | Err(ProtocolError::Closed) => {}
            Err(error) => panic!("node {node}: {error}"),
        }
    }
    let mut descriptors: Vec<PollFd<'_>> = connections.iter().map(|connection| PollFd::new(&connection.endpoint, PollFlags::IN)).collect();
    let time_out = Timespec::try_from(PATIENCE).unwrap();
    assert_ne!(poll(&mut descriptors, Some(&time_out)).unwrap(), 0, "no supervisor says anything");
    None
}

fn next(endpoint: &mut AgentEndpoint) -> Received<ToAgent> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(received) = endpoint.receive().unwrap() {
            return received;
        }
        assert!(Instant::now() < deadline, "the supervisor says nothing");
        wait_for(&*endpoint, PollFlags::IN);
    }
}

/// Waits until the descriptor is ready.
pub(crate) fn wait_for(descriptor: impl AsFd, flags: PollFlags) {
    assert!(is_ready_within(descriptor, flags, PATIENCE), "nothing happened in {PATIENCE:?}");
}

/// Whether the descriptor becomes ready in that time.
pub(crate) fn is_ready_within(descriptor: impl AsFd, flags: PollFlags, time: Duration) -> bool {
    let time_out = Timespec::try_from(time).unwrap();
    poll(&mut [PollFd::new(&descriptor, flags)], Some(&time_out)).unwrap() > 0
}

/// `strobe-init run` as a child with captured output.
pub(crate) fn supervisor(agent: &FakeAgent, options: &[&str], command: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_strobe-init"))
        .args(["run", "--gang", "test", "--incarnation", "7", "--socket"])
        .arg(&agent.socket)
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn configure(node_index: u32, nodes: u32, ranks_per_node: u32) -> Configure {
    Configure {
        first_rank: Rank(node_index * ranks_per_node),
        rank_count: ranks_per_node,
        world_size: nodes * ranks_per_node,
        nodes,
        node_index,
        ranks_per_node,
        cpus: Vec::new(),
        protocol: LaunchProtocol::Pmi1,
        key_space: KeySpace(format!("strobe_test_{}", std::process::id())),
        freezer: Freezer::Cgroup,
        watchdog_milliseconds: 0,
    }
}

pub(crate) fn peers(nodes: u32) -> PeerTable {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    PeerTable { addresses: vec![address; nodes as usize], master_address: address, master_port: 29500 }
}
