//! Hosts the authority: steps it, keeps its record, and turns its effects into what is to be said and done.

use strobe_authority::Command;
use strobe_core::{
    authority::{Authority, AuthorityEffect, AuthorityInput, TermPhase},
    machine::{Machine, Outbox},
    model::{GangRun, GangState, Instant, NodeIndex},
};

use super::record::{RecordError, RecordFile};

/// The authority and its record.
#[derive(Debug)]
pub(super) struct AuthorityShell {
    authority: Authority,
    record: RecordFile,
    outbox: Outbox<AuthorityEffect>,
}

impl AuthorityShell {
    /// An authority that knows nothing yet, and that keeps its record in `record`.
    pub(super) fn new(record: RecordFile) -> Self {
        Self { authority: Authority::new(), record, outbox: Outbox::default() }
    }

    /// Steps the authority, and again once a record that it wants written is written.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(super) fn step(&mut self, now: Instant, input: AuthorityInput) -> Result<Vec<Command>, RecordError> {
        let mut commands = Vec::new();
        let mut next = Some(input);
        while let Some(input) = next.take() {
            self.authority.step(now, input, &mut self.outbox);
            for effect in self.outbox.drain() {
                match Command::from(effect) {
                    Command::WriteRecord(record) => {
                        self.record.write(&record)?;
                        // One is in flight at most: this replaces none.
                        next = Some(AuthorityInput::RecordWritten { term: record.term });
                    }
                    command => commands.push(command),
                }
            }
        }
        Ok(commands)
    }

    /// The next instant at which the authority wants to look again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.authority.next_deadline()
    }

    /// See [`Authority::part`].
    pub(super) fn part(&self, run: GangRun, node: NodeIndex) -> Option<GangState> {
        self.authority.part(run, node)
    }

    /// How far the newest term has come.
    pub(super) const fn term_phase(&self) -> TermPhase {
        self.authority.term_phase()
    }

    /// The number of the newest term, and its manager.
    pub(super) fn term(&self) -> Option<(u64, NodeIndex)> {
        self.authority.term_record().map(|record| (record.term.0, record.manager.node))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strobe_core::{
        authority::{JobSpecification, PartitionConfiguration, RestartPolicy},
        matrix::NodeCapacity,
        message::PartitionReport,
        model::{AgentIncarnation, CpuIndex, Fence, GangId, GangState, MatrixVersion, NodeIncarnation, PartitionUid, Settings, Term, View},
    };

    use strobe_proto::agent::authority_message::Message;

    use super::*;

    const NOW: Instant = Instant::from_nanoseconds(1);

    fn agent(node: u16) -> NodeIncarnation {
        NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(1) }
    }

    fn configuration() -> PartitionConfiguration {
        let node = |node| NodeCapacity { node: NodeIndex(node), cpus: [CpuIndex(node)].into_iter().collect(), memory_bytes: 0 };
        PartitionConfiguration::new(PartitionUid(7), Settings::default(), vec![node(0), node(1)])
    }

    fn job() -> JobSpecification {
        JobSpecification {
            gang: GangId(1),
            namespace: String::new(),
            priority: 0,
            submitted: 0,
            nodes: 2,
            ranks_per_node: 1,
            cpus_per_rank: 1,
            memory_bytes: 0,
            restart: RestartPolicy::default(),
            suspended: false,
            paused: false,
            active_deadline: None,
            grace: Duration::ZERO,
        }
    }

    fn established() -> PartitionReport {
        PartitionReport {
            fence: Fence { partition: PartitionUid(7), term: Term(1), view: View(1) },
            sequence: 1,
            established: true,
            leads: true,
            refused_by: None,
            view: vec![agent(0), agent(1)],
            generation: 1,
            plan: MatrixVersion(0),
            gangs: Vec::new(),
        }
    }

    #[test]
    fn the_record_is_written_before_the_manager_hears_of_its_term_and_jobs_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let mut shell = AuthorityShell::new(RecordFile::new(path.clone()));
        let mut step = |input| shell.step(NOW, input).unwrap();
        assert_eq!(step(AuthorityInput::Configure(configuration())), []);
        step(AuthorityInput::Recovered(None));
        assert_eq!(step(AuthorityInput::AgentReachable { agent: agent(0), sealed: None }), []);
        assert!(!path.exists());
        let commands = step(AuthorityInput::AgentReachable { agent: agent(1), sealed: None });
        assert!(matches!(commands[0], Command::Say(NodeIndex(0), Message::Appointment(_))), "{commands:?}");
        assert!(path.exists());
        step(AuthorityInput::Report(established()));
        let commands = step(AuthorityInput::Submit(job()));
        assert!(commands.iter().any(|command| matches!(command, Command::Launch(_, placement) if placement.len() == 2)), "{commands:?}");
        assert!(commands.iter().any(|command| matches!(command, Command::Job(status) if status.state == GangState::Placed)));
        assert_eq!(shell.term(), Some((1, NodeIndex(0))));
    }

    #[test]
    fn without_a_record_no_term_begins() {
        let mut shell = AuthorityShell::new(RecordFile::new("/nowhere/record.json".into()));
        shell.step(NOW, AuthorityInput::Configure(configuration())).unwrap();
        shell.step(NOW, AuthorityInput::Recovered(None)).unwrap();
        shell.step(NOW, AuthorityInput::AgentReachable { agent: agent(0), sealed: None }).unwrap();
        assert!(shell.step(NOW, AuthorityInput::AgentReachable { agent: agent(1), sealed: None }).is_err());
    }
}
