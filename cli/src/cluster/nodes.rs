//! `nodes`: the nodes of partitions, and those that are in none.

use std::collections::BTreeSet;

use crossterm::style::Color;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;
use strobe_crds::partition_node::{NodeFigures, NodeState, PartitionNodeStatus, StrobeState};
use strobe_crds::selection::claimants;
use strobe_crds::{Partition, PartitionNode};

use super::access::{Cluster, Listed, if_allowed};
use super::error::ClusterError;
use super::output::show;
use super::words::{age, cell, header, seconds};
use crate::arguments::NodesArguments;
use crate::terminal::{Line, Piece, table};

/// All nodes that are known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Nodes {
    nodes: Vec<ListedNode>,
    /// Nodes of the cluster of which no partition's authority says anything.
    outside: Vec<OutsideNode>,
    notes: Vec<String>,
}

/// A node of a partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedNode {
    name: String,
    partition: String,
    age_seconds: Option<i64>,
    #[serde(flatten)]
    status: PartitionNodeStatus,
}

/// A node that is in no partition.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutsideNode {
    name: String,
    reason: String,
}

/// Prints the nodes.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &NodesArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let chosen = ListParams::default();
    let known: Listed<PartitionNode> = cluster.everywhere(&chosen).await?;
    let partitions: Listed<Partition> = if_allowed(cluster.everywhere(&chosen).await)?;
    let all: Listed<Node> = if_allowed(cluster.everywhere(&chosen).await)?;
    let now = Timestamp::now();
    let mut nodes = nodes(&known.items, &partitions.items, &all.items, now);
    nodes.notes = [known.notes, partitions.notes, all.notes].concat();
    if nodes.nodes.is_empty() {
        nodes.notes.push("no Partition has a node yet: no agent has enrolled".to_owned());
    }
    show(arguments.table.output, &nodes, &lines(&nodes, now), &nodes.notes)
}

fn nodes(known: &[PartitionNode], partitions: &[Partition], all: &[Node], now: Timestamp) -> Nodes {
    let names: BTreeSet<String> = known.iter().map(ResourceExt::name_any).collect();
    let mut nodes: Vec<ListedNode> = known.iter().map(|node| listed(node, now)).collect();
    nodes.sort_by(|one, other| (&one.partition, &one.name).cmp(&(&other.partition, &other.name)));
    let outside = all.iter().filter(|node| !names.contains(&node.name_any()));
    let outside = outside.map(|node| OutsideNode { name: node.name_any(), reason: outside_reason(node, partitions) }).collect();
    Nodes { nodes, outside, notes: Vec::new() }
}

fn listed(node: &PartitionNode, now: Timestamp) -> ListedNode {
    ListedNode {
        name: node.name_any(),
        partition: node.spec.partition.clone(),
        age_seconds: seconds(node.metadata.creation_timestamp.as_ref(), now),
        status: node.status.clone().unwrap_or_default(),
    }
}

/// Why a node has no place in a partition.
fn outside_reason(node: &Node, partitions: &[Partition]) -> String {
    let claims: Vec<String> = claimants(node, partitions).iter().map(|partition| partition.name_any()).collect();
    match claims.as_slice() {
        [] => "no Partition selects it".to_owned(),
        [one] => format!("Partition {one} selects it, and its agent has not enrolled"),
        several => format!("the Partitions {} select it; a node belongs to one at most", several.join(", ")),
    }
}

fn lines(nodes: &Nodes, now: Timestamp) -> Vec<Line> {
    let mut lines = if nodes.nodes.is_empty() { Vec::new() } else { table_of(&nodes.nodes, now) };
    if !nodes.outside.is_empty() {
        let between = if lines.is_empty() { Vec::new() } else { vec![Vec::new()] };
        let mut rows = vec![header(&["NODE IN NO PARTITION", "WHY"])];
        rows.extend(nodes.outside.iter().map(|node| vec![Piece::plain(&node.name), Piece::plain(&node.reason)]));
        lines.extend(between.into_iter().chain(table(rows)));
    }
    lines
}

fn table_of(nodes: &[ListedNode], now: Timestamp) -> Vec<Line> {
    let names =
        ["NODE", "PARTITION", "STATE", "ROLE", "CPUS", "CPU-EFF", "SKEW P99", "SWITCH P99", "CLOCK ERROR", "STRAGGLERS", "WRITTEN", "AGE"];
    let mut rows = vec![header(&names)];
    rows.extend(nodes.iter().map(|node| row(node, now)));
    table(rows)
}

fn row(node: &ListedNode, now: Timestamp) -> Line {
    let (status, none) = (&node.status, NodeFigures::default());
    let figures = status.figures.as_ref().unwrap_or(&none);
    let text = |time: Option<strobe_crds::duration::Duration>| cell(time.map(|time| time.to_string()).as_deref());
    vec![
        Piece::plain(&node.name),
        Piece::plain(&node.partition),
        state(status),
        cell(role(status)),
        Piece::plain(status.cpu_count.to_string()),
        cell(figures.cpu_efficiency.as_deref()),
        text(figures.skew.map(|skew| skew.p99)),
        text(figures.switch_cost.map(|cost| cost.p99)),
        text(figures.clock_error_bound),
        cell(status.figures.as_ref().map(|figures| figures.stragglers.to_string()).as_deref()),
        Piece::plain(age(seconds(status.measured.as_ref(), now))),
        Piece::plain(age(node.age_seconds)),
    ]
}

/// What the node is to the others.
pub(super) const fn role(status: &PartitionNodeStatus) -> Option<&'static str> {
    match (status.manager, status.member) {
        (true, _) => Some("manager"),
        (false, true) => Some("member"),
        (false, false) => None,
    }
}

/// The state of a node, in its colour; of one that is reached also when it runs free.
pub(super) fn state(status: &PartitionNodeStatus) -> Piece {
    let free = status.figures.as_ref().is_some_and(|figures| figures.strobe == Some(StrobeState::FreeRunning));
    match status.state {
        None => cell(None),
        Some(NodeState::Reachable) if free => Piece::coloured("FreeRunning", Color::Yellow),
        Some(NodeState::Reachable) => Piece::coloured("Reachable", Color::Green),
        Some(state @ (NodeState::Absent | NodeState::Unreachable)) => Piece::coloured(format!("{state:?}"), Color::Yellow),
        Some(state @ (NodeState::Dead | NodeState::Lost)) => Piece::coloured(format!("{state:?}"), Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixture::{NOW, node, partition, partition_node};
    use crate::terminal::text;

    #[test]
    fn nodes_of_partitions_have_their_figures_and_others_their_reasons() {
        let times = json!({ "p50": "18us", "p99": "83us", "max": "2ms" });
        let figures = json!({ "cpuEfficiency": "97%", "skew": times, "clockErrorBound": "270us", "stragglers": 2 });
        let known = [
            partition_node("b", &json!({ "state": "Lost" })),
            partition_node("a", &json!({ "state": "Reachable", "manager": true, "member": true, "cpuCount": 8, "figures": figures })),
        ];
        let partitions = [partition("main", &json!({ "x": "1" })), partition("other", &json!({ "y": "1" }))];
        let all = [
            node("a", &json!({ "x": "1" })),
            node("c", &json!({ "x": "1" })),
            node("d", &json!({})),
            node("e", &json!({ "x": "1", "y": "1" })),
        ];
        let told = lines(&nodes(&known, &partitions, &all, NOW), NOW);
        assert_eq!(
            told.iter().map(text).collect::<Vec<_>>(),
            [
                "NODE  PARTITION  STATE      ROLE     CPUS  CPU-EFF  SKEW P99  SWITCH P99  CLOCK ERROR  STRAGGLERS  WRITTEN  AGE",
                "a     main       Reachable  manager  8     97%      83us      -           270us        2           -        90s",
                "b     main       Lost       -        0     -        -         -           -            -           -        90s",
                "",
                "NODE IN NO PARTITION  WHY",
                "c                     Partition main selects it, and its agent has not enrolled",
                "d                     no Partition selects it",
                "e                     the Partitions main, other select it; a node belongs to one at most",
            ]
        );
    }

    #[test]
    fn a_node_that_runs_free_is_not_like_others() {
        let free = partition_node("a", &json!({ "state": "Reachable", "figures": { "strobe": "FreeRunning" } })).status.unwrap();
        assert_eq!(state(&free).text, "FreeRunning");
    }
}
