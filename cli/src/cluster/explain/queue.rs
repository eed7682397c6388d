//! What a waiting job waits for: its place, who is before it, and what is free.

use kube::ResourceExt as _;
use strobe_crds::parallel_job::{ParallelJob, ParallelJobStatus};
use strobe_crds::partition_node::{NodeState, PartitionNode};

use super::Facts;
use crate::cluster::limits::JOBS_BEFORE;
use crate::cluster::words::{count, size, slots};

/// Of a job that has no place in a queue there is nothing to say.
pub(super) fn lines(facts: &Facts, status: &ParallelJobStatus) -> Vec<String> {
    let Some(position) = status.position else { return Vec::new() };
    let mut lines = vec![format!("position {position} in partition {}", facts.job.spec.partition)];
    lines.extend(before(&facts.others, position));
    lines.extend(free(facts));
    lines
}

/// Who is before it, as far as that may be read.
fn before(others: &[ParallelJob], position: u32) -> Vec<String> {
    let place = |job: &ParallelJob| job.status.as_ref().and_then(|status| status.position).filter(|place| *place < position);
    let mut before: Vec<(u32, &ParallelJob)> = others.iter().filter_map(|job| Some((place(job)?, job))).collect();
    before.sort_by_key(|(place, job)| (*place, job.namespace(), job.name_any()));
    let seen = u32::try_from(before.len()).unwrap_or(u32::MAX);
    let line = |(place, job): &(u32, &ParallelJob)| {
        format!("before it, at {place}: {}/{}, which needs {}", job.namespace().unwrap_or_default(), job.name_any(), size(job))
    };
    let mut lines: Vec<String> = before.iter().take(JOBS_BEFORE).map(line).collect();
    let named = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    if seen > named {
        lines.push(format!("and {} more", count(seen - named, "job")));
    }
    let unread = (position - 1).saturating_sub(seen);
    if unread > 0 {
        lines.push(format!("before it: {} that you may not read", count(unread, "job")));
    }
    lines
}

/// In each row: how many nodes have as many slots free as it needs on one.
fn free(facts: &Facts) -> Vec<String> {
    let needed = slots(&facts.job);
    let reached: Vec<&PartitionNode> =
        facts.nodes.iter().filter(|node| node.status.as_ref().is_some_and(|status| status.state == Some(NodeState::Reachable))).collect();
    if facts.nodes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("of {} the agents of {} are reached", count(facts.nodes.len() as u64, "node"), reached.len())];
    let rows = reached.iter().filter_map(|node| node.status.as_ref()).map(|status| status.rows.len()).max().unwrap_or(0);
    let has_room = |row: usize| {
        move |node: &&&PartitionNode| {
            let status = node.status.as_ref();
            let used = status.and_then(|status| status.rows.get(row)).map_or(0, |row| row.used_slots);
            status.is_some_and(|status| status.cpu_count >= used.saturating_add(needed))
        }
    };
    lines.extend((0..rows).map(|row| {
        let nodes = reached.iter().filter(has_room(row)).count();
        format!("row {row}: {} with {} free; it needs {}", count(nodes as u64, "node"), count(needed, "slot"), facts.job.spec.nodes)
    }));
    lines
}
