//! How fast a block comes from one node to another over the bulk lane, beside the same bytes over a bare TLS stream of the same certificates.
//!
//! Both ways in one process on the loopback interface, one after the other in each round, in turns who is first. A block begins as bytes in
//! memory: its digest, the order's word to both nodes (which is said here) and the look at the digest at the other end are in its time. The bare
//! stream writes the bytes at once and reads them into memory that is there already. `cargo xtask bench primitives` runs it and reads its
//! lines: one JSON object for each round, size and way.
#![allow(clippy::unwrap_used, reason = "what a measurement relies on fails the measurement")]

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use bytes::Bytes;
use strobe_core::{
    message::Staging,
    model::{AgentIncarnation, NodeIncarnation, NodeIndex, PartitionUid, Term},
    primitives::OperationId,
};
use strobe_fabric::{
    authority::LocalAuthority,
    blocks::{BlockBytes, BlockStaged, Blocks, carry},
    identity::TlsIdentity,
    limits::STALL,
    tcp::{TcpOptions, TcpTransport},
    transport::{Delivery, Endpoint, LinkPlan, Peer, Transport as _},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PARTITION: PartitionUid = PartitionUid(1);
const TERM: Term = Term(1);
/// Bytes, and how often they go in each round: so often that a round takes no less than some milliseconds.
const SIZES: [(usize, u32); 5] = [(4 << 10, 200), (1 << 20, 32), (12 << 20, 6), (64 << 20, 2), (256 << 20, 1)];
const ROUNDS: u32 = 7;

/// Two nodes whose blocks are carried.
struct Pair {
    giver: Blocks,
    taker: Blocks,
    staged: mpsc::Receiver<BlockStaged>,
    sequence: u64,
}

/// A bare stream, whose writer is a task of its own as that of a lane is.
struct Bare {
    write: mpsc::Sender<Bytes>,
    read: tokio_rustls::server::TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let stated = std::env::args().skip(1).find_map(|argument| argument.strip_prefix("--rounds=")?.parse().ok());
    let rounds: u32 = stated.unwrap_or(ROUNDS);
    let authority = LocalAuthority::new(PARTITION).unwrap();
    let (mut pair, mut bare) = (Pair::new(&authority).await, Bare::new(&authority).await);
    // The first round warms up what is made once, and is not told.
    for round in 0..=rounds {
        for (bytes, times) in SIZES {
            let content = BlockBytes::from(vec![round as u8; bytes]);
            let (mut block, mut stream) = (0.0, 0.0);
            for way in [round % 2, 1 - round % 2] {
                if way == 0 {
                    block = pair.seconds(&content, times).await;
                } else {
                    stream = bare.seconds(&content, times).await;
                }
            }
            if round > 0 {
                println!("{{\"round\":{round},\"bytes\":{bytes},\"blockSeconds\":{block:e},\"streamSeconds\":{stream:e}}}");
            }
        }
    }
}

impl Pair {
    async fn new(authority: &LocalAuthority) -> Self {
        let mut ends = Vec::new();
        for node in 0..2 {
            let options = TcpOptions {
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                identity: TlsIdentity::new(&authority.issue_node(NodeIndex(node)).unwrap()).unwrap(),
                jitter_seed: u64::from(node),
                faults: None,
            };
            ends.push(TcpTransport::bind(options).await.unwrap());
        }
        let peer = |(node, end): (u16, &Endpoint<TcpTransport>)| Peer { node: NodeIndex(node), address: end.transport.local_address() };
        let plan = LinkPlan { term: TERM, peers: (0..).zip(&ends).map(peer).collect() };
        for end in &ends {
            end.transport.open_links(&plan).unwrap();
        }
        let mut carried = Vec::new();
        for Endpoint { transport, mut control, bulk } in ends {
            for _ in 0..2 {
                assert!(matches!(control.next().await, Some(Delivery::Up(_))));
            }
            carried.push(carry(Arc::new(transport), bulk, STALL));
            tokio::spawn(async move { while control.next().await.is_some() {} });
        }
        let (taker, staged) = carried.pop().unwrap();
        let (giver, _of_nothing) = carried.pop().unwrap();
        Self { giver, taker, staged, sequence: 0 }
    }

    /// Of one block, from its bytes to the word that the other node holds it.
    async fn seconds(&mut self, content: &BlockBytes, times: u32) -> f64 {
        let caller = NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(1) };
        let begin = Instant::now();
        for _ in 0..times {
            self.sequence += 1;
            let operation = OperationId { caller, sequence: self.sequence };
            let staging = Staging { operation, set: [NodeIndex(1)].into_iter().collect(), block: content.block() };
            self.giver.offer(operation, content.clone()).await.unwrap();
            self.taker.stage(TERM, staging).await.unwrap();
            self.giver.stage(TERM, staging).await.unwrap();
            assert_eq!(self.staged.recv().await, Some(BlockStaged { operation, held: true }));
            self.giver.discard(operation).await.unwrap();
            self.taker.discard(operation).await.unwrap();
        }
        begin.elapsed().as_secs_f64() / f64::from(times)
    }
}

impl Bare {
    async fn new(authority: &LocalAuthority) -> Self {
        let [client, server] = [0, 1].map(|node| TlsIdentity::new(&authority.issue_node(NodeIndex(node)).unwrap()).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let name = server.identity.server_name().try_into().unwrap();
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            TlsAcceptor::from(Arc::clone(&server.server)).accept(stream).await.unwrap()
        };
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            TlsConnector::from(Arc::clone(&client.client)).connect(name, stream).await.unwrap()
        };
        let (read, mut stream) = tokio::join!(accept, connect);
        let (write, mut queue) = mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        Self { write, read, buffer: vec![0; SIZES[SIZES.len() - 1].0] }
    }

    /// Of the same bytes, from the first write to the last read.
    async fn seconds(&mut self, content: &BlockBytes, times: u32) -> f64 {
        let bytes = Bytes::copy_from_slice(content.chunks().next().unwrap());
        let begin = Instant::now();
        for _ in 0..times {
            self.write.send(bytes.clone()).await.unwrap();
            self.read.read_exact(&mut self.buffer[..bytes.len()]).await.unwrap();
        }
        begin.elapsed().as_secs_f64() / f64::from(times)
    }
}
