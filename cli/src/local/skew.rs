//! How far apart the nodes act: for each epoch of a term, the spread of the instants at which they did.
//!
//! The agents of one machine read one clock, so that the spread is the true skew, not an estimate of it. An epoch on which
//! a node acted when its strobe came, because it could not yet translate the announced instant, has no skew of clocks: such
//! nodes are counted apart (`unsynchronised`).

use std::collections::BTreeMap;

use super::{histogram::Histogram, limits::OPEN_EPOCHS};

/// See the module.
#[derive(Debug)]
pub(super) struct Skew {
    /// How many nodes tell of an epoch at most.
    nodes: usize,
    open: BTreeMap<(u64, u64), Spread>,
    /// Epochs that at least one node acted on.
    epochs: u64,
    begin: Histogram,
    end: Histogram,
}

/// What was told of one epoch so far.
#[derive(Debug, Clone, Copy)]
struct Spread {
    told: usize,
    /// All nodes acted at the announced instant.
    timed: bool,
    begin: (u64, u64),
    end: (u64, u64),
}

/// What one node did in one epoch; instants in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    /// The term and the epoch.
    pub epoch: (u64, u64),
    /// When the node acted.
    pub begin: u64,
    /// When its last gang was thawed.
    pub end: u64,
    /// It acted at the announced instant, and not when the strobe came.
    pub timed: bool,
}

impl Skew {
    /// For that many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, open: BTreeMap::new(), epochs: 0, begin: Histogram::default(), end: Histogram::default() }
    }

    /// Takes what one node did. The spread of the epoch counts when all have told theirs, or when it is the oldest of too many.
    pub(super) fn take(&mut self, act: Act) {
        let epochs = &mut self.epochs;
        let spread = self.open.entry(act.epoch).or_insert_with(|| {
            *epochs += 1;
            Spread { told: 0, timed: true, begin: (act.begin, act.begin), end: (act.end, act.end) }
        });
        spread.told += 1;
        spread.timed &= act.timed;
        spread.begin = (spread.begin.0.min(act.begin), spread.begin.1.max(act.begin));
        spread.end = (spread.end.0.min(act.end), spread.end.1.max(act.end));
        let whole = spread.told == self.nodes;
        if whole && let Some(spread) = self.open.remove(&act.epoch) {
            self.count(spread);
        } else if self.open.len() > OPEN_EPOCHS
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.count(oldest);
        }
    }

    /// Counts what some nodes have not told and will not tell.
    pub(super) fn finish(&mut self) {
        for (_, spread) in std::mem::take(&mut self.open) {
            self.count(spread);
        }
    }

    /// The spread of the instants at which nodes acted.
    pub(super) const fn begin(&self) -> &Histogram {
        &self.begin
    }

    /// The spread of the instants at which nodes were done.
    pub(super) const fn end(&self) -> &Histogram {
        &self.end
    }

    /// Epochs that a node acted on.
    pub(super) const fn epochs(&self) -> u64 {
        self.epochs
    }

    /// One node alone has no spread.
    fn count(&mut self, spread: Spread) {
        if spread.told > 1 && spread.timed {
            self.begin.record(spread.begin.1 - spread.begin.0);
            self.end.record(spread.end.1 - spread.end.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(epoch: u64, begin: u64) -> Act {
        Act { epoch: (1, epoch), begin, end: begin + 100, timed: true }
    }

    #[test]
    fn the_spread_counts_when_all_nodes_have_told() {
        let mut skew = Skew::new(3);
        skew.take(act(1, 50_000));
        skew.take(act(1, 20_000));
        assert_eq!(skew.begin().count(), 0);
        skew.take(act(1, 30_000));
        assert_eq!((skew.begin().count(), skew.epochs()), (1, 1));
        assert_eq!(skew.begin().figures().max, 30.0);
    }

    #[test]
    fn an_epoch_that_a_node_missed_counts_at_the_end_and_a_lonely_one_never() {
        let mut skew = Skew::new(3);
        skew.take(act(1, 1_000));
        skew.take(act(1, 3_000));
        skew.take(act(2, 9_000));
        skew.finish();
        assert_eq!((skew.begin().count(), skew.end().count(), skew.epochs()), (1, 1, 2));
    }

    #[test]
    fn an_epoch_that_a_node_acted_on_by_receipt_has_no_skew() {
        let mut skew = Skew::new(2);
        skew.take(act(1, 1_000));
        skew.take(Act { timed: false, ..act(1, 5_000_000) });
        assert_eq!((skew.begin().count(), skew.end().count(), skew.epochs()), (0, 0, 1));
    }

    #[test]
    fn what_is_collected_is_bounded() {
        let mut skew = Skew::new(2);
        for epoch in 0..2 * OPEN_EPOCHS as u64 {
            skew.take(act(epoch, epoch));
        }
        assert_eq!(skew.open.len(), OPEN_EPOCHS);
    }
}
