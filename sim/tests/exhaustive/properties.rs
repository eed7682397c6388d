//! What has to hold in every state, and what has to be reached in some: rules are not to be kept by doing nothing.

use stateright::Property;
use strobe_core::primitives::{AbortReason, OperationId, Outcome};

use crate::{
    model::{Explored, SECOND},
    observed::{Rule, is_committed},
    state::{FIRST_LIFE, Node, State},
};

pub(crate) type Condition = fn(&Explored, &State) -> bool;

const RULES: [(&str, Condition); 8] = [
    ("one order", |_, state| state.observed.broken != Some(Rule::OneOrder)),
    ("one outcome", |_, state| state.observed.broken != Some(Rule::OneOutcome)),
    ("effect once", |_, state| state.observed.broken != Some(Rule::EffectOnce)),
    ("committed is stable", |_, state| state.observed.broken != Some(Rule::CommittedIsStable)),
    ("one meaning", |_, state| state.observed.broken != Some(Rule::OneMeaning)),
    ("program order", |_, state| state.observed.broken != Some(Rule::ProgramOrder)),
    ("one event a put", |_, state| state.observed.broken != Some(Rule::OneEventAPut)),
    ("nothing is lost without a crash", |_, state| state.observed.broken != Some(Rule::NothingLostWithoutCrash)),
];

const CHANGE_OF_TERM: [(&str, Condition); 4] = [
    ("what the first term had numbered is committed by the second", |_, state| {
        outcomes(state).any(|(heard, carried)| heard.is_none() && carried.is_some_and(is_committed))
    }),
    ("what the first term had not numbered is committed by the second", |_, state| {
        outcomes(state).any(|(heard, carried)| carried.is_none() && heard.is_some_and(is_committed)) && state.observed.prefix.is_some()
    }),
    ("the second term begins with two and admits the third later", |_, state| {
        let views = || state.nodes.iter().filter_map(|node| node.member.admitted()).filter(|fence| fence.term == SECOND.0);
        views().count() == 3 && views().all(|fence| fence.view.0 > 1)
    }),
    ("a set outside the view is refused", |_, state| is_heard(state, Outcome::Aborted(AbortReason::SetOutsideView))),
];

const CRASH: [(&str, Condition); 3] = [
    ("a new life is admitted", |_, state| state.nodes.iter().any(|node| node.life != FIRST_LIFE && node.member.admitted().is_some())),
    ("an operation is committed whose caller has crashed", |_, state| {
        let observed = &state.observed;
        orphans(state).any(|place| observed.memories.values().any(|memory| observed.outcomes_in(memory)[place].is_some_and(is_committed)))
    }),
    ("an operation is lost with its caller", |_, state| {
        let observed = &state.observed;
        let is_settled = state.is_quiet() && state.nodes.iter().all(|node| node.member.admitted().is_some());
        let is_nowhere = |place: usize| observed.memories.values().all(|memory| observed.outcomes_in(memory)[place].is_none());
        is_settled && orphans(state).any(is_nowhere)
    }),
];

const CRASH_AND_CHANGE_OF_TERM: [(&str, Condition); 3] = [
    ("too few know, and memory begins anew", |_, state| generation_of_second(state) == Some(SECOND.0.0)),
    ("a caller hears that nothing is known", |_, state| is_heard(state, Outcome::Unknown)),
    ("a crash leaves enough who know", |_, state| state.has_crashed() && generation_of_second(state) == Some(1)),
];

/// The rules, and what a case of these bounds has to come to.
pub(crate) fn of(explored: &Explored) -> Vec<Property<Explored>> {
    let (bounds, program) = (explored.bounds, &explored.program);
    let (changes, crashes) = (bounds.changes_of_term > 0, bounds.crashes > 0);
    let mut reached: Vec<(&'static str, Condition)> =
        vec![("all is committed in the first term", |_, state| is_all_committed(state) && !state.appointed)];
    reached.extend(CHANGE_OF_TERM.iter().filter(|_| changes));
    reached.extend(CRASH.iter().filter(|_| crashes));
    reached.extend(CRASH_AND_CHANGE_OF_TERM.iter().filter(|_| changes && crashes));
    if changes && program.has_compares() {
        reached.push(("the change of term aborts a compare", |_, state| is_heard(state, Outcome::Aborted(AbortReason::TermChanged))));
    }
    if bounds.suspicions > 0 {
        reached.push(("a view of two commits", |_, state| {
            let has_applied = |node: &&Node| node.member.memory().is_some_and(|memory| memory.applied.0 > 0);
            state.observed.outcomes.iter().flatten().copied().any(is_committed) && state.nodes.iter().filter(has_applied).count() == 2
        }));
    }
    let rules = rules().map(|(name, condition)| Property::always(name, condition));
    rules.chain(reached.into_iter().map(|(name, condition)| Property::sometimes(name, condition))).collect()
}

pub(crate) fn rules() -> impl Iterator<Item = (&'static str, Condition)> {
    RULES.iter().copied()
}

fn is_all_committed(state: &State) -> bool {
    state.observed.outcomes.iter().all(|outcome| outcome.is_some_and(is_committed))
}

fn is_heard(state: &State, outcome: Outcome) -> bool {
    state.observed.outcomes.contains(&Some(outcome))
}

fn generation_of_second(state: &State) -> Option<u64> {
    state.observed.prefix.as_ref().map(|prefix| prefix.generation)
}

/// What was heard of each operation, and what the second term's prefix says of it.
fn outcomes(state: &State) -> impl Iterator<Item = (Option<Outcome>, Option<Outcome>)> {
    let carried = state.observed.prefix.as_ref().map(|prefix| state.observed.outcomes_in(prefix)).unwrap_or_default();
    let heard = state.observed.outcomes.clone();
    heard.into_iter().zip(carried)
}

/// Operations without an outcome whose caller is gone.
fn orphans(state: &State) -> impl Iterator<Item = usize> {
    let is_gone = |operation: &OperationId| state.nodes[usize::from(operation.caller.node.0)].life != operation.caller.incarnation;
    let operations = state.observed.operations.iter().zip(&state.observed.outcomes).enumerate();
    operations.filter(move |(_, (operation, heard))| heard.is_none() && operation.as_ref().is_some_and(is_gone)).map(|(place, _)| place)
}
