//! Operations, records and outcomes.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::digest;
use crate::model::{EndCause, GangRun, Instant, NodeIncarnation, NodeIndex, NodeSet, Plan, RecordNumber, Term};

/// A block of bytes, inline, at most [`crate::limits::PAYLOAD_BYTES_MAX`].
///
/// Equality and hash look at the digest and the length only, so that exploring many states stays cheap.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payload {
    digest: u64,
    bytes: Arc<[u8]>,
}

impl Payload {
    /// The payload of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: digest::of_bytes(&bytes), bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.bytes.len()) == (other.digest, other.bytes.len())
    }
}

impl Eq for Payload {}

impl PartialOrd for Payload {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Payload {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.digest, self.bytes.len()).cmp(&(other.digest, other.bytes.len()))
    }
}

impl Hash for Payload {
    fn hash<State: Hasher>(&self, state: &mut State) {
        (self.digest, self.bytes.len()).hash(state);
    }
}

/// A block that does not ride with its record: each node of the set holds its bytes, beside the order, under the name of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Block {
    /// The bytes' [digest].
    pub digest: u64,
    /// How many bytes, at most [`crate::limits::BLOCK_BYTES_MAX`].
    pub length: u64,
}

/// What is put.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// The bytes ride with the record.
    Inline(Payload),
    /// They are staged before it is numbered.
    Staged(Block),
}

impl Content {
    /// The bytes, where they are in memory.
    #[must_use]
    pub const fn inline(&self) -> Option<&Payload> {
        match self {
            Self::Inline(payload) => Some(payload),
            Self::Staged(_) => None,
        }
    }

    /// The block, where it is staged.
    #[must_use]
    pub const fn staged(&self) -> Option<Block> {
        match self {
            Self::Inline(_) => None,
            Self::Staged(block) => Some(*block),
        }
    }

    /// Bytes that memory itself holds for it.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        self.inline().map_or(0, |payload| payload.bytes().len())
    }

    /// Bytes that are held beside memory.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.staged().map_or(0, |block| block.length)
    }
}

/// The name of an operation: a repetition has the same name and takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId {
    /// Who calls, in which life.
    pub caller: NodeIncarnation,
    /// Number of the call in that life, from 1.
    pub sequence: u64,
}

/// A global variable: one 8-byte cell at the same place on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// The incarnation of a gang whose supervisor is up on the node. Owned by the node, only grows.
    Up(crate::model::GangId),
    /// The incarnation of a gang whose ranks have all exited with status 0 on the node. Owned by the node, only grows.
    Exited(crate::model::GangId),
    /// The incarnation of a gang of which no process is left on the node. Owned by the node, only grows.
    Gone(crate::model::GangId),
    /// `incarnation << 32 | number` of the last PMI barrier whose block the node has PUT. Owned by the node, only grows.
    Barrier(crate::model::GangId),
    /// A cell that only ordered operations write; its meaning is its users'.
    Ordered(u32),
    /// `incarnation << 32 | number` of the last block of that number of the gang's memory that the node's ranks have taken:
    /// it may be put anew. Owned by the node, only grows.
    Taken(crate::model::GangId, u32),
    /// Number of the last operation of that caller whose block the node has stored, or given up to store. Owned by the node, only grows.
    Stored(NodeIncarnation),
    /// Number of the last operation of that caller whose block the node could not store. Owned by the node, only grows.
    NotStored(NodeIncarnation),
}

impl Cell {
    /// True when only ordered operations write the cell; otherwise only the node that holds it does.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Ordered(_))
    }
}

/// The six comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
}

impl Comparison {
    /// Whether `cell` compares so to `value`.
    #[must_use]
    pub const fn holds(self, cell: u64, value: u64) -> bool {
        match self {
            Self::Less => cell < value,
            Self::LessOrEqual => cell <= value,
            Self::Equal => cell == value,
            Self::NotEqual => cell != value,
            Self::GreaterOrEqual => cell >= value,
            Self::Greater => cell > value,
        }
    }
}

/// The name of a block of global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionName {
    /// Whose it is.
    pub owner: RegionOwner,
    /// Its number among its owner's.
    pub number: u32,
}

/// To whom blocks of global memory belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RegionOwner {
    /// A gang: freed when that life of it ends.
    Gang(GangRun),
    /// A node, for what it gives to others beside all gangs, such as files: at most [`crate::limits::NODE_REGIONS_MAX`], each of which stays until
    /// another is put in its place.
    Node(NodeIndex),
}

impl RegionName {
    /// A gang's.
    #[must_use]
    pub const fn of_gang(run: GangRun, number: u32) -> Self {
        Self { owner: RegionOwner::Gang(run), number }
    }

    /// A node's.
    #[must_use]
    pub const fn of_node(node: NodeIndex, number: u32) -> Self {
        Self { owner: RegionOwner::Node(node), number }
    }

    /// The gang's life to which it belongs.
    #[must_use]
    pub const fn run(&self) -> Option<GangRun> {
        match self.owner {
            RegionOwner::Gang(run) => Some(run),
            RegionOwner::Node(_) => None,
        }
    }
}

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// XFER-AND-SIGNAL.
    Xfer(Xfer),
    /// COMPARE-AND-WRITE.
    CompareAndWrite(Compare),
}

impl Request {
    /// Bytes of payload that ride with it.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        match self {
            Self::Xfer(xfer) => xfer.content.inline_bytes(),
            Self::CompareAndWrite(_) => 0,
        }
    }
}

/// XFER-AND-SIGNAL: the block becomes readable on all nodes of the set or on none. The remote event is the application of
/// the record, which each member's shell sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Xfer {
    /// Where it is put.
    pub region: RegionName,
    /// The destination nodes.
    pub set: NodeSet,
    /// What.
    pub content: Content,
}

/// COMPARE-AND-WRITE: if `cell comparison value` holds on all nodes of the set, `write` takes effect on the set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compare {
    /// The nodes.
    pub set: NodeSet,
    /// The compared cell.
    pub cell: Cell,
    /// The comparison.
    pub comparison: Comparison,
    /// The local value.
    pub value: u64,
    /// What is written when it holds on all nodes.
    pub write: Option<Write>,
}

/// The write of a COMPARE-AND-WRITE: an ordered cell on every node of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Write {
    /// The cell's number, see [`Cell::Ordered`].
    pub cell: u32,
    /// The new value.
    pub value: u64,
}

/// One place of the order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// A new plan.
    Plan(Arc<Plan>),
    /// A gang is commanded.
    Gang(GangCommand),
    /// A block is put.
    Xfer {
        /// Who asked.
        operation: OperationId,
        /// What for.
        xfer: Xfer,
    },
    /// Every node of the set takes its part of the compare here. No other record is numbered before its result.
    Compare {
        /// Who asked; none for the manager's own.
        operation: Option<OperationId>,
        /// What for.
        compare: Compare,
    },
    /// The result of the compare before it, and its write.
    CompareResult(CompareResult),
}

impl Record {
    /// The caller's operation that has its number by it; none for the manager's own records, and for a compare's result.
    #[must_use]
    pub const fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Xfer { operation, .. } => Some(*operation),
            Self::Compare { operation, .. } => *operation,
            Self::Plan(_) | Self::Gang(_) | Self::CompareResult(_) => None,
        }
    }

    /// Bytes of payload that it carries.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Xfer { xfer, .. } => xfer.content.inline_bytes(),
            Self::Gang(command) => command.payload_bytes(),
            Self::CompareResult(result) => result.command.as_ref().map_or(0, GangCommand::payload_bytes),
            Self::Plan(_) | Self::Compare { .. } => 0,
        }
    }

    /// Bytes that its application makes readable beside memory.
    pub(crate) fn staged_bytes(&self) -> u64 {
        match self {
            Self::Xfer { xfer, .. } => xfer.content.staged_bytes(),
            Self::Plan(_) | Self::Gang(_) | Self::Compare { .. } | Self::CompareResult(_) => 0,
        }
    }
}

impl GangCommand {
    fn payload_bytes(&self) -> usize {
        match &self.verb {
            GangVerb::Release { peers, .. } => peers.iter().map(|peer| peer.bytes().len()).sum(),
            GangVerb::Hold { .. } | GangVerb::Resume { .. } | GangVerb::End { .. } | GangVerb::Ended => 0,
        }
    }
}

/// The result of a compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CompareResult {
    /// The compare's record.
    pub compare: RecordNumber,
    /// True when it held on all nodes.
    pub truth: bool,
    /// A node on which it did not hold, or that left the view meanwhile: the first that the manager heard of.
    pub first_failing: Option<NodeIndex>,
    /// For the manager's own compares: the command that follows from the truth.
    pub command: Option<GangCommand>,
}

/// A command to one life of a gang.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GangCommand {
    /// Which.
    pub run: GangRun,
    /// What.
    pub verb: GangVerb,
}

/// What can be commanded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GangVerb {
    /// Let the ranks begin at the instant `at` of the clock of `term`'s manager.
    Release {
        /// The term.
        term: Term,
        /// The instant.
        at: Instant,
        /// Each node's entry of the peer table, in the order of the placement.
        peers: Vec<Payload>,
    },
    /// Freeze from the instant on, whatever the row.
    Hold {
        /// The term.
        term: Term,
        /// The instant.
        at: Instant,
    },
    /// Follow the rows again from the instant on.
    Resume {
        /// The term.
        term: Term,
        /// The instant.
        at: Instant,
    },
    /// End the ranks: SIGTERM when there is a grace, then SIGKILL.
    End {
        /// Why.
        cause: EndCause,
        /// Time between the two.
        grace: Duration,
    },
    /// No process of the gang is left on any node that could be asked.
    Ended,
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect; stable.
    Committed {
        /// For COMPARE-AND-WRITE whether the comparison held on all nodes, for XFER-AND-SIGNAL true.
        truth: bool,
        /// A node on which the comparison did not hold, or that left the view meanwhile: the first that the manager heard of.
        first_failing: Option<NodeIndex>,
    },
    /// It took no effect and never will.
    Aborted(AbortReason),
    /// It may or may not have taken effect: its outcome is no longer remembered.
    Unknown,
}

/// Why an operation took no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AbortReason {
    /// Its set is empty or has a node outside the view.
    SetOutsideView,
    /// The payload is larger than a payload may be.
    PayloadTooLarge,
    /// Memory has no room for the payload.
    MemoryFull,
    /// The caller has too many operations outstanding.
    TooManyOperations,
    /// The term changed before its compare had a result, or before all of its set had staged its block.
    TermChanged,
    /// A node of its set got nothing of its block for too long.
    Stalled,
    /// A later operation of its caller has taken effect before: an earlier manager had refused this one, and its caller did not hear it.
    OutOfOrder,
}
