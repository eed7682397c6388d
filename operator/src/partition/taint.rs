//! Our taint on the nodes of a partition: with `dedicated`, only gangs run there.

use strobe_core::model::Instant;

use super::Partition;
use crate::limits::LET_GO_AGAIN;
use crate::nodes::{NodeFacts, taint, taint::Wish};

/// What is to become of our taint on a node, where `belongs` says whether it is to be kept for the partition of that name.
fn wish(seen: &NodeFacts, name: &str, belongs: bool) -> Option<Wish> {
    let is_set = seen.dedicated_to.as_deref() == Some(name);
    match (belongs, is_set) {
        (true, false) => Some(Wish::Set),
        (false, true) => Some(Wish::Take),
        (true, true) | (false, false) => None,
    }
}

impl Partition {
    /// Sets the taint where it lacks, and takes it from nodes that have left.
    pub(super) fn look_at_taints(&mut self, now: Instant) {
        let keeps = self.object.spec.dedicated && !self.is_leaving();
        let Some(nodes) = self.nodes.borrow().clone() else { return };
        for (node, seen) in nodes.iter() {
            let enrolled = self.keeper.kept().nodes.iter().any(|kept| kept.name == *node && kept.uid == seen.uid);
            let belongs = keeps && enrolled && seen.partition.as_ref() == Some(&self.valid.name);
            let Some(wish) = wish(seen, &self.valid.name, belongs) else { continue };
            if self.looks.tainted.get(node).is_none_or(|again| now >= *again) {
                self.looks.tainted.insert(node.clone(), now + LET_GO_AGAIN);
                let (client, node, name) = (self.context.client.clone(), node.clone(), self.valid.name.clone());
                tokio::spawn(async move {
                    if let Err(error) = taint::write(&client, &node, &name, wish).await {
                        // It is tried again at a later look.
                        tracing::warn!(node, error = &error as &dyn std::error::Error, "a node's taint is not written");
                    }
                });
            }
        }
        self.looks.tainted.retain(|_, again| now < *again);
    }

    /// True while the taint of a partition that goes is on some node.
    pub(super) fn has_taints(&self) -> bool {
        let nodes = self.nodes.borrow();
        nodes.iter().flat_map(|nodes| nodes.values()).any(|seen| seen.dedicated_to.as_ref() == Some(&self.valid.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_wished_for_where_the_node_belongs_and_nowhere_else() {
        let seen = |value: Option<&str>| NodeFacts { dedicated_to: value.map(str::to_owned), ..NodeFacts::default() };
        assert_eq!(wish(&seen(None), "fast", true), Some(Wish::Set));
        assert_eq!(wish(&seen(Some("old")), "fast", true), Some(Wish::Set));
        assert_eq!(wish(&seen(Some("fast")), "fast", true), None);
        assert_eq!(wish(&seen(Some("fast")), "fast", false), Some(Wish::Take));
        assert_eq!([wish(&seen(None), "fast", false), wish(&seen(Some("old")), "fast", false)], [None, None], "it is another's");
    }
}
