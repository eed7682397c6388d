//! The authority under random, well-formed inputs, beside a model of what really lives on the nodes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use strobe_core::{
    authority::{AuthorityEffect, AuthorityInput, JobSpecification, LaunchFailure, PlacementFailure, RestartPolicy},
    message::{GangReport, PartitionReport},
    model::{Desire, EndCause, GangId, GangRun, NodeIndex, NodeSet, Plan, Term},
    primitives::GangPhase,
};

use crate::bench::{Bench, agent, job, rank_failed};

const NODES: u16 = 3;

#[derive(Debug, Clone)]
enum Happening {
    Submit(JobSpecification),
    Pause { gang: u64, paused: bool },
    Suspend { gang: u64, suspended: bool },
    Cancel { gang: u64 },
    Silence { node: u16 },
    Return { node: u16, restarted: bool },
    Kill { node: u16 },
    Write,
    Release { which: usize },
    Complete { which: usize },
    Fail { which: usize },
    FailLaunch { which: usize },
    Evict { which: usize },
    NotPlaced { which: usize },
    Cordon { nodes: u64 },
    Report { held: bool },
    Pass { milliseconds: u64 },
}

/// The truth about one run: where it lives, and where the manager has got with it.
#[derive(Debug)]
struct Life {
    nodes: NodeSet,
    alive: NodeSet,
    phase: GangPhase,
}

struct World {
    bench: Bench,
    lives: BTreeMap<GangRun, Life>,
    incarnations: [u64; NODES as usize],
    killed: NodeSet,
    ended: BTreeSet<GangId>,
    in_flight: Option<Term>,
    appointed: Term,
    plan: u64,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let node = 0..NODES;
    let which = 0_usize..6;
    let gang = 1_u64..8;
    let submit =
        (1_u64..8, 1..=NODES, 0_u32..3, any::<[bool; 4]>(), -1..2).prop_map(|(gang, nodes, limit, flags, priority)| JobSpecification {
            priority,
            restart: RestartPolicy { limit, on_rank_failure: flags[0], on_node_lost: flags[1] },
            suspended: flags[2],
            paused: flags[3],
            ..job(gang, nodes)
        });
    let one = prop_oneof![
        6 => submit.prop_map(Happening::Submit),
        1 => (gang.clone(), any::<bool>()).prop_map(|(gang, paused)| Happening::Pause { gang, paused }),
        2 => (gang.clone(), any::<bool>()).prop_map(|(gang, suspended)| Happening::Suspend { gang, suspended }),
        1 => gang.prop_map(|gang| Happening::Cancel { gang }),
        2 => node.clone().prop_map(|node| Happening::Silence { node }),
        3 => (node.clone(), any::<bool>()).prop_map(|(node, restarted)| Happening::Return { node, restarted }),
        1 => node.prop_map(|node| Happening::Kill { node }),
        5 => Just(Happening::Write),
        4 => which.clone().prop_map(|which| Happening::Release { which }),
        2 => which.clone().prop_map(|which| Happening::Complete { which }),
        2 => which.clone().prop_map(|which| Happening::Fail { which }),
        1 => which.clone().prop_map(|which| Happening::FailLaunch { which }),
        2 => which.clone().prop_map(|which| Happening::Evict { which }),
        1 => which.prop_map(|which| Happening::NotPlaced { which }),
        1 => (0_u64..1 << NODES).prop_map(|nodes| Happening::Cordon { nodes }),
        8 => any::<bool>().prop_map(|held| Happening::Report { held }),
        3 => (0_u64..12_000).prop_map(|milliseconds| Happening::Pass { milliseconds }),
    ];
    prop::collection::vec(one, 0..80)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            bench: Bench::bare(NODES, 1),
            lives: BTreeMap::new(),
            incarnations: [1; NODES as usize],
            killed: NodeSet::EMPTY,
            ended: BTreeSet::new(),
            in_flight: None,
            appointed: Term(0),
            plan: 0,
        };
        (0..NODES).for_each(|node| world.bench.reach(agent(node, 1), None));
        world.observe();
        world
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Submit(specification) => self.bench.submit(specification),
            Happening::Pause { gang, paused } => self.bench.step(AuthorityInput::SetPaused { gang: GangId(gang), paused }),
            Happening::Suspend { gang, suspended } => self.bench.step(AuthorityInput::SetSuspended { gang: GangId(gang), suspended }),
            Happening::Cancel { gang } => self.bench.step(AuthorityInput::Cancel { gang: GangId(gang) }),
            Happening::Silence { node } => self.bench.miss(agent(node, self.incarnations[usize::from(node)])),
            Happening::Return { node, restarted } => self.come_back(node, restarted),
            Happening::Kill { node } => self.kill(node),
            Happening::Write => self.write(),
            Happening::Release { which } => {
                self.advance(which, |life| life.phase == GangPhase::Launching, |life| life.phase = GangPhase::Released);
            }
            Happening::Complete { which } => self.advance(which, Life::runs_everywhere, Life::complete),
            Happening::Fail { which } => self.advance(which, Life::runs, |life| life.phase = GangPhase::Ending(rank_failed(0))),
            Happening::FailLaunch { which } => self.fail_launch(which),
            Happening::Evict { which } => self.evict(which),
            Happening::NotPlaced { which } => self.fail_placement(which),
            Happening::Cordon { nodes } => self.bench.step(AuthorityInput::Cordon { nodes: NodeSet::from_bits(nodes) }),
            Happening::Report { held } => self.report(held),
            Happening::Pass { milliseconds } => self.bench.pass(milliseconds),
        }
        self.observe();
    }

    fn come_back(&mut self, node: u16, restarted: bool) {
        let was_killed = self.killed.contains(NodeIndex(node));
        self.incarnations[usize::from(node)] += u64::from(restarted || was_killed);
        self.killed.remove(NodeIndex(node));
        let sealed = if was_killed { None } else { Some(self.appointed.0) };
        self.bench.reach(agent(node, self.incarnations[usize::from(node)]), sealed);
    }

    fn kill(&mut self, node: u16) {
        self.killed.insert(NodeIndex(node));
        self.lives.values_mut().for_each(|life| life.alive.remove(NodeIndex(node)));
        self.bench.prove_dead(node);
    }

    fn write(&mut self) {
        if let Some(term) = self.in_flight.take() {
            self.bench.step(AuthorityInput::RecordWritten { term });
        }
    }

    fn advance(&mut self, which: usize, may: impl Fn(&Life) -> bool, how: impl Fn(&mut Life)) {
        if let Some(life) = self.lives.values_mut().filter(|life| may(life)).nth(which) {
            how(life);
        }
    }

    fn fail_launch(&mut self, which: usize) {
        let launching = self.lives.iter_mut().filter(|(_, life)| life.phase == GangPhase::Launching && !life.alive.is_empty());
        let Some((run, life)) = launching.into_iter().nth(which) else { return };
        let node = life.alive.iter().next().expect("it lives somewhere");
        life.alive.remove(node);
        self.bench.step(AuthorityInput::LaunchFailed { run: *run, node, failure: LaunchFailure::NotStarted(2) });
    }

    /// A pod is taken away: what ran in it is dead, and may be reported so before or after.
    fn evict(&mut self, which: usize) {
        let Some((run, life)) = self.lives.iter_mut().filter(|(_, life)| life.runs()).nth(which) else { return };
        let node = life.alive.iter().next().expect("it lives somewhere");
        life.alive.remove(node);
        self.bench.step(AuthorityInput::Evicted { run: *run, node });
    }

    /// One pod was never started; others may have been.
    fn fail_placement(&mut self, which: usize) {
        let launching = self.lives.iter_mut().filter(|(_, life)| life.phase == GangPhase::Launching && !life.alive.is_empty());
        let Some((run, life)) = launching.into_iter().nth(which) else { return };
        let node = life.alive.iter().next().expect("it lives somewhere");
        life.alive.remove(node);
        let nodes: NodeSet = [node].into_iter().collect();
        let failure = PlacementFailure::TimedOut;
        self.bench.step(AuthorityInput::NotPlaced { run: *run, failure, blamed: nodes, empty: nodes });
    }

    /// What a well-behaved manager reports: it obeys the plan, and says `Ended` of the nodes in view only after their
    /// ranks are dead; a node that comes back into view is killed there first.
    fn report(&mut self, held: bool) {
        let Some(record) = self.bench.authority.term_record().cloned() else { return };
        let reached = |node: NodeIndex| self.bench.authority.node_state(node) == Some(strobe_core::authority::NodeState::Reachable);
        let view: NodeSet = (0..NODES).map(NodeIndex).filter(|node| reached(*node)).collect();
        if !reached(record.manager.node) || !record.is_majority(view) {
            return;
        }
        let plan = std::sync::Arc::clone(self.bench.authority.plan());
        let gangs: Vec<_> = plan
            .gangs
            .iter()
            .map(|planned| self.lives.get_mut(&planned.run).expect("it was launched").report(planned.run, planned.desire, view, held))
            .collect();
        let view = view.iter().map(|node| agent(node.0, self.incarnations[usize::from(node.0)])).collect();
        let report = PartitionReport { view, ..self.bench.report(gangs) };
        self.bench.hear(report);
    }

    /// Looks at every effect since the last time.
    fn observe(&mut self) {
        for effect in std::mem::take(&mut self.bench.effects) {
            match effect {
                AuthorityEffect::WriteRecord(record) => {
                    assert_eq!(self.in_flight.replace(record.term), None, "two records in flight");
                }
                AuthorityEffect::Appoint { appointment, .. } => {
                    assert!(appointment.record.term >= self.appointed, "terms only grow");
                    assert!(self.in_flight != Some(appointment.record.term), "appointed before it was written");
                    self.appointed = appointment.record.term;
                    self.check_plan(&appointment.plan);
                }
                AuthorityEffect::SendPlan { plan, .. } => self.check_plan(&plan),
                AuthorityEffect::Launch { run, placement } => self.launch(run, placement.iter().map(|part| part.node).collect()),
                AuthorityEffect::State(status) => {
                    assert!(!self.ended.contains(&status.gang), "gang {} had ended", status.gang);
                    if status.state.is_terminal() {
                        self.ended.insert(status.gang);
                    }
                }
                AuthorityEffect::Remove { run } => assert!(self.lives[&run].alive.is_empty(), "{run} is removed alive"),
                AuthorityEffect::Introduce { .. } | AuthorityEffect::SendLost { .. } => {}
            }
        }
    }

    fn launch(&mut self, run: GangRun, nodes: NodeSet) {
        let earlier = self.lives.iter().filter(|(other, _)| other.gang == run.gang);
        for (other, life) in earlier {
            assert!(
                other.incarnation < run.incarnation && life.alive.is_empty(),
                "{run} is launched while {other} lives on {:?}",
                life.alive
            );
        }
        self.lives.insert(run, Life { nodes, alive: nodes, phase: GangPhase::Launching });
    }

    fn check_plan(&mut self, plan: &Plan) {
        assert!(plan.version.0 >= self.plan, "versions only grow");
        self.plan = plan.version.0;
        assert!(plan.gangs.is_sorted_by(|one, next| one.run.gang < next.run.gang));
        for (index, one) in plan.gangs.iter().enumerate() {
            for other in &plan.gangs[index + 1..] {
                let shares_cpu =
                    one.placement.iter().any(|part| other.on_node(part.node).is_some_and(|there| there.cpus.overlaps(&part.cpus)));
                assert!(!shares_cpu || one.rows.intersection(other.rows).is_empty(), "{} and {} share a slot", one.run, other.run);
            }
        }
    }

    /// Everything works again, and nobody wants a job to wait.
    fn heal(&mut self) {
        for node in 0..NODES {
            self.happen(Happening::Return { node, restarted: false });
        }
        self.happen(Happening::Cordon { nodes: 0 });
        for gang in 1..8 {
            self.happen(Happening::Pause { gang, paused: false });
            self.happen(Happening::Suspend { gang, suspended: false });
        }
        for _ in 0..200 {
            self.happen(Happening::Write);
            self.happen(Happening::Release { which: 0 });
            self.happen(Happening::Report { held: false });
            self.happen(Happening::Complete { which: 0 });
            self.happen(Happening::Report { held: false });
            self.happen(Happening::Pass { milliseconds: 1_000 });
        }
    }
}

impl Life {
    fn runs(&self) -> bool {
        matches!(self.phase, GangPhase::Launching | GangPhase::Released) && !self.alive.is_empty()
    }

    fn runs_everywhere(&self) -> bool {
        self.phase == GangPhase::Released && self.alive == self.nodes
    }

    fn complete(&mut self) {
        (self.phase, self.alive) = (GangPhase::Ended(EndCause::Completed), NodeSet::EMPTY);
    }

    fn report(&mut self, run: GangRun, desire: Desire, view: NodeSet, held: bool) -> GangReport {
        if self.runs_or_waits() && matches!(desire, Desire::Terminate { .. }) {
            self.phase = GangPhase::Ending(EndCause::Terminated);
        } else if self.runs_or_waits() && !self.nodes.intersection(view).is_subset(self.alive) {
            let node = self.nodes.intersection(view).difference(self.alive).iter().next().expect("the sets differ");
            self.phase = GangPhase::Ending(EndCause::SupervisorLost { node });
        }
        if let GangPhase::Ending(cause) | GangPhase::Ended(cause) = self.phase {
            self.alive = self.alive.difference(view);
            self.phase = GangPhase::Ended(cause);
        }
        let held = held && desire == Desire::Pause;
        let nodes_absent = self.nodes.difference(view).iter().collect();
        GangReport { run, phase: self.phase, held, nodes_up: u16::try_from(self.alive.len()).expect("few nodes"), nodes_absent }
    }

    fn runs_or_waits(&self) -> bool {
        matches!(self.phase, GangPhase::Launching | GangPhase::Released)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_once_and_no_life_begins_before_the_last_one_is_dead(happenings in happenings()) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
        }
        world.heal();
        for status in world.bench.authority.jobs() {
            prop_assert!(status.state.is_terminal() && world.ended.contains(&status.gang), "{status:?}");
        }
        prop_assert!(world.bench.authority.matrix().is_some_and(strobe_core::matrix::Matrix::is_empty));
        prop_assert!(world.bench.authority.plan().gangs.is_empty());
    }
}
