//! What an authority must not forget: which node has which number, and the record of its terms. Kept in one ConfigMap a partition, in the
//! operator's namespace, written as a whole on the condition that nobody wrote it meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use strobe_core::authority::Recollection;
use strobe_core::matrix::NodeCapacity;
use strobe_core::model::{CpuIndex, NodeIndex, TermRecord};

/// The entry of the ConfigMap.
const ENTRY: &str = "authority.json";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The nodes that have enrolled, by number.
    pub(super) nodes: Vec<KeptNode>,
    /// The newest term.
    pub(super) term: Option<TermRecord>,
    /// Rows of the matrix in which the gangs stand.
    pub(super) rows: u8,
    /// The gangs that have lived, by number.
    pub(super) gangs: Vec<KeptGang>,
}

/// A gang that has lived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptGang {
    /// Its job.
    pub(super) job: KeptJob,
    /// What the authority must not forget of it.
    pub(super) recollection: Recollection,
    /// When the life that holds slots was admitted, in seconds of the wall clock.
    pub(super) admitted: i64,
}

/// Which job a gang is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptJob {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// A node that has enrolled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptNode {
    /// Its number, for ever.
    pub(super) index: NodeIndex,
    /// Its name.
    pub(super) name: String,
    /// Its UID: a machine that comes back under the same name is another.
    pub(super) uid: String,
    /// Where its agent serves the authority.
    pub(super) address: SocketAddr,
    /// Its CPUs that ranks may use.
    pub(super) cpus: Vec<CpuIndex>,
    /// Its memory that pods may use, in bytes.
    pub(super) memory_bytes: u64,
    /// The lives of the machine in which its agent may be: what the agent said at its last enrolment, and kubelet by then. Empty where
    /// the agent does not say.
    #[serde(default)]
    pub(super) boots: BTreeSet<String>,
}

/// Where it is kept.
#[derive(Clone)]
pub(super) struct Store {
    maps: Api<ConfigMap>,
    name: String,
    owner: OwnerReference,
}

/// A version of the ConfigMap; none before the first write.
pub(crate) type Version = Option<String>;

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Somebody else has written it meanwhile: it has to be read again.
    #[error("somebody else has written what this authority keeps")]
    Overtaken,
    /// The API server did not do it.
    #[error("the API server does not keep what must not be forgotten")]
    Unavailable(#[source] Box<kube::Error>),
    /// What is there is not ours.
    #[error("ConfigMap {name} holds no record of an authority; delete it only when no gang of the partition runs")]
    Unreadable {
        /// The ConfigMap.
        name: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

// === impl Store ===

impl Store {
    /// The store of a partition, which owns what is kept of it.
    pub(super) fn new(client: Client, namespace: &str, owner: OwnerReference) -> Self {
        Self { maps: Api::namespaced(client, namespace), name: format!("strobe-partition-{}", owner.uid), owner }
    }

    /// What is kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) async fn load(&self) -> Result<(Kept, Version), StoreError> {
        let Some(map) = self.maps.get_opt(&self.name).await.map_err(unavailable)? else { return Ok((Kept::default(), None)) };
        let text = map.data.as_ref().and_then(|data| data.get(ENTRY)).map_or("", String::as_str);
        let kept = serde_json::from_str(text).map_err(|source| StoreError::Unreadable { name: self.name.clone(), source })?;
        Ok((kept, map.resource_version()))
    }

    /// Keeps it, where `version` is what was last read or written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) async fn save(&self, kept: &Kept, version: Version) -> Result<Version, StoreError> {
        let text = serde_json::to_string(kept).expect("numbers and names are JSON");
        let is_new = version.is_none();
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            owner_references: Some(vec![self.owner.clone()]),
            resource_version: version,
            ..ObjectMeta::default()
        };
        let map = ConfigMap { metadata, data: Some(BTreeMap::from([(ENTRY.to_owned(), text)])), ..ConfigMap::default() };
        let written = if is_new {
            self.maps.create(&PostParams::default(), &map).await
        } else {
            self.maps.replace(&self.name, &PostParams::default(), &map).await
        };
        match written {
            Ok(map) => Ok(map.resource_version()),
            Err(kube::Error::Api(answer)) if answer.code == 409 || answer.code == 404 => Err(StoreError::Overtaken),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: kube::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

// === impl Kept ===

impl Kept {
    /// What people call a node.
    pub(super) fn name(&self, index: NodeIndex) -> String {
        self.nodes.iter().find(|node| node.index == index).map_or_else(|| index.to_string(), |node| node.name.clone())
    }

    /// Takes in a node, or what has changed of it, and gives its number; none when there is no number left.
    pub(super) fn enrol(&mut self, enrolling: &KeptNode) -> Option<NodeIndex> {
        if let Some(known) = self.nodes.iter_mut().find(|node| node.name == enrolling.name && node.uid == enrolling.uid) {
            *known = KeptNode { index: known.index, ..enrolling.clone() };
            return Some(known.index);
        }
        // A number is the node's for ever: what its earlier owner promised must not be taken for this one's.
        let next = self.nodes.iter().map(|node| node.index.0 + 1).max().unwrap_or(0);
        if usize::from(next) >= strobe_core::limits::MEMBERS_MAX {
            return None;
        }
        self.nodes.push(KeptNode { index: NodeIndex(next), ..enrolling.clone() });
        Some(NodeIndex(next))
    }

    /// The nodes as the matrix has them.
    pub(super) fn capacities(&self) -> Vec<NodeCapacity> {
        let capacity =
            |node: &KeptNode| NodeCapacity { node: node.index, cpus: node.cpus.iter().copied().collect(), memory_bytes: node.memory_bytes };
        self.nodes.iter().map(capacity).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, uid: &str) -> KeptNode {
        let address = "10.0.0.1:7410".parse().unwrap();
        let (cpus, boots) = (vec![CpuIndex(1)], BTreeSet::new());
        KeptNode { index: NodeIndex(0), name: name.to_owned(), uid: uid.to_owned(), address, cpus, memory_bytes: 0, boots }
    }

    #[test]
    fn a_node_keeps_its_number_and_another_machine_of_its_name_gets_another() {
        let mut kept = Kept::default();
        assert_eq!(kept.enrol(&node("a", "1")), Some(NodeIndex(0)));
        assert_eq!(kept.enrol(&node("b", "2")), Some(NodeIndex(1)));
        assert_eq!(kept.enrol(&KeptNode { cpus: vec![], ..node("a", "1") }), Some(NodeIndex(0)));
        assert_eq!(kept.capacities()[0].cpus.len(), 0, "what has changed is taken over");
        assert_eq!(kept.enrol(&node("a", "3")), Some(NodeIndex(2)));
    }

    #[test]
    fn what_is_kept_of_a_gang_is_read_as_it_was_and_an_older_operators_too() {
        let gang = |unplaced: &str| {
            let text = format!(
                r#"{{"job":{{"namespace":"a","name":"sor","uid":"1"}},"admitted":7,"recollection":{{"gang":1,"incarnation":2,"restarts":0,
                "active":{{"secs":1,"nanos":0}},"run":null,"ended":null{unplaced}}}}}"#
            );
            serde_json::from_str::<KeptGang>(&text).unwrap()
        };
        assert_eq!(gang("").recollection.unplaced, BTreeMap::new());
        let kept = gang(r#","unplaced":{"3":2}"#);
        assert_eq!(kept.recollection.unplaced, BTreeMap::from([(NodeIndex(3), 2)]));
        assert_eq!(serde_json::from_str::<KeptGang>(&serde_json::to_string(&kept).unwrap()).unwrap(), kept);
    }

    #[test]
    fn a_partition_has_as_many_numbers_as_members() {
        let mut kept = Kept::default();
        for number in 0..strobe_core::limits::MEMBERS_MAX {
            assert!(kept.enrol(&node(&number.to_string(), "uid")).is_some());
        }
        assert_eq!(kept.enrol(&node("one more", "uid")), None);
    }
}
