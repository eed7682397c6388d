//! What a memory must be, given the outcomes that it remembers: the operations taken one after the other, in some order.

use strobe_core::primitives::{Compare, Memory, OperationId, Outcome, Request, Xfer};

use crate::{
    observed::is_committed,
    program::{CELL, Call, Program},
    state::{NODES, index_of},
};

/// How many numbers the operations of a memory take: a compare has a result beside its own record, unless a change of term has cut it off.
pub(crate) fn numbers_taken(program: &Program, operations: &[Option<OperationId>], memory: &Memory) -> u64 {
    let numbers = |(call, operation): (&Call, &Option<OperationId>)| {
        let operation = (*operation)?;
        let is_pending = memory.pending_operation() == Some(operation);
        let outcome = memory.outcome(operation);
        match &call.request {
            Request::CompareAndWrite(_) if outcome.is_some_and(is_committed) => Some(2),
            Request::CompareAndWrite(_) => Some(u64::from(is_pending || outcome.is_some())),
            Request::Xfer(_) => Some(u64::from(outcome.is_some())),
        }
    };
    program.calls.iter().zip(operations).filter_map(numbers).sum()
}

/// True when some order of the committed operations, which is that of the program where they have one caller, gives the truths that
/// callers were told, the cells and the blocks.
pub(crate) fn explains(program: &Program, outcomes: &[Option<Outcome>], memory: &Memory) -> bool {
    let forward: Vec<usize> = (0..program.calls.len()).filter(|place| outcomes[*place].is_some_and(is_committed)).collect();
    let backward: Vec<usize> = forward.iter().copied().rev().collect();
    let in_order = |order: &[usize]| gives(program, outcomes, order, memory);
    in_order(&forward) || (!program.has_one_caller() && in_order(&backward))
}

fn gives(program: &Program, outcomes: &[Option<Outcome>], order: &[usize], memory: &Memory) -> bool {
    let mut cells = [0; NODES];
    let mut put = Vec::new();
    for &place in order {
        match &program.calls[place].request {
            Request::Xfer(xfer) => put.push(xfer),
            Request::CompareAndWrite(compare) => {
                let Some(truth) = truth_of(program, outcomes[place], compare, &cells) else { return false };
                if let (true, Some(write)) = (truth, compare.write) {
                    (0..NODES).filter(|node| compare.set.contains(index_of(*node))).for_each(|node| cells[node] = write.value);
                }
            }
        }
    }
    let cells_agree = (0..NODES).all(|node| memory.ordered_cell(index_of(node), CELL) == cells[node]);
    cells_agree && program.xfers().all(|xfer| is_where(memory, xfer, put.contains(&xfer)))
}

/// The compare's truth, when it is what the cells say. One that names a node on which it holds was not answered by that node, which had
/// left the view; so it may only where members are suspected.
fn truth_of(program: &Program, outcome: Option<Outcome>, compare: &Compare, cells: &[u64; NODES]) -> Option<bool> {
    let Some(Outcome::Committed { truth, first_failing }) = outcome else { return None };
    let fails = |node: &usize| compare.set.contains(index_of(*node)) && !compare.comparison.holds(cells[*node], compare.value);
    let names_one_that_fails = (0..NODES).filter(fails).any(|node| first_failing == Some(index_of(node)));
    let names_one_of_the_set = first_failing.is_some_and(|node| compare.set.contains(node));
    let is_true =
        if truth { !(0..NODES).any(|node| fails(&node)) } else { names_one_that_fails || (program.members_leave && names_one_of_the_set) };
    is_true.then_some(truth)
}

/// The block is readable on all nodes of its set and on no other, or on none.
fn is_where(memory: &Memory, xfer: &Xfer, put: bool) -> bool {
    (0..NODES).map(index_of).all(|node| {
        let region = memory.region(xfer.region, node);
        let is_readable = put && xfer.set.contains(node);
        region.map(|region| &region.content) == is_readable.then_some(&xfer.content)
    })
}
