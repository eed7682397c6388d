//! What gangs may do, and what is said of jobs.

use std::{collections::BTreeMap, time::Duration};

use strobe_core::{
    authority::JobStatus,
    model::{GangRun, GangState, NodeIndex, NodePlacement, NodeSet, RankIndex, RankOutcome},
};

use super::{Ledger, Violation};
use crate::clock::Moment;

/// Section 5 of the design: while every member of the view answers.
const FAILED_GANG_ENDS: Duration = Duration::from_millis(100);

/// No two of the runs share a CPU on the node.
pub(crate) fn share_no_cpu(node: NodeIndex, runs: &[GangRun], placements: &BTreeMap<GangRun, Vec<NodePlacement>>) -> Result<(), Violation> {
    let part = |run: &GangRun| placements.get(run).into_iter().flatten().find(|part| part.node == node);
    for (index, one) in runs.iter().enumerate() {
        for other in &runs[index + 1..] {
            if let (Some(first), Some(second)) = (part(one), part(other))
                && first.cpus.overlaps(&second.cpus)
            {
                let detail = format!("runs {one} and {other} are both commanded thawed on node {node}");
                return Err(Violation::new("one row", detail));
            }
        }
    }
    Ok(())
}

impl Ledger {
    /// A run has its place.
    pub(crate) fn keeps_cordon(run: GangRun, nodes: NodeSet, cordoned: NodeSet) -> Result<(), Violation> {
        let on = nodes.intersection(cordoned);
        if on.is_empty() { Ok(()) } else { Err(Violation::new("cordon", format!("{run} is placed on {on:?}, which take no gang"))) }
    }

    /// A supervisor is up.
    pub(crate) fn up(&mut self, run: GangRun, node: NodeIndex) {
        self.up.insert((run, node));
    }

    /// A supervisor lets its ranks go.
    pub(crate) fn released(&self, run: GangRun, placements: &BTreeMap<GangRun, Vec<NodePlacement>>) -> Result<(), Violation> {
        let missing = placements.get(&run).into_iter().flatten().find(|part| !self.up.contains(&(run, part.node)));
        match missing {
            Some(part) => {
                let detail = format!("ranks of {run} are released, and its supervisor on node {} was never up", part.node);
                Err(Violation::new("released when all are up", detail))
            }
            None => Ok(()),
        }
    }

    /// A rank ended; `undisturbed` when there was no fault until now and no message is slow.
    pub(crate) fn rank_ended(
        &mut self,
        now: Moment,
        (run, rank): (GangRun, RankIndex),
        outcome: RankOutcome,
        undisturbed: bool,
    ) -> Result<(), Violation> {
        if outcome == RankOutcome::Exited(0) {
            self.exited.insert((run, rank));
            return Ok(());
        }
        let failed = *self.failed.entry(run).or_insert(now);
        if undisturbed && now.since(failed) > FAILED_GANG_ENDS {
            let detail = format!("rank {rank} of {run} ends {:?} after the first one failed", now.since(failed));
            return Err(Violation::new("failed gangs end", detail));
        }
        Ok(())
    }

    /// The authority says something of a job.
    pub(crate) fn job_said(&mut self, status: &JobStatus, placements: &BTreeMap<GangRun, Vec<NodePlacement>>) -> Result<(), Violation> {
        if let Some(ended) = self.ended.get(&status.gang) {
            let detail = format!("job {} was {ended:?} and is {:?}", status.gang, status.state);
            return Err(Violation::new("one end", detail));
        }
        if !status.state.is_terminal() {
            return Ok(());
        }
        self.ended.insert(status.gang, status.state);
        let run = GangRun { gang: status.gang, incarnation: status.incarnation };
        let ranks =
            placements.get(&run).into_iter().flatten().flat_map(|part| (0..part.ranks).map(|rank| RankIndex(part.first_rank.0 + rank)));
        let missing = ranks.filter(|rank| !self.exited.contains(&(run, *rank))).count();
        if status.state == GangState::Complete && missing > 0 {
            return Err(Violation::new(
                "one end",
                format!("job {} is complete, and {missing} ranks of {run} did not exit with 0", status.gang),
            ));
        }
        Ok(())
    }
}
