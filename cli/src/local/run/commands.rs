//! What agents say and what the authority wants, carried out.

use std::io;

use strobe_authority::{Command, JobReason, SessionEvent, SessionId};
use strobe_core::{
    authority::{AuthorityInput, JobStatus, LaunchFailure},
    message::PartitionReport,
    model::{GangRun, GangState, Instant, NodeIncarnation, NodeIndex, NodePlacement, Term},
};
use strobe_crds::parallel_job::Reason;
use strobe_proto::agent::{AgentHello, AgentMessage, Figures, LaunchFailed, agent_message, authority_message::Message};

use super::{Phase, Run, RunError};
use crate::local::{
    clock,
    event::Event,
    launches::Order,
    trace::{Trace, TraceError},
};

impl Run<'_> {
    pub(super) fn happened(&mut self, event: Event) -> Result<(), RunError> {
        let now = clock::now();
        let happenings = match event {
            Event::Listening(agent, listening) => {
                self.agents.listening(now, agent, listening);
                return Ok(());
            }
            Event::NotStarted(agent, error) => self.agents.not_started(now, agent, error),
            Event::Exited(agent, status) => self.agents.exited(now, agent, &status),
            Event::Session(SessionEvent::Over(id, _error)) => self.agents.session_over(now, id),
            Event::Session(SessionEvent::Message(id, message)) => return self.said(now, id, *message),
            Event::Progress(gang, percent) => {
                if let Some(job) = self.jobs.get_mut(gang) {
                    job.progress = Some(percent);
                }
                return Ok(());
            }
            Event::OutputEnded(run, node) => {
                self.outputs.ended(run, node);
                return Ok(());
            }
        };
        self.follow(happenings)
    }

    fn said(&mut self, now: Instant, id: SessionId, message: AgentMessage) -> Result<(), RunError> {
        let Some(agent) = self.agents.hears(now, id) else { return Ok(()) };
        match message.message {
            Some(agent_message::Message::Hello(hello)) => self.greeted(agent, id, &hello),
            Some(agent_message::Message::Report(report)) => match PartitionReport::try_from(report) {
                Ok(report) => self.reported(report),
                Err(error) => {
                    self.screen.say(format!("the agent of node {} sends a report that is refused: {error}", agent.node));
                    Ok(())
                }
            },
            Some(agent_message::Message::LaunchFailed(failed)) => self.launch_failed(agent.node, failed),
            Some(agent_message::Message::Figures(figures)) => self.measured(agent, &figures),
            Some(agent_message::Message::Staging(staging)) => {
                if let Some(file) = &mut self.file {
                    file.tell(staging);
                }
                Ok(())
            }
            Some(agent_message::Message::Leaving(_)) => self.step(AuthorityInput::AgentLeaving { agent }),
            Some(agent_message::Message::RankAborted(aborted)) => {
                if let Some(run) = aborted.run {
                    self.jobs.aborted(run.into(), aborted.message);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn greeted(&mut self, agent: NodeIncarnation, id: SessionId, hello: &AgentHello) -> Result<(), RunError> {
        if !self.agents.hello(id, hello) {
            self.screen.say(format!("the agent of node {} says that it is another; not spoken to", agent.node));
            return Ok(());
        }
        self.statistics.hello(agent, hello);
        self.step(AuthorityInput::AgentReachable { agent, sealed: hello.sealed.map(Term) })?;
        let adopted: Vec<GangRun> = hello.adopted.iter().copied().map(GangRun::from).collect();
        for run in adopted.iter().filter(|run| !self.launches.holds(**run)) {
            self.agents.say(agent.node, Message::Remove((*run).into()));
        }
        for run in self.launches.due(agent, &adopted, |run| self.shell.part(run, agent.node)) {
            self.launch_on(agent, run)?;
        }
        if self.phase == Phase::Running {
            self.ask_for_file(clock::now());
        }
        Ok(())
    }

    fn reported(&mut self, report: PartitionReport) -> Result<(), RunError> {
        for gang in &report.gangs {
            self.jobs.reported(gang.run, gang.phase);
        }
        self.step(AuthorityInput::Report(report))
    }

    /// The authority hears only of a supervisor that was not started, for then nothing of the gang lives there. Of a rank
    /// that was not started it hears from the manager, when the node's other ranks are gone too.
    fn launch_failed(&mut self, node: NodeIndex, failed: LaunchFailed) -> Result<(), RunError> {
        let Some(run) = failed.run.map(GangRun::from) else { return Ok(()) };
        let is_supervisor = failed.program == self.options.programs.supervisor.display().to_string();
        if let Some(job) = self.jobs.get_mut(run.gang) {
            job.launch_problem = Some(failed.message);
        }
        if !is_supervisor {
            return Ok(());
        }
        let failure = LaunchFailure::NotStarted(u16::try_from(failed.error_number).unwrap_or(0));
        self.step(AuthorityInput::LaunchFailed { run, node, failure })
    }

    fn measured(&mut self, agent: NodeIncarnation, figures: &Figures) -> Result<(), RunError> {
        self.statistics.take(agent, figures);
        for gang in &figures.gangs {
            if let Some(run) = gang.run.map(GangRun::from) {
                let released = gang.released_at.map(Instant::from_nanoseconds);
                self.jobs.measured(run, agent.node, gang.cpu_seconds, released);
            }
        }
        self.write_trace(agent.node, figures)?;
        for run in self.launches.take_over(agent.node) {
            self.agents.say(agent.node, Message::Remove(run.into()));
            self.in_trace(|trace, name| trace.told(agent.node, run, name))?;
        }
        if let Phase::Measuring { missing, .. } = &mut self.phase
            && let Some(rounds) = missing.get_mut(&agent.node)
        {
            *rounds -= 1;
            missing.retain(|_, rounds| *rounds > 0);
        }
        Ok(())
    }

    fn write_trace(&mut self, node: NodeIndex, figures: &Figures) -> Result<(), RunError> {
        self.in_trace(|trace, name| {
            for gang in &figures.gangs {
                if let (Some(run), Some(at)) = (gang.run, gang.released_at) {
                    trace.released(node, run.into(), at);
                }
            }
            figures.samples.iter().try_for_each(|sample| trace.take(node, sample, name))
        })
    }

    /// Writes to the trace, if there is one; gangs are named after their jobs.
    fn in_trace(&mut self, write: impl FnOnce(&mut Trace, &dyn Fn(GangRun) -> String) -> io::Result<()>) -> Result<(), RunError> {
        let (Some(trace), Some(path)) = (&mut self.trace, self.options.trace) else { return Ok(()) };
        let name = |run: GangRun| self.jobs.get(run.gang).map_or_else(|| run.to_string(), |job| job.name.clone());
        write(trace, &name).map_err(|source| TraceError::new(path, source).into())
    }

    // === the authority ===

    pub(super) fn step(&mut self, input: AuthorityInput) -> Result<(), RunError> {
        if matches!(self.phase, Phase::Leaving(_) | Phase::Draining(_) | Phase::Over) && input != AuthorityInput::Timer {
            // Agents that leave as they were told are no loss that calls for a next term.
            return Ok(());
        }
        let now = clock::now();
        for command in self.shell.step(now, input)? {
            match command {
                Command::WriteRecord(record) => unreachable!("the record of term {} was written", record.term),
                Command::Say(node, message) => self.agents.say(node, message),
                Command::Launch(run, placement) => self.launch(run, placement)?,
                Command::Remove(run) => self.remove(now, run),
                Command::Job(status) => self.changed(now, status),
            }
        }
        Ok(())
    }

    fn launch(&mut self, run: GangRun, placement: Vec<NodePlacement>) -> Result<(), RunError> {
        for node in self.launches.begin(run, placement) {
            if let Some(agent) = self.agents.reached_agent(node) {
                self.launch_on(agent, run)?;
            }
        }
        Ok(())
    }

    fn launch_on(&mut self, agent: NodeIncarnation, run: GangRun) -> Result<(), RunError> {
        let index = usize::try_from(run.gang.0 - 1).expect("gangs are numbered from 1, one for each job");
        let order = Order { job: &self.options.prepared.jobs[index], logs: self.options.folder.logs() };
        let gang = order.launch(&mut self.launches, agent, run, &mut self.outputs);
        if let Some(gang) = gang.map_err(|source| RunError::System { operation: "make the pipe of a gang's output", source })? {
            self.agents.say(agent.node, Message::Launch(gang));
        }
        Ok(())
    }

    fn remove(&mut self, now: Instant, run: GangRun) {
        self.launches.end(run);
        if let Some(trace) = &mut self.trace {
            trace.over(run, now.as_nanoseconds());
        }
    }

    fn changed(&mut self, now: Instant, status: JobStatus) {
        let Some(job) = self.jobs.get_mut(status.gang) else { return };
        let restarted = status.restarts > job.restarts;
        if !job.update(status, now) {
            return;
        }
        let why = job.explanation();
        let why = match (why.reason, why.message.as_str()) {
            (None | Some(JobReason::State(Reason::RanksSucceeded)), _) => String::new(),
            (Some(reason), "") => format!(", {reason}"),
            (_, message) => format!(", {message}"),
        };
        let line = match job.state {
            _ if restarted => format!("{}: Restarting, for the {} time", job.name, ordinal(job.restarts)),
            GangState::Queued | GangState::Admitted | GangState::Placed | GangState::Launching => return,
            state => format!("{}: {state:?}{why}", job.name),
        };
        self.screen.say(line);
    }
}

/// `1st`, `2nd`, `11th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn restarts_are_counted_in_words() {
        assert_eq!([1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal), ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]);
    }
}
