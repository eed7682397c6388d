//! The state of a run as it is shown.

use strobe_core::model::{GangState, Instant, NodeIndex, Policy};

use super::{Phase, Run};
use crate::local::{
    histogram::Figures,
    jobs::Job,
    view::{JobLine, NodeColumn, SkewFigures, Snapshot, StrobeCounts},
};

impl Run<'_> {
    pub(super) fn draw(&self, now: Instant) {
        let shown = matches!(self.phase, Phase::Starting | Phase::Running);
        if shown {
            self.screen.draw(self.snapshot(now));
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let prepared = self.options.prepared;
        let reached = self.agents.reached();
        let settings = &prepared.settings;
        let policy = match settings.policy {
            Policy::Gang => format!("gang policy, quantum {:?}", settings.quantum),
            Policy::Kernel => "kernel policy: no switches".to_owned(),
        };
        let (skew, switch) = (self.statistics.skew().begin(), self.statistics.switch());
        let counters = self.statistics.counters();
        Snapshot {
            title: format!("{} · {policy}", prepared.partition),
            nodes: prepared.nodes.iter().map(|node| self.column(node.node, reached.contains(&node.node))).collect(),
            rows: settings.rows.into(),
            jobs: self.jobs.iter().map(|job| job_line(job, now)).chain(self.file.iter().map(|file| file.line(now))).collect(),
            strobes: (counters.strobes > 0).then_some(StrobeCounts {
                count: counters.strobes,
                late: counters.late,
                missed: counters.missed,
                stragglers: counters.stragglers,
            }),
            skew_micros: (skew.count() > 0).then(|| {
                let Figures { p50, p99, .. } = skew.figures();
                SkewFigures { p50, p99, bound: self.statistics.clock_bound_micros() }
            }),
            switch_micros: (switch.count() > 0).then(|| switch.figures().p50),
            term: self.shell.term().map(|(term, manager)| (term, manager.0)),
        }
    }

    fn column(&self, node: NodeIndex, reached: bool) -> NodeColumn {
        let cpus: Vec<u16> = self.options.prepared.nodes[usize::from(node.0)].cpus.iter().map(|cpu| cpu.0).collect();
        // Under the kernel policy every row runs.
        let strobed = self.options.prepared.settings.policy == Policy::Gang;
        let row = self.statistics.nodes().get(&node).and_then(|known| known.row).filter(|_| strobed);
        let slot = |row: u8, cpu: u16| {
            self.jobs.iter().position(|job| {
                job.placement.as_ref().is_some_and(|place| {
                    place.rows.contains(strobe_core::model::RowIndex(row))
                        && place.nodes.iter().any(|part| part.node == node && part.cpus.contains(strobe_core::model::CpuIndex(cpu)))
                })
            })
        };
        let rows = 0..self.options.prepared.settings.rows;
        NodeColumn {
            reached,
            active: row.and_then(|row| usize::try_from(row).ok()),
            slots: rows.map(|row| cpus.iter().map(|cpu| slot(row, *cpu)).collect()).collect(),
            cpus,
        }
    }
}

fn job_line(job: &Job, now: Instant) -> JobLine {
    let why = job.explanation();
    let word = why.reason.map(|reason| reason.to_string()).unwrap_or_default();
    let mut note = if why.message.is_empty() { word } else { why.message };
    if job.state == GangState::Complete {
        note.clear();
    }
    if !job.synchronised {
        note.push_str(" (not synchronised)");
    }
    JobLine {
        name: job.name.clone(),
        state: format!("{:?}", job.state),
        progress: job.progress,
        seconds: job.released.map_or(0.0, |released| job.ended.unwrap_or(now).since(released).as_secs_f64()),
        over: job.state.is_terminal(),
        note,
    }
}
