//! How fast a job can be, and how fast it is: its share of the time, the CPU time that it makes of it, and what switching takes away.

use kube::ResourceExt as _;
use strobe_crds::duration::Duration;
use strobe_crds::parallel_job::{GangState, ParallelJobStatus};
use strobe_crds::partition::Policy;
use strobe_crds::partition_node::{NodeFigures, Scheduler, StrobeState};

use super::Facts;
use crate::cluster::gangs;
use crate::cluster::words::{count, percent};

/// Below this part of what it could use a gang is told to wait for something.
const LOW_EFFICIENCY: f64 = 70.0;

/// Above this part of the quantum the cost of switches is told to be high.
const HIGH_COST: f64 = 0.05;

/// Skew above this part of the quantum is told to be high: for so long the gang runs without a part of its ranks.
const HIGH_SKEW: f64 = 0.05;

/// A gang that waits once in this part of the quantum loses about a hundredth of it at each end: the last wait is cut off.
const GRAIN_PARTS: u32 = 100;

/// A node of the gang, and what its agent measures.
type Measured<'a> = (String, &'a NodeFigures);

/// Of a job that has not run there is nothing to say.
pub(super) fn lines(facts: &Facts, status: &ParallelJobStatus) -> Vec<String> {
    if status.start_time.is_none() {
        return Vec::new();
    }
    let mut lines = share(status);
    lines.extend(efficiency(status));
    if status.state.is_some_and(GangState::is_over) {
        return lines;
    }
    let measured = measured(facts);
    let switched = facts.partition.as_ref().filter(|partition| partition.spec.policy == Policy::Gang);
    if let Some(quantum) = switched.map(|partition| partition.spec.quantum) {
        lines.extend(switching(quantum, &measured));
        lines.push(grain(quantum));
    }
    lines.extend(measured.iter().flat_map(|(node, figures)| odd(node, figures)));
    lines
}

fn share(status: &ParallelJobStatus) -> Vec<String> {
    let rows = count(status.rows.len() as u64, "row");
    let share = |share: &String| {
        let other = if share == "100%" { "no other gang takes turns with it" } else { "gangs of other rows take turns with it" };
        format!("its {rows} {} active {share} of the time: {other}", if status.rows.len() == 1 { "is" } else { "are" })
    };
    status.share.iter().map(share).collect()
}

fn efficiency(status: &ParallelJobStatus) -> Vec<String> {
    let Some(used) = status.cpu_efficiency.as_deref() else { return Vec::new() };
    let word = match percent(Some(used)) {
        Some(part) if part < LOW_EFFICIENCY => ": they wait for the rest, for input and output, or because some compute longer than others",
        Some(_) => ": they compute nearly all of it",
        None => "",
    };
    vec![format!("while they are not switched out its ranks use {used} of the time of their CPUs{word}")]
}

/// What agents measure on the nodes of the gang.
fn measured(facts: &Facts) -> Vec<Measured<'_>> {
    let names: Vec<&str> = facts.pods.iter().filter_map(gangs::node).collect();
    let of_gang = facts.nodes.iter().filter(|node| names.contains(&node.name_any().as_str()));
    of_gang.filter_map(|node| Some((node.name_any(), node.status.as_ref()?.figures.as_ref()?))).collect()
}

/// What a switch costs on the worst node, and how far the nodes are apart.
fn switching(quantum: Duration, measured: &[Measured<'_>]) -> Vec<String> {
    let part = |time: Duration| time.to_std().as_secs_f64() / quantum.to_std().as_secs_f64();
    let cost = measured.iter().filter_map(|(node, figures)| Some((figures.switch_cost?, node))).max_by_key(|(cost, _)| cost.p99);
    let cost = cost.map(|(cost, node)| {
        let often = part(cost.p50);
        let advice = if often > HIGH_COST { "; a longer quantum of the partition would cost less" } else { "" };
        format!("a switch takes {} (p50, {:.1}% of the quantum of {quantum}), p99 {} on {node}{advice}", cost.p50, 100.0 * often, cost.p99)
    });
    let skew = measured.iter().filter_map(|(node, figures)| Some((figures.skew?.p99, node))).max();
    let skew = skew.map(|(skew, node)| {
        let high = part(skew) > HIGH_SKEW;
        let advice = if high { "; that is much: ranks that wait for each other do not run together for so long" } else { "" };
        format!("{node} switches up to {skew} (p99) after the first node, {:.1}% of the quantum{advice}", 100.0 * part(skew))
    });
    [cost, skew].into_iter().flatten().collect()
}

fn grain(quantum: Duration) -> String {
    let grain = Duration::from(quantum.to_std() / GRAIN_PARTS);
    format!(
        "ranks that wait for each other at least every {grain} lose little at the ends of a quantum; for a coarser grain a longer quantum is better"
    )
}

/// What is out of order on a node of the gang.
fn odd(node: &str, figures: &NodeFigures) -> Vec<String> {
    let free = (figures.strobe == Some(StrobeState::FreeRunning))
        .then(|| format!("{node} runs free: its agent does not hear the machine manager, and gangs share its CPUs as the kernel likes"));
    let other = (figures.scheduler == Some(Scheduler::Other))
        .then(|| format!("{node} switches by an ordinary thread, not in real time: late when its CPUs are busy"));
    let stragglers = (figures.stragglers > 0)
        .then(|| format!("{node}: {} times a gang did not freeze in time, of {} strobes", figures.stragglers, figures.strobes));
    let unsynchronised = (figures.unsynchronised > 0)
        .then(|| format!("{node}: acted on {} without a good estimate of the manager's clock", count(figures.unsynchronised, "strobe")));
    [free, other, stragglers, unsynchronised].into_iter().flatten().collect()
}
