//! What callers asked for and heard, beside the records that the nodes applied: one order has to explain all of it.
//!
//! The numbers of the records are the witness of that order, so that it is checked in linear time. Of a short history `brute_force` asks
//! whether any order would explain it, without a witness: it is the check's own check.
//!
//! | what is checked | means |
//! |---|---|
//! | real time | what was committed before another operation was called stands before it |
//! | program order | what one life of a caller asks for takes effect in the order in which it asks |
//! | meaning | a record is what was called, and its caller hears what it says; a compare has the truth, and memory has the cells and nodes' blocks, that the records before it make one after the other |
//!
//! Records that no node applied one by one, because they came folded into a whole memory, are not known here. The check goes on from what
//! was seen of that memory.

mod brute_force;
mod specification;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use strobe_core::{
    model::{NodeIndex, NodeSet, RecordNumber},
    primitives::{Compare, CompareResult, Memory, OperationId, Outcome, Record, Request},
};

use crate::invariants::Violation;
pub(crate) use specification::{CELLS, Specification};

/// Generation and number of a record.
pub(crate) type Place = (u64, RecordNumber);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    calls: BTreeMap<OperationId, Call>,
    /// Calls and returns in the order in which they happened.
    events: Vec<CallEvent>,
    /// What readers saw of memory, by what they had applied.
    sights: BTreeMap<Place, Specification>,
    /// Nodes that left a view: a compare fails on them, whatever they hold.
    left: NodeSet,
}

/// One operation.
#[derive(Debug, Clone)]
struct Call {
    request: Request,
    /// Its place among the events.
    called: usize,
    returned: Option<(usize, Outcome)>,
}

#[derive(Debug, Clone, Copy)]
enum CallEvent {
    Called(OperationId),
    Returned(OperationId),
}

impl History {
    pub(crate) fn called(&mut self, operation: OperationId, request: Request) {
        self.calls.insert(operation, Call { request, called: self.events.len(), returned: None });
        self.events.push(CallEvent::Called(operation));
    }

    pub(crate) fn returned(&mut self, operation: OperationId, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&operation) else { return };
        call.returned = Some((self.events.len(), outcome));
        self.events.push(CallEvent::Returned(operation));
    }

    pub(crate) fn left(&mut self, node: NodeIndex) {
        self.left.insert(node);
    }

    /// A member's memory was looked at, for the first time at its place.
    pub(crate) fn seen(&mut self, memory: &Memory, nodes: usize) {
        if !self.calls.is_empty() {
            let place = (memory.generation, memory.applied);
            self.sights.entry(place).or_insert_with(|| Specification::of(memory, nodes));
        }
    }

    /// An operation of a caller that nobody has answered.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = OperationId> {
        self.calls.iter().filter(|(_, call)| call.returned.is_none()).map(|(operation, _)| *operation)
    }

    /// How many operations were called.
    pub(crate) fn operations(&self) -> usize {
        self.calls.len()
    }

    /// Whether the records explain what was heard and seen. True when every order was tried too.
    pub(crate) fn check(&self, records: &BTreeMap<Place, Arc<Record>>) -> Result<bool, Violation> {
        if self.calls.is_empty() {
            return Ok(false);
        }
        let effects = self.replay(records)?;
        self.in_program_order(&effects)?;
        self.in_real_time(&effects)?;
        self.has_any_order()
    }

    /// Takes the records one after the other. Gives the place at which each operation took effect.
    fn replay(&self, records: &BTreeMap<Place, Arc<Record>>) -> Result<BTreeMap<OperationId, Place>, Violation> {
        let mut effects = BTreeMap::new();
        // What the records up to that place make, where that is known.
        let mut state: Option<(Place, Specification)> = None;
        let mut compare: Option<(Place, Option<OperationId>, &Compare)> = None;
        for (&place, record) in records {
            let before = (place.0, RecordNumber(place.1.0.saturating_sub(1)));
            let earlier = state.take().filter(|(at, _)| *at == before).map(|(_, made)| made);
            let mut made = earlier.or_else(|| self.sights.get(&before).cloned());
            match &**record {
                Record::Xfer { operation, xfer } => {
                    self.is_what_was_called(*operation, &Request::Xfer(xfer.clone()), true)?;
                    effects.insert(*operation, place);
                    made.iter_mut().for_each(|made| made.put(*operation, xfer));
                }
                Record::Compare { operation, compare: asked } => compare = Some((place, *operation, asked)),
                Record::CompareResult(result) => {
                    let of = (place.0, result.compare);
                    let Some((at, operation, asked)) = compare.take().filter(|(at, _, _)| *at == of) else { continue };
                    if let Some(operation) = operation {
                        self.is_what_was_called(operation, &Request::CompareAndWrite(asked.clone()), result.truth)?;
                        effects.insert(operation, at);
                    }
                    if let Some(made) = &mut made {
                        self.means(place, asked, result, made)?;
                        made.write(asked, result.truth);
                    }
                }
                Record::Plan(_) | Record::Gang(_) => {}
            }
            if let (Some(made), Some(seen)) = (&made, self.sights.get(&place))
                && made != seen
            {
                let detail = format!("the records up to {} of generation {} make {made:?}, and {seen:?} was seen", place.1, place.0);
                return Err(Violation::new("one meaning", detail));
            }
            state = made.map(|made| (place, made));
        }
        Ok(effects)
    }

    /// An operation's record has what its caller asked for, and its caller heard the truth that the record has.
    fn is_what_was_called(&self, operation: OperationId, request: &Request, truth: bool) -> Result<(), Violation> {
        let Some(call) = self.calls.get(&operation) else { return Ok(()) };
        let heard = match call.returned {
            Some((_, Outcome::Committed { truth, .. })) => truth,
            Some((_, Outcome::Aborted(_) | Outcome::Unknown)) | None => truth,
        };
        if call.request == *request && heard == truth {
            return Ok(());
        }
        Err(Violation::new("one meaning", format!("{operation:?} is {request:?} with {truth} in the order, and was {call:?}")))
    }

    /// A result is what the cells say at its place.
    fn means(&self, place: Place, asked: &Compare, result: &CompareResult, made: &Specification) -> Result<(), Violation> {
        let Some(fails) = made.fails_on(asked) else { return Ok(()) };
        if is_true_to(fails, self.left, result.truth, result.first_failing) {
            return Ok(());
        }
        let detail = format!("record {} of generation {} says {result:?} of {asked:?}, which fails on {fails:?}", place.1, place.0);
        Err(Violation::new("one meaning", detail))
    }

    fn in_program_order(&self, effects: &BTreeMap<OperationId, Place>) -> Result<(), Violation> {
        let placed: Vec<_> = effects.iter().collect();
        let inverted =
            placed.windows(2).find(|pair| pair[0].0.caller == pair[1].0.caller && pair[0].1 > pair[1].1).map(|pair| (pair[0], pair[1]));
        match inverted {
            Some((first, second)) => {
                Err(Violation::new("program order", format!("{:?} stands at {:?}, and {:?} at {:?}", first.0, first.1, second.0, second.1)))
            }
            None => Ok(()),
        }
    }

    fn in_real_time(&self, effects: &BTreeMap<OperationId, Place>) -> Result<(), Violation> {
        let mut newest: Option<(Place, OperationId)> = None;
        for event in &self.events {
            match event {
                CallEvent::Returned(operation) => {
                    let committed = matches!(self.calls[operation].returned, Some((_, Outcome::Committed { .. })));
                    let place = effects.get(operation).filter(|_| committed).map(|place| (*place, *operation));
                    newest = newest.max(place);
                }
                CallEvent::Called(operation) => {
                    let Some((place, (before, earlier))) = effects.get(operation).zip(newest) else { continue };
                    if *place < before {
                        let detail =
                            format!("{earlier:?} was committed at {before:?} before {operation:?} was called, which stands at {place:?}");
                        return Err(Violation::new("real time", detail));
                    }
                }
            }
        }
        Ok(())
    }

    /// Of a short history within one generation: some order explains it.
    fn has_any_order(&self) -> Result<bool, Violation> {
        let generations = BTreeSet::from_iter(self.sights.keys().map(|(generation, _)| generation));
        let is_short = self.calls.len() <= brute_force::OPERATIONS_MAX && generations.len() == 1;
        let Some((_, last)) = self.sights.last_key_value().filter(|_| is_short) else { return Ok(false) };
        if brute_force::explains(&self.calls, self.left, last) {
            return Ok(true);
        }
        Err(Violation::new("some order", format!("no order explains {:?}, after which {last:?} was seen", self.calls)))
    }
}

/// True for the result of a compare that fails on those nodes: it names one of them, whichever was heard of first, or one that left the view
/// and could not be asked.
fn is_true_to(fails: NodeSet, left: NodeSet, truth: bool, failing: Option<NodeIndex>) -> bool {
    match failing {
        Some(node) => !truth && (fails.contains(node) || left.contains(node)),
        None => truth && fails.is_empty(),
    }
}

#[cfg(test)]
mod tests;
