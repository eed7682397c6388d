//! An authority on a bench: inputs go in, effects are kept to be looked at.

use std::{sync::Arc, time::Duration};

use strobe_core::{
    authority::{Authority, AuthorityEffect, AuthorityInput, JobSpecification, JobStatus, PartitionConfiguration, RestartPolicy},
    machine::{Machine, Outbox},
    matrix::NodeCapacity,
    message::{GangReport, PartitionReport},
    model::{
        AgentIncarnation, Appointment, CpuIndex, EndCause, Fence, GangId, GangIncarnation, GangRun, GangState, Instant, NodeIncarnation,
        NodeIndex, PartitionUid, Plan, RankIndex, RankOutcome, Settings, Term, TermRecord, View,
    },
    primitives::GangPhase,
};

pub(crate) const PARTITION: PartitionUid = PartitionUid(7);

/// The times of every test: suspicion 3 s, nodeLost 10 s, start-up 5 s.
pub(crate) struct Bench {
    pub(crate) authority: Authority,
    pub(crate) now: Instant,
    pub(crate) effects: Vec<AuthorityEffect>,
    sequence: u64,
}

pub(crate) fn settings() -> Settings {
    Settings { node_lost: Duration::from_secs(10), rows: 2, ..Settings::default() }
}

pub(crate) fn configuration(nodes: u16, cpus: u16) -> PartitionConfiguration {
    let capacity = |node| NodeCapacity { node: NodeIndex(node), cpus: (0..cpus).map(CpuIndex).collect(), memory_bytes: 100 };
    PartitionConfiguration {
        start_up: Duration::from_secs(5),
        ..PartitionConfiguration::new(PARTITION, settings(), (0..nodes).map(capacity).collect())
    }
}

/// A job of one rank a node.
pub(crate) fn job(gang: u64, nodes: u16) -> JobSpecification {
    JobSpecification {
        gang: GangId(gang),
        namespace: "physics".to_owned(),
        priority: 0,
        submitted: gang,
        nodes,
        ranks_per_node: 1,
        cpus_per_rank: 1,
        memory_bytes: 0,
        restart: RestartPolicy::default(),
        suspended: false,
        paused: false,
        active_deadline: None,
        grace: Duration::from_secs(30),
    }
}

pub(crate) fn restarting(gang: u64, nodes: u16, limit: u32) -> JobSpecification {
    JobSpecification { restart: RestartPolicy { limit, on_rank_failure: true, on_node_lost: true }, ..job(gang, nodes) }
}

pub(crate) fn agent(node: u16, incarnation: u64) -> NodeIncarnation {
    NodeIncarnation { node: NodeIndex(node), incarnation: AgentIncarnation(incarnation) }
}

pub(crate) const fn run(gang: u64, incarnation: u32) -> GangRun {
    GangRun { gang: GangId(gang), incarnation: GangIncarnation(incarnation) }
}

pub(crate) fn gang(run: GangRun, phase: GangPhase) -> GangReport {
    GangReport { run, phase, held: false, nodes_up: 1, nodes_absent: Vec::new() }
}

pub(crate) fn rank_failed(node: u16) -> EndCause {
    EndCause::RankFailed { node: NodeIndex(node), rank: RankIndex(0), outcome: RankOutcome::Exited(1) }
}

impl Bench {
    /// A configured authority with an empty store and no agent.
    pub(crate) fn bare(nodes: u16, cpus: u16) -> Self {
        let mut bench =
            Self { authority: Authority::new(), now: Instant::from_nanoseconds(1_000_000_000), effects: Vec::new(), sequence: 0 };
        bench.step(AuthorityInput::Configure(configuration(nodes, cpus)));
        bench.step(AuthorityInput::Recovered(None));
        bench
    }

    /// All agents reached, term 1 established with all of them.
    pub(crate) fn established(nodes: u16, cpus: u16) -> Self {
        let mut bench = Self::bare(nodes, cpus);
        (0..nodes).for_each(|node| bench.reach(agent(node, 1), None));
        bench.write();
        bench.establish();
        bench.effects.clear();
        bench
    }

    pub(crate) fn step(&mut self, input: AuthorityInput) {
        let mut out = Outbox::default();
        self.authority.step(self.now, input, &mut out);
        self.effects.extend(out.drain());
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(deadline) = self.authority.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.step(AuthorityInput::Timer);
        }
        self.now = end;
    }

    pub(crate) fn reach(&mut self, agent: NodeIncarnation, sealed: Option<u64>) {
        self.step(AuthorityInput::AgentReachable { agent, sealed: sealed.map(Term) });
    }

    pub(crate) fn miss(&mut self, agent: NodeIncarnation) {
        self.step(AuthorityInput::AgentUnreachable { agent });
    }

    pub(crate) fn prove_dead(&mut self, node: u16) {
        self.step(AuthorityInput::NodeProvenDead { node: NodeIndex(node) });
    }

    pub(crate) fn submit(&mut self, specification: JobSpecification) {
        self.step(AuthorityInput::Submit(specification));
    }

    /// The record that is being written, if one is.
    pub(crate) fn written(&self) -> Option<TermRecord> {
        self.effects.iter().rev().find_map(|effect| match effect {
            AuthorityEffect::WriteRecord(record) => Some(record.clone()),
            _ => None,
        })
    }

    /// The store has the newest record.
    pub(crate) fn write(&mut self) -> TermRecord {
        let record = self.written().expect("a record is being written");
        self.step(AuthorityInput::RecordWritten { term: record.term });
        record
    }

    /// A report of the reigning term with all its members in view.
    pub(crate) fn report(&mut self, gangs: Vec<GangReport>) -> PartitionReport {
        let record = self.authority.term_record().expect("a term reigns").clone();
        self.sequence += 1;
        PartitionReport {
            fence: Fence { partition: PARTITION, term: record.term, view: View(1) },
            sequence: self.sequence,
            established: true,
            leads: true,
            refused_by: None,
            view: record.members,
            generation: 0,
            plan: self.authority.plan().version,
            gangs,
        }
    }

    pub(crate) fn hear(&mut self, report: PartitionReport) {
        self.step(AuthorityInput::Report(report));
    }

    pub(crate) fn hear_gangs(&mut self, gangs: Vec<GangReport>) {
        let report = self.report(gangs);
        self.hear(report);
    }

    pub(crate) fn hear_gang(&mut self, run: GangRun, phase: GangPhase) {
        self.hear_gangs(vec![gang(run, phase)]);
    }

    /// The manager says that its term is established, and the store hears of it.
    pub(crate) fn establish(&mut self) {
        self.hear_gangs(Vec::new());
        self.write();
    }

    pub(crate) fn appointments(&self) -> Vec<(NodeIncarnation, Appointment)> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::Appoint { manager, appointment } => Some((*manager, appointment.clone())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn introduced(&self) -> Vec<(u16, u64)> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::Introduce { node, record } => Some((node.0, record.term.0)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn plans(&self) -> Vec<Arc<Plan>> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::SendPlan { plan, .. } => Some(Arc::clone(plan)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn launches(&self) -> Vec<(GangRun, Vec<u16>)> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::Launch { run, placement } => Some((*run, placement.iter().map(|part| part.node.0).collect())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn removals(&self) -> Vec<GangRun> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::Remove { run } => Some(*run),
                _ => None,
            })
            .collect()
    }

    /// The states that were said of a job, oldest first.
    pub(crate) fn states(&self, gang: u64) -> Vec<GangState> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                AuthorityEffect::State(status) if status.gang == GangId(gang) => Some(status.state),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn status(&self, gang: u64) -> JobStatus {
        self.authority.job(GangId(gang)).expect("the job is known")
    }

    pub(crate) fn state(&self, gang: u64) -> GangState {
        self.status(gang).state
    }
}
