//! The operator's program at a real API server: the objects of a partition's nodes. No agent runs: the nodes are those that an earlier
//! authority has kept.

use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask, Change};

use super::cluster::Cluster;

const PARTITIONS: &str = "/apis/strobe.dev/v1alpha1/partitions";
const NODES: &str = "/apis/strobe.dev/v1alpha1/partitionnodes";

fn node(name: &str, partition: &str) -> Value {
    json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "PartitionNode", "metadata": { "name": name }, "spec": { "partition": partition } })
}

/// What an authority has kept of a node.
fn kept(index: u16, name: &str, uid: &str) -> Value {
    json!({ "index": index, "name": name, "uid": uid, "address": "127.0.0.1:1", "cpus": [0, 1, 2, 8], "memory_bytes": 0 })
}

#[tokio::test]
async fn nodes_have_objects_of_their_own_that_belong_to_their_partition_and_follow_what_is_known() {
    let Some(cluster) = Cluster::start("objects of nodes").await else { return };
    let client = cluster.server().client().await.unwrap();
    let partition =
        json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": "main" }, "spec": { "rows": 2 } });
    let uid = Ask::create(PARTITIONS, &partition).accepted(&client).await.unwrap()["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap();
    // Node b has gone to another partition since, and c is another machine than the first of its name.
    let nodes = [kept(0, "a", "1"), kept(1, "b", "2"), kept(2, "c", "3"), kept(3, "c", "4")];
    let kept = json!({ "nodes": nodes, "term": null, "rows": 2, "gangs": [] });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("strobe-partition-{uid}") },
        "data": { "authority.json": kept.to_string() },
    });
    Ask::create("/api/v1/namespaces/strobe-system/configmaps", &map).accepted(&client).await.unwrap();
    let theirs = Ask::create(NODES, &node("b", "elsewhere")).accepted(&client).await.unwrap();

    let _operator = cluster.operator();
    // There are no such nodes in the cluster, which is a proof that nothing lives on them.
    let has_status = |answer: &Answer| answer.as_ref().is_ok_and(|node| node["status"]["state"] == "Dead");
    let a = Ask::read(&format!("{NODES}/a")).until(&client, has_status).await.unwrap().unwrap();
    let c = Ask::read(&format!("{NODES}/c")).until(&client, has_status).await.unwrap().unwrap();
    assert_eq!(a["spec"], json!({ "partition": "main" }));
    assert_eq!(a["metadata"]["ownerReferences"][0]["uid"], uid);
    assert_eq!((&a["status"]["number"], &c["status"]["number"]), (&json!(0), &json!(3)));
    assert_eq!((&a["status"]["member"], &a["status"]["manager"]), (&json!(false), &json!(false)));
    assert_eq!((&a["status"]["cpus"], &a["status"]["cpuCount"]), (&json!("0-2,8"), &json!(4)));
    assert_eq!(a["status"]["rows"], json!([{ "gangs": 0, "usedSlots": 0 }, { "gangs": 0, "usedSlots": 0 }]));
    assert_eq!(a["status"]["figures"], Value::Null, "nobody has measured anything");

    // What is said of nodes follows their partition.
    let rows = json!({ "spec": { "rows": 3 } });
    Ask::change(&format!("{PARTITIONS}/main"), Change::Merge, &rows).accepted(&client).await.unwrap();
    let has_rows = |rows: usize| {
        move |answer: &Answer| answer.as_ref().is_ok_and(|node| node["status"]["rows"].as_array().is_some_and(|held| held.len() == rows))
    };
    let written = Ask::read(&format!("{NODES}/c")).until(&client, has_rows(3)).await.unwrap().unwrap();
    assert_eq!(written["metadata"]["uid"], c["metadata"]["uid"]);
    let before = Ask::read(&format!("{NODES}/a")).until(&client, has_rows(3)).await.unwrap().unwrap();
    // What somebody has deleted is made again with the next change.
    cluster.run(&["delete", "partitionnode", "c"]);
    let rows = json!({ "spec": { "rows": 4 } });
    Ask::change(&format!("{PARTITIONS}/main"), Change::Merge, &rows).accepted(&client).await.unwrap();
    let made = Ask::read(&format!("{NODES}/c")).until(&client, has_rows(4)).await.unwrap().unwrap();
    assert_ne!(made["metadata"]["uid"], c["metadata"]["uid"]);
    let after = Ask::read(&format!("{NODES}/a")).until(&client, has_rows(4)).await.unwrap().unwrap();
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"], "only its status was written");
    let left = Ask::read(&format!("{NODES}/b")).accepted(&client).await.unwrap();
    assert_eq!(left, theirs, "the node of another partition is left alone");
}
