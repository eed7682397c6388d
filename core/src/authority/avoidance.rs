//! The nodes that a gang keeps away from for a while, because it could not be placed there.

use std::collections::BTreeMap;

use super::BackOff;
use crate::model::{Instant, NodeIndex, NodeSet};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Avoidance(BTreeMap<NodeIndex, Avoided>);

/// One node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Avoided {
    /// How often one after the other it could not be placed there.
    failures: u32,
    /// Until when it keeps away; none once that is over.
    until: Option<Instant>,
}

impl Avoidance {
    /// What an earlier authority knew. It may try all of them at once; the next pause is as long as it would have been.
    pub(super) fn recalled(failures: &BTreeMap<NodeIndex, u32>) -> Self {
        Self(failures.iter().map(|(node, failures)| (*node, Avoided { failures: *failures, until: None })).collect())
    }

    /// How often one after the other it could not be placed on each node.
    pub(super) fn failures(&self) -> BTreeMap<NodeIndex, u32> {
        self.0.iter().map(|(node, avoided)| (*node, avoided.failures)).collect()
    }

    /// It could not be placed on these nodes.
    pub(super) fn blame(&mut self, now: Instant, nodes: NodeSet, back_off: BackOff) {
        for node in nodes.iter() {
            let avoided = self.0.entry(node).or_default();
            avoided.until = Some(now + back_off.after(avoided.failures));
            avoided.failures = avoided.failures.saturating_add(1);
        }
    }

    /// The nodes that it keeps away from.
    pub(super) fn nodes(&self) -> NodeSet {
        self.0.iter().filter(|(_, avoided)| avoided.until.is_some()).map(|(node, _)| *node).collect()
    }

    /// When it may try a node again, the first of them.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.values().filter_map(|avoided| avoided.until).min()
    }

    /// Ends what is over by now; true when something was. How often it failed there stays known.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let over: Vec<_> = self.0.values_mut().filter(|avoided| avoided.until.is_some_and(|until| now >= until)).collect();
        let any = !over.is_empty();
        over.into_iter().for_each(|avoided| avoided.until = None);
        any
    }
}

impl BackOff {
    /// The time after so many earlier failures.
    fn after(self, failures: u32) -> std::time::Duration {
        self.first.saturating_mul(1 << failures.min(16)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_failure_on_a_node_doubles_its_time_up_to_the_longest() {
        let back_off = BackOff { first: Duration::from_secs(10), longest: Duration::from_secs(600) };
        assert_eq!([0, 1, 5, 6, 99].map(|failures| back_off.after(failures).as_secs()), [10, 20, 320, 600, 600]);
        let (mut avoidance, now) = (Avoidance::default(), Instant::ORIGIN);
        let both: NodeSet = [NodeIndex(1), NodeIndex(4)].into_iter().collect();
        let one: NodeSet = [NodeIndex(4)].into_iter().collect();
        avoidance.blame(now, one, back_off);
        avoidance.blame(now, both, back_off);
        assert_eq!((avoidance.nodes(), avoidance.until()), (both, Some(now + Duration::from_secs(10))));
        assert!(!avoidance.expire(now + Duration::from_secs(9)));
        assert!(avoidance.expire(now + Duration::from_secs(10)), "on node 1 it had failed once");
        assert_eq!((avoidance.nodes(), avoidance.until()), (one, Some(now + Duration::from_secs(20))));
        assert!(avoidance.expire(now + Duration::from_secs(20)) && !avoidance.expire(now + Duration::from_secs(20)));
        assert_eq!((avoidance.nodes(), avoidance.until()), (NodeSet::EMPTY, None));
    }
}
