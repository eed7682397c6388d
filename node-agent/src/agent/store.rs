//! Files that one node gives to the stores of all: the authority asks an agent to give one, and each agent keeps what it is given.

mod file_part;
mod giving;
mod keeping;

use std::path::PathBuf;

use giving::{Gift, GiveError, Progress};
use keeping::{KeepError, Keeper};
use strobe_core::{
    limits::{MEMBERS_MAX, NODE_REGIONS_MAX},
    model::{NodeSet, PartitionUid},
    node::MemberInput,
    primitives::{Cell, OperationId, RegionName},
};
use strobe_fabric::blocks::Blocks;
use strobe_proto::{
    agent::{FileStaged, FileStaging, StageFile, agent_message::Message, file_staging::State},
    files,
};
use tokio::sync::mpsc;

use super::{Agent, Pending, calls::Primitives, event::Event, mailbox::AgentEnds};

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    primitives: Primitives,
    /// Blocks that were put and are to be kept, in the order in which they were put.
    puts: mpsc::Sender<(RegionName, OperationId)>,
    /// How far the file is that the authority has asked for last, said again until another is asked for: nobody answers that it was heard.
    staging: Option<FileStaging>,
    /// Files that this life of the agent has given.
    given: u64,
}

// === impl Store ===

impl Store {
    /// The store of a node in that folder; without one it keeps no file, and says so.
    pub(super) fn begin(folder: Option<PathBuf>, partition: PartitionUid, blocks: Blocks, primitives: Primitives) -> Self {
        let (puts, queue) = mpsc::channel(MEMBERS_MAX * NODE_REGIONS_MAX as usize);
        tokio::spawn(keep_all(Keeper::new(folder, partition), queue, blocks, primitives.clone()));
        Self { primitives, puts, staging: None, given: 0 }
    }

    fn is_giving(&self) -> bool {
        self.staging.as_ref().is_some_and(|staging| matches!(staging.state, Some(State::Stored(_))))
    }
}

/// Keeps what is put, one part after the other.
async fn keep_all(
    mut keeper: Keeper,
    mut puts: mpsc::Receiver<(RegionName, OperationId)>,
    blocks: Blocks,
    primitives: Primitives,
) -> Result<(), AgentEnds> {
    while let Some((region, operation)) = puts.recv().await {
        let kept = match blocks.read_put(region, operation).await {
            Ok(Some(block)) => {
                let written = tokio::task::spawn_blocking(move || {
                    let kept = keeper.keep(operation.caller, &block);
                    (keeper, kept)
                });
                let kept;
                (keeper, kept) = written.await.expect("writing does not panic");
                kept
            }
            Ok(None) => Err(KeepError::Replaced),
            Err(_) => return Err(AgentEnds),
        };
        if let Err(error) = &kept {
            tracing::warn!(error = error as &dyn std::error::Error, caller = %operation.caller.node, "a file is not kept");
        }
        for cell in cells(operation, kept.is_ok()) {
            primitives.store(cell, operation.sequence).await?;
        }
    }
    Ok(())
}

/// The cells that say what became of a part.
fn cells(operation: OperationId, kept: bool) -> impl Iterator<Item = Cell> {
    // The second is what its giver waits for, and then looks at the first.
    (!kept).then_some(Cell::NotStored(operation.caller)).into_iter().chain([Cell::Stored(operation.caller)])
}

// === impl Agent ===

impl Agent {
    /// A block of a node was put here and can be read.
    pub(super) fn keep_part(&mut self, region: RegionName, operation: OperationId) {
        if self.store.puts.try_send((region, operation)).is_err() {
            tracing::error!(?region, ?operation, "a part of a file is not kept: there is no place for it in the queue, or nobody writes");
            self.part_not_kept(operation);
        }
    }

    /// This node does not have the block, or cannot keep it.
    pub(super) fn part_not_kept(&mut self, operation: OperationId) {
        for cell in cells(operation, false) {
            self.pending.push_back(Pending::Member(MemberInput::Store { cell, value: operation.sequence }));
        }
    }

    /// The authority wants a file given to stores. It asks again when its session has broken.
    pub(super) fn stage_file(&mut self, StageFile { request, path, name, nodes }: StageFile) {
        if self.store.staging.as_ref().is_some_and(|known| known.request == request) {
            return self.say_staging();
        }
        let staging = |length, state| FileStaging { request, name: name.clone(), length, state: Some(state) };
        if self.store.is_giving() {
            let busy = "this node gives another file; ask again when it has".to_owned();
            return self.say(Message::Staging(staging(0, State::Failed(busy))));
        }
        if !files::is_name(&name) {
            let refused = State::Failed(format!("{name:?} is no name of a file"));
            return self.staging_goes_on(staging(0, refused));
        }
        self.store.staging = Some(staging(0, State::Stored(0)));
        self.store.given += 1;
        let gift = Gift { number: self.store.given, path: path.into(), name: name.clone(), set: NodeSet::from_bits(nodes) };
        let (primitives, node) = (self.store.primitives.clone(), self.own.node);
        tokio::spawn(async move {
            let events = primitives.events.clone();
            let staging = |length, state| FileStaging { request, name: gift.name.clone(), length, state: Some(state) };
            let mut last = 0;
            let told = |Progress { length, stored }| {
                last = length;
                // The next one says more.
                let _next = events.try_send(Event::Staging(staging(length, State::Stored(stored))));
            };
            let given = giving::give(&primitives, node, &gift, told).await;
            let state = match given {
                Ok(checksum) => State::Done(FileStaged { checksum: checksum.to_vec() }),
                Err(error) => State::Failed(words(&error)),
            };
            // The receiver is gone only when the agent ends.
            let _agent_ends = events.send(Event::Staging(staging(last, state))).await;
        });
    }

    /// A file that this node gives has come further.
    pub(super) fn staging_goes_on(&mut self, staging: FileStaging) {
        self.store.staging = Some(staging);
        self.say_staging();
    }

    pub(super) fn say_staging(&self) {
        if let Some(staging) = &self.store.staging {
            self.say(Message::Staging(staging.clone()));
        }
    }
}

fn words(error: &GiveError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
