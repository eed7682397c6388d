//! What a gang needs next, from the plan, memory and the members' signals.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    message::{GangSignal, Signal},
    model::{Desire, EndCause, NodeIndex, NodeSet, PlannedGang},
    primitives::{Cell, Comparison, GangMemory, GangPhase, Payload},
};

/// What the members have signalled of one life of a gang. Hints: each is confirmed by a compare, or ends the gang.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Hints {
    pub(super) up: BTreeMap<NodeIndex, Payload>,
    released: bool,
    exited: NodeSet,
    gone: NodeSet,
    failed: Option<EndCause>,
}

/// What is to be numbered for a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Compare the cell with the gang's incarnation on the nodes; when it holds on all, the follow-up.
    Compare { set: NodeSet, cell: Cell, follow_up: FollowUp },
    /// Release without a compare: a member has proof that an earlier term committed it.
    ReleaseAgain,
    /// Hold or resume at the next boundary of an epoch.
    Hold,
    /// See [`Step::Hold`].
    Resume,
    /// End the ranks.
    End { cause: EndCause, grace: Duration },
    /// No node is left that could be asked.
    Ended,
}

/// What follows when a gang's compare holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FollowUp {
    /// All supervisors are up.
    Release,
    /// All ranks have exited, or no process is left.
    Ended,
}

impl Hints {
    pub(super) fn take(&mut self, signal: Signal) {
        match signal.signal {
            GangSignal::Up(entry) => {
                self.up.insert(signal.node, entry);
            }
            GangSignal::Released => self.released = true,
            GangSignal::Exited => self.exited.insert(signal.node),
            GangSignal::Failed(cause) => {
                self.failed.get_or_insert(cause);
            }
            GangSignal::Gone => self.gone.insert(signal.node),
        }
    }

    /// A node that has to be asked anew: its last compare did not hold, or it left the view.
    pub(super) fn doubt(&mut self, node: NodeIndex) {
        self.up.remove(&node);
        self.exited.remove(node);
        self.gone.remove(node);
    }
}

/// The next step of a gang, if any. Pure: the same state gives the same step until memory changes.
pub(super) fn next_step(planned: &PlannedGang, gang: &GangMemory, hints: &Hints, view: NodeSet, lost: NodeSet) -> Option<Step> {
    match gang.phase {
        GangPhase::Launching => end_wanted(planned, hints, lost, !hints.released)
            .or_else(|| pause_wanted(planned, gang))
            .or_else(|| launch(planned, hints, view)),
        GangPhase::Released => {
            end_wanted(planned, hints, lost, false).or_else(|| completion(planned, hints, view)).or_else(|| pause_wanted(planned, gang))
        }
        GangPhase::Ending(_) => ended(planned, hints, view, lost),
        GangPhase::Ended(_) => None,
    }
}

fn end_wanted(planned: &PlannedGang, hints: &Hints, lost: NodeSet, at_once: bool) -> Option<Step> {
    if let Some(cause) = hints.failed {
        return Some(Step::End { cause, grace: Duration::ZERO });
    }
    if let Some(node) = planned.nodes().intersection(lost).iter().next() {
        return Some(Step::End { cause: EndCause::NodeLost { node }, grace: Duration::ZERO });
    }
    match planned.desire {
        Desire::Terminate { grace } => Some(Step::End { cause: EndCause::Terminated, grace: if at_once { Duration::ZERO } else { grace } }),
        Desire::Run | Desire::Pause => None,
    }
}

fn pause_wanted(planned: &PlannedGang, gang: &GangMemory) -> Option<Step> {
    match (planned.desire, gang.held) {
        (Desire::Pause, false) => Some(Step::Hold),
        (Desire::Run, true) => Some(Step::Resume),
        (Desire::Pause, true) | (Desire::Run, false) | (Desire::Terminate { .. }, _) => None,
    }
}

fn launch(planned: &PlannedGang, hints: &Hints, view: NodeSet) -> Option<Step> {
    let nodes = planned.nodes();
    if hints.released {
        return Some(Step::ReleaseAgain);
    }
    let up: NodeSet = hints.up.keys().copied().collect();
    let all_up = nodes.is_subset(up) && nodes.is_subset(view) && planned.desire == Desire::Run;
    all_up.then_some(Step::Compare { set: nodes, cell: Cell::Up(planned.run.gang), follow_up: FollowUp::Release })
}

fn completion(planned: &PlannedGang, hints: &Hints, view: NodeSet) -> Option<Step> {
    let nodes = planned.nodes();
    let all_exited = nodes.is_subset(hints.exited) && nodes.is_subset(view);
    all_exited.then_some(Step::Compare { set: nodes, cell: Cell::Exited(planned.run.gang), follow_up: FollowUp::Ended })
}

fn ended(planned: &PlannedGang, hints: &Hints, view: NodeSet, lost: NodeSet) -> Option<Step> {
    let survivors = planned.nodes().difference(lost);
    if survivors.is_empty() {
        return Some(Step::Ended);
    }
    let all_gone = survivors.is_subset(hints.gone) && survivors.is_subset(view);
    all_gone.then_some(Step::Compare { set: survivors, cell: Cell::Gone(planned.run.gang), follow_up: FollowUp::Ended })
}

/// All of a gang's compares ask whether a cell has reached its incarnation.
pub(super) const GANG_COMPARISON: Comparison = Comparison::GreaterOrEqual;
