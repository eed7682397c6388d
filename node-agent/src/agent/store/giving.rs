//! A file for the stores of a set of nodes, as STORM launches programs (section 4.2 of Frachtenberg et al., 2004): read part by part, put as
//! blocks, written by each node while the next part is on its way, with COMPARE-AND-WRITE to know that all have.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use strobe_core::{
    model::{NodeIndex, NodeSet},
    primitives::{AbortReason, Block, Cell, Compare, Comparison, Content, OperationId, Outcome, RegionName, Xfer},
};
use strobe_fabric::blocks::BlockBytes;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::file_part::FilePart;
use crate::agent::{
    calls::{Called, Primitives},
    limits::{FILE_PART_BYTES, FILE_PARTS_READ_AHEAD, FILE_PATIENCE, FILE_SLOTS, OPERATION_PAUSE_MAX, OPERATION_PAUSE_MIN},
    mailbox::AgentEnds,
};

/// What is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Gift {
    /// Its number among the files that this life of the agent has given.
    pub(in crate::agent) number: u64,
    /// The file on this node.
    pub(in crate::agent) path: PathBuf,
    /// Its name in the stores.
    pub(in crate::agent) name: String,
    /// The nodes.
    pub(in crate::agent) set: NodeSet,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) struct Progress {
    /// Bytes of the file.
    pub(in crate::agent) length: u64,
    /// Bytes that every node has written.
    pub(in crate::agent) stored: u64,
}

/// Why a file was not given.
#[derive(Debug, thiserror::Error)]
pub(in crate::agent) enum GiveError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It became shorter meanwhile.
    #[error("{0} has become shorter while it was read")]
    Shrunk(PathBuf),
    /// An operation was refused for too long.
    #[error("nothing could be put or compared for {FILE_PATIENCE:?}: {}", why(*.0))]
    Refused(Outcome),
    /// Nobody has answered for too long.
    #[error("an operation has had no outcome for {FILE_PATIENCE:?}: there may be no machine manager")]
    NoOutcome,
    /// A node does not write for too long.
    #[error("node {0} has written nothing for {FILE_PATIENCE:?}")]
    NotWritten(NodeIndex),
    /// A node has said that it does not keep it.
    #[error("node {0} has not kept it; its agent's log says why")]
    NotKept(NodeIndex),
    /// The agent ends.
    #[error(transparent)]
    AgentEnds(#[from] AgentEnds),
}

/// A part that was read.
#[derive(Debug)]
struct Part {
    bytes: BlockBytes,
    block: Block,
    /// Where it ends in the file.
    end: u64,
}

/// Gives a file to the stores of all nodes of a set, and says how far it is whenever that has changed. Returns the file's checksum.
///
/// # Errors
/// See [`GiveError`]. What some nodes have of the file then is not under its name, unless they have all of it.
pub(in crate::agent) async fn give(
    primitives: &Primitives,
    node: NodeIndex,
    gift: &Gift,
    mut told: impl FnMut(Progress),
) -> Result<[u8; 32], GiveError> {
    let (parts, mut read) = mpsc::channel(FILE_PARTS_READ_AHEAD);
    let read_of = gift.clone();
    let reading = tokio::task::spawn_blocking(move || read_all(&read_of, &parts));
    let mut giving = Giving { primitives, node, set: gift.set, put: Vec::new(), used: 0, length: 0, stored: 0 };
    let given = async {
        while let Some((length, part)) = read.recv().await {
            giving.length = length;
            giving.put(part, &mut told).await?;
        }
        Ok(())
    };
    let given = given.await;
    // Whoever reads ends when nobody takes its parts any more.
    drop(read);
    let checksum = reading.await.expect("reading does not panic");
    let given = match (given, checksum) {
        (Ok(()), Ok(checksum)) => giving.finish(&mut told).await.map(|()| checksum),
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
    };
    giving.free().await;
    given
}

struct Giving<'a> {
    primitives: &'a Primitives,
    node: NodeIndex,
    set: NodeSet,
    /// The operations of all parts so far, and where each part ends.
    put: Vec<(OperationId, u64)>,
    /// Slots in which a part is, or may be one day: an operation without an outcome takes effect when there is a manager.
    used: u32,
    length: u64,
    stored: u64,
}

impl Giving<'_> {
    /// Puts the next part, in the place of one that all nodes have written.
    async fn put(&mut self, part: Part, told: &mut impl FnMut(Progress)) -> Result<(), GiveError> {
        if let Some(earlier) = self.put.len().checked_sub(FILE_SLOTS as usize) {
            self.wait_until_stored(earlier, told).await?;
        }
        let slot = u32::try_from(self.put.len()).unwrap_or(u32::MAX) % FILE_SLOTS;
        self.used = self.used.max(slot + 1);
        let mut patience = Patience::default();
        loop {
            let xfer = Xfer { region: RegionName::of_node(self.node, slot), set: self.set, content: Content::Staged(part.block) };
            let Called { operation, outcome } = called(self.primitives.xfer_staged(xfer, part.bytes.clone())).await?;
            if matches!(outcome, Outcome::Committed { .. }) {
                self.put.push((operation, part.end));
                return Ok(());
            }
            // A term has changed, a node does not answer: the same is asked again, under another name.
            tracing::info!(?outcome, "a part of a file was not put; it is put again");
            if !patience.pause().await {
                return Err(GiveError::Refused(outcome));
            }
        }
    }

    /// Waits until every node has written the part of that index, or has given up to.
    async fn wait_until_stored(&mut self, index: usize, told: &mut impl FnMut(Progress)) -> Result<(), GiveError> {
        let (operation, end) = self.put[index];
        let compare = Compare {
            set: self.set,
            cell: Cell::Stored(operation.caller),
            comparison: Comparison::GreaterOrEqual,
            value: operation.sequence,
            write: None,
        };
        let mut patience = Patience::default();
        while let Some(failing) = self.fails(&compare).await? {
            if !patience.pause().await {
                return Err(GiveError::NotWritten(failing));
            }
        }
        self.stored = end;
        told(Progress { length: self.length, stored: self.stored });
        Ok(())
    }

    /// All of it is written, and nobody has given up.
    async fn finish(&mut self, told: &mut impl FnMut(Progress)) -> Result<(), GiveError> {
        let Some((first, _)) = self.put.first().copied() else { return Ok(()) };
        self.wait_until_stored(self.put.len() - 1, told).await?;
        let compare = Compare {
            set: self.set,
            cell: Cell::NotStored(first.caller),
            comparison: Comparison::Less,
            value: first.sequence,
            write: None,
        };
        self.fails(&compare).await?.map_or(Ok(()), |failing| Err(GiveError::NotKept(failing)))
    }

    /// The first node on which a comparison does not hold.
    async fn fails(&self, compare: &Compare) -> Result<Option<NodeIndex>, GiveError> {
        let mut patience = Patience::default();
        loop {
            match called(self.primitives.compare_and_write(compare.clone())).await?.outcome {
                Outcome::Committed { truth: true, .. } => return Ok(None),
                Outcome::Committed { first_failing, .. } => return Ok(Some(first_failing.unwrap_or(self.node))),
                outcome if !patience.pause().await => return Err(GiveError::Refused(outcome)),
                Outcome::Aborted(_) | Outcome::Unknown => {}
            }
        }
    }

    /// Frees the memory of the parts. This node is there, whoever else is not, and the place of a block is its name's everywhere. Where even
    /// that has no outcome in time it takes effect when there is a manager: after the parts, which this node has called before.
    async fn free(&self) {
        let mut frees = JoinSet::new();
        for slot in 0..self.used {
            let (primitives, region) = (self.primitives.clone(), RegionName::of_node(self.node, slot));
            let own: NodeSet = [self.node].into_iter().collect();
            frees.spawn(async move { primitives.free(region, own).await });
        }
        if timeout(FILE_PATIENCE, frees.join_all()).await.is_err() {
            tracing::info!("parts of a file stay in memory until there is a manager");
        }
    }
}

/// An operation that has its outcome in time.
async fn called(operation: impl Future<Output = Result<Called, AgentEnds>>) -> Result<Called, GiveError> {
    Ok(timeout(FILE_PATIENCE, operation).await.map_err(|_late| GiveError::NoOutcome)??)
}

/// Pauses that grow, for as long as that may take from the first one on.
#[derive(Default)]
struct Patience {
    last: Option<(Duration, Instant)>,
}

impl Patience {
    /// Waits a while; false when it has been long enough.
    async fn pause(&mut self) -> bool {
        let (pause, until) = self
            .last
            .map_or((OPERATION_PAUSE_MIN, Instant::now() + FILE_PATIENCE), |(pause, until)| (OPERATION_PAUSE_MAX.min(2 * pause), until));
        self.last = Some((pause, until));
        sleep(pause).await;
        Instant::now() < until
    }
}

/// Reads a file part by part; its checksum at the end.
fn read_all(gift: &Gift, parts: &mpsc::Sender<(u64, Part)>) -> Result<[u8; 32], GiveError> {
    let path = &gift.path;
    let read = |source| GiveError::Read { path: path.clone(), source };
    // A pipe without a writer would be waited for.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    let (length, mode) = (metadata.len(), metadata.permissions().mode());
    let (mut digest, mut offset) = (Sha256::new(), 0);
    loop {
        let size = FILE_PART_BYTES.min(length - offset);
        let mut bytes = Vec::with_capacity(usize::try_from(size).expect("a part fits memory"));
        (&mut file).take(size).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 != size {
            return Err(GiveError::Shrunk(path.clone()));
        }
        digest.update(&bytes);
        let end = offset + size;
        let checksum: Option<[u8; 32]> = (end == length).then(|| digest.clone().finalize().into());
        let part = FilePart { file: gift.number, name: gift.name.clone(), mode, length, offset, checksum };
        let bytes = part.block(Bytes::from(bytes));
        let part = Part { block: bytes.block(), bytes, end };
        let is_taken = parts.blocking_send((length, part)).is_ok();
        match checksum {
            Some(checksum) => return Ok(checksum),
            // Why nobody takes it says whoever took it.
            None if !is_taken => return Ok([0; 32]),
            None => offset = end,
        }
    }
}

fn why(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Aborted(AbortReason::SetOutsideView) => "a node of the set is not there",
        Outcome::Aborted(AbortReason::Stalled) => "a node got nothing of it, or has no room",
        Outcome::Aborted(AbortReason::MemoryFull) => "there is no room for further blocks",
        Outcome::Aborted(AbortReason::TermChanged) => "the machine manager changes all the time",
        Outcome::Aborted(AbortReason::OutOfOrder) => "an operation that was called later has taken effect before",
        Outcome::Aborted(AbortReason::TooManyOperations) => "this node calls too much at a time",
        Outcome::Aborted(AbortReason::PayloadTooLarge) => "a part is larger than a block may be",
        Outcome::Unknown => "what became of it is not known",
        Outcome::Committed { .. } => "it was put",
    }
}
