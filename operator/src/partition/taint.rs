//! Our taint on the nodes of a partition: with `dedicated`, only gangs run there.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use strobe_core::model::Instant;

use super::Partition;
use crate::limits::LET_GO_AGAIN;
use crate::names::TAINT;
use crate::nodes::{NodeFacts, TAINT_EFFECT, is_ours};

/// What is to become of the taint of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Set,
    Take,
}

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
                tokio::spawn(taint(self.context.client.clone(), node.clone(), self.valid.name.clone(), wish));
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

/// Reads the node and writes its taints, on the condition that nobody wrote it meanwhile. What fails is tried again at a later look.
async fn taint(client: Client, node: String, partition: String, wish: Wish) {
    let api: Api<Node> = Api::all(client);
    let written = async {
        let Some(found) = api.get_opt(&node).await? else { return Ok(()) };
        let before = found.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let after = tainted(before.clone(), &partition, wish);
        if after == before {
            return Ok(());
        }
        let patch = json!({ "metadata": { "resourceVersion": found.resource_version() }, "spec": { "taints": after } });
        api.patch(&node, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
    };
    if let Err(error) = written.await {
        let error: kube::Error = error;
        tracing::warn!(node, error = &error as &dyn std::error::Error, "a node's taint is not written");
    }
}

/// The taints of a node once ours is set or taken; those of others stay as they are.
fn tainted(taints: Vec<Taint>, partition: &str, wish: Wish) -> Vec<Taint> {
    let is_of_it = |taint: &Taint| is_ours(taint) && (wish == Wish::Set || taint.value.as_deref() == Some(partition));
    let others = taints.into_iter().filter(|taint| !is_of_it(taint));
    let ours = Taint { key: TAINT.to_owned(), value: Some(partition.to_owned()), effect: TAINT_EFFECT.to_owned(), ..Taint::default() };
    others.chain((wish == Wish::Set).then_some(ours)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Taint {
        Taint { key: key.to_owned(), value: Some(value.to_owned()), effect: TAINT_EFFECT.to_owned(), ..Taint::default() }
    }

    #[test]
    fn the_taint_is_wished_for_where_the_node_belongs_and_nowhere_else() {
        let seen = |value: Option<&str>| NodeFacts { dedicated_to: value.map(str::to_owned), ..NodeFacts::default() };
        assert_eq!(wish(&seen(None), "fast", true), Some(Wish::Set));
        assert_eq!(wish(&seen(Some("old")), "fast", true), Some(Wish::Set));
        assert_eq!(wish(&seen(Some("fast")), "fast", true), None);
        assert_eq!(wish(&seen(Some("fast")), "fast", false), Some(Wish::Take));
        assert_eq!([wish(&seen(None), "fast", false), wish(&seen(Some("old")), "fast", false)], [None, None], "it is another's");
    }

    #[test]
    fn the_taints_of_others_stay() {
        let gpu = of("nvidia.com/gpu", "present");
        let set = tainted(vec![gpu.clone(), of(TAINT, "old")], "fast", Wish::Set);
        assert_eq!(set, [gpu.clone(), of(TAINT, "fast")]);
        assert_eq!(tainted(set.clone(), "slow", Wish::Take), set);
        assert_eq!(tainted(set, "fast", Wish::Take), [gpu]);
    }
}
