//! The transport contract within one process, for any number of nodes: the same links, lanes and gates as over TCP, on
//! streams in memory and without TLS. Its datagram keys are random and the same at both ends.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, PartitionUid, Term};

use crate::{
    counters::{FabricCounters, RefusedPeer},
    datagram::KeyMaterial,
    hello::Hello,
    identity::PeerIdentity,
    lane::Lane,
    limits::COALESCE_BYTES,
    link::{Arrival, DialError, LinkOptions, Links, Wire, random_material},
    transport::{Class, Endpoint, FaultHook, LinkId, LinkPlan, OpenError, SendError, Transport},
};

/// A network in memory. Clones are the same network.
#[derive(Clone)]
pub struct LoopbackNetwork {
    partition: PartitionUid,
    jitter_seed: u64,
    faults: Option<Arc<dyn FaultHook>>,
    nodes: Arc<Nodes>,
}

/// One node's end. Dropping it is the death of its agent: its peers' links go down.
#[derive(Debug)]
pub struct LoopbackTransport {
    links: Arc<Links<MemoryWire>>,
}

type Nodes = Mutex<BTreeMap<NodeIndex, Weak<Links<MemoryWire>>>>;

struct MemoryWire {
    nodes: Arc<Nodes>,
}

// === impl LoopbackNetwork ===

impl LoopbackNetwork {
    /// A network without nodes. The seed decides the jitter of reconnects.
    #[must_use]
    pub fn new(partition: PartitionUid, jitter_seed: u64) -> Self {
        Self { partition, jitter_seed, faults: None, nodes: Arc::default() }
    }

    /// The same network with a fault hook for the nodes that join from now on.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn FaultHook>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Adds a node, or a new life of one. Needs a tokio runtime when links are opened.
    #[must_use]
    pub fn join(&self, node: NodeIndex) -> Endpoint<LoopbackTransport> {
        let jitter_seed = self.jitter_seed ^ u64::from(node.0).rotate_left(16);
        let options = LinkOptions { partition: self.partition, node, jitter_seed, faults: self.faults.clone() };
        let (links, control, bulk) = Links::new(options, MemoryWire { nodes: Arc::clone(&self.nodes) });
        lock(&self.nodes).insert(node, Arc::downgrade(&links));
        Endpoint { transport: LoopbackTransport { links }, control, bulk }
    }
}

impl fmt::Debug for LoopbackNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LoopbackNetwork").field("partition", &self.partition).finish_non_exhaustive()
    }
}

// === impl LoopbackTransport ===

impl Transport for LoopbackTransport {
    fn node(&self) -> NodeIndex {
        self.links.options().node
    }

    fn open_links(&self, plan: &LinkPlan) -> Result<(), OpenError> {
        self.links.open(plan)
    }

    async fn close_links(&self, below: Term) {
        self.links.close(below).await;
    }

    fn try_send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        self.links.try_send(to, class, payload)
    }

    async fn send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        self.links.send(to, class, payload).await
    }

    fn counters(&self) -> &FabricCounters {
        self.links.counters()
    }
}

impl Drop for LoopbackTransport {
    fn drop(&mut self) {
        self.links.cut_all();
    }
}

// === impl MemoryWire ===

impl Wire for MemoryWire {
    async fn dial(&self, _address: SocketAddr, hello: &Hello) -> Result<Arrival, DialError> {
        let peer = lock(&self.nodes).get(&hello.to).and_then(Weak::upgrade).ok_or(DialError::Unreachable)?;
        let identity = PeerIdentity::node(hello.partition, hello.from);
        let arrivals = peer.admit(hello, &identity).map_err(|refusal| {
            peer.counters().refuse(RefusedPeer::Node(hello.from), refusal);
            DialError::RefusedByPeer(refusal)
        })?;
        let (near, far) = tokio::io::duplex(COALESCE_BYTES);
        let material = random_material();
        let theirs = Arrival { number: hello.number, class: hello.class, lane: Lane::new(far), material: KeyMaterial(material.0) };
        arrivals.send(theirs).await.map_err(|_| DialError::Unreachable)?;
        Ok(Arrival { number: hello.number, class: hello.class, lane: Lane::new(near), material })
    }
}

fn lock(nodes: &Nodes) -> MutexGuard<'_, BTreeMap<NodeIndex, Weak<Links<MemoryWire>>>> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner)
}
