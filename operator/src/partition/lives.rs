//! Whether the nodes of a partition live, and whether they take gangs. A node whose agent answers lives, whatever is said of it; of one that
//! is silent only proof says that its ranks are dead.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::Api;
use strobe_authority::Session;
use strobe_core::authority::{AuthorityInput, NodeState};
use strobe_core::model::{Instant, NodeIndex, NodeSet};

use super::kept::KeptNode;
use super::{Event, Partition, pods};
use crate::limits::{LET_GO_AGAIN, STORE_AGAIN};
use crate::nodes::{NodeFacts, OUT_OF_SERVICE};

/// Why nothing that ran on a node can run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its object is gone.
    Deleted,
    /// Another machine has its name.
    Replaced,
    /// An administrator says so.
    OutOfService,
    /// It has begun another life.
    Rebooted,
}

/// What proves that nothing lives on a node, of what the API server says of its name.
fn proof(kept: &KeptNode, seen: Option<&NodeFacts>) -> Option<Proof> {
    let Some(seen) = seen else { return Some(Proof::Deleted) };
    let boot_id = seen.boot_id.as_ref().filter(|_| !kept.boots.is_empty());
    if seen.uid != kept.uid {
        Some(Proof::Replaced)
    } else if seen.out_of_service {
        Some(Proof::OutOfService)
    } else if boot_id.is_some_and(|boot_id| !kept.boots.contains(boot_id)) {
        Some(Proof::Rebooted)
    } else {
        None
    }
}

/// What was found and done at earlier looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Nodes that the authority knows to take no further gang.
    cordoned: NodeSet,
    /// Since when agents are silent.
    silent: BTreeMap<NodeIndex, Instant>,
    /// When a node may be asked for again, a pod deleted by force again, a taint written again.
    asked: BTreeMap<NodeIndex, Instant>,
    forced: BTreeMap<String, Instant>,
    pub(super) tainted: BTreeMap<String, Instant>,
    /// When the finalizer may be written again.
    pub(super) finalized: Option<Instant>,
}

impl Partition {
    /// Looks at all that the cluster says of the nodes.
    pub(super) fn look_at_nodes(&mut self, now: Instant) {
        self.look_at_cordons();
        self.look_at_lives(now);
        self.look_at_taints(now);
        self.look_at_deletion(now);
        self.release_hanging(now);
    }

    // === gangs are kept from them ===

    /// The nodes that take no further gang: cordoned ones, those that have left the partition, all of a partition that goes.
    fn cordoned_nodes(&self) -> NodeSet {
        let nodes = self.nodes.borrow();
        let is_closed = |kept: &&KeptNode| {
            let seen = nodes.as_ref().and_then(|nodes| nodes.get(&kept.name)).filter(|seen| seen.uid == kept.uid);
            self.is_leaving() || seen.is_none_or(|seen| seen.cordoned || seen.partition.as_ref() != Some(&self.valid.name))
        };
        self.keeper.kept().nodes.iter().filter(is_closed).map(|kept| kept.index).collect()
    }

    pub(super) fn look_at_cordons(&mut self) {
        let nodes = self.cordoned_nodes();
        if self.looks.cordoned != nodes {
            self.looks.cordoned = nodes;
            self.step(AuthorityInput::Cordon { nodes });
        }
    }

    // === whether they live ===

    /// Looks for proof of nodes whose agents are silent. What the watch says may be old: the API server is asked again before it counts.
    fn look_at_lives(&mut self, now: Instant) {
        let silence = Session::silence(self.valid.suspicion);
        for kept in self.keeper.kept().nodes.clone() {
            let index = kept.index;
            if self.contacts.agent(index).is_some() {
                self.looks.silent.remove(&index);
                continue;
            }
            let since = *self.looks.silent.entry(index).or_insert(now);
            let is_judged = self.authority.node_state(index).is_none_or(NodeState::is_proven_dead);
            let is_asked = self.looks.asked.get(&index).is_some_and(|again| now < *again);
            if now >= since + silence && !is_judged && !is_asked && self.proof(&kept).is_some() {
                self.looks.asked.insert(index, now + STORE_AGAIN);
                self.ask_about(kept);
            }
        }
    }

    fn proof(&self, kept: &KeptNode) -> Option<Proof> {
        let nodes = self.nodes.borrow();
        proof(kept, nodes.as_ref()?.get(&kept.name))
    }

    fn ask_about(&self, kept: KeptNode) {
        let (api, events) = (Api::<Node>::all(self.context.client.clone()), self.events.clone());
        tokio::spawn(async move {
            match api.get_opt(&kept.name).await {
                Ok(node) => {
                    let seen = node.as_ref().map(NodeFacts::of);
                    // The receiver is gone only when the partition is.
                    let _gone = events.send(Event::Node(kept.index, seen)).await;
                }
                Err(error) => tracing::warn!(node = kept.name, error = &error as &dyn std::error::Error, "a node's life is not known"),
            }
        });
    }

    /// The API server has said what there is of a silent node.
    pub(super) fn judge_life(&mut self, index: NodeIndex, seen: Option<&NodeFacts>) {
        let kept = self.keeper.kept().nodes.iter().find(|kept| kept.index == index);
        let Some((kept, proof)) = kept.and_then(|kept| Some((kept, proof(kept, seen)?))) else { return };
        if self.contacts.agent(index).is_none() {
            tracing::warn!(node = kept.name, ?proof, "nothing lives on a node any more");
            self.step(AuthorityInput::NodeProvenDead { node: index });
        }
    }

    fn is_proven_dead(&self, node: NodeIndex) -> bool {
        self.authority.node_state(node).is_some_and(NodeState::is_proven_dead)
    }

    /// Deletes by force what hangs on nodes that are proven dead, where nobody is left to end it. Nothing else is ever deleted so.
    fn release_hanging(&mut self, now: Instant) {
        let pods = self.pods.state();
        let going: Vec<&Arc<Pod>> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).collect();
        self.looks.forced.retain(|uid, _| going.iter().any(|pod| pod.uid().as_ref() == Some(uid)));
        for pod in going {
            let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
            let mut of_name = self.keeper.kept().nodes.iter().filter(|kept| kept.name == name).peekable();
            // A machine that came after the dead one under its name ends the pods itself.
            let nobody_left = of_name.peek().is_some() && of_name.all(|kept| self.is_proven_dead(kept.index));
            let uid = pod.uid().unwrap_or_default();
            if nobody_left && self.looks.forced.get(&uid).is_none_or(|again| now >= *again) {
                self.looks.forced.insert(uid.clone(), now + LET_GO_AGAIN);
                let (client, namespace) = (self.context.client.clone(), pod.namespace().unwrap_or_default());
                tokio::spawn(pods::remove_by_force(client, namespace, pod.name_any(), uid));
            }
        }
    }

    // === what people are told ===

    /// The nodes that are silent for `nodeLost`, whose kubelets are too, and which nothing proves dead.
    pub(super) fn lost_without_proof(&self) -> Vec<String> {
        let now = self.now();
        let is_lost = |kept: &&KeptNode| {
            let is_silent = self.looks.silent.get(&kept.index).is_some_and(|since| now >= *since + self.valid.node_lost);
            is_silent && !self.is_proven_dead(kept.index) && !self.is_ready(kept)
        };
        self.keeper.kept().nodes.iter().filter(is_lost).map(|kept| kept.name.clone()).collect()
    }

    fn is_ready(&self, kept: &KeptNode) -> bool {
        let nodes = self.nodes.borrow();
        nodes.as_ref().and_then(|nodes| nodes.get(&kept.name)).is_some_and(|seen| seen.uid == kept.uid && seen.ready)
    }

    /// What an administrator may do about nodes of a gang that do not answer, after what is said of them; none while they may come back by themselves.
    pub(super) fn advice(&self, silent: NodeSet) -> Option<String> {
        let kept = self.keeper.kept();
        let lost: Vec<String> = self.lost_without_proof();
        let off: Vec<&str> = lost.iter().filter(|name| silent.iter().any(|node| kept.name(node) == **name)).map(String::as_str).collect();
        (!off.is_empty()).then(|| format!(": {}", advice(&off)))
    }
}

/// What an administrator may do about nodes that seem to be off.
pub(super) fn advice(nodes: &[&str]) -> String {
    let names = nodes.join(" ");
    format!(
        "neither agent nor kubelet of {} has answered for nodeLost, and what ran there may run on. Once it is surely off, say so: \
         `kubectl taint node {names} {OUT_OF_SERVICE}=nodeshutdown:NoExecute`, or delete the Node",
        nodes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn kept(boots: &[&str]) -> KeptNode {
        KeptNode {
            index: NodeIndex(0),
            name: "worker".to_owned(),
            uid: "u1".to_owned(),
            address: "10.0.0.1:7410".parse().unwrap(),
            cpus: Vec::new(),
            memory_bytes: 0,
            boots: boots.iter().map(|boot| (*boot).to_owned()).collect::<BTreeSet<_>>(),
        }
    }

    fn seen(uid: &str, boot_id: Option<&str>) -> NodeFacts {
        NodeFacts { uid: uid.to_owned(), boot_id: boot_id.map(str::to_owned), ..NodeFacts::default() }
    }

    #[test]
    fn a_node_is_proven_dead_by_its_absence_another_uid_an_administrator_or_another_boot() {
        let node = kept(&["b1", "b2"]);
        assert_eq!(proof(&node, None), Some(Proof::Deleted));
        assert_eq!(proof(&node, Some(&seen("u2", Some("b1")))), Some(Proof::Replaced));
        let tainted = NodeFacts { out_of_service: true, ..seen("u1", Some("b1")) };
        assert_eq!(proof(&node, Some(&tainted)), Some(Proof::OutOfService));
        assert_eq!(proof(&node, Some(&seen("u1", Some("b3")))), Some(Proof::Rebooted));
    }

    #[test]
    fn silence_proves_nothing_nor_does_a_boot_that_may_be_the_agents_own() {
        let node = kept(&["b1", "b2"]);
        assert_eq!(proof(&node, Some(&seen("u1", Some("b1")))), None);
        assert_eq!(proof(&node, Some(&seen("u1", Some("b2")))), None, "kubelet was behind when the agent enrolled");
        assert_eq!(proof(&node, Some(&seen("u1", None))), None);
        assert_eq!(proof(&kept(&[]), Some(&seen("u1", Some("b3")))), None, "its agent did not say in which life it is");
    }
}
