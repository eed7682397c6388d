//! The end of a run: the last figures, the agents' leave, and what is left of processes, cgroups and output.

use strobe_core::model::Instant;

use super::{Ending, FileTask, Phase, Run, RunError};
use crate::local::{
    clock,
    limits::{KILLED, LAST_FIGURES, LAST_OUTPUT, LEAVING},
    processes,
    report::{Report, RunFacts},
    trace::{Trace, TraceError},
};

impl Run<'_> {
    pub(super) fn advance_to_the_end(&mut self, now: Instant) {
        match &self.phase {
            Phase::Measuring { missing, since } => {
                let complete = missing.is_empty() && self.launches.nothing_over(&self.agents.reached());
                if complete || now >= *since + LAST_FIGURES {
                    self.agents.leave();
                    self.phase = Phase::Leaving(now);
                }
            }
            Phase::Leaving(since) => {
                if self.agents.living() == 0 {
                    self.phase = Phase::Draining(now);
                } else if now >= *since + LEAVING && !self.cut_off {
                    self.screen.say("the agents did not leave in time: killing everything".to_owned());
                    self.cut_off();
                }
            }
            Phase::Draining(since) if self.outputs.all_ended() || now >= *since + LAST_OUTPUT => self.phase = Phase::Over,
            Phase::Draining(_) | Phase::Starting | Phase::Running | Phase::Over => {}
        }
    }

    /// Kills agents, supervisors and ranks.
    pub(super) fn cut_off(&mut self) {
        self.cut_off = true;
        self.agents.kill();
        self.kill_the_rest();
        self.phase = Phase::Leaving(clock::now());
    }

    /// Ends what agents that were killed, or left too early, have not ended. False when something is left.
    fn kill_the_rest(&mut self) -> bool {
        let deadline = clock::now() + KILLED;
        let supervisors = processes::supervisors(self.options.folder.path());
        supervisors.iter().for_each(|process| process.kill());
        let gone = supervisors.into_iter().all(|process| process.wait_for_end(deadline));
        gone && self.cgroup.as_ref().is_none_or(crate::local::cgroup::RunCgroup::remove)
    }

    /// Leaves nothing behind, and puts the report together.
    pub(super) async fn conclude(mut self, driven: Result<(), RunError>) -> Result<Ending, RunError> {
        if driven.is_err() {
            self.agents.kill();
        }
        if !self.kill_the_rest() {
            self.screen.say("warning: not everything of the run could be ended; the next run will try again".to_owned());
        }
        if let Some(file) = &self.file {
            file.remove_parts(self.options.prepared.nodes.iter().map(|capacity| capacity.node));
        }
        self.statistics.finish();
        let report = self.report();
        let file = self.file.as_ref().map(FileTask::ending);
        let failed = self.jobs.any_failed() || self.cut_off || file.as_ref().is_some_and(|file| file.given.is_err());
        let traced = self.trace.take().map_or(Ok(()), Trace::finish);
        drop(self.outputs);
        drop(self.agents);
        let screen = self.screen;
        // It may wait for a slow terminal, and the output's tasks give up theirs meanwhile.
        let shown = tokio::task::spawn_blocking(|| screen.finish()).await;
        driven?;
        shown.map_err(|error| RunError::System { operation: "finish the output", source: error.into() })?;
        if let (Err(source), Some(path)) = (traced, self.options.trace) {
            return Err(TraceError::new(path, source).into());
        }
        Ok(Ending { report, failed, file })
    }

    fn report(&self) -> Report {
        let prepared = self.options.prepared;
        let cpus = prepared.nodes.iter().map(|node| node.cpus.iter().map(|cpu| cpu.0).collect());
        let facts = RunFacts {
            partition: &prepared.partition,
            settings: &prepared.settings,
            cpus: cpus.collect(),
            terms: self.shell.term().map_or(0, |(term, _)| term),
            start_up: self.start_up,
            interrupted: self.interrupts > 0,
            cut_off: self.cut_off,
            now: clock::now(),
        };
        Report::new(&facts, &self.jobs, &self.statistics)
    }
}
