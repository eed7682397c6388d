//! The contract between agents and whatever carries their frames.
//!
//! Shapes: a *frame* is an opaque byte string of at most [`FRAME_BYTES_MAX`] bytes. A *link* joins two nodes in one term
//! and has one lane for each [`Class`]; lanes share no queue and no connection, so neither class waits behind the other.
//!
//! Guarantees, which the conformance suite checks on every transport:
//! 1. Frames of one sender, link and class arrive whole and in order, each at most once.
//! 2. A frame that was accepted arrives unless the link goes down, which both ends hear as [`Delivery::Down`]. Nothing is
//!    kept for the next life of a link.
//! 3. [`Delivery::Up`] precedes the first control frame of a link's life, [`Delivery::Down`] follows its last.
//! 4. Every queue is bounded. A full one holds the sender back ([`SendError::Full`], or a waiting [`Transport::send`]).
//! 5. After [`Transport::close_links`] has returned, nothing of an older term is delivered or written any more.

use std::{fmt, future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, Term};
use thiserror::Error;

use crate::{
    counters::FabricCounters,
    datagram::DatagramKeys,
    limits::{FRAME_BYTES_MAX, LINKS_MAX},
};

pub use crate::{
    frame::FrameError,
    inbox::{BulkInbox, ControlInbox},
};

/// What moves frames between the nodes of a partition.
pub trait Transport: Send + Sync + 'static {
    /// The node whose end this is.
    fn node(&self) -> NodeIndex;

    /// Declares with whom this node holds links in `plan.term`: new peers are linked, and the links of peers that are no
    /// longer named are cut. Both ends must name each other. Links are dialled again for as long as they are named, and
    /// a peer with a new address is dialled there.
    ///
    /// Must be called within a tokio runtime, in which the links live.
    ///
    /// The caller hears of success by [`Delivery::Up`]; links that it cuts itself send no [`Delivery::Down`].
    ///
    /// # Errors
    /// [`OpenError::OldTerm`] below a term that was given to [`Transport::close_links`];
    /// [`OpenError::TooManyLinks`] beyond [`LINKS_MAX`]. Nothing has changed then.
    fn open_links(&self, plan: &LinkPlan) -> Result<(), OpenError>;

    /// Cuts every link of a term older than `below`, and refuses such terms for ever.
    ///
    /// When this returns the connections are closed, and neither inbox yields anything of an older term: an agent calls
    /// it before it answers a seal (architecture, section 3).
    fn close_links(&self, below: Term) -> impl Future<Output = ()> + Send;

    /// Queues `payload` on one lane if there is room at once.
    ///
    /// # Errors
    /// See [`SendError`]; the frame was not queued.
    fn try_send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError>;

    /// Queues `payload` on one lane as soon as there is room. Waiting senders of one lane keep their order.
    ///
    /// # Errors
    /// See [`SendError`]; never `Full`.
    fn send(&self, to: LinkId, class: Class, payload: Bytes) -> impl Future<Output = Result<(), SendError>> + Send;

    /// What was refused since the start.
    fn counters(&self) -> &FabricCounters;
}

/// A transport and what it delivers; each inbox has one reader.
#[derive(Debug)]
pub struct Endpoint<T> {
    /// The sending half.
    pub transport: T,
    /// Link events and control frames.
    pub control: ControlInbox,
    /// Bulk frames.
    pub bulk: BulkInbox,
}

/// A link as its one end names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// The term that the link belongs to.
    pub term: Term,
    /// The node at the other end.
    pub node: NodeIndex,
}

/// Which lane of a link a frame takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small and urgent: seals, records, comparisons, strobes that fall back to the stream.
    Control,
    /// Large and patient: blocks of data.
    Bulk,
}

/// With whom a node holds links in a term: the address book of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// The term.
    pub term: Term,
    /// The peers; the node itself may be one of them.
    pub peers: Vec<Peer>,
}

/// A peer of a [`LinkPlan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The node, as its certificate must name it.
    pub node: NodeIndex,
    /// Where it accepts connections. Loopback does not look at it.
    pub address: SocketAddr,
}

/// What a transport tells its agent, in the order in which it happened.
#[derive(Debug)]
pub enum Delivery {
    /// A link came up; frames can be sent.
    Up(LinkUp),
    /// A link went down; frames under way are lost. It is dialled again while the plan names it.
    Down(LinkDown),
    /// A control frame.
    Frame(Frame),
}

/// A link that came up.
#[derive(Debug)]
pub struct LinkUp {
    /// The link.
    pub link: LinkId,
    /// Keys for datagrams between the two nodes, good for this life of the link: hand them to the strobe thread.
    pub keys: Box<DatagramKeys>,
}

/// A link that went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkDown {
    /// The link.
    pub link: LinkId,
    /// Why.
    pub reason: DownReason,
}

/// A received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it, in which term.
    pub link: LinkId,
    /// Its bytes.
    pub payload: Bytes,
}

/// Why a link went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DownReason {
    /// The peer closed it, or its process ended.
    #[error("the peer closed the link")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Broken(std::io::ErrorKind),
    /// The peer sent what is no frame.
    #[error("the peer sent a bad frame")]
    BadFrame(#[source] FrameError),
    /// The peer, restarted, has dialled a new one.
    #[error("the peer dialled a new link")]
    Replaced,
    /// The fault hook cut it.
    #[error("cut by the fault hook")]
    Fault,
}

/// Why links were not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// This node has cut that term's links for ever.
    #[error("term {term} is older than {floor}, below which links were closed")]
    OldTerm {
        /// The term asked for.
        term: Term,
        /// The oldest term that may be opened.
        floor: Term,
    },
    /// See [`LINKS_MAX`].
    #[error("{links} links, at most {LINKS_MAX}")]
    TooManyLinks {
        /// How many there would be.
        links: usize,
    },
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// See [`FRAME_BYTES_MAX`]. Sending it again cannot help.
    #[error("a frame of {bytes} bytes, at most {FRAME_BYTES_MAX}")]
    Oversized {
        /// Its payload.
        bytes: usize,
    },
    /// The lane's queue is full: wait, or drop what is soft state.
    #[error("the lane to {to} is full")]
    Full {
        /// The link.
        to: LinkId,
    },
    /// The link is down or not planned. [`Delivery::Up`] tells when it is up.
    #[error("the link to {to} is down")]
    Down {
        /// The link.
        to: LinkId,
    },
}

/// A frame at the moment at which it would be written: what a fault hook decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPoint {
    /// The sender.
    pub from: NodeIndex,
    /// The link, as the sender names it.
    pub to: LinkId,
    /// The lane.
    pub class: Class,
    /// Bytes of payload.
    pub bytes: usize,
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is delivered.
    None,
    /// It disappears; breaks guarantee 2 on purpose.
    Drop,
    /// It, and what follows it on the lane, is delivered later.
    Delay(Duration),
    /// It is delivered twice; breaks guarantee 1 on purpose.
    Duplicate,
    /// The link is cut; the frame is lost with it.
    Cut,
}

/// Decides on every frame that is about to be written; for tests and experiments.
pub trait FaultHook: Send + Sync {
    /// The fate of one frame.
    fn decide(&self, point: &FaultPoint) -> Fault;
}

// === impl Class ===

impl Class {
    /// Both classes, in the order of their urgency.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// The class as it stands in headers and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }
}

// === impl LinkId ===

impl fmt::Display for LinkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} in term {}", self.node, self.term)
    }
}

// === impl Delivery ===

impl Delivery {
    /// The link that it concerns.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        match self {
            Self::Up(up) => up.link,
            Self::Down(down) => down.link,
            Self::Frame(frame) => frame.link,
        }
    }
}

impl From<Frame> for Delivery {
    fn from(frame: Frame) -> Self {
        Self::Frame(frame)
    }
}

// === impl FaultHook ===

impl<F: Fn(&FaultPoint) -> Fault + Send + Sync> FaultHook for F {
    fn decide(&self, point: &FaultPoint) -> Fault {
        self(point)
    }
}
