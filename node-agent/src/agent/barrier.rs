//! PMI barriers over the primitives (section 7 of the design): each node PUTs its block to the gang's root and stores the
//! barrier's number in its cell; the root makes sure with COMPARE-AND-WRITE that all have, and XFERs the whole once.
//!
//! Any agent may die or be left out meanwhile, and nothing fails by that: every node repeats its block until it finds the
//! whole in global memory, and the root repeats what was refused, both after pauses that grow.

mod book;
mod group_barriers;
mod groups;

use strobe_core::{
    model::{BarrierFailure, GangRun, NodeIndex, NodeSet},
    node::MemberInput,
    primitives::{Cell, Compare, Comparison, Content, OperationId, Outcome, Payload, RegionName, Request, Xfer},
};

pub(super) use book::Barriers;
use book::{Answer, Job, Place, Task};

use super::{
    Agent, Pending,
    frames::{AgentFrame, BarrierBlock},
    gang::{Launched, Removal},
};
use crate::{supervisor_protocol::ToSupervisor, sys::clock::monotonic_now};

/// The region of a gang that holds the newest barrier's keys, its number before them.
const KEYS_REGION: u32 = 0;

/// Bytes of the number before the keys.
const NUMBER_BYTES: usize = 8;

impl Agent {
    /// All local ranks of a gang are in a barrier.
    pub(super) fn barrier_entered(&mut self, run: GangRun, number: u64, block: Vec<u8>) {
        let block = BarrierBlock { run, number, node: self.own.node, block };
        self.barriers.enter(block.clone(), monotonic_now());
        self.pending.push_back(Pending::Member(MemberInput::Store { cell: Cell::Barrier(run.gang), value: barrier_value(run, number) }));
        self.put(block);
        // The supervisor may ask again because the answer was lost with its last connection.
        self.keys_came(run);
    }

    fn put(&mut self, block: BarrierBlock) {
        match self.launched(block.run).and_then(Launched::root) {
            Some(root) if root == self.own.node => self.block_put(block),
            Some(root) => self.send_frame(root, &AgentFrame::BarrierBlock(block)),
            None => tracing::error!(run = %block.run, "a barrier of a gang that is not launched here"),
        }
    }

    fn launched(&self, run: GangRun) -> Option<&Launched> {
        self.gangs.get(&run).filter(|gang| gang.removal == Removal::None).and_then(|gang| gang.launched.as_ref())
    }

    fn gang_nodes(&self, run: GangRun) -> Option<NodeSet> {
        self.launched(run).map(Launched::nodes)
    }

    /// A link came up: what was put over its earlier life may be lost.
    pub(super) fn put_blocks_again(&mut self, node: NodeIndex) {
        let now = monotonic_now();
        for block in self.barriers.all_entered(now) {
            if self.launched(block.run).and_then(Launched::root) == Some(node) {
                self.put(block);
            }
        }
        self.put_group_blocks_again(node, now);
    }

    /// Repeats what is due: blocks whose barrier is not complete, and the root's operations that were refused. A barrier
    /// of a gang that is being ended is repeated no more.
    pub(super) fn repeat_barriers(&mut self) {
        let gangs = &self.gangs;
        self.barriers.retain(|run| gangs.get(&run).is_some_and(|gang| gang.removal == Removal::None));
        let now = monotonic_now();
        for block in self.barriers.due_blocks(now) {
            if !self.keys_came(block.run) {
                self.put(block);
            }
        }
        self.repeat_group_blocks(now);
        for job in self.barriers.due_tasks(now) {
            self.submit(job);
        }
    }

    /// At the root: a node's block has come.
    pub(super) fn block_put(&mut self, block: BarrierBlock) {
        let Some(nodes) = self.gang_nodes(block.run) else { return };
        let (run, number) = (block.run, block.number);
        if self.barriers.collect(block, nodes, monotonic_now()) {
            self.submit(Job { run, place: Place::World, number, task: Task::Compare });
        }
    }

    fn submit(&mut self, job: Job) {
        let request = match job.place {
            Place::World => self.world_request(job),
            Place::Region(region) => self.region_request(job, region),
        };
        if let Some(request) = request {
            self.barriers.submit(job);
            self.calls.submitted_by_barriers();
            self.pending.push_back(Pending::Member(MemberInput::Submit(request)));
        }
    }

    fn world_request(&self, job: Job) -> Option<Request> {
        let Job { run, number, .. } = job;
        let set = self.gang_nodes(run)?;
        Some(match job.task {
            Task::Compare => Request::CompareAndWrite(Compare {
                set,
                cell: Cell::Barrier(run.gang),
                comparison: Comparison::GreaterOrEqual,
                value: barrier_value(run, number),
                write: None,
            }),
            Task::Xfer => {
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.extend(self.barriers.keys(run));
                Request::Xfer(Xfer { region: RegionName::of_gang(run, KEYS_REGION), set, content: Content::Inline(Payload::new(bytes)) })
            }
        })
    }

    /// At the root: one of its operations has its outcome.
    pub(super) fn operation_done(&mut self, operation: OperationId, outcome: Outcome) {
        let answer = self.barriers.outcome(operation, outcome, monotonic_now());
        self.follow(answer);
    }

    fn follow(&mut self, answer: Answer) {
        match answer {
            Answer::Nothing => {}
            Answer::Submit(job) => self.submit(job),
            Answer::Failed { job, reason } => self.fail_barrier(job, reason),
        }
    }

    /// The keys fit no record, or global memory has no room for them: the ranks of every node would wait for ever, so the
    /// gang fails. Its end reaches every node, whoever dies.
    fn fail_barrier(&mut self, job: Job, reason: BarrierFailure) {
        let Job { run, place, number, .. } = job;
        tracing::error!(%run, ?place, number, ?reason, "the keys of a PMI barrier cannot be sent: its gang fails");
        if place == Place::World {
            let explanation = "the keys cannot be sent to all nodes".to_owned();
            self.tell(run, ToSupervisor::PmiBarrierFailed { number, explanation });
        }
        self.pending.push_back(Pending::Member(MemberInput::BarrierFailed { run, reason }));
    }

    /// On every node: the whole is in global memory if the barrier is complete, whether it was put there just now or came
    /// with a prefix that was installed. True when that answers the local ranks' barrier.
    pub(super) fn keys_came(&mut self, run: GangRun) -> bool {
        let name = RegionName::of_gang(run, KEYS_REGION);
        let region = self.member.memory().and_then(|memory| memory.region(name, self.own.node));
        let payload = region.and_then(|region| region.content.inline()).cloned();
        let Some(payload) = payload else { return false };
        let Some((number, block)) = payload.bytes().split_first_chunk::<NUMBER_BYTES>() else { return false };
        let number = u64::from_le_bytes(*number);
        let answers = self.barriers.leave(run, number);
        if answers {
            self.tell(run, ToSupervisor::PmiBarrierComplete { number, block: block.to_vec() });
        }
        answers
    }
}

/// Grows with the barriers of a gang's life, and over its lives.
fn barrier_value(run: GangRun, number: u64) -> u64 {
    u64::from(run.incarnation.0) << 32 | number & u64::from(u32::MAX)
}
