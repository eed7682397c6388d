//! What the pods of a gang ask for of their nodes' CPUs, by what the nodes have left when it is placed.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use strobe_core::model::NodePlacement;

use super::kept::Kept;
use crate::limits::{CPU_RESERVE, NODES_ASKED_AT_A_TIME};
use crate::names::LABEL_PARTITION_UID;
use crate::quantity;
use crate::resources::{self, NodeCpu, Resource};

/// One node of a gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name.
    pub(super) node: String,
    /// Slots of one row there that are the gang's.
    need: u64,
    /// Slots of one row there.
    slots: u64,
    /// Rows of the matrix.
    rows: u64,
}

/// The parts of a placement, in its order.
pub(super) fn parts(kept: &Kept, rows: u8, placement: &[NodePlacement]) -> Vec<Part> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let slots = |part: &NodePlacement| kept.nodes.iter().find(|node| node.index == part.node).map_or(0, |node| count(node.cpus.len()));
    let part =
        |part: &NodePlacement| Part { node: kept.name(part.node), need: count(part.cpus.len()), slots: slots(part), rows: rows.into() };
    placement.iter().map(part).collect()
}

/// What the pod on each node is to ask for, in thousandths of a CPU.
///
/// # Errors
/// The API server does not tell of the nodes.
pub(super) async fn cpu(client: &Client, parts: &[Part]) -> Result<Vec<u64>, kube::Error> {
    let asked: Vec<_> = parts.iter().map(|part| of(client.clone(), part.clone())).collect();
    stream::iter(asked).buffered(NODES_ASKED_AT_A_TIME).try_collect().await
}

async fn of(client: Client, part: Part) -> Result<u64, kube::Error> {
    let (allocatable, requested) = tokio::try_join!(allocatable(&client, &part.node), requested(&client, &part.node, Resource::Cpu))?;
    let node = NodeCpu { allocatable, requested, slots: part.slots, rows: part.rows };
    Ok(resources::cpu_request(part.need, node, CPU_RESERVE))
}

async fn allocatable(client: &Client, name: &str) -> Result<u64, kube::Error> {
    let node = Api::<Node>::all(client.clone()).get(name).await?;
    let allocatable = node.status.and_then(|status| status.allocatable);
    Ok(allocatable.and_then(|resources| quantity::thousandths(resources.get("cpu")?)).unwrap_or(0))
}

/// What those pods of a node request that are of no gang and have not ended.
///
/// # Errors
/// The API server does not tell of them.
pub(crate) async fn requested(client: &Client, node: &str, resource: Resource) -> Result<u64, kube::Error> {
    let there = ListParams::default().fields(&format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"));
    let pods = Api::<Pod>::all(client.clone()).list(&there).await?;
    let others = pods.items.iter().filter(|pod| !pod.labels().contains_key(LABEL_PARTITION_UID));
    Ok(others.filter_map(|pod| pod.spec.as_ref()).map(|pod| resources::requested(pod, resource)).sum())
}

#[cfg(test)]
mod tests {
    use kube::api::{Patch, PatchParams, PostParams};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use strobe_e2e::api_server::ApiServer;

    use super::*;

    fn read<K: DeserializeOwned>(object: Value) -> K {
        serde_json::from_value(object).unwrap()
    }

    fn pod(name: &str, labels: &Value, resources: &Value) -> Pod {
        let container = json!({ "name": "c", "image": "any", "resources": { "requests": resources } });
        read(json!({ "metadata": { "name": name, "labels": labels }, "spec": { "nodeName": "worker", "containers": [container] } }))
    }

    /// At a real API server, which alone knows what it selects.
    #[tokio::test]
    async fn a_gang_asks_for_its_part_of_what_the_living_pods_of_no_gang_leave() {
        let Some(server) = ApiServer::shared("shares").await.unwrap() else { return };
        let client = server.client().await.unwrap();
        let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::namespaced(client.clone(), "default"));
        nodes.create(&PostParams::default(), &read(json!({ "metadata": { "name": "worker" } }))).await.unwrap();
        let status = json!({ "status": { "allocatable": { "cpu": "8", "memory": "16Gi" } } });
        nodes.patch_status("worker", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let asked = json!({ "cpu": "1500m", "memory": "1Gi" });
        for (name, labels) in [("daemon", json!({})), ("gang", json!({ LABEL_PARTITION_UID: "0b9e" })), ("done", json!({}))] {
            pods.create(&PostParams::default(), &pod(name, &labels, &asked)).await.unwrap();
        }
        let done = json!({ "status": { "phase": "Succeeded" } });
        pods.patch_status("done", &PatchParams::default(), &Patch::Merge(done)).await.unwrap();
        let part = Part { node: "worker".to_owned(), need: 4, slots: 8, rows: 2 };
        // 4 × (8000 - 1500 - the reserve) / (8 × 2)
        assert_eq!(cpu(&client, std::slice::from_ref(&part)).await.unwrap(), [1600]);
        assert_eq!(requested(&client, "worker", Resource::Memory).await.unwrap(), 1 << 30);
        assert!(cpu(&client, &[Part { node: "nobody".to_owned(), ..part }]).await.is_err());
    }
}
