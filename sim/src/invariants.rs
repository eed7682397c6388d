//! What must hold after every step, by name, and what has to be remembered to see it.
//!
//! | name | holds |
//! |---|---|
//! | `one row` | on one node that switches, of two gangs that share a CPU the agent never has both commanded thawed while Strobed |
//! | `the kernel shares` | under the policy `Kernel` a gang that has run is frozen only while its hold is in effect |
//! | `one gang a slot` | a plan gives no CPU of a row twice, and every rank its CPUs, which its node has |
//! | `no stale fence` | after its node answered a seal an agent executes, holds, applies and answers nothing of a lower term |
//! | `old links are closed` | after its node answered a seal an agent gets no frame of a lower term's link |
//! | `one manager strobes` | once a higher term has strobed, a lower one strobes for `suspicion` at most |
//! | `epochs grow` | in one life an agent executes epochs in growing (term, epoch) order, over its lives in growing order of terms |
//! | `released when all are up` | no rank is let go before every supervisor of its gang has been up |
//! | `peers are known` | ranks begin with the peer entries of all nodes of their gang |
//! | `one life of a gang` | no process of a gang's life begins while one of another life lives |
//! | `known dead` | a run that is taken for dead has no living rank |
//! | `held gangs stay frozen` | a gang whose hold is in effect does not run |
//! | `failed gangs end` | after a rank failed every rank of its gang ends within 100 ms, while there was no fault at all |
//! | `one end` | a job that has ended stays so, and is complete only when every rank exited with 0 |
//! | `deadlines` | a job fails for its active deadline when it has held slots for so long, never before, and is not run again |
//! | `cordon` | no gang is placed on a node of which the operator has heard that it takes none |
//! | `one order` | records and memories agree by number within a generation, and what was applied stays applied |
//! | `one outcome` | an operation's outcome never changes, it takes effect once, and not at all when it was aborted |
//! | `committed is stable` | who hears that an operation is committed finds its effect in the memory of its own node |
//! | `no reader sees part of a block` | what memory lets a node read of a block beside the order is there, and whole |
//! | `one meaning` | a compare has the truth, and memory the cells and blocks, that the records before it make one after the other |
//! | `program order` | what one life of a caller asks for takes effect in the order in which it asks |
//! | `real time` | what is called after another operation was committed takes effect after it |
//! | `some order` | of a short history: one of all orders explains what was heard and seen |
//! | `one event a put` | every life of an agent is told once of each block that an XFER put into its node's memory |
//! | `progress` | once everything is healed every job ends, every agent follows the strobe, and every caller has heard of its operations |
//! | `no panic` | no machine panics |
//! | `same trace` | a scenario that is run twice gives the same trace |

mod commands;
mod deadlines;
mod gangs;
mod order;
mod plans;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use strobe_core::{
    model::{AgentIncarnation, Epoch, GangId, GangRun, GangState, MatrixVersion, NodeIndex, RankIndex, RecordNumber, Term},
    primitives::{Content, OperationId, Outcome, Record, RegionName},
};

use crate::{clock::Moment, history::History};

use deadlines::Tenure;
pub(crate) use gangs::share_no_cpu;

/// An invariant that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{invariant}` at {} ms: {detail}", at.0 / 1_000_000)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// When, in virtual time.
    pub at: Moment,
}

/// What was seen of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The highest seal that each node's agents have answered.
    answered: Vec<Term>,
    /// The last epoch that each node executed, in which life.
    executed: Vec<Option<(AgentIncarnation, Term, Epoch)>>,
    /// When each term strobed first.
    strobed: BTreeMap<Term, Moment>,
    /// Records that each node's member was sent in its present term.
    appended: Vec<BTreeMap<RecordNumber, Arc<Record>>>,
    /// Hashes of memory, by generation and number.
    memories: BTreeMap<(u64, RecordNumber), u64>,
    /// Memories are not compared: a bug that alters them has to show by what it leads to.
    pub(crate) without_hashes: bool,
    /// Applied records, by generation and number.
    records: BTreeMap<(u64, RecordNumber), Arc<Record>>,
    /// Where each operation took effect.
    effects: BTreeMap<OperationId, (u64, RecordNumber)>,
    /// Operations that took effect: an XFER by its record, a compare by its result.
    effective: BTreeSet<OperationId>,
    outcomes: BTreeMap<OperationId, Outcome>,
    pub(crate) history: History,
    /// The members of each term's newest view.
    views: BTreeMap<Term, BTreeSet<NodeIndex>>,
    /// Blocks of which each life of a node's agent was told.
    puts: Vec<BTreeSet<(AgentIncarnation, RegionName, Content)>>,
    up: BTreeSet<(GangRun, NodeIndex)>,
    exited: BTreeSet<(GangRun, RankIndex)>,
    /// When a rank of each run failed first.
    failed: BTreeMap<GangRun, Moment>,
    ended: BTreeMap<GangId, GangState>,
    /// How long each job has held slots.
    tenures: BTreeMap<GangId, Tenure>,
    /// The last plan that was looked at.
    plan: MatrixVersion,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, detail: String) -> Self {
        Self { invariant, detail, at: Moment::default() }
    }
}

impl Ledger {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            answered: vec![Term(0); nodes],
            executed: vec![None; nodes],
            appended: vec![BTreeMap::new(); nodes],
            puts: vec![BTreeSet::new(); nodes],
            ..Self::default()
        }
    }
}
