//! `matrix`: which gang holds which row on which node, put together from the jobs' status, their pods and the nodes' objects.

mod picture;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;
use strobe_crds::names::LABEL_JOB_UID;
use strobe_crds::partition_node::NodeState;
use strobe_crds::{ParallelJob, Partition, PartitionNode};

use super::access::{Cluster, Listed, if_allowed};
use super::error::ClusterError;
use super::output::show;
use super::words::{slots, state_word};
use super::{gangs, watching};
use crate::arguments::MatrixArguments;
use crate::terminal::Picture as _;

/// A matrix as far as its user may see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Matrix {
    partition: String,
    policy: Option<String>,
    quantum: Option<String>,
    manager: Option<String>,
    term: Option<u64>,
    rows: u8,
    nodes: Vec<MatrixNode>,
    gangs: Vec<MatrixGang>,
    notes: Vec<String>,
}

/// A node of the matrix, with a cell a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatrixNode {
    name: String,
    /// None where the user may not read it.
    state: Option<NodeState>,
    /// Slots of each row; none where the user may not read them.
    slots: Option<u32>,
    rows: Vec<MatrixCell>,
}

/// What a row holds on a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatrixCell {
    gangs: Vec<CellGang>,
    /// Slots that gangs hold which the user may not read.
    unknown_slots: u32,
}

/// A gang in a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CellGang {
    mark: String,
    slots: u32,
}

/// A gang that holds slots.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatrixGang {
    mark: String,
    namespace: String,
    name: String,
    state: Option<String>,
    rows: Vec<u8>,
    slots_per_node: u32,
    wanted_nodes: u32,
    /// Empty where no pods of it are seen.
    nodes: Vec<String>,
}

/// What a matrix is made of.
struct Sources {
    name: String,
    /// None where the user may not read it.
    partition: Option<Partition>,
    nodes: Vec<PartitionNode>,
    jobs: Vec<ParallelJob>,
    pods: Vec<Pod>,
    notes: Vec<String>,
}

/// Prints the matrix, or shows it for as long as it is watched.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &MatrixArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    if arguments.watch {
        let cluster = cluster.followed();
        return watching::watch(&cluster, async || Ok(matrix(&read(&cluster, arguments.partition.as_deref()).await?))).await;
    }
    let matrix = matrix(&read(&cluster, arguments.partition.as_deref()).await?);
    // What is noted stands below the table.
    show(arguments.table.output, &matrix, &matrix.lines(usize::MAX, usize::MAX), &[])
}

async fn read(cluster: &Cluster, wanted: Option<&str>) -> Result<Sources, ClusterError> {
    let all = ListParams::default();
    let of_gangs = ListParams::default().labels(LABEL_JOB_UID);
    let jobs: Listed<ParallelJob> = cluster.as_allowed(&all).await?;
    let (name, partition, mut notes) = which(cluster, wanted, &jobs.items).await?;
    let nodes: Listed<PartitionNode> = if_allowed(cluster.everywhere(&all).await)?;
    let pods: Listed<Pod> = cluster.as_allowed(&of_gangs).await?;
    notes.extend([nodes.notes, jobs.notes, pods.notes].concat());
    let nodes = nodes.items.into_iter().filter(|node| node.spec.partition == name).collect();
    let jobs = jobs.items.into_iter().filter(|job| job.spec.partition == name).collect();
    Ok(Sources { name, partition, nodes, jobs, pods: pods.items, notes })
}

/// Which partition is meant: the named one, or the only one, or else the only one that jobs name.
async fn which(
    cluster: &Cluster,
    wanted: Option<&str>,
    jobs: &[ParallelJob],
) -> Result<(String, Option<Partition>, Vec<String>), ClusterError> {
    if let Some(name) = wanted {
        return match cluster.partition(name).await {
            Ok(partition) => Ok((name.to_owned(), Some(partition), Vec::new())),
            Err(error @ ClusterError::Forbidden { .. }) => Ok((name.to_owned(), None, vec![error.to_string()])),
            Err(error) => Err(error),
        };
    }
    let listed: Listed<Partition> = if_allowed(cluster.everywhere(&ListParams::default()).await)?;
    let is_forbidden = listed.items.is_empty() && !listed.notes.is_empty();
    let mut names: Vec<String> = match is_forbidden {
        true => jobs.iter().map(|job| job.spec.partition.clone()).collect(),
        false => listed.items.iter().map(ResourceExt::name_any).collect(),
    };
    names.sort();
    names.dedup();
    match names.as_slice() {
        [] => Err(ClusterError::NoPartition),
        [name] => Ok((name.clone(), listed.items.into_iter().next(), listed.notes)),
        _ => Err(ClusterError::WhichPartition(names)),
    }
}

/// Puts a matrix together.
fn matrix(sources: &Sources) -> Matrix {
    let gangs = gangs_of(sources);
    let held = gangs.iter().flat_map(|gang| gang.rows.iter()).max().map_or(0, |row| row + 1);
    let rows = sources.partition.as_ref().map_or(held, |partition| partition.spec.rows.max(held));
    let mut nodes: BTreeMap<String, MatrixNode> = sources.nodes.iter().map(|node| (node.name_any(), known_node(node, rows))).collect();
    for gang in &gangs {
        for node in &gang.nodes {
            let unread = || MatrixNode { name: node.clone(), state: None, slots: None, rows: empty(rows) };
            let node = nodes.entry(node.clone()).or_insert_with(unread);
            for row in &gang.rows {
                let cell = &mut node.rows[usize::from(*row)];
                cell.unknown_slots = cell.unknown_slots.saturating_sub(gang.slots_per_node);
                cell.gangs.push(CellGang { mark: gang.mark.clone(), slots: gang.slots_per_node });
            }
        }
    }
    let status = sources.partition.as_ref().and_then(|partition| partition.status.as_ref());
    let spec = sources.partition.as_ref().map(|partition| &partition.spec);
    Matrix {
        partition: sources.name.clone(),
        policy: spec.map(|spec| format!("{:?}", spec.policy).to_lowercase()),
        quantum: spec.map(|spec| spec.quantum.to_string()),
        manager: status.and_then(|status| status.manager.clone()),
        term: status.and_then(|status| status.manager.as_ref().map(|_| status.term)),
        rows,
        nodes: nodes.into_values().collect(),
        gangs,
        notes: sources.notes.clone(),
    }
}

/// The gangs that hold rows, in the order of their names.
fn gangs_of(sources: &Sources) -> Vec<MatrixGang> {
    let mut jobs: Vec<&ParallelJob> = sources.jobs.iter().filter(|job| !rows(job).is_empty()).collect();
    jobs.sort_by_key(|job| (job.namespace(), job.name_any()));
    let gang = |(place, job): (usize, &ParallelJob)| MatrixGang {
        mark: mark(place),
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        state: state_word(job),
        rows: rows(job).to_vec(),
        slots_per_node: slots(job),
        wanted_nodes: job.spec.nodes,
        nodes: gangs::newest(job, &sources.pods).iter().filter_map(|pod| gangs::node(pod)).map(str::to_owned).collect(),
    };
    jobs.into_iter().enumerate().map(gang).collect()
}

fn rows(job: &ParallelJob) -> &[u8] {
    job.status.as_ref().map_or(&[], |status| &status.rows)
}

fn known_node(node: &PartitionNode, rows: u8) -> MatrixNode {
    let status = node.status.clone().unwrap_or_default();
    let mut cells = empty(rows);
    for (cell, held) in cells.iter_mut().zip(&status.rows) {
        cell.unknown_slots = held.used_slots;
    }
    MatrixNode { name: node.name_any(), state: status.state, slots: Some(status.cpu_count), rows: cells }
}

fn empty(rows: u8) -> Vec<MatrixCell> {
    vec![MatrixCell::default(); rows.into()]
}

/// A, B … Z, AA, AB …
fn mark(place: usize) -> String {
    let letter = |place: usize| char::from(b'A' + u8::try_from(place % 26).expect("below 26"));
    let before = place / 26;
    if before == 0 { letter(place).to_string() } else { mark(before - 1) + &letter(place).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fixture::{job, partition, partition_node, pod};
    use crate::terminal::text;

    /// Two gangs of 4 slots on each of two nodes of 8 CPUs, of which the first shares its row with one that cannot be read.
    fn sources() -> Sources {
        let node = |name: &str, used: [u32; 2]| {
            let rows: Vec<Value> = used.into_iter().map(|used| json!({ "gangs": 1, "usedSlots": used })).collect();
            partition_node(name, &json!({ "state": "Reachable", "cpuCount": 8, "rows": rows }))
        };
        Sources {
            name: "main".to_owned(),
            partition: Some(partition("main", &json!({}))),
            nodes: vec![node("a", [8, 4]), node("b", [4, 4])],
            jobs: vec![
                job("physics", "tsp", &json!({ "state": "Running", "rows": [1] })),
                job("physics", "sor", &json!({ "state": "Paused", "rows": [0] })),
                job("physics", "waits", &json!({ "state": "Queued" })),
            ],
            pods: ["sor", "tsp"]
                .iter()
                .flat_map(|job| [("a", 0), ("b", 1)].map(|(node, at)| pod(job, at, Some(node), &json!({}))))
                .collect(),
            notes: Vec::new(),
        }
    }

    fn shown(sources: &Sources) -> Vec<String> {
        matrix(sources).lines(usize::MAX, usize::MAX).iter().map(text).collect()
    }

    #[test]
    fn every_node_shows_which_gang_holds_which_row_and_what_cannot_be_read_counts() {
        assert_eq!(
            shown(&sources()),
            [
                "main · gang policy, quantum 50ms · term 3, managed by a",
                "NODE  CPUS  ROW 0    ROW 1",
                "a     8     A 4 ? 4  B 4",
                "b     8     A 4      B 4",
                "",
                "   JOB          STATE    ROWS  ON EACH NODE  NODES",
                "A  physics/sor  Paused   0     4 slots       2",
                "B  physics/tsp  Running  1     4 slots       2",
                "?  slots of gangs that you may not read",
            ]
        );
    }

    #[test]
    fn what_may_not_be_read_leaves_the_rest() {
        let mut sources = sources();
        (sources.partition, sources.nodes) = (None, Vec::new());
        sources.notes = vec!["partitions: you are not allowed to".to_owned()];
        let without_nodes = shown(&sources);
        assert_eq!(without_nodes[0], "main");
        assert_eq!(without_nodes[2], "a     ?     A 4    B 4");
        assert_eq!(without_nodes.last().map(String::as_str), Some("note: partitions: you are not allowed to"));
        sources.pods.clear();
        let without_pods = shown(&sources);
        assert!(without_pods.iter().any(|line| line == "A  physics/sor  Paused   0     4 slots       ? of 2"), "{without_pods:?}");
        assert!(without_pods.iter().any(|line| line == "no node is known"), "{without_pods:?}");
    }

    #[test]
    fn a_gang_keeps_to_the_rows_that_it_holds_also_where_the_partition_has_fewer_by_now() {
        let mut sources = sources();
        sources.jobs[0].status.as_mut().unwrap().rows = vec![1, 3];
        let matrix = matrix(&sources);
        assert_eq!((matrix.rows, matrix.nodes[0].rows[3].gangs[0].mark.as_str()), (4, "B"));
        assert_eq!(matrix.gangs[1].rows, [1, 3]);
    }

    #[test]
    fn marks_are_never_the_same() {
        assert_eq!([0, 25, 26, 27, 701, 702].map(mark), ["A", "Z", "AA", "AB", "ZZ", "AAA"]);
    }
}
