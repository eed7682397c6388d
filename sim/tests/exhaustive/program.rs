//! What is asked for: at most two operations.

use strobe_core::{
    model::{NodeIndex, NodeSet},
    primitives::{Cell, Compare, Comparison, Content, Payload, RegionName, Request, Write, Xfer},
};

use crate::state::index_of;

/// The one ordered cell that is compared and written.
pub(crate) const CELL: u32 = 0;

/// Operations in the order in which they are asked for where they are of one caller; otherwise in any order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub(crate) calls: Vec<Call>,
    /// True where members may leave a view: then a compare may be false for one that was not asked.
    pub(crate) members_leave: bool,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) node: usize,
    pub(crate) request: Request,
}

impl Program {
    fn of(calls: Vec<Call>) -> Self {
        Self { calls, members_leave: false }
    }

    /// One node compares and writes, another puts a block on all.
    pub(crate) fn compare_and_put() -> Self {
        Self::of(vec![compare_and_write(1, 0, 1), put(2)])
    }

    /// Two nodes write different values on the same condition.
    pub(crate) fn conflicting_compares() -> Self {
        Self::of(vec![compare_and_write(1, 0, 1), compare_and_write(2, 0, 2)])
    }

    /// One node puts a block, then compares and writes.
    pub(crate) fn one_caller() -> Self {
        Self::of(vec![put(2), compare_and_write(2, 0, 1)])
    }

    pub(crate) fn has_one_caller(&self) -> bool {
        self.calls.iter().all(|call| call.node == self.calls[0].node)
    }

    pub(crate) fn has_compares(&self) -> bool {
        self.calls.iter().any(|call| matches!(call.request, Request::CompareAndWrite(_)))
    }

    pub(crate) fn xfers(&self) -> impl Iterator<Item = &Xfer> {
        self.calls.iter().filter_map(|call| if let Request::Xfer(xfer) = &call.request { Some(xfer) } else { None })
    }

    /// One operation alone.
    pub(crate) fn put_alone() -> Self {
        Self::of(vec![put(2)])
    }

    /// One operation alone.
    pub(crate) fn compare_alone() -> Self {
        Self::of(vec![compare_and_write(2, 0, 1)])
    }
}

/// `cell == value` on all nodes; if so, another value.
fn compare_and_write(node: usize, value: u64, written: u64) -> Call {
    let compare = Compare {
        set: nodes([0, 1, 2]),
        cell: Cell::Ordered(CELL),
        comparison: Comparison::Equal,
        value,
        write: Some(Write { cell: CELL, value: written }),
    };
    Call { node, request: Request::CompareAndWrite(compare) }
}

/// A block on nodes 0 and 1.
fn put(node: usize) -> Call {
    let xfer = Xfer { region: RegionName::of_node(index_of(node), 0), set: nodes([0, 1]), content: Content::Inline(Payload::new([7])) };
    Call { node, request: Request::Xfer(xfer) }
}

fn nodes<const COUNT: usize>(nodes: [u16; COUNT]) -> NodeSet {
    nodes.into_iter().map(NodeIndex).collect()
}
