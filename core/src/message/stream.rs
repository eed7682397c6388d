//! Seals, records, receipts and signals: reliable and in order while a link lives, cut at a new term.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    model::{EndCause, Fence, GangRun, NodeIncarnation, NodeIndex, NodeSet, RecordNumber, Term, TermRecord},
    primitives::{Block, Memory, OperationId, Outcome, Payload, Record, Request},
};

/// What a manager sends to one member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToMember {
    /// Promise to obey no lower term. Sent again until answered.
    Seal(TermRecord),
    /// The completed prefix of the one order: replaces the member's memory, drops every record beyond it.
    Install {
        /// Who commands; the view is the one that will contain the member.
        fence: Fence,
        /// The memory with every record of the prefix applied.
        memory: Arc<Memory>,
    },
    /// The member belongs to the view of this fence from now on.
    Admitted {
        /// Who commands.
        fence: Fence,
        /// The view's members.
        members: Vec<NodeIncarnation>,
    },
    /// The record with the next number.
    Append {
        /// Who commands.
        fence: Fence,
        /// Its place in the order.
        number: RecordNumber,
        /// The record.
        record: Arc<Record>,
    },
    /// Every member of the view holds all records up to this one: apply them.
    Stable {
        /// Who commands.
        fence: Fence,
        /// The last stable record.
        number: RecordNumber,
    },
    /// The blocks that this member is to stage now, all of them; of any other that it has staged the operation is numbered or aborted.
    Stagings {
        /// Who commands.
        fence: Fence,
        /// The last number that was given: one who does not hold the records up to it cannot tell which of the two.
        numbered: RecordNumber,
        /// What is open.
        open: Vec<Staging>,
    },
    /// The outcome of an operation that was never numbered; the outcome of a numbered one stands in memory.
    Refused {
        /// Who commands: the manager of a later term may number it all the same.
        fence: Fence,
        /// The operation.
        operation: OperationId,
        /// Why.
        outcome: Outcome,
    },
}

impl ToMember {
    /// Who commands by this message; none where it does not say.
    #[must_use]
    pub const fn fence(&self) -> Option<Fence> {
        match self {
            Self::Install { fence, .. }
            | Self::Admitted { fence, .. }
            | Self::Append { fence, .. }
            | Self::Stable { fence, .. }
            | Self::Stagings { fence, .. }
            | Self::Refused { fence, .. } => Some(*fence),
            Self::Seal(_) => None,
        }
    }
}

/// A block on its way to the nodes of a set, before its operation has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Staging {
    /// The operation; its caller has the bytes.
    pub operation: OperationId,
    /// The nodes that shall hold them.
    pub set: NodeSet,
    /// What they are.
    pub block: Block,
}

/// What a member sends to the manager of its term.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToManager {
    /// The seal's answer: given only after older links are cut and the seal is written. To a manager that commands
    /// already it is the wish of a new incarnation, or of a member that was left out, to be admitted.
    Sealed(SealAnswer),
    /// The member has promised a higher term and obeys this manager never.
    SealRefused {
        /// The term it promised.
        sealed: Term,
    },
    /// The member has installed the prefix up to this number.
    Installed {
        /// The fence of the installation.
        fence: Fence,
        /// Its last record.
        number: RecordNumber,
    },
    /// The member holds every record up to this number.
    Held {
        /// Who commands.
        fence: Fence,
        /// The last record held without a gap.
        number: RecordNumber,
    },
    /// The member's part of a compare, taken as it applied the record.
    Compared {
        /// Who commands.
        fence: Fence,
        /// The compare's record.
        number: RecordNumber,
        /// True when the member's cell satisfies it.
        truth: bool,
    },
    /// What became of a block that the member was to stage.
    Staged {
        /// Who commands.
        fence: Fence,
        /// Whose block it is.
        operation: OperationId,
        /// True when the member holds all of it; false when it will not.
        held: bool,
    },
    /// Number this operation.
    Submit {
        /// Its name; a repetition has the same one.
        operation: OperationId,
        /// The sequence of the caller's last operation before it that has no outcome yet: it is numbered first, also where its own
        /// message was lost.
        after: Option<u64>,
        /// What is asked.
        request: Request,
    },
    /// A plain PUT to the manager: something of a gang has changed on the member.
    Signal(Signal),
}

/// What a member promises and holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealAnswer {
    /// The sealed term.
    pub term: Term,
    /// Who promises.
    pub member: NodeIncarnation,
    /// This life of the member knows all that became of it in this term and in every later one: no earlier life has
    /// promised any of them.
    pub knows_from: Term,
    /// What it holds, when this life of it was admitted to a term.
    pub holding: Option<Holding>,
}

impl SealAnswer {
    /// True when the member would hold what `term` has committed with it: its present life has gone on from that term's
    /// prefix, or from that of a later term, or would know if that term had installed one here.
    #[must_use]
    pub fn is_witness_of(&self, term: Term) -> bool {
        self.knows_from <= term || self.holding.as_ref().is_some_and(|holding| holding.term >= term)
    }
}

/// The part of the one order that a member holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The term whose manager completed the prefix that this continues.
    pub term: Term,
    /// The memory with the stable records applied.
    pub memory: Arc<Memory>,
    /// The records beyond, held but not applied, without a gap.
    pub records: Vec<Arc<Record>>,
}

impl Holding {
    /// The last record held.
    #[must_use]
    pub fn last(&self) -> RecordNumber {
        RecordNumber(self.memory.applied.0 + self.records.len() as u64)
    }

    /// The memory with every held record applied: the completed prefix, of which nothing is pending.
    #[must_use]
    pub fn completed(&self) -> Memory {
        let mut memory = Memory::clone(&self.memory);
        for record in &self.records {
            memory.apply(record);
        }
        memory.abort_pending_compare();
        memory
    }
}

/// A plain PUT about a gang: a hint. What follows from it is decided by COMPARE-AND-WRITE, or ends the gang.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signal {
    /// The node that speaks.
    pub node: NodeIndex,
    /// The gang's life.
    pub run: GangRun,
    /// What has changed.
    pub signal: GangSignal,
}

/// What can change of a gang on one node. Later ones include the earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GangSignal {
    /// The supervisor is up with every rank blocked before its program; the payload is the node's entry of the peer table.
    Up(Payload),
    /// The ranks were released in an earlier term: proof that the gang's release was committed. The payload is as with
    /// [`Self::Up`].
    Released(Payload),
    /// Every rank exited with status 0.
    Exited,
    /// A rank or the supervisor failed; the local ranks are being killed.
    Failed(EndCause),
    /// No process of the gang is left.
    Gone,
}
