//! Wires up MPI programs in several pods before there is an operator that would start their supervisors: the agent's PMI server of every
//! node in one process, and a launcher that connects a rank to it. A rank reads and writes its `PMI_FD` and does not ask what it is: here
//! it is a TCP connection that the launcher has made.
//!
//! `pmi-over-tcp serve ADDRESS NODES RANKS_PER_NODE` ends when all ranks have left, with success when all of them finalised.
//! `pmi-over-tcp rank ADDRESS RANK SIZE PROGRAM...` becomes the program; `rank-on CPU ...` on that CPU alone, as an agent has it for a rank.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use strobe_core::model::CpuIndex;
use strobe_node_agent::pmi::{LocalRank, PmiEffect, PmiServer, PmiSettings};
use strobe_node_agent::supervisor::network::{Tables, await_running};
use strobe_node_agent::sys::affinity::pin;

/// The name of the key-value space. A trial has one gang, once.
const KEY_SPACE: &str = "trial_1";

/// Bytes that are read from a rank at once.
const READ_BYTES: usize = 4096;

/// All nodes of the gang.
struct Gang {
    nodes: Vec<Node>,
    ranks_per_node: usize,
    barriers: u64,
}

/// One node of the gang: what an agent and its supervisor are together.
struct Node {
    server: PmiServer,
    /// By place among the node's ranks.
    connections: BTreeMap<u32, TcpStream>,
    /// Its keys, while it waits in a barrier for the others.
    entered: Option<(u64, Vec<u8>)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve", address, nodes, ranks_per_node] => serve(address, nodes, ranks_per_node),
        ["rank", address, rank, size, program, rest @ ..] => become_rank(address, rank, size, program, rest),
        ["rank-on", cpu, address, rank, size, program, rest @ ..] => {
            stay_on(cpu).and_then(|()| become_rank(address, rank, size, program, rest))
        }
        _ => Err(anyhow::anyhow!(
            "usage: pmi-over-tcp serve ADDRESS NODES RANKS_PER_NODE | rank ADDRESS RANK SIZE PROGRAM... | rank-on CPU ADDRESS RANK SIZE PROGRAM..."
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pmi-over-tcp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps this process, and what it becomes, on one CPU.
fn stay_on(cpu: &str) -> Result<()> {
    let number = cpu.parse().with_context(|| format!("{cpu:?} is no CPU"))?;
    pin(None, &[CpuIndex(number)]).with_context(|| format!("stay on CPU {cpu}"))
}

/// Connects to the server, says which rank this is, and becomes its program.
fn become_rank(address: &str, rank: &str, size: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("send small messages at once")?;
    writeln!(stream, "{rank}").context("say which rank this is")?;
    fcntl_setfd(&stream, FdFlags::empty()).context("keep the connection for the program")?;
    await_interface(stream.local_addr().context("look up the own address")?.ip())?;
    let mut command = Command::new(program);
    command.args(arguments).env("PMI_FD", stream.as_raw_fd().to_string());
    command.env("PMI_RANK", rank).env("PMI_ID", rank).env("PMI_SIZE", size);
    Err(command.exec()).with_context(|| format!("become {program}"))
}

/// Waits, as the supervisor does, until the interface runs by which this rank reaches others.
fn await_interface(address: IpAddr) -> Result<()> {
    let interface = Tables::read().interface_of(address).with_context(|| format!("no interface holds {address}"))?;
    if await_running(&interface) { Ok(()) } else { bail!("interface {interface} does not run") }
}

/// Serves one gang.
fn serve(address: &str, nodes: &str, ranks_per_node: &str) -> Result<()> {
    let nodes: u32 = nodes.parse().context("NODES")?;
    let ranks_per_node: u32 = ranks_per_node.parse().context("RANKS_PER_NODE")?;
    let gang = Arc::new(Mutex::new(Gang::new(nodes, ranks_per_node)));
    let listener = TcpListener::bind(address).with_context(|| format!("listen at {address}"))?;
    let mut ranks = Vec::new();
    while ranks.len() < (nodes * ranks_per_node) as usize {
        let (stream, _) = listener.accept().context("accept")?;
        // A probe connects and says nothing.
        if let Some((rank, reader)) = introduce(stream)? {
            lock(&gang).connect(rank, reader.get_ref().try_clone().context("copy a connection")?)?;
            let gang = Arc::clone(&gang);
            ranks.push(std::thread::spawn(move || attend(&gang, rank, reader)));
        }
    }
    for rank in ranks {
        rank.join().map_err(|_| anyhow::anyhow!("a rank's thread has panicked"))??;
    }
    println!("{} barriers between {nodes} nodes", lock(&gang).barriers);
    Ok(())
}

/// The rank that a connection is of.
fn introduce(stream: TcpStream) -> Result<Option<(u32, BufReader<TcpStream>)>> {
    stream.set_nodelay(true).context("send small messages at once")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(bytes) if bytes > 0 => Ok(Some((line.trim().parse().with_context(|| format!("{line:?} is no rank"))?, reader))),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Passes what one rank says to its server, until it leaves.
fn attend(gang: &Mutex<Gang>, rank: u32, mut reader: BufReader<TcpStream>) -> Result<()> {
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = reader.read(&mut bytes).with_context(|| format!("read from rank {rank}"))?;
        lock(gang).said(rank, &bytes[..count])?;
        if count == 0 {
            return Ok(());
        }
    }
}

fn lock(gang: &Mutex<Gang>) -> std::sync::MutexGuard<'_, Gang> {
    gang.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Gang ===

impl Gang {
    fn new(nodes: u32, ranks_per_node: u32) -> Self {
        let node = |number: u32| Node {
            server: PmiServer::new(PmiSettings {
                key_space: KEY_SPACE.to_owned(),
                first_rank: number * ranks_per_node,
                rank_count: ranks_per_node,
                world_size: nodes * ranks_per_node,
                nodes,
                ranks_per_node,
            }),
            connections: BTreeMap::new(),
            entered: None,
        };
        Self { nodes: (0..nodes).map(node).collect(), ranks_per_node: ranks_per_node as usize, barriers: 0 }
    }

    /// The node of a rank, and the rank's place there.
    fn place(&self, rank: u32) -> Result<(usize, LocalRank)> {
        let node = rank as usize / self.ranks_per_node;
        if node >= self.nodes.len() {
            bail!("rank {rank} is not of this gang");
        }
        Ok((node, LocalRank(rank % u32::try_from(self.ranks_per_node).context("ranks of a node")?)))
    }

    fn connect(&mut self, rank: u32, stream: TcpStream) -> Result<()> {
        let (node, local) = self.place(rank)?;
        match self.nodes[node].connections.insert(local.0, stream) {
            None => Ok(()),
            Some(_) => bail!("rank {rank} has connected twice"),
        }
    }

    /// A rank said something; nothing at its end.
    fn said(&mut self, rank: u32, bytes: &[u8]) -> Result<()> {
        let (node, local) = self.place(rank)?;
        let mut effects = Vec::new();
        match bytes {
            [] => self.nodes[node].server.disconnected(local, &mut effects),
            _ => self.nodes[node].server.receive(local, bytes, &mut effects),
        }
        self.deliver(node, effects)?;
        self.complete_barrier()
    }

    fn deliver(&mut self, node: usize, effects: Vec<PmiEffect>) -> Result<()> {
        for effect in effects {
            match effect {
                PmiEffect::Reply { rank, bytes } => self.nodes[node].reply(rank, &bytes)?,
                PmiEffect::BarrierEntered { number, block } => self.nodes[node].entered = Some((number, block)),
                other => bail!("node {node}: {other:?}"),
            }
        }
        Ok(())
    }

    /// When every node is in the barrier, each gets the keys of all, as the agents give them to each other.
    fn complete_barrier(&mut self) -> Result<()> {
        if self.nodes.iter().any(|node| node.entered.is_none()) {
            return Ok(());
        }
        let entered: Vec<(u64, Vec<u8>)> = self.nodes.iter_mut().filter_map(|node| node.entered.take()).collect();
        let keys = entered.iter().map(|(_, block)| block.as_slice()).collect::<Vec<_>>().concat();
        self.barriers += 1;
        for (node, (number, _)) in entered.iter().enumerate() {
            let mut effects = Vec::new();
            self.nodes[node].server.barrier_complete(*number, &keys, &mut effects).context("complete a barrier")?;
            self.deliver(node, effects)?;
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    fn reply(&mut self, rank: LocalRank, bytes: &[u8]) -> Result<()> {
        let stream = self.connections.get_mut(&rank.0).context("a rank is answered that has connected")?;
        // A rank need not wait for the last answer that it is given.
        match stream.write_all(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result.with_context(|| format!("answer rank {}", rank.0)),
        }
    }
}
