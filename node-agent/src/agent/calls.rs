//! The primitives for tasks of this process: XFER-AND-SIGNAL and COMPARE-AND-WRITE that they call, TEST-EVENT by waiting for the answer.

use std::collections::{BTreeMap, VecDeque};

use strobe_core::{
    model::NodeSet,
    node::MemberInput,
    primitives::{Cell, Compare, Content, OperationId, Outcome, Payload, RegionName, Request, Xfer},
};
use strobe_fabric::blocks::BlockBytes;
use tokio::sync::{mpsc, oneshot};

use super::{Agent, AgentError, Pending, event::Event, mailbox::AgentEnds};

/// The way to call; clones call for the same node.
#[derive(Debug, Clone)]
pub(super) struct Primitives {
    pub(super) events: mpsc::Sender<Event>,
}

/// An operation that has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Called {
    /// Its name.
    pub(super) operation: OperationId,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// A call of a task.
#[derive(Debug)]
pub(super) struct Call {
    request: Request,
    /// The bytes of its block, where they are staged.
    bytes: Option<BlockBytes>,
    answer: oneshot::Sender<Called>,
}

/// The calls that have no outcome yet, and whose the operations are that have no name yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    unnamed: VecDeque<Submitter>,
    named: BTreeMap<OperationId, oneshot::Sender<Called>>,
}

/// Who has submitted an operation.
#[derive(Debug)]
enum Submitter {
    Barriers,
    Task(Option<BlockBytes>, oneshot::Sender<Called>),
}

// === impl Primitives ===

impl Primitives {
    /// Puts a block of any size, staged before it has its place in the order. It waits for the outcome.
    ///
    /// # Errors
    /// [`AgentEnds`], as of all of these.
    pub(super) async fn xfer_staged(&self, xfer: Xfer, bytes: BlockBytes) -> Result<Called, AgentEnds> {
        self.call(Request::Xfer(xfer), Some(bytes)).await
    }

    /// Puts nothing in the place of a block, which frees it.
    ///
    /// # Errors
    /// See [`Self::xfer_staged`].
    pub(super) async fn free(&self, region: RegionName, set: NodeSet) -> Result<Called, AgentEnds> {
        let content = Content::Inline(Payload::new(Vec::new()));
        self.call(Request::Xfer(Xfer { region, set, content }), None).await
    }

    /// Compares a cell on all nodes of a set. It waits for the outcome.
    ///
    /// # Errors
    /// See [`Self::xfer_staged`].
    pub(super) async fn compare_and_write(&self, compare: Compare) -> Result<Called, AgentEnds> {
        self.call(Request::CompareAndWrite(compare), None).await
    }

    /// Stores into a cell that this node owns.
    ///
    /// # Errors
    /// See [`Self::xfer_staged`].
    pub(super) async fn store(&self, cell: Cell, value: u64) -> Result<(), AgentEnds> {
        self.events.send(Event::Store(cell, value)).await.map_err(|_| AgentEnds)
    }

    async fn call(&self, request: Request, bytes: Option<BlockBytes>) -> Result<Called, AgentEnds> {
        let (answer, called) = oneshot::channel();
        self.events.send(Event::Call(Box::new(Call { request, bytes, answer }))).await.map_err(|_| AgentEnds)?;
        called.await.map_err(|_| AgentEnds)
    }
}

// === impl Calls ===

impl Calls {
    /// The next operation to be named is one of the barriers'.
    pub(super) fn submitted_by_barriers(&mut self) {
        self.unnamed.push_back(Submitter::Barriers);
    }
}

// === impl Agent ===

impl Agent {
    pub(super) fn called(&mut self, Call { request, bytes, answer }: Call) {
        self.calls.unnamed.push_back(Submitter::Task(bytes, answer));
        self.pending.push_back(Pending::Member(MemberInput::Submit(request)));
    }

    /// The operation that was submitted first of those without a name has this one.
    pub(super) async fn operation_named(&mut self, operation: OperationId) -> Result<(), AgentError> {
        match self.calls.unnamed.pop_front().expect("the member names operations in the order in which they are submitted") {
            Submitter::Barriers => self.barriers.submitted(operation),
            Submitter::Task(bytes, answer) => {
                if let Some(bytes) = bytes {
                    self.blocks.offer(operation, bytes).await?;
                }
                self.calls.named.insert(operation, answer);
            }
        }
        Ok(())
    }

    /// An operation of this node has its outcome.
    pub(super) async fn operation_over(&mut self, operation: OperationId, outcome: Outcome) -> Result<(), AgentError> {
        let Some(answer) = self.calls.named.remove(&operation) else {
            self.operation_done(operation, outcome);
            return Ok(());
        };
        if !matches!(outcome, Outcome::Committed { .. }) {
            self.blocks.withdraw(operation).await?;
        }
        // A task that has ended wants no answer.
        let _gone = answer.send(Called { operation, outcome });
        Ok(())
    }
}
