//! What callers and readers have seen, beside the machines, and the rules that it must obey. They are the invariants of
//! `docs/primitives.md`, section 4, as far as they can be seen from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use strobe_core::{
    model::{AgentIncarnation, RecordNumber, Term},
    primitives::{Memory, OperationId, Outcome},
};

use crate::{digested::Digested, meaning, model::FIRST, program::Program, state::index_of};

/// Generation and last record of a memory.
pub(crate) type Place = (u64, RecordNumber);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Observed {
    program: Program,
    /// The name of each of the program's operations, once it is called.
    pub(crate) operations: Vec<Option<OperationId>>,
    /// What its caller has heard of each.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// Where each was committed when its caller heard so, and of which term that caller was.
    committed: Vec<Option<(Term, Place)>>,
    /// Every memory that a reader has seen, as a change of term would leave it.
    pub(crate) memories: BTreeMap<Place, Digested<Memory>>,
    /// What the second term goes on from.
    pub(crate) prefix: Option<Digested<Memory>>,
    /// Lives that were told of an operation's block.
    puts: BTreeSet<(usize, AgentIncarnation, OperationId)>,
    /// The first rule that was broken.
    pub(crate) broken: Option<Rule>,
}

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    /// I1: memories with the same generation and number are equal.
    OneOrder,
    /// I6, I7: an operation has one outcome, in every memory and for its caller.
    OneOutcome,
    /// I6: every number belongs to one operation's record, and each operation has no more of them than it takes.
    EffectOnce,
    /// I2, I4: what a caller was told of as committed is in every memory that goes as far, and in the prefix of the later term.
    CommittedIsStable,
    /// I8, I10, I11: some order of a memory's committed operations gives their truths, its cells and its blocks, on all nodes.
    OneMeaning,
    /// I14: what one life of a caller asks for takes effect in the order in which it asks.
    ProgramOrder,
    /// I13: a life is told once of a block.
    OneEventAPut,
    /// Memory begins anew only where holders were lost.
    NothingLostWithoutCrash,
}

impl Observed {
    pub(crate) fn new(program: Program) -> Self {
        let count = program.calls.len();
        Self {
            program,
            operations: vec![None; count],
            outcomes: vec![None; count],
            committed: vec![None; count],
            memories: BTreeMap::new(),
            prefix: None,
            puts: BTreeSet::new(),
            broken: None,
        }
    }

    fn must(&mut self, holds: bool, rule: Rule) {
        if !holds {
            self.broken.get_or_insert(rule);
        }
    }

    /// The program's next operation of the caller has this name.
    pub(crate) fn called(&mut self, operation: OperationId) {
        let caller = operation.caller.node;
        let is_next = |place: &usize| self.operations[*place].is_none() && index_of(self.program.calls[*place].node) == caller;
        let place = (0..self.operations.len()).find(is_next).expect("the program has it");
        self.operations[place] = Some(operation);
    }

    /// What a memory says of each operation of the program.
    pub(crate) fn outcomes_in(&self, memory: &Memory) -> Vec<Option<Outcome>> {
        self.operations.iter().map(|operation| operation.and_then(|operation| memory.outcome(operation))).collect()
    }

    /// A caller hears what became of its operation, in the term that its member has promised; `memory` is what its node has applied.
    pub(crate) fn outcome_heard(&mut self, operation: OperationId, outcome: Outcome, term: Option<Term>, memory: Option<&Memory>) {
        let Some(place) = self.operations.iter().position(|known| *known == Some(operation)) else { return };
        self.must(self.outcomes[place].is_none(), Rule::OneOutcome);
        self.outcomes[place] = Some(outcome);
        if is_committed(outcome) {
            self.must(memory.is_some_and(|memory| memory.outcome(operation) == Some(outcome)), Rule::CommittedIsStable);
            self.committed[place] = term.zip(memory.map(place_of));
            for memory in self.memories.values().cloned().collect::<Vec<_>>() {
                self.has_committed(&memory, None);
            }
            if let Some(prefix) = self.prefix.clone() {
                self.has_committed(&prefix, Some(FIRST.0));
            }
        } else if matches!(outcome, Outcome::Aborted(_)) {
            let effective = self.memories.values().chain(&self.prefix).any(|memory| memory.outcome(operation).is_some_and(is_committed));
            self.must(!effective, Rule::OneOutcome);
        }
    }

    /// A memory has what its callers heard as committed, if it goes as far or is the prefix that follows on that term.
    fn has_committed(&mut self, memory: &Memory, follows: Option<Term>) {
        for place in 0..self.operations.len() {
            let Some(((term, (generation, number)), operation)) = self.committed[place].zip(self.operations[place]) else { continue };
            if memory.generation == generation && (memory.applied >= number || follows == Some(term)) {
                self.must(memory.outcome(operation) == self.outcomes[place], Rule::CommittedIsStable);
            }
        }
    }

    /// A manager has a prefix installed. Of the first term it is empty.
    pub(crate) fn installed(&mut self, term: Term, memory: &Arc<Memory>, crashed: bool) {
        if term == FIRST.0 || self.prefix.is_some() {
            return;
        }
        self.prefix = Some(Digested::new(settled(memory)));
        self.must(memory.generation == 1 || crashed, Rule::NothingLostWithoutCrash);
        self.has_committed(memory, Some(FIRST.0));
        self.is_explained(memory);
    }

    /// A reader's memory has changed.
    pub(crate) fn memory_seen(&mut self, memory: &Memory) {
        let settled = settled(memory);
        let known = self.memories.entry(place_of(memory)).or_insert_with(|| Digested::new(settled.clone()));
        let agrees = **known == settled;
        self.must(agrees, Rule::OneOrder);
        self.has_committed(memory, None);
        let heard = self.outcomes_in(memory);
        let contradicts = |(said, heard): (&Option<Outcome>, &Option<Outcome>)| {
            said.zip(*heard).is_some_and(|(said, heard)| said != heard && said != Outcome::Unknown && heard != Outcome::Unknown)
        };
        self.must(!heard.iter().zip(&self.outcomes).any(contradicts), Rule::OneOutcome);
        self.is_explained(memory);
        self.keeps_program_order();
    }

    fn is_explained(&mut self, memory: &Memory) {
        let outcomes = self.outcomes_in(memory);
        self.must(meaning::numbers_taken(&self.program, &self.operations, memory) == memory.applied.0, Rule::EffectOnce);
        self.must(meaning::explains(&self.program, &outcomes, memory), Rule::OneMeaning);
    }

    /// No memory lacks an operation that has a later one of its caller, and is followed by one that has it.
    fn keeps_program_order(&mut self) {
        let committed = |memory: &Memory, operation: OperationId| memory.outcome(operation).is_some_and(is_committed);
        let calls: Vec<OperationId> = self.operations.iter().flatten().copied().collect();
        let [first, second] = calls[..] else { return };
        if first.caller != second.caller {
            return;
        }
        let overtaken = self.memories.iter().find(|(_, memory)| committed(memory, second) && !committed(memory, first));
        let Some((&(generation, number), _)) = overtaken else { return };
        let later = self.memories.range((generation, number)..(generation + 1, RecordNumber(0)));
        let inverted = later.into_iter().any(|(_, memory)| committed(memory, first));
        self.must(!inverted, Rule::ProgramOrder);
    }

    /// A life is told of a block that was put into its memory.
    pub(crate) fn put(&mut self, node: usize, life: AgentIncarnation, operation: OperationId) {
        let first = self.puts.insert((node, life, operation));
        self.must(first, Rule::OneEventAPut);
    }
}

pub(crate) const fn is_committed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Committed { .. })
}

fn place_of(memory: &Memory) -> Place {
    (memory.generation, memory.applied)
}

/// The memory as a change of term would leave it: of two equal ones only one may know of a compare that was cut off.
fn settled(memory: &Memory) -> Memory {
    let mut settled = memory.clone();
    settled.abort_pending_compare();
    settled
}
