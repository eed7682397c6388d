//! Global memory: the fold of the applied records. The same on every node that has applied the same prefix.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    AbortReason, Compare, CompareResult, Content, GangCommand, GangVerb, OperationId, Outcome, Payload, Record, RegionName, RegionOwner,
    Write, Xfer,
};
use crate::{
    limits::{MEMORY_BYTES_MAX, NODE_REGIONS_MAX, OUTCOMES_PER_NODE_MAX, STAGED_BYTES_MAX},
    model::{EndCause, GangId, GangRun, Instant, NodeIncarnation, NodeIndex, NodeSet, Plan, RecordNumber, Term},
};

/// The state that every member of a view shares.
///
/// *Invariant:* a function of the applied records alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Generation: the term in which memory began empty, at first or because too many holders were lost.
    pub generation: u64,
    /// The last applied record.
    pub applied: RecordNumber,
    /// The newest plan.
    pub plan: Arc<Plan>,
    gangs: BTreeMap<GangId, GangMemory>,
    regions: BTreeMap<RegionName, Region>,
    ordered_cells: BTreeMap<(NodeIndex, u32), u64>,
    outcomes: BTreeMap<NodeIncarnation, CallerOutcomes>,
    pending_compare: Option<(RecordNumber, Option<OperationId>, Compare)>,
}

/// A block of global memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Region {
    /// The nodes that may read it.
    pub set: NodeSet,
    /// What has put it.
    pub operation: OperationId,
    /// What was put.
    pub content: Content,
}

/// What memory holds of one gang of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GangMemory {
    /// The gang's life.
    pub run: GangRun,
    /// Where it stands.
    pub phase: GangPhase,
    /// True while it is held by a pause.
    pub held: bool,
    /// The term and the instant of its last release, hold or resume.
    pub effective: (Term, Instant),
    /// Each node's entry of the peer table, once released, in the order of the placement.
    pub peers: Vec<Payload>,
    /// Time between SIGTERM and SIGKILL while it is being ended.
    pub grace: Duration,
}

/// Where a gang's life stands in global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GangPhase {
    /// No rank runs: not all supervisors are known to be up.
    Launching,
    /// The ranks may run.
    Released,
    /// The ranks are being ended.
    Ending(EndCause),
    /// No process of it is left.
    Ended(EndCause),
}

/// The outcomes of one caller's operations that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
struct CallerOutcomes {
    /// Outcomes of operations up to this one may have been forgotten.
    forgotten: u64,
    outcomes: BTreeMap<u64, Outcome>,
}

/// What the application of one record changed, for the member's and the manager's own use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Applied {
    /// A plan was replaced.
    Plan,
    /// A gang was commanded.
    Gang(GangCommand),
    /// A block was put on these nodes: their remote event.
    Put {
        /// The block's name.
        region: RegionName,
        /// The nodes.
        set: NodeSet,
    },
    /// Each node of the set shall take its part of this compare.
    Compare(Compare),
    /// A compare has its result.
    Compared(CompareResult),
}

impl Memory {
    /// The memory of a new generation: empty.
    #[must_use]
    pub fn empty(generation: u64, applied: RecordNumber) -> Self {
        Self { generation, applied, ..Self::default() }
    }

    /// The gangs of the plan, sorted by gang.
    pub fn gangs(&self) -> impl Iterator<Item = &GangMemory> {
        self.gangs.values()
    }

    /// One life of a gang.
    #[must_use]
    pub fn gang(&self, run: GangRun) -> Option<&GangMemory> {
        self.gangs.get(&run.gang).filter(|gang| gang.run == run)
    }

    /// The block of that name, as `node` may read it.
    #[must_use]
    pub fn region(&self, name: RegionName, node: NodeIndex) -> Option<&Region> {
        self.regions.get(&name).filter(|region| region.set.contains(node))
    }

    /// The blocks that `node` may read.
    pub fn regions(&self, node: NodeIndex) -> impl Iterator<Item = (RegionName, &Region)> {
        self.regions.iter().filter(move |(_, region)| region.set.contains(node)).map(|(name, region)| (*name, region))
    }

    /// The ordered cell of a node; zero until written.
    #[must_use]
    pub fn ordered_cell(&self, node: NodeIndex, cell: u32) -> u64 {
        self.ordered_cells.get(&(node, cell)).copied().unwrap_or(0)
    }

    /// The compare that has no result yet.
    #[must_use]
    pub fn pending_compare(&self) -> Option<(RecordNumber, &Compare)> {
        self.pending_compare.as_ref().map(|(number, _, compare)| (*number, compare))
    }

    /// The caller's name of the compare that has no result yet.
    #[must_use]
    pub fn pending_operation(&self) -> Option<OperationId> {
        self.pending_compare.as_ref().and_then(|(_, operation, _)| *operation)
    }

    /// What became of an operation, or none when it has not been applied.
    #[must_use]
    pub fn outcome(&self, operation: OperationId) -> Option<Outcome> {
        let caller = self.outcomes.get(&operation.caller)?;
        match caller.outcomes.get(&operation.sequence) {
            Some(outcome) => Some(*outcome),
            None => (operation.sequence <= caller.forgotten).then_some(Outcome::Unknown),
        }
    }

    /// True when a later operation of its caller has an outcome.
    #[must_use]
    pub fn is_overtaken(&self, operation: OperationId) -> bool {
        let caller = self.outcomes.get(&operation.caller);
        caller.is_some_and(|caller| caller.outcomes.last_key_value().is_some_and(|(last, _)| *last > operation.sequence))
    }

    /// True when that fits under that name, beside blocks of `open` bytes that are on their way.
    #[must_use]
    pub fn has_room(&self, name: RegionName, content: &Content, open: u64) -> bool {
        if matches!(name.owner, RegionOwner::Node(_)) && name.number >= NODE_REGIONS_MAX {
            return false;
        }
        let others = || self.regions.iter().filter(|(other, _)| **other != name).map(|(_, region)| &region.content);
        match content {
            Content::Inline(_) => others().map(Content::inline_bytes).sum::<usize>() + content.inline_bytes() <= MEMORY_BYTES_MAX,
            // What is replaced counts too: it is readable until the record is stable.
            Content::Staged(block) => {
                self.regions.values().map(|region| region.content.staged_bytes()).sum::<u64>() + open + block.length <= STAGED_BYTES_MAX
            }
        }
    }

    /// Aborts the compare that a term change left without a result.
    pub fn abort_pending_compare(&mut self) {
        if let Some((_, Some(operation), _)) = self.pending_compare.take() {
            self.remember(operation, Outcome::Aborted(AbortReason::TermChanged));
        }
    }

    /// Applies the record with the next number.
    pub fn apply(&mut self, record: &Record) -> Applied {
        self.applied = self.applied.next();
        match record {
            Record::Plan(plan) => self.apply_plan(plan),
            Record::Gang(command) => self.apply_command(command),
            Record::Xfer { operation, xfer } => self.apply_xfer(*operation, xfer),
            Record::Compare { operation, compare } => {
                self.pending_compare = Some((self.applied, *operation, compare.clone()));
                Applied::Compare(compare.clone())
            }
            Record::CompareResult(result) => self.apply_result(result),
        }
    }

    fn apply_plan(&mut self, plan: &Arc<Plan>) -> Applied {
        let earlier = std::mem::take(&mut self.gangs);
        self.gangs = plan
            .gangs
            .iter()
            .map(|planned| {
                let known = earlier.get(&planned.run.gang).filter(|gang| gang.run == planned.run);
                (planned.run.gang, known.cloned().unwrap_or_else(|| GangMemory::launching(planned.run)))
            })
            .collect();
        let gangs = &self.gangs;
        self.regions.retain(|name, _| match name.owner {
            RegionOwner::Gang(run) => gangs.get(&run.gang).is_some_and(|gang| gang.run == run),
            RegionOwner::Node(_) => true,
        });
        self.plan = Arc::clone(plan);
        Applied::Plan
    }

    fn apply_command(&mut self, command: &GangCommand) -> Applied {
        if let Some(gang) = self.gangs.get_mut(&command.run.gang).filter(|gang| gang.run == command.run) {
            gang.apply(&command.verb);
        }
        Applied::Gang(command.clone())
    }

    fn apply_xfer(&mut self, operation: OperationId, xfer: &Xfer) -> Applied {
        self.regions.insert(xfer.region, Region { set: xfer.set, operation, content: xfer.content.clone() });
        self.remember(operation, Outcome::Committed { truth: true, first_failing: None });
        Applied::Put { region: xfer.region, set: xfer.set }
    }

    fn apply_result(&mut self, result: &CompareResult) -> Applied {
        let (_, operation, compare) = self
            .pending_compare
            .take()
            .filter(|(number, _, _)| *number == result.compare)
            .expect("a manager numbers a result directly after its compare");
        if let (true, Some(Write { cell, value })) = (result.truth, compare.write) {
            for node in compare.set.iter() {
                self.ordered_cells.insert((node, cell), value);
            }
        }
        if let Some(command) = &result.command {
            self.apply_command(command);
        }
        if let Some(operation) = operation {
            self.remember(operation, Outcome::Committed { truth: result.truth, first_failing: result.first_failing });
        }
        Applied::Compared(result.clone())
    }

    fn remember(&mut self, operation: OperationId, outcome: Outcome) {
        let caller = self.outcomes.entry(operation.caller).or_default();
        caller.outcomes.insert(operation.sequence, outcome);
        while caller.outcomes.len() > OUTCOMES_PER_NODE_MAX {
            let (forgotten, _) = caller.outcomes.pop_first().expect("more than none are remembered");
            caller.forgotten = forgotten;
        }
        let node = operation.caller.node;
        self.outcomes.retain(|caller, _| caller.node != node || *caller >= operation.caller);
    }
}

impl GangMemory {
    const fn launching(run: GangRun) -> Self {
        Self {
            run,
            phase: GangPhase::Launching,
            held: false,
            effective: (Term(0), Instant::ORIGIN),
            peers: Vec::new(),
            grace: Duration::ZERO,
        }
    }

    /// True when its rows are worth a quantum.
    #[must_use]
    pub const fn runs(&self) -> bool {
        match self.phase {
            GangPhase::Released => !self.held,
            GangPhase::Ending(_) => true,
            GangPhase::Launching | GangPhase::Ended(_) => false,
        }
    }

    /// A command that the phase does not allow changes nothing: commands of an earlier manager may be repeated.
    fn apply(&mut self, verb: &GangVerb) {
        match (self.phase, verb) {
            (GangPhase::Launching, GangVerb::Release { term, at, peers }) => {
                self.phase = GangPhase::Released;
                self.effective = (*term, *at);
                self.peers.clone_from(peers);
            }
            (GangPhase::Launching | GangPhase::Released, GangVerb::Hold { term, at }) => (self.held, self.effective) = (true, (*term, *at)),
            (GangPhase::Launching | GangPhase::Released, GangVerb::Resume { term, at }) => {
                (self.held, self.effective) = (false, (*term, *at));
            }
            (GangPhase::Launching | GangPhase::Released, GangVerb::End { cause, grace }) => {
                (self.phase, self.held, self.grace) = (GangPhase::Ending(*cause), false, *grace);
            }
            (GangPhase::Ending(cause), GangVerb::Ended) => self.phase = GangPhase::Ended(cause),
            (GangPhase::Launching | GangPhase::Released, GangVerb::Ended) => self.phase = GangPhase::Ended(EndCause::Completed),
            (GangPhase::Released | GangPhase::Ending(_) | GangPhase::Ended(_), GangVerb::Release { .. })
            | (GangPhase::Ending(_) | GangPhase::Ended(_), GangVerb::Hold { .. } | GangVerb::Resume { .. } | GangVerb::End { .. })
            | (GangPhase::Ended(_), GangVerb::Ended) => {}
        }
    }
}
