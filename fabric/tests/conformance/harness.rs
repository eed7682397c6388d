//! A cluster of nodes on either transport.

use std::{
    collections::BTreeSet,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, PartitionUid, Term};
use strobe_fabric::{
    authority::LocalAuthority,
    identity::TlsIdentity,
    loopback::{LoopbackNetwork, LoopbackTransport},
    tcp::{TcpOptions, TcpTransport},
    transport::{Class, Delivery, DownReason, Endpoint, FaultHook, Frame, LinkDown, LinkId, LinkPlan, LinkUp, Peer, Transport},
};
use tokio::time::timeout;

const PARTITION: PartitionUid = PartitionUid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

/// Far beyond what any case takes: reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A transport under test.
pub(crate) trait Fabric: Sized {
    type Transport: Transport;

    fn new(faults: Option<Arc<dyn FaultHook>>) -> Self;
    fn start(&mut self, node: u16) -> impl Future<Output = (Endpoint<Self::Transport>, SocketAddr)>;
}

pub(crate) struct Loopback(LoopbackNetwork);

pub(crate) struct Tcp {
    authority: LocalAuthority,
    faults: Option<Arc<dyn FaultHook>>,
}

/// Some nodes of one partition.
pub(crate) struct Cluster<F: Fabric> {
    pub(crate) fabric: F,
    pub(crate) ends: Vec<Option<Endpoint<F::Transport>>>,
    pub(crate) addresses: Vec<SocketAddr>,
}

// === impl Fabric ===

impl Fabric for Loopback {
    type Transport = LoopbackTransport;

    fn new(faults: Option<Arc<dyn FaultHook>>) -> Self {
        let network = LoopbackNetwork::new(PARTITION, 1);
        Self(match faults {
            Some(faults) => network.with_faults(faults),
            None => network,
        })
    }

    async fn start(&mut self, node: u16) -> (Endpoint<LoopbackTransport>, SocketAddr) {
        (self.0.join(NodeIndex(node)), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }
}

impl Fabric for Tcp {
    type Transport = TcpTransport;

    fn new(faults: Option<Arc<dyn FaultHook>>) -> Self {
        Self { authority: LocalAuthority::new(PARTITION).unwrap(), faults }
    }

    async fn start(&mut self, node: u16) -> (Endpoint<TcpTransport>, SocketAddr) {
        let bundle = self.authority.issue_node(NodeIndex(node)).unwrap();
        let options = TcpOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            identity: TlsIdentity::new(&bundle).unwrap(),
            jitter_seed: u64::from(node),
            faults: self.faults.clone(),
        };
        let end = TcpTransport::bind(options).await.unwrap();
        let address = end.transport.local_address();
        (end, address)
    }
}

// === impl Cluster ===

impl<F: Fabric> Cluster<F> {
    pub(crate) async fn new(nodes: u16) -> Self {
        Self::with_faults(nodes, None).await
    }

    pub(crate) async fn with_faults(nodes: u16, faults: Option<Arc<dyn FaultHook>>) -> Self {
        let mut cluster = Self { fabric: F::new(faults), ends: Vec::new(), addresses: Vec::new() };
        for node in 0..nodes {
            let (end, address) = cluster.fabric.start(node).await;
            cluster.ends.push(Some(end));
            cluster.addresses.push(address);
        }
        cluster
    }

    /// A cluster whose nodes are all linked with each other in term 1, themselves included.
    pub(crate) async fn linked(nodes: u16) -> Self {
        let mut cluster = Self::new(nodes).await;
        cluster.open_everywhere(1).await;
        cluster
    }

    pub(crate) fn end(&mut self, node: u16) -> &mut Endpoint<F::Transport> {
        self.ends[usize::from(node)].as_mut().expect("the case has not killed this node")
    }

    pub(crate) fn plan(&self, term: u64, peers: &[u16]) -> LinkPlan {
        let peer = |node: &u16| Peer { node: NodeIndex(*node), address: self.addresses[usize::from(*node)] };
        LinkPlan { term: Term(term), peers: peers.iter().map(peer).collect() }
    }

    pub(crate) fn everybody(&self) -> Vec<u16> {
        (0..self.addresses.len() as u16).collect()
    }

    pub(crate) fn open(&mut self, node: u16, term: u64) {
        let plan = self.plan(term, &self.everybody());
        self.end(node).transport.open_links(&plan).unwrap();
    }

    /// Opens all links of a term and waits until each end has heard of each. On a machine with other work a dialler may have given up
    /// when the other end's link comes up: that one goes down, and comes again.
    pub(crate) async fn open_everywhere(&mut self, term: u64) {
        for node in self.everybody() {
            self.open(node, term);
        }
        for node in self.everybody() {
            let mut up = BTreeSet::new();
            while up.len() < self.addresses.len() {
                let (heard, is_new) = match self.delivery(node).await {
                    Delivery::Up(LinkUp { link, .. }) => (link, up.insert(link.node.0)),
                    Delivery::Down(LinkDown { link, reason: DownReason::Closed | DownReason::Replaced }) => (link, up.remove(&link.node.0)),
                    other => panic!("node {node} heard {other:?} while the links come up"),
                };
                assert!(heard.term == Term(term) && is_new, "node {node} heard twice of {heard:?}");
            }
            assert_eq!(Vec::from_iter(up), self.everybody());
        }
    }

    /// The agent of `node` dies.
    pub(crate) fn kill(&mut self, node: u16) {
        self.ends[usize::from(node)] = None;
    }

    /// A new life of `node`, perhaps at another address.
    pub(crate) async fn restart(&mut self, node: u16) {
        let (end, address) = self.fabric.start(node).await;
        self.ends[usize::from(node)] = Some(end);
        self.addresses[usize::from(node)] = address;
    }

    pub(crate) async fn delivery(&mut self, node: u16) -> Delivery {
        soon(self.end(node).control.next()).await.expect("the transport is alive")
    }

    pub(crate) async fn up(&mut self, node: u16) -> LinkUp {
        match self.delivery(node).await {
            Delivery::Up(up) => up,
            other => panic!("node {node} heard {other:?} instead of a link that came up"),
        }
    }

    pub(crate) async fn down(&mut self, node: u16) -> LinkDown {
        match self.delivery(node).await {
            Delivery::Down(down) => down,
            other => panic!("node {node} heard {other:?} instead of a link that went down"),
        }
    }

    pub(crate) async fn frame(&mut self, node: u16, class: Class) -> Frame {
        if class == Class::Bulk {
            return soon(self.end(node).bulk.next()).await.expect("the transport is alive");
        }
        match self.delivery(node).await {
            Delivery::Frame(frame) => frame,
            other => panic!("node {node} heard {other:?} instead of a frame"),
        }
    }

    pub(crate) async fn send(&mut self, from: u16, to: LinkId, class: Class, payload: impl Into<Bytes>) {
        soon(self.end(from).transport.send(to, class, payload.into())).await.unwrap();
    }
}

pub(crate) fn link(term: u64, node: u16) -> LinkId {
    LinkId { term: Term(term), node: NodeIndex(node) }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("the case takes far less time")
}
