//! PMI barriers over the primitives (section 7 of the design): each node PUTs its block to the gang's root and stores the
//! barrier's number in its cell; the root makes sure with COMPARE-AND-WRITE that all have, and XFERs the whole once.

use std::collections::{BTreeMap, VecDeque};

use strobe_core::{
    model::{GangRun, NodeIndex, NodeSet},
    node::MemberInput,
    primitives::{Cell, Compare, Comparison, OperationId, Outcome, Payload, RegionName, Request, Xfer},
};

use super::{
    Agent, Pending,
    frames::{AgentFrame, BarrierBlock},
};
use crate::supervisor_protocol::ToSupervisor;

/// The region of a gang that holds the newest barrier's keys, its number before them.
const KEYS_REGION: u32 = 0;

/// Bytes of the number before the keys.
const NUMBER_BYTES: usize = 8;

/// What the agent knows of its gangs' barriers.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// The barrier in which each gang's local ranks wait, until it is complete.
    entered: BTreeMap<GangRun, BarrierBlock>,
    /// At the root: the blocks of each gang's next barrier.
    collected: BTreeMap<GangRun, (u64, BTreeMap<NodeIndex, Vec<u8>>)>,
    /// Requests given to the member that have no name yet, in order.
    unnamed: VecDeque<Stage>,
    /// Operations of the root.
    operations: BTreeMap<OperationId, Stage>,
}

/// Which of the root's two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Have all nodes put their block?
    Compare { run: GangRun, number: u64 },
    /// The whole to all nodes.
    Xfer { run: GangRun, number: u64 },
}

impl Barriers {
    /// The member has named the oldest unnamed request.
    pub(super) fn submitted(&mut self, operation: OperationId) {
        if let Some(stage) = self.unnamed.pop_front() {
            self.operations.insert(operation, stage);
        }
    }

    pub(super) fn forget(&mut self, run: GangRun) {
        self.entered.remove(&run);
        self.collected.remove(&run);
    }
}

impl Agent {
    /// All local ranks of a gang are in a barrier.
    pub(super) fn barrier_entered(&mut self, run: GangRun, number: u64, block: Vec<u8>) {
        let block = BarrierBlock { run, number, node: self.own.node, block };
        self.barriers.entered.insert(run, block.clone());
        self.pending.push_back(Pending::Member(MemberInput::Store { cell: Cell::Barrier(run.gang), value: barrier_value(run, number) }));
        self.put(block);
    }

    fn put(&mut self, block: BarrierBlock) {
        let root = self.gangs.get(&block.run).and_then(|gang| gang.launched.as_ref()).and_then(super::gang::Launched::root);
        match root {
            Some(root) if root == self.own.node => self.block_put(block),
            Some(root) => self.send_frame(root, &AgentFrame::BarrierBlock(block)),
            None => tracing::error!(run = %block.run, "a barrier of a gang that is not launched here"),
        }
    }

    /// A link came up: what was put over its earlier life may be lost.
    pub(super) fn put_blocks_again(&mut self, node: NodeIndex) {
        let to_node =
            |run: &GangRun| self.gangs.get(run).and_then(|gang| gang.launched.as_ref()).and_then(super::gang::Launched::root) == Some(node);
        let blocks: Vec<BarrierBlock> =
            self.barriers.entered.iter().filter(|(run, _)| to_node(run)).map(|(_, block)| block.clone()).collect();
        for block in blocks {
            self.put(block);
        }
    }

    /// At the root: a node's block has come.
    pub(super) fn block_put(&mut self, block: BarrierBlock) {
        let Some(nodes) = self.gang_nodes(block.run) else { return };
        let (number, blocks) = self.barriers.collected.entry(block.run).or_default();
        if block.number < *number || !nodes.contains(block.node) {
            return;
        }
        if block.number > *number {
            *number = block.number;
            blocks.clear();
        }
        let news = blocks.insert(block.node, block.block).is_none();
        if news && blocks.len() == nodes.len() {
            self.compare_all_put(block.run, block.number, nodes);
        }
    }

    fn gang_nodes(&self, run: GangRun) -> Option<NodeSet> {
        self.gangs.get(&run).and_then(|gang| gang.launched.as_ref()).map(super::gang::Launched::nodes)
    }

    fn compare_all_put(&mut self, run: GangRun, number: u64, set: NodeSet) {
        let compare = Compare {
            set,
            cell: Cell::Barrier(run.gang),
            comparison: Comparison::GreaterOrEqual,
            value: barrier_value(run, number),
            write: None,
        };
        self.submit(Stage::Compare { run, number }, Request::CompareAndWrite(compare));
    }

    fn submit(&mut self, stage: Stage, request: Request) {
        self.barriers.unnamed.push_back(stage);
        self.pending.push_back(Pending::Member(MemberInput::Submit(request)));
    }

    /// At the root: one of its operations has its outcome.
    pub(super) fn operation_done(&mut self, operation: OperationId, outcome: Outcome) {
        let Some(stage) = self.barriers.operations.remove(&operation) else { return };
        match (stage, outcome) {
            (Stage::Compare { run, number }, Outcome::Committed { truth: true, .. }) => self.xfer_keys(run, number),
            // A node's store had not come to its cell yet, or the view changed: asked again.
            (Stage::Compare { run, number }, Outcome::Committed { truth: false, .. } | Outcome::Aborted(_) | Outcome::Unknown) => {
                if let Some(nodes) = self.gang_nodes(run) {
                    self.compare_all_put(run, number, nodes);
                }
            }
            (Stage::Xfer { .. }, Outcome::Committed { .. }) => {}
            (Stage::Xfer { run, number }, Outcome::Aborted(reason)) => {
                tracing::error!(%run, number, ?reason, "the keys of a PMI barrier cannot be sent");
                let explanation = format!("the keys cannot be sent to all nodes: {reason:?}");
                self.tell(run, ToSupervisor::PmiBarrierFailed { number, explanation });
            }
            (Stage::Xfer { run, number }, Outcome::Unknown) => self.xfer_keys(run, number),
        }
    }

    fn xfer_keys(&mut self, run: GangRun, number: u64) {
        let Some(set) = self.gang_nodes(run) else { return };
        let Some((_, blocks)) = self.barriers.collected.get(&run).filter(|(collected, _)| *collected == number) else { return };
        let mut bytes = number.to_le_bytes().to_vec();
        for block in blocks.values() {
            bytes.extend_from_slice(block);
        }
        let xfer = Xfer { region: RegionName { run, number: KEYS_REGION }, set, payload: Payload::new(bytes) };
        self.submit(Stage::Xfer { run, number }, Request::Xfer(xfer));
    }

    /// On every node: the whole has come.
    pub(super) fn barrier_completed(&mut self, run: GangRun, payload: &[u8]) {
        let Some((number, block)) = payload.split_first_chunk::<NUMBER_BYTES>() else { return };
        let number = u64::from_le_bytes(*number);
        if self.barriers.entered.get(&run).is_some_and(|entered| entered.number == number) {
            self.barriers.entered.remove(&run);
            self.tell(run, ToSupervisor::PmiBarrierComplete { number, block: block.to_vec() });
        }
    }
}

/// Grows with the barriers of a gang's life, and over its lives.
fn barrier_value(run: GangRun, number: u64) -> u64 {
    u64::from(run.incarnation.0) << 32 | number & u64::from(u32::MAX)
}
