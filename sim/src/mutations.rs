//! Bugs that are put in on purpose, between a machine and the world, to see that the checker finds them. None of this can
//! be reached from production code.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strobe_core::{
    limits::NODE_REGIONS_MAX,
    manager::ManagerInput,
    message::{AnnouncerCommand, Strobe, SwitcherCommand, ToManager, ToMember},
    model::{AgentIncarnation, GangSlots, MatrixVersion, NodeIncarnation, NodeIndex, NodeSet, RecordNumber, RowIndex, Term},
    node::{MemberInput, SwitchCause, SwitcherInput},
    primitives::{Cell, Compare, Comparison, Content, Memory, OperationId, Payload, Record, RegionName, Xfer},
};

use crate::limits::NODES_MAX;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mutation {
    /// A switch freezes what the row before ran, instead of everything thawed that is not in the new row.
    FreezeOldRow,
    /// The watchdog thaws paused gangs too.
    WatchdogThawsPaused,
    /// Now and then an epoch is executed after the one that follows it.
    EpochsOutOfOrder,
    /// A node releases its ranks when its own supervisor is up.
    ReleaseBeforeAllUp,
    /// A restarted agent does not find its seal file.
    SealForgotten,
    /// Half of the members make the lease.
    LeaseWithHalf,
    /// The links of older terms are closed a moment after the seal was answered.
    AnsweredBeforeClosed,
    /// A node that lost a strobe gets no later one in that term.
    StrobeNeverRepaired,
    /// A caller is not told of blocks that came with a whole memory.
    PutForgotten,
    /// A node says that it holds a block as soon as it is asked to stage it: the operation is numbered at the block's start.
    StagedAtItsStart,
    /// A node drops what is open no more, whether or not it holds the records that were numbered.
    DroppedUnseen,
    /// The manager takes a record for held by the node with the highest number as soon as another one holds it.
    CommittedBeforeLastReceipt,
    /// A caller hears that its operation is committed as soon as its node holds the record.
    CommittedBeforeStable,
    /// A new term goes on from what all of the sealed have applied, and not from the longest prefix that one of them holds.
    ShortestPrefix,
    /// A new manager does not get what the others' memory says of the outcomes of operations.
    OutcomesForgotten,
    /// An agent answers a seal without telling its strobe thread, which goes on with the older term.
    StaleFenceObeyed,
    /// A node answers a compare as it did when it was asked the same before.
    CachedCompare,
    /// A block is written where it is read: readers come after its first word.
    TornBlock,
    /// The strobe thread switches rows under the policy `Kernel` too.
    PolicyForgotten,
    /// The authority never hears of deadlines.
    DeadlineForgotten,
    /// An operator that takes over does not know which gangs live.
    RunsForgotten,
    /// The authority never hears of cordons.
    CordonForgotten,
    /// The authority does not hear of a node that enrols while it lives.
    NewNodeForgotten,
}

/// What a mutation has to remember.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mutator {
    mutation: Option<Mutation>,
    /// What the last epoch thawed, for each node.
    old_row: [GangSlots; NODES_MAX as usize],
    /// Nodes that lost a strobe, with the term.
    deaf: BTreeSet<(Term, NodeIndex)>,
    switches: u64,
    /// What each node has answered to each compare.
    answered: BTreeMap<(usize, Cell, Comparison, u64), bool>,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 23] = [
        Self::FreezeOldRow,
        Self::WatchdogThawsPaused,
        Self::EpochsOutOfOrder,
        Self::ReleaseBeforeAllUp,
        Self::SealForgotten,
        Self::LeaseWithHalf,
        Self::AnsweredBeforeClosed,
        Self::StrobeNeverRepaired,
        Self::PutForgotten,
        Self::StagedAtItsStart,
        Self::DroppedUnseen,
        Self::CommittedBeforeLastReceipt,
        Self::CommittedBeforeStable,
        Self::ShortestPrefix,
        Self::OutcomesForgotten,
        Self::StaleFenceObeyed,
        Self::CachedCompare,
        Self::TornBlock,
        Self::PolicyForgotten,
        Self::DeadlineForgotten,
        Self::RunsForgotten,
        Self::CordonForgotten,
        Self::NewNodeForgotten,
    ];
}

impl Mutator {
    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        Self { mutation, ..Self::default() }
    }

    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Alters what a manager is given. A second input comes with it, if any.
    pub(crate) fn manager(&self, input: &mut ManagerInput, last: NodeIndex) -> Option<ManagerInput> {
        let ManagerInput::FromMember { from, message } = input else { return None };
        match message {
            ToManager::Sealed(answer) if self.is(Mutation::ShortestPrefix) => {
                answer.holding.iter_mut().for_each(|holding| holding.records.clear());
                None
            }
            ToManager::Sealed(answer) if self.is(Mutation::OutcomesForgotten) => {
                answer.holding.iter_mut().for_each(|holding| forget_outcomes(Arc::make_mut(&mut holding.memory)));
                None
            }
            ToManager::Held { .. } if self.is(Mutation::CommittedBeforeLastReceipt) && *from != last => {
                Some(ManagerInput::FromMember { from: last, message: message.clone() })
            }
            _ => None,
        }
    }

    /// Alters what a member is told.
    pub(crate) fn member(&self, input: &mut MemberInput) {
        if let MemberInput::FromManager { message: ToMember::Stagings { numbered, .. }, .. } = input
            && self.is(Mutation::DroppedUnseen)
        {
            *numbered = RecordNumber(0);
        }
    }

    /// Alters a node's part of a compare.
    pub(crate) fn compared(&mut self, node: usize, compare: &Compare, truth: &mut bool) {
        if self.is(Mutation::CachedCompare) {
            *truth = *self.answered.entry((node, compare.cell, compare.comparison, compare.value)).or_insert(*truth);
        }
    }

    /// Alters what a switcher is given.
    pub(crate) fn switcher(&self, input: &mut SwitcherInput) {
        if let SwitcherInput::Command(SwitcherCommand::Settings { switching, .. }) = input {
            *switching |= self.is(Mutation::PolicyForgotten);
        }
    }

    /// Alters what a switcher wants frozen and thawed.
    pub(crate) fn switch(&mut self, node: usize, cause: SwitchCause, (freeze, thaw): (GangSlots, GangSlots)) -> (GangSlots, GangSlots) {
        match self.mutation {
            Some(Mutation::FreezeOldRow) if matches!(cause, SwitchCause::Epoch { .. } | SwitchCause::Receipt { .. }) => {
                let old = std::mem::replace(&mut self.old_row[node], thaw);
                (freeze.intersection(old), thaw)
            }
            _ => (freeze, thaw),
        }
    }

    /// True when this epoch is to be carried out after the next one.
    pub(crate) fn delays_epoch(&mut self) -> bool {
        self.switches += 1;
        self.is(Mutation::EpochsOutOfOrder) && self.switches.is_multiple_of(7)
    }

    /// Alters what an announcer is commanded.
    pub(crate) fn announcer(&self, command: &mut AnnouncerCommand) {
        if let AnnouncerCommand::Start { record, manager, .. } = command
            && self.is(Mutation::LeaseWithHalf)
            && record.len().is_multiple_of(2)
            && let Some(other) = record.iter().position(|member: &NodeIncarnation| member.node != *manager)
        {
            record.remove(other);
        }
    }

    /// The network lost a strobe.
    pub(crate) fn strobe_lost(&mut self, strobe: &Strobe, to: NodeIndex) {
        if self.is(Mutation::StrobeNeverRepaired) {
            self.deaf.insert((strobe.fence.term, to));
        }
    }

    /// True when a strobe is not sent.
    pub(crate) fn withholds(&self, strobe: &Strobe, to: NodeIndex) -> bool {
        self.deaf.contains(&(strobe.fence.term, to))
    }
}

/// An operation of a later life of its caller lets memory forget those of an earlier one: here of a life that there never is.
fn forget_outcomes(memory: &mut Memory) {
    let applied = memory.applied;
    for node in (0..NODES_MAX).map(NodeIndex) {
        let operation = OperationId { caller: NodeIncarnation { node, incarnation: AgentIncarnation(u64::MAX) }, sequence: 1 };
        let region = RegionName::of_node(node, NODE_REGIONS_MAX);
        memory.apply(&Record::Xfer { operation, xfer: Xfer { region, set: NodeSet::EMPTY, content: Content::Inline(Payload::new([])) } });
    }
    memory.applied = applied;
}

/// What a strobe announces first; for traces.
pub(crate) fn first_row(strobe: &Strobe) -> (MatrixVersion, Option<RowIndex>) {
    (strobe.version, strobe.schedule.first().copied().flatten())
}
