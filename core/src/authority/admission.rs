//! Admission: first come, first served, by priority.
//!
//! Strict: while a job waits for slots that others hold, none behind it is admitted. A backfill needs run times, which
//! nobody states here, to be sure that it does not make the first one wait longer; without them a wide gang starves
//! behind narrow ones. A job that would not fit if nothing ran (more nodes than are reached, too large nodes) waits for
//! nobody's end, and so does not hold the others up; nor does one whose namespace has as many ranks as it may have.

use std::cmp::Reverse;

use super::{Authority, AuthorityEffect, StateReason};
use crate::{
    machine::Outbox,
    matrix::{Matrix, NoPlacement},
    model::{GangId, GangState, Instant, NodeSet},
};

impl Authority {
    /// Admits whom it may and says of the others why they wait.
    pub(super) fn admit(&mut self, now: Instant, out: &mut Outbox<AuthorityEffect>) {
        if !std::mem::take(&mut self.admission_due) {
            return;
        }
        let excluded = self.nodes.in_state(|_| true).difference(self.nodes.reachable()).union(self.cordoned);
        let (mut waiting, mut blocked) = (0, self.terms.reigning().is_none());
        for gang in self.queue() {
            let refusal =
                if blocked { Some(self.hold_back(waiting + 1)) } else { self.try_admission(now, gang, excluded, waiting + 1, out) };
            if let Some((reason, blocks)) = refusal {
                waiting += 1;
                blocked |= blocks;
                self.jobs.get_mut(&gang).expect("the queue is made of jobs").reason = reason;
            }
        }
    }

    /// The queued jobs, the one that goes first first.
    fn queue(&self) -> Vec<GangId> {
        let queued = self.jobs.values().filter(|job| job.state == GangState::Queued).map(|job| &job.specification);
        let mut order: Vec<_> = queued.map(|job| (Reverse(job.priority), job.submitted, job.gang)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, gang)| gang).collect()
    }

    fn hold_back(&self, position: usize) -> (StateReason, bool) {
        let reason = if self.terms.reigning().is_none() { StateReason::NoTerm { position } } else { StateReason::Behind { position } };
        (reason, true)
    }

    /// Admits the job, or says why not and whether those behind it must wait.
    fn try_admission(
        &mut self,
        now: Instant,
        gang: GangId,
        excluded: NodeSet,
        position: usize,
        out: &mut Outbox<AuthorityEffect>,
    ) -> Option<(StateReason, bool)> {
        if let Some(reason) = self.lack_of_ranks(gang, position) {
            return Some((reason, false));
        }
        let job = self.jobs.get_mut(&gang).expect("the queue is made of jobs");
        let matrix = self.matrix.as_mut().expect("a term reigns only in a configured partition");
        let request = job.request(excluded.union(job.avoidance.nodes()));
        match matrix.placing(&request) {
            Ok(change) => {
                matrix.commit(change);
                let place = matrix.gang(request.run).expect("it was placed just now");
                job.admit(now, request.run, place);
                out.push(AuthorityEffect::Launch { run: request.run, placement: place.nodes.clone() });
                self.plan_due = true;
                None
            }
            Err(shortage) => {
                let reason = job.keeps_away(position).unwrap_or(StateReason::NoPlacement { position, shortage });
                Some((reason, waits_for_others(matrix, &request, shortage)))
            }
        }
    }

    /// Why the ranks that its namespace may have do not suffice for the job.
    fn lack_of_ranks(&self, gang: GangId, position: usize) -> Option<StateReason> {
        let limit = self.configuration.as_ref()?.ranks_per_namespace?;
        let job = &self.jobs.get(&gang).expect("the queue is made of jobs").specification;
        let holders = self.jobs.values().filter(|other| other.run.is_some() && other.specification.namespace == job.namespace);
        let (held, wanted) = (holders.map(|other| other.specification.ranks()).sum::<u64>(), job.ranks());
        (held + wanted > u64::from(limit)).then_some(StateReason::NamespaceRanks { position, held, wanted, limit })
    }
}

/// True when the end of other gangs would make room.
fn waits_for_others(matrix: &Matrix, request: &crate::matrix::PlacementRequest, shortage: NoPlacement) -> bool {
    match shortage {
        NoPlacement::Shape { .. } | NoPlacement::Nodes { .. } | NoPlacement::NodeSize { .. } => false,
        NoPlacement::GangsInPlan { .. } | NoPlacement::GangsOnNode { .. } | NoPlacement::Memory { .. } | NoPlacement::Slots { .. } => {
            matrix.emptied().find(request).is_ok()
        }
    }
}
