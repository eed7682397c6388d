//! Files that one node gives to the stores of all: the authority asks an agent to give one, and each agent keeps what it is given.

mod file_block;
mod giving;
mod keeping;

use std::path::PathBuf;

use giving::{Gift, GiveError, Progress};
use keeping::Keeper;
use strobe_core::{
    limits::{MEMBERS_MAX, NODE_REGIONS_MAX},
    model::NodeSet,
    primitives::{Cell, OperationId, RegionName},
};
use strobe_fabric::blocks::Blocks;
use strobe_proto::agent::{FileStaged, FileStaging, StageFile, agent_message::Message, file_staging::State};
use tokio::sync::mpsc;

use super::{Agent, calls::Primitives, event::Event, mailbox::AgentEnds};

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    primitives: Primitives,
    /// Blocks that were put and are to be kept, in the order in which they were put.
    puts: mpsc::Sender<(RegionName, OperationId)>,
    /// What the authority was last told of the file that it has asked for last.
    staging: Option<FileStaging>,
}

// === impl Store ===

impl Store {
    /// The store of a node in that folder; without one it keeps no file, and says so.
    pub(super) fn begin(folder: Option<PathBuf>, blocks: Blocks, primitives: Primitives) -> Self {
        let (puts, queue) = mpsc::channel(MEMBERS_MAX * NODE_REGIONS_MAX as usize);
        tokio::spawn(keep_all(Keeper::new(folder), queue, blocks, primitives.clone()));
        Self { primitives, puts, staging: None }
    }

    /// A block of a node was put here, and can be read.
    pub(super) fn put(&self, region: RegionName, operation: OperationId) {
        if self.puts.try_send((region, operation)).is_err() {
            tracing::error!(?region, ?operation, "a file's part is not kept: nodes give faster than this one writes");
        }
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
        // One that was replaced is waited for by nobody.
        let Ok(Some(block)) = blocks.read(region).await else { continue };
        let written = tokio::task::spawn_blocking(move || {
            let kept = keeper.keep(operation.caller, &block);
            (keeper, kept)
        });
        let kept;
        (keeper, kept) = written.await.expect("writing does not panic");
        if let Err(error) = kept {
            tracing::warn!(error = &error as &dyn std::error::Error, caller = %operation.caller.node, "a file is not kept");
            primitives.store(Cell::NotStored(operation.caller), operation.sequence).await?;
        }
        primitives.store(Cell::Stored(operation.caller), operation.sequence).await?;
    }
    Ok(())
}

// === impl Agent ===

impl Agent {
    /// The authority wants a file given to stores. It asks again when its session has broken.
    pub(super) fn stage_file(&mut self, StageFile { path, name, nodes }: StageFile) {
        if self.store.is_giving() {
            let known = self.store.staging.as_ref().is_some_and(|staging| staging.name == name);
            if !known {
                let state = State::Failed("this node gives another file; ask again when it has".to_owned());
                self.say(Message::Staging(FileStaging { name, state: Some(state), length: 0 }));
            }
            return;
        }
        self.store.staging = Some(FileStaging { name: name.clone(), length: 0, state: Some(State::Stored(0)) });
        let gift = Gift { path: path.into(), name, set: NodeSet::from_bits(nodes) };
        let (primitives, node) = (self.store.primitives.clone(), self.own.node);
        tokio::spawn(async move {
            let events = primitives.events.clone();
            let staging = |length, state| FileStaging { name: gift.name.clone(), length, state: Some(state) };
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
