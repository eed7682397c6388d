//! Scenarios from seeds.
//!
//! Most seeds draw the narrow world: 1 to 4 nodes, gangs that are switched, one CPU a rank, no deadlines. The others widen
//! it, each in some of the ways of `wide`, which are drawn from a stream of their own; and in some callers run the `programs` of operations.

mod programs;
mod wide;

use clap::ValueEnum;

use wide::Ways;

use super::{Happening, JobPlan, NetworkProfile, Planned, Scenario, Times};
use crate::{mutations::Mutation, random::Random};

/// The last fault begins before this time.
const FAULTS_END_MILLISECONDS: u64 = 2_500;

/// Frames of a million that find their queue full, where any do.
const OVERFLOWING: u32 = 30_000;

/// Set apart from the stream that the run itself draws from.
const STREAM: u64 = 0x5ce4_a210;

/// What is not left to the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Nodes; drawn when none.
    pub nodes: Option<u16>,
    /// A bug that is put in.
    pub mutation: Option<Mutation>,
    /// How wide a world is drawn.
    pub breadth: Breadth,
}

/// How wide a world the seeds draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Breadth {
    /// Mostly the narrow world.
    #[default]
    Mixed,
    /// The narrow world only.
    Narrow,
    /// Every seed is wide in some way.
    Wide,
}

pub(super) fn scenario(seed: u64, options: Options) -> Scenario {
    let mut widening = wide::stream(seed);
    let mut clustering = wide::cluster_stream(seed);
    let ways = Ways::draw(&mut widening, &mut clustering, options.breadth);
    let mut random = Random::new(seed ^ STREAM);
    let drawn = *random.pick(&[1, 2, 3, 3, 3, 4]);
    let nodes = options.nodes.unwrap_or_else(|| if ways.nodes { wide::nodes(&mut widening) } else { drawn });
    let cpus = *random.pick(&[1, 1, 2, 3]);
    let narrow = times(&mut random);
    let times = if ways.settings { wide::times(&mut widening) } else { narrow };
    let network = NetworkProfile { overflowing: if seed % 4 == 3 { OVERFLOWING } else { 0 }, ..network(&mut random) };
    let jobs: Vec<JobPlan> = (0..random.between(1, 5)).map(|_| job(&mut random, nodes, cpus)).collect();
    let mut events = Vec::new();
    users(&mut random, nodes, &jobs, &mut events);
    faults(&mut random, nodes, times, &mut events);
    let mutation = options.mutation;
    let mut scenario =
        Scenario { seed, nodes, late_milliseconds: Vec::new(), cpus, times, network, jobs, events, heal_at_milliseconds: 0, mutation };
    wide::widen(&mut widening, ways, &mut scenario);
    if ways.cluster {
        wide::cluster(&mut clustering, &mut scenario);
    }
    wide::come_late(seed, options.breadth, &mut scenario);
    programs::draw(seed, options.breadth, &mut scenario);
    scenario.events.sort_by_key(|planned| planned.at_milliseconds);
    let last = scenario.events.iter().map(end).chain(scenario.late_milliseconds.iter().copied()).max();
    scenario.heal_at_milliseconds = last.unwrap_or_default().max(1_000);
    scenario
}

fn faults(random: &mut Random, nodes: u16, times: Times, events: &mut Vec<Planned>) {
    let stormy = random.chance(300_000);
    for _ in 0..if stormy { random.between(6, 14) } else { random.below(7) } {
        let at_milliseconds = random.below(FAULTS_END_MILLISECONDS);
        let planned = Planned { at_milliseconds, what: fault(random, nodes, times) };
        events.push(planned);
        if let Happening::Partition { milliseconds, .. } = planned.what
            && random.chance(500_000)
        {
            events.push(crash_within(random, nodes, at_milliseconds, u64::from(milliseconds)));
        }
    }
}

fn times(random: &mut Random) -> Times {
    let suspicion = *random.pick(&[200, 300]);
    Times {
        quantum: *random.pick(&[10, 20, 50]),
        rows: u8::try_from(random.between(1, 4)).expect("at most four"),
        heartbeat: 50,
        suspicion,
        watchdog: suspicion + 150,
        node_lost: *random.pick(&[400, 800]),
        ..Times::default()
    }
}

fn network(random: &mut Random) -> NetworkProfile {
    let kind = random.below(4);
    NetworkProfile {
        lost: if kind == 0 { 0 } else { *random.pick(&[1_000, 20_000, 100_000]) },
        doubled: if kind == 0 { 0 } else { *random.pick(&[0, 10_000, 50_000]) },
        slow: if kind == 0 { 0 } else { *random.pick(&[0, 5_000, 30_000]) },
        usual_microseconds: *random.pick(&[60, 200, 400]),
        longest_milliseconds: *random.pick(&[5, 20, 60]),
        accepts_unknown_terms: random.chance(500_000),
        overflowing: 0,
    }
}

fn job(random: &mut Random, nodes: u16, cpus: u16) -> JobPlan {
    JobPlan {
        submit_at_milliseconds: random.below(600),
        nodes: u16::try_from(random.between(1, u64::from(nodes))).expect("at most the nodes"),
        ranks_per_node: u32::try_from(random.between(1, u64::from(cpus))).expect("at most the CPUs"),
        work_milliseconds: u32::try_from(random.between(20, 600)).expect("less than a second"),
        fails_once: random.chance(150_000),
        restarts: u32::try_from(random.below(3)).expect("at most two"),
        grace_milliseconds: *random.pick(&[0, 30, 100]),
        stubborn: random.chance(200_000),
        priority: i32::try_from(random.below(2)).expect("at most one"),
        cpus_per_rank: 1,
        active_deadline_milliseconds: None,
    }
}

/// What users do to their jobs, and callers on the nodes.
fn users(random: &mut Random, nodes: u16, jobs: &[JobPlan], events: &mut Vec<Planned>) {
    for (job, _) in (0..).zip(jobs) {
        let at_milliseconds = random.between(50, FAULTS_END_MILLISECONDS);
        let mut happens = |after: u64, what| events.push(Planned { at_milliseconds: at_milliseconds + after, what });
        match random.below(9) {
            0 => happens(0, Happening::Cancel { job }),
            1..=3 => {
                happens(0, Happening::Pause { job, paused: true });
                if !random.chance(200_000) {
                    happens(random.between(1, 900), Happening::Pause { job, paused: false });
                }
            }
            4 => {
                happens(0, Happening::Suspend { job, suspended: true });
                if !random.chance(200_000) {
                    happens(random.between(1, 900), Happening::Suspend { job, suspended: false });
                }
            }
            _ => {}
        }
    }
    for _ in 0..random.below(12) {
        let at_milliseconds = random.between(100, FAULTS_END_MILLISECONDS);
        let set = u8::try_from(random.between(1, (1 << nodes) - 1)).expect("at most eight nodes");
        events.push(Planned {
            at_milliseconds,
            // Drawn by what is drawn in any case: the other draws of a seed stay as they were.
            what: Happening::Operate {
                node: node(random, nodes),
                set,
                compare: random.chance(500_000),
                region: 0,
                staged: at_milliseconds % 2 == 1,
            },
        });
    }
}

fn node(random: &mut Random, nodes: u16) -> u16 {
    u16::try_from(random.below(u64::from(nodes))).expect("below the nodes")
}

/// Another node than this one, of at least two.
fn other_than(random: &mut Random, node: u16, nodes: u16) -> u16 {
    (node + 1 + u16::try_from(random.below(u64::from(nodes) - 1)).expect("few nodes")) % nodes
}

fn fault(random: &mut Random, nodes: u16, times: Times) -> Happening {
    let suspicion = u64::from(times.suspicion);
    let short = u32::try_from(random.between(1, suspicion)).expect("less than a second");
    let long = u32::try_from(random.between(suspicion, 4 * suspicion)).expect("about a second");
    let some = if random.chance(400_000) { short } else { long };
    let node = node(random, nodes);
    match random.below(16) {
        0..=2 => Happening::Partition {
            second_side: u8::try_from(random.below(1 << nodes)).expect("at most eight nodes"),
            operator_there: random.chance(500_000),
            operator_reaches_all: false,
            milliseconds: some,
        },
        3 if nodes > 1 => Happening::CutLinks { node, other: other_than(random, node, nodes) },
        3 | 4 => Happening::CutSession { node },
        5 | 6 => Happening::CrashAgent { node, milliseconds: some },
        7 => Happening::LeaveAgent { node, milliseconds: some },
        8 | 9 => {
            let proof_milliseconds = u32::try_from(random.between(20, 600)).expect("less than a second");
            Happening::KillNode { node, proof_milliseconds, milliseconds: long }
        }
        10 | 11 => Happening::PauseAgent { node, milliseconds: some },
        12 => Happening::KillSupervisor { node },
        13 => Happening::CrashOperator { milliseconds: some },
        14 if random.chance(500_000) => {
            Happening::Drift { node, per_million: i16::try_from(random.below(1_001)).expect("at most a thousand") - 500 }
        }
        14 => Happening::Jump { node, milliseconds: short },
        _ => Happening::Sleep { node, milliseconds: some },
    }
}

/// An agent that is killed while the network is apart, and is back about when it is whole again: who then speaks to it
/// first may be of an earlier term.
fn crash_within(random: &mut Random, nodes: u16, parted_at: u64, parted_for: u64) -> Planned {
    let at_milliseconds = parted_at + random.below(parted_for);
    let back_at = (parted_at + parted_for + random.below(80)).saturating_sub(40).max(at_milliseconds + 1);
    let milliseconds = u32::try_from(back_at - at_milliseconds).expect("about a second");
    Planned { at_milliseconds, what: Happening::CrashAgent { node: node(random, nodes), milliseconds } }
}

/// When a happening is over.
fn end(planned: &Planned) -> u64 {
    let lasts = match planned.what {
        Happening::Partition { milliseconds, .. }
        | Happening::Separate { milliseconds, .. }
        | Happening::CrashAgent { milliseconds, .. }
        | Happening::LeaveAgent { milliseconds, .. }
        | Happening::KillNode { milliseconds, .. }
        | Happening::PauseAgent { milliseconds, .. }
        | Happening::CrashOperator { milliseconds }
        | Happening::Cordon { milliseconds, .. }
        | Happening::Fill { milliseconds, .. }
        | Happening::Sleep { milliseconds, .. } => milliseconds,
        Happening::Pause { .. }
        | Happening::Suspend { .. }
        | Happening::Cancel { .. }
        | Happening::Operate { .. }
        | Happening::CompareAndWrite { .. }
        | Happening::Put { .. }
        | Happening::CutLinks { .. }
        | Happening::CutSession { .. }
        | Happening::KillSupervisor { .. }
        | Happening::Evict { .. }
        | Happening::Drift { .. }
        | Happening::Jump { .. } => 0,
    };
    planned.at_milliseconds + u64::from(lasts)
}
