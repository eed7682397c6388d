//! The PMI server's connections to the ranks of this node.

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use super::limits::{LAST_READ_BYTES, READ_BYTES};
use crate::{
    pmi::{BarrierError, GroupEntered, LocalRank, PmiEffect, PmiServer, PmiSettings},
    supervisor_protocol::Configure,
};

/// The server and one connection a rank.
#[derive(Debug)]
pub(super) struct PmiService {
    server: PmiServer,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: Option<UnixStream>,
    outgoing: Vec<u8>,
}

impl PmiService {
    /// A service without connections.
    pub(super) fn new(configure: &Configure) -> Self {
        let server = PmiServer::new(PmiSettings {
            key_space: configure.key_space.0.clone(),
            first_rank: configure.first_rank.0,
            rank_count: configure.rank_count,
            world_size: configure.world_size,
            nodes: configure.nodes,
            ranks_per_node: configure.ranks_per_node,
        });
        Self { server, connections: Vec::new() }
    }

    /// Adds the connection of the next rank.
    pub(super) fn add(&mut self, stream: UnixStream) {
        self.connections.push(Connection { stream: Some(stream), outgoing: Vec::new() });
    }

    /// Each open connection: its rank, its descriptor and whether it has something to write. One that has
    /// is not read meanwhile: a rank that does not read its replies cannot make them pile up.
    pub(super) fn connections(&self) -> impl Iterator<Item = (LocalRank, BorrowedFd<'_>, bool)> {
        (0..).zip(&self.connections).filter_map(|(index, connection)| {
            let stream = connection.stream.as_ref()?;
            Some((LocalRank(index), stream.as_fd(), !connection.outgoing.is_empty()))
        })
    }

    /// Reads and writes what the connection allows; gives what concerns others than the rank.
    pub(super) fn ready(&mut self, rank: LocalRank) -> Vec<PmiEffect> {
        let mut effects = Vec::new();
        let Some(connection) = self.connections.get_mut(rank.0 as usize) else { return effects };
        if connection.outgoing.is_empty() {
            match connection.read() {
                Some(bytes) => self.server.receive(rank, &bytes, &mut effects),
                None => self.server.disconnected(rank, &mut effects),
            }
        }
        connection.write();
        self.deliver(effects)
    }

    /// The rank's process has ended: what it said last is taken, at most [`LAST_READ_BYTES`] of it.
    pub(super) fn ended(&mut self, rank: LocalRank) -> Vec<PmiEffect> {
        let mut effects = Vec::new();
        let Some(connection) = self.connections.get_mut(rank.0 as usize) else { return effects };
        for _ in 0..LAST_READ_BYTES / READ_BYTES {
            match connection.read() {
                // A child of the rank has the connection, too.
                Some(bytes) if bytes.is_empty() => break,
                Some(bytes) => self.server.receive(rank, &bytes, &mut effects),
                None => {
                    self.server.disconnected(rank, &mut effects);
                    break;
                }
            }
        }
        self.deliver(effects)
    }

    /// Passes the other nodes' answer to a barrier to the ranks; gives what concerns others than them.
    pub(super) fn barrier_complete(&mut self, number: u64, block: &[u8]) -> (Vec<PmiEffect>, Result<(), BarrierError>) {
        let mut effects = Vec::new();
        let result = self.server.barrier_complete(number, block, &mut effects);
        (self.deliver(effects), result)
    }

    /// Passes the answer to a group's barrier to its ranks, as [`PmiService::barrier_complete`] does.
    pub(super) fn group_complete(&mut self, ticket: u64, block: &[u8]) -> (Vec<PmiEffect>, Result<(), BarrierError>) {
        let mut effects = Vec::new();
        let result = self.server.group_complete(ticket, block, &mut effects);
        (self.deliver(effects), result)
    }

    /// Tells the ranks that a barrier failed.
    pub(super) fn barrier_failed(&mut self, number: u64, explanation: &str) -> Result<(), BarrierError> {
        let mut effects = Vec::new();
        let result = self.server.barrier_failed(number, explanation, &mut effects);
        self.deliver(effects);
        result
    }

    /// The barrier that waits for the other nodes.
    pub(super) fn waiting_barrier(&self) -> Option<(u64, &[u8])> {
        self.server.waiting_barrier()
    }

    /// The groups' barriers that wait for other nodes.
    pub(super) fn waiting_groups(&self) -> impl Iterator<Item = GroupEntered> {
        self.server.waiting_groups()
    }

    /// Writes the replies; gives the other effects back.
    fn deliver(&mut self, effects: Vec<PmiEffect>) -> Vec<PmiEffect> {
        let mut others = Vec::new();
        for effect in effects {
            match effect {
                PmiEffect::Reply { rank, bytes } => {
                    if let Some(connection) = self.connections.get_mut(rank.0 as usize) {
                        connection.outgoing.extend(bytes);
                        connection.write();
                    }
                }
                PmiEffect::BarrierEntered { .. }
                | PmiEffect::GroupEntered(_)
                | PmiEffect::BarrierFailed { .. }
                | PmiEffect::Aborted { .. } => others.push(effect),
            }
        }
        others
    }
}

impl Connection {
    /// The next bytes, perhaps none; `None` at the end of the stream, which is then closed.
    fn read(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; READ_BYTES];
        match self.stream.as_mut()?.read(&mut bytes) {
            Ok(count) if count > 0 => {
                bytes.truncate(count);
                Some(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Some(Vec::new()),
            Ok(_) | Err(_) => {
                self.stream = None;
                None
            }
        }
    }

    fn write(&mut self) {
        while let Some(stream) = self.stream.as_mut().filter(|_| !self.outgoing.is_empty()) {
            match stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The rank has closed its end; the next read tells the server.
                Err(_) => self.outgoing.clear(),
            }
        }
        if self.stream.is_none() {
            self.outgoing.clear();
        }
    }
}
