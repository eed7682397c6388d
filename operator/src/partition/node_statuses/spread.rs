//! How far apart the nodes of a partition switch: for each epoch, how long after the first node every other one acted.
//!
//! Nodes read different clocks. Each says how late it acted by its own, for an instant that it has translated from the manager's; what is
//! compared so is off by the error of that translation at most, which is told beside it.

use std::collections::BTreeMap;

use strobe_core::model::NodeIndex;

use crate::limits::OPEN_EPOCHS;

/// A term and an epoch.
pub(super) type Epoch = (u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spread {
    open: BTreeMap<Epoch, Vec<(NodeIndex, i64)>>,
}

// === impl Spread ===

impl Spread {
    /// Takes how late a node acted on an epoch, in nanoseconds. Gives how far behind the first each node was, once all members have told
    /// that, or when it is the oldest epoch of too many.
    pub(super) fn take(&mut self, epoch: Epoch, node: NodeIndex, late: i64, members: usize) -> Vec<(NodeIndex, u64)> {
        let acts = self.open.entry(epoch).or_default();
        acts.push((node, late));
        let whole = acts.len() >= members;
        let over = if whole { self.open.remove(&epoch) } else { self.oldest_of_too_many() };
        over.map(|acts| behind_first(&acts)).unwrap_or_default()
    }

    fn oldest_of_too_many(&mut self) -> Option<Vec<(NodeIndex, i64)>> {
        (self.open.len() > OPEN_EPOCHS).then(|| self.open.pop_first()).flatten().map(|(_, acts)| acts)
    }
}

/// One node alone is behind nobody.
fn behind_first(acts: &[(NodeIndex, i64)]) -> Vec<(NodeIndex, u64)> {
    let first = acts.iter().map(|(_, late)| *late).min().filter(|_| acts.len() > 1);
    let behind = |first: i64| acts.iter().map(move |(node, late)| (*node, late.abs_diff(first))).collect();
    first.map(behind).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeIndex = NodeIndex(0);
    const B: NodeIndex = NodeIndex(1);

    #[test]
    fn who_acts_after_the_first_is_behind_by_the_difference() {
        let mut spread = Spread::default();
        assert_eq!(spread.take((1, 7), A, -200, 2), []);
        assert_eq!(spread.take((1, 8), A, 0, 2), [], "of another epoch");
        assert_eq!(spread.take((1, 7), B, 800, 2), [(A, 0), (B, 1000)]);
        assert_eq!(spread.take((1, 8), B, -50, 2), [(A, 50), (B, 0)]);
    }

    #[test]
    fn a_node_alone_has_no_skew() {
        assert_eq!(Spread::default().take((1, 1), A, 900, 1), []);
        let mut spread = Spread::default();
        assert_eq!(spread.take((1, 1), A, 900, 2), []);
        let told = (2..).map(|epoch| spread.take((1, epoch), A, 0, 2)).take(OPEN_EPOCHS).flatten().count();
        assert_eq!((told, spread.open.len()), (0, OPEN_EPOCHS), "what nobody else tells is let go");
    }

    #[test]
    fn an_epoch_that_a_member_does_not_tell_counts_for_the_others_in_the_end() {
        let mut spread = Spread::default();
        spread.take((1, 1), A, 0, 3);
        spread.take((1, 1), B, 400, 3);
        let told: Vec<_> = (2..).flat_map(|epoch| spread.take((1, epoch), A, 0, 3)).take(2).collect();
        assert_eq!(told, [(A, 0), (B, 400)]);
    }
}
