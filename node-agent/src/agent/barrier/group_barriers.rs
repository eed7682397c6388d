//! The barriers of groups, carried out: what [`super::groups`] decides.

use strobe_core::{
    model::{GangRun, Instant, NodeIndex, NodeSet},
    node::MemberInput,
    primitives::{self, Cell, Compare, Comparison, RegionName, Request, Xfer},
};

use super::{
    barrier_value,
    book::{Job, Task},
    groups::{Content, Contents, regions},
};
use crate::{
    agent::{
        Agent, Pending,
        frames::{AgentFrame, GroupBlock},
        gang::Launched,
    },
    supervisor_protocol::{BarrierGroup, GroupMembers, ToSupervisor},
    sys::clock::monotonic_now,
};

impl Agent {
    /// All ranks that a group has here are in its barrier.
    pub(in crate::agent) fn group_entered(&mut self, block: GroupBlock) {
        let run = block.run;
        self.barriers.groups.enter(block.clone(), monotonic_now());
        self.put_group_block(block);
        // The supervisor may ask again because the answer was lost with its last connection.
        self.group_keys_came(run);
    }

    fn put_group_block(&mut self, block: GroupBlock) {
        match self.launched(block.run).and_then(Launched::root) {
            Some(root) if root == self.own.node => self.group_block_put(block),
            Some(root) => self.send_frame(root, &AgentFrame::GroupBlock(block)),
            None => tracing::error!(run = %block.run, "a barrier of a gang that is not launched here"),
        }
    }

    /// A link came up, see [`Agent::put_blocks_again`].
    pub(super) fn put_group_blocks_again(&mut self, node: NodeIndex, now: Instant) {
        for block in self.barriers.groups.all_entered(now) {
            if self.launched(block.run).and_then(Launched::root) == Some(node) {
                self.put_group_block(block);
            }
        }
    }

    pub(super) fn repeat_group_blocks(&mut self, now: Instant) {
        for block in self.barriers.groups.due_blocks(now) {
            self.group_keys_came(block.run);
            self.put_group_block(block);
        }
    }

    /// At the root: a node's block has come.
    pub(in crate::agent) fn group_block_put(&mut self, block: GroupBlock) {
        let Some(nodes) = self.nodes_of(block.run, &block.group) else { return };
        // Without memory the root would write over what it does not know of. The block comes again.
        if self.member.memory().is_none() {
            return;
        }
        let contents = self.contents(block.run);
        let answer = self.barriers.groups.collect(block, nodes, &contents, monotonic_now());
        self.follow(answer);
    }

    /// The nodes that have ranks of the group. None when the gang is not launched here, or has no such rank.
    fn nodes_of(&self, run: GangRun, group: &BarrierGroup) -> Option<NodeSet> {
        let launched = self.launched(run)?;
        let GroupMembers::Ranks(ranks) = &group.members else { return Some(launched.nodes()) };
        ranks.iter().map(|rank| launched.node_of(*rank)).collect()
    }

    /// What the regions of a gang hold, as far as this node may read them.
    fn contents(&self, run: GangRun) -> Contents {
        let memory = self.member.memory();
        let content = |number| {
            let payload = memory?.region(RegionName::of_gang(run, number), self.own.node)?.content.inline()?;
            Some((number, Content::of(payload)?))
        };
        regions().filter_map(content).collect()
    }

    /// What the root asks for next of a region. It reads every region itself, so that its next life knows them.
    pub(super) fn region_request(&self, job: Job, region: u32) -> Option<Request> {
        let Job { run, number, task, .. } = job;
        Some(match task {
            Task::Compare => Request::CompareAndWrite(Compare {
                set: self.barriers.groups.takers(run, region),
                cell: Cell::Taken(run.gang, region),
                comparison: Comparison::GreaterOrEqual,
                value: barrier_value(run, number - 1),
                write: None,
            }),
            Task::Xfer => {
                let content = self.barriers.groups.content(job, region)?;
                let set = content.tickets.iter().map(|(node, _)| *node).chain([self.own.node]).collect();
                Request::Xfer(Xfer {
                    region: RegionName::of_gang(run, region),
                    set,
                    content: primitives::Content::Inline(content.payload()),
                })
            }
        })
    }

    /// On every node: answers that stand in the gang's regions go to its supervisor until it has them.
    pub(in crate::agent) fn group_keys_came(&mut self, run: GangRun) {
        if self.launched(run).is_none() {
            return;
        }
        let contents = self.contents(run);
        for (ticket, block) in self.barriers.groups.answers(run, self.own.node, &contents) {
            self.tell(run, ToSupervisor::PmiGroupBarrierComplete { ticket, block });
        }
    }

    /// Memory came as a whole: what was put in it is not told one by one.
    pub(in crate::agent) fn all_group_keys_came(&mut self) {
        let runs: Vec<GangRun> = self.gangs.keys().copied().collect();
        for run in runs {
            self.group_keys_came(run);
        }
    }

    /// The supervisor has an answer: its region may be used again as far as this node is concerned.
    pub(in crate::agent) fn group_keys_taken(&mut self, run: GangRun, ticket: u64) {
        let contents = self.contents(run);
        if let Some((region, number)) = self.barriers.groups.take(run, self.own.node, ticket, &contents) {
            let store = MemberInput::Store { cell: Cell::Taken(run.gang, region), value: barrier_value(run, number) };
            self.pending.push_back(Pending::Member(store));
        }
    }
}
