//! What a plan may say.

use std::collections::BTreeSet;

use strobe_core::model::{CpuIndex, Plan, PlannedGang};

use super::{Ledger, Violation};
use crate::scenario::JobPlan;

impl Ledger {
    /// A plan is sent to the manager of a partition whose nodes have so many CPUs.
    pub(crate) fn planned(&mut self, plan: &Plan, jobs: &[JobPlan], cpus: u16) -> Result<(), Violation> {
        if plan.version == self.plan {
            return Ok(());
        }
        self.plan = plan.version;
        let mut given = BTreeSet::new();
        for planned in &plan.gangs {
            has_its_cpus(planned, jobs, cpus)?;
            for (row, part) in planned.rows.iter().flat_map(|row| planned.placement.iter().map(move |part| (row, part))) {
                if let Some(cpu) = part.cpus.iter().find(|cpu| !given.insert((row, part.node, *cpu))) {
                    let detail =
                        format!("plan {} gives CPU {cpu} of node {} twice in row {row}, then to {}", plan.version, part.node, planned.run);
                    return Err(Violation::new("one gang a slot", detail));
                }
            }
        }
        Ok(())
    }
}

fn has_its_cpus(planned: &PlannedGang, jobs: &[JobPlan], cpus: u16) -> Result<(), Violation> {
    let job = &jobs[usize::try_from(planned.run.gang.0).expect("gangs are numbered as jobs")];
    let wanted = job.ranks_per_node as usize * usize::from(job.cpus_per_rank);
    let nodes: BTreeSet<_> = planned.placement.iter().map(|part| part.node).collect();
    let fits = |part: &strobe_core::model::NodePlacement| {
        part.ranks == job.ranks_per_node && part.cpus.len() == wanted && part.cpus.iter().all(|cpu| cpu < CpuIndex(cpus))
    };
    if nodes.len() == usize::from(job.nodes) && planned.placement.len() == nodes.len() && planned.placement.iter().all(fits) {
        return Ok(());
    }
    Err(Violation::new(
        "one gang a slot",
        format!("{} does not get {wanted} CPUs on each of {} nodes: {planned:?}", planned.run, job.nodes),
    ))
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{
        CpuSet, Desire, GangId, GangIncarnation, GangRun, MatrixVersion, NodeIndex, NodePlacement, RankIndex, RowIndex,
    };

    use super::*;

    const JOB: JobPlan = JobPlan {
        submit_at_milliseconds: 0,
        nodes: 1,
        ranks_per_node: 1,
        work_milliseconds: 1,
        fails_once: false,
        restarts: 0,
        grace_milliseconds: 0,
        stubborn: false,
        priority: 0,
        cpus_per_rank: 2,
        active_deadline_milliseconds: None,
    };

    fn plan(rows: [u8; 2], cpus: [[u16; 2]; 2]) -> Plan {
        let gang = |gang: usize| PlannedGang {
            run: GangRun { gang: GangId(gang as u64), incarnation: GangIncarnation(1) },
            desire: Desire::Run,
            rows: [RowIndex(rows[gang])].into_iter().collect(),
            placement: vec![NodePlacement {
                node: NodeIndex(0),
                cpus: cpus[gang].into_iter().map(CpuIndex).collect::<CpuSet>(),
                first_rank: RankIndex(0),
                ranks: 1,
            }],
        };
        Plan { version: MatrixVersion(1), gangs: vec![gang(0), gang(1)] }
    }

    fn is_sound(plan: &Plan) -> bool {
        Ledger::new(1).planned(plan, &[JOB, JOB], 4).is_ok()
    }

    #[test]
    fn a_cpu_is_given_once_a_row_and_each_rank_has_its_own() {
        assert!(is_sound(&plan([0, 0], [[0, 1], [2, 3]])) && is_sound(&plan([0, 1], [[0, 1], [0, 1]])));
        assert!(!is_sound(&plan([0, 0], [[0, 1], [1, 2]])), "CPU 1 twice in row 0");
        assert!(!is_sound(&plan([0, 1], [[0, 0], [0, 1]])), "one CPU for a rank of two");
        assert!(!is_sound(&plan([0, 1], [[3, 4], [0, 1]])), "a CPU that the node has not");
    }
}
