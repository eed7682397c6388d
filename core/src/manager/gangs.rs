//! What a gang needs next, from the plan, memory and the members' signals.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    message::{GangSignal, Signal},
    model::{Desire, EndCause, Instant, NodeIndex, NodeSet, PlannedGang},
    primitives::{Cell, Comparison, GangMemory, GangPhase, Payload},
};

/// What the members have signalled of one life of a gang. Hints: each is confirmed by a compare, or ends the gang.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Hints {
    pub(super) up: BTreeMap<NodeIndex, Payload>,
    /// Nodes on which an earlier term has released it; their entries are among those of `up` too.
    released: NodeSet,
    /// When the first of them was heard of.
    released_heard: Option<Instant>,
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
    pub(super) fn take(&mut self, now: Instant, signal: Signal) {
        match signal.signal {
            GangSignal::Up(entry) => {
                self.up.insert(signal.node, entry);
            }
            GangSignal::Released(entry) => {
                self.up.insert(signal.node, entry);
                self.released.insert(signal.node);
                self.released_heard.get_or_insert(now);
            }
            GangSignal::Exited => self.exited.insert(signal.node),
            GangSignal::Failed(cause) => {
                self.failed.get_or_insert(cause);
            }
            GangSignal::Gone => self.gone.insert(signal.node),
        }
    }

    /// A node that has to be asked anew: its last compare did not hold, or it left the view.
    pub(super) fn doubt(&mut self, node: NodeIndex) {
        if !self.released.contains(node) {
            self.up.remove(&node);
        }
        self.exited.remove(node);
        self.gone.remove(node);
    }
}

/// What a gang's next step depends on beside its plan, its memory and its members' signals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) view: NodeSet,
    pub(super) lost: NodeSet,
    /// What an earlier term has released waits no longer for the signals of the other nodes when it was heard of before this.
    pub(super) patience: Instant,
}

/// The next step of a gang, if any. Pure.
pub(super) fn next_step(planned: &PlannedGang, gang: &GangMemory, hints: &Hints, circumstances: Circumstances) -> Option<Step> {
    let Circumstances { view, lost, patience } = circumstances;
    match gang.phase {
        GangPhase::Launching => end_wanted(planned, hints, lost, hints.released.is_empty())
            .or_else(|| pause_wanted(planned, gang))
            .or_else(|| launch(planned, hints, view, patience)),
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

fn launch(planned: &PlannedGang, hints: &Hints, view: NodeSet, patience: Instant) -> Option<Step> {
    let nodes = planned.nodes();
    let up: NodeSet = hints.up.keys().copied().collect();
    if let Some(heard) = hints.released_heard {
        // A node on which it only came up needs the whole peer table; those on which it runs have it.
        let all_known = nodes.is_subset(up) || nodes.intersection(view).is_subset(hints.released);
        return (all_known || heard <= patience).then_some(Step::ReleaseAgain);
    }
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
