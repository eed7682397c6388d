//! The links of one transport, whatever streams they run on: who is linked in which term, and the gate for arrivals.

mod supervisor;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, PartitionUid, Term};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    counters::{FabricCounters, Refusal},
    datagram::KeyMaterial,
    frame,
    hello::Hello,
    identity::{PeerIdentity, Role},
    inbox::{BulkInbox, ControlInbox, InboxSenders, TermFloor, inboxes},
    lane::Lane,
    limits::LINKS_MAX,
    queue::{PushError, QueueSender},
    transport::{Class, FaultHook, LinkId, LinkPlan, OpenError, SendError},
};

use supervisor::{Source, Supervisor};

pub(crate) use supervisor::random_material;

/// Lanes that wait for a link's supervisor; two make a link. A lane beyond waits in its handshake.
const ARRIVALS_MAX: usize = 4;

/// How a transport connects to a peer.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Connects one lane: the peer has accepted `hello`.
    fn dial(&self, address: SocketAddr, hello: &Hello) -> impl Future<Output = Result<Arrival, DialError>> + Send;
}

/// A lane whose two ends have agreed.
pub(crate) struct Arrival {
    pub(crate) number: u64,
    pub(crate) class: Class,
    pub(crate) lane: Lane,
    /// Of this lane's session; the control lane's is used.
    pub(crate) material: KeyMaterial,
}

/// Why a lane was not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialError {
    /// Nobody is there.
    Unreachable,
    /// This end refused the peer.
    Refused(Refusal),
    /// The peer refused this end.
    RefusedByPeer(Refusal),
}

/// Who this end is, and how it behaves.
#[derive(Clone)]
pub(crate) struct LinkOptions {
    pub(crate) partition: PartitionUid,
    pub(crate) node: NodeIndex,
    pub(crate) jitter_seed: u64,
    pub(crate) faults: Option<Arc<dyn FaultHook>>,
}

/// Every link of one transport.
pub(crate) struct Links<W> {
    options: LinkOptions,
    wire: W,
    inbox: InboxSenders,
    floor: TermFloor,
    counters: FabricCounters,
    table: Mutex<BTreeMap<LinkId, LinkEntry>>,
}

/// A planned link. Dropping it cuts the link: its supervisor sees that `cut` is gone.
struct LinkEntry {
    address: SocketAddr,
    outbound: Outbound,
    arrivals: mpsc::Sender<Arrival>,
    cut: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The queues of a link that is up.
#[derive(Clone, Default)]
struct Outbound(Arc<Mutex<Option<LaneQueues>>>);

#[derive(Clone)]
struct LaneQueues {
    control: QueueSender<Bytes>,
    bulk: QueueSender<Bytes>,
}

// === impl Links ===

impl<W: Wire> Links<W> {
    pub(crate) fn new(options: LinkOptions, wire: W) -> (Arc<Self>, ControlInbox, BulkInbox) {
        let floor = TermFloor::default();
        let (inbox, control, bulk) = inboxes(&floor);
        let links = Self { options, wire, inbox, floor, counters: FabricCounters::default(), table: Mutex::default() };
        (Arc::new(links), control, bulk)
    }

    pub(crate) fn options(&self) -> &LinkOptions {
        &self.options
    }

    pub(crate) fn counters(&self) -> &FabricCounters {
        &self.counters
    }

    /// See [`crate::transport::Transport::open_links`].
    pub(crate) fn open(self: &Arc<Self>, plan: &LinkPlan) -> Result<(), OpenError> {
        let mut table = self.table();
        if !self.floor.admits(plan.term) {
            return Err(OpenError::OldTerm { term: plan.term, floor: self.floor.get() });
        }
        let peers: BTreeMap<NodeIndex, SocketAddr> = plan.peers.iter().map(|peer| (peer.node, peer.address)).collect();
        let links = peers.len() + table.keys().filter(|link| link.term != plan.term).count();
        if links > LINKS_MAX {
            return Err(OpenError::TooManyLinks { links });
        }
        table.retain(|link, entry| {
            link.term != plan.term || peers.get(&link.node).is_some_and(|address| self.keeps(link.node, entry, *address))
        });
        for (node, address) in peers {
            let link = LinkId { term: plan.term, node };
            table.entry(link).or_insert_with(|| self.spawn(link, address));
        }
        Ok(())
    }

    /// See [`crate::transport::Transport::close_links`].
    pub(crate) async fn close(&self, below: Term) {
        let older = {
            let mut table = self.table();
            // Within the lock: no older link can be opened between the two.
            self.floor.raise(below);
            let kept = table.split_off(&LinkId { term: below, node: NodeIndex(0) });
            std::mem::replace(&mut *table, kept)
        };
        let mut ending = Vec::with_capacity(older.len());
        for entry in older.into_values() {
            drop(entry.cut);
            ending.push(entry.task);
        }
        for task in ending {
            // An error says that the task was cancelled with the runtime: the link is as closed as can be.
            let _ = task.await;
        }
    }

    /// Cuts every link, without waiting; for the end of the transport.
    pub(crate) fn cut_all(&self) {
        self.table().clear();
    }

    pub(crate) fn try_send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        frame::check_bytes(payload.len())?;
        let bytes = payload.len();
        self.queue(to, class)?.try_push(payload, bytes).map_err(|error| refused(error, to))
    }

    pub(crate) async fn send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        frame::check_bytes(payload.len())?;
        let bytes = payload.len();
        let queue = self.queue(to, class)?;
        queue.push(payload, bytes).await.map_err(|error| refused(error, to))
    }

    /// Decides on a dialer's hello: where its lane goes, or why it is refused.
    pub(crate) fn admit(&self, hello: &Hello, identity: &PeerIdentity) -> Result<mpsc::Sender<Arrival>, Refusal> {
        if identity.partition != self.options.partition || hello.partition != self.options.partition {
            return Err(Refusal::WrongPartition);
        }
        match identity.role {
            Role::Authority => return Err(Refusal::NotANode),
            Role::Node(node) if node != hello.from || hello.to != self.options.node => return Err(Refusal::WrongPeer),
            Role::Node(node) if node >= self.options.node => return Err(Refusal::WrongDialer),
            Role::Node(_) => {}
        }
        let table = self.table();
        if !self.floor.admits(hello.term) {
            return Err(Refusal::OldTerm);
        }
        let link = LinkId { term: hello.term, node: hello.from };
        table.get(&link).map(|entry| entry.arrivals.clone()).ok_or(Refusal::NotPlanned)
    }

    /// A link that this end dials is dialled anew when its peer has moved. Where the peer dials, its address is of no
    /// matter, and the link may be the one that it dialled from its new place.
    fn keeps(&self, peer: NodeIndex, entry: &LinkEntry, address: SocketAddr) -> bool {
        peer <= self.options.node || entry.address == address
    }

    fn spawn(self: &Arc<Self>, link: LinkId, address: SocketAddr) -> LinkEntry {
        let outbound = Outbound::default();
        let (arrivals, arriving) = mpsc::channel(ARRIVALS_MAX);
        let (cut, cutting) = oneshot::channel();
        let source = Source::new(self, link, address, arriving);
        let supervisor = Supervisor::new(Arc::clone(self), link, outbound.clone(), source);
        let task = tokio::spawn(supervisor.run(cutting));
        LinkEntry { address, outbound, arrivals, cut, task }
    }

    fn queue(&self, to: LinkId, class: Class) -> Result<QueueSender<Bytes>, SendError> {
        let outbound = self.table().get(&to).map(|entry| entry.outbound.clone());
        let queues = outbound.and_then(|outbound| outbound.get()).ok_or(SendError::Down { to })?;
        Ok(match class {
            Class::Control => queues.control,
            Class::Bulk => queues.bulk,
        })
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<LinkId, LinkEntry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> fmt::Debug for Links<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Links").field("node", &self.options.node).field("floor", &self.floor.get()).finish_non_exhaustive()
    }
}

// === impl Outbound ===

impl Outbound {
    fn get(&self) -> Option<LaneQueues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, queues: Option<LaneQueues>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }
}

fn refused(error: PushError, to: LinkId) -> SendError {
    match error {
        PushError::Full => SendError::Full { to },
        PushError::Closed => SendError::Down { to },
    }
}
