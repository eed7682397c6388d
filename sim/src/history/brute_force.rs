//! Is there any order that explains a short history? All are tried.

use std::collections::{BTreeMap, BTreeSet};

use strobe_core::{
    model::NodeSet,
    primitives::{OperationId, Outcome, Request},
};

use super::{Call, Specification, is_true_to};

/// Operations of a history that is tried: their orders are at most 40,320.
pub(super) const OPERATIONS_MAX: usize = 8;

/// An operation that may have taken effect.
struct Candidate<'history> {
    operation: OperationId,
    call: &'history Call,
    /// It has taken effect.
    must: bool,
}

/// True when some order of all that was committed, and of some of what has an unknown outcome, gives every outcome and leaves `last` behind.
pub(super) fn explains(calls: &BTreeMap<OperationId, Call>, left: NodeSet, last: &Specification) -> bool {
    let candidates: Vec<_> = calls
        .iter()
        .filter(|(_, call)| !matches!(call.returned, Some((_, Outcome::Aborted(_)))))
        .map(|(operation, call)| {
            let must = matches!(call.returned, Some((_, Outcome::Committed { .. })));
            Candidate { operation: *operation, call, must }
        })
        .collect();
    let search = Search { candidates, left, last };
    search.goes_on(&mut BTreeSet::new(), 0, &Specification::default())
}

struct Search<'history> {
    candidates: Vec<Candidate<'history>>,
    left: NodeSet,
    last: &'history Specification,
}

impl Search<'_> {
    /// From a state, when those of the bits `taken` have taken effect. What once led nowhere is not tried again.
    fn goes_on(&self, in_vain: &mut BTreeSet<(u32, Specification)>, taken: u32, state: &Specification) -> bool {
        let is_taken = |index: usize| taken & 1 << index != 0;
        let all_done = self.candidates.iter().enumerate().all(|(index, candidate)| is_taken(index) || !candidate.must);
        if all_done && state == self.last {
            return true;
        }
        if in_vain.contains(&(taken, state.clone())) {
            return false;
        }
        let found = (0..self.candidates.len()).filter(|index| !is_taken(*index) && self.may_be_next(*index, taken)).any(|index| {
            let after = self.after(&self.candidates[index], state);
            after.is_some_and(|after| self.goes_on(in_vain, taken | 1 << index, &after))
        });
        if !found {
            in_vain.insert((taken, state.clone()));
        }
        found
    }

    /// Nothing that has to stand before it is still to come; what its caller has asked for later has not taken effect.
    fn may_be_next(&self, next: usize, taken: u32) -> bool {
        let next = &self.candidates[next];
        self.candidates.iter().enumerate().all(|(index, other)| {
            let is_taken = taken & 1 << index != 0;
            let same_caller = other.operation.caller == next.operation.caller;
            let is_later = same_caller && other.operation.sequence > next.operation.sequence;
            let is_earlier = same_caller && other.operation.sequence < next.operation.sequence;
            let returned_before = other.call.returned.is_some_and(|(returned, _)| returned < next.call.called);
            !(is_taken && is_later) && (is_taken || !other.must || !(is_earlier || returned_before))
        })
    }

    /// The state after it; none when it would not have had its outcome there.
    fn after(&self, candidate: &Candidate<'_>, state: &Specification) -> Option<Specification> {
        let mut after = state.clone();
        match &candidate.call.request {
            Request::Xfer(xfer) => after.put(candidate.operation, xfer),
            Request::CompareAndWrite(compare) => {
                let fails = state.fails_on(compare)?;
                let truth = match candidate.call.returned {
                    Some((_, Outcome::Committed { truth, first_failing })) => {
                        is_true_to(fails, self.left, truth, first_failing).then_some(truth)?
                    }
                    Some((_, Outcome::Aborted(_) | Outcome::Unknown)) | None => fails.is_empty(),
                };
                after.write(compare, truth);
            }
        }
        Some(after)
    }
}
