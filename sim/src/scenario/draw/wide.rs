//! What widens a scenario: more nodes, the kernel policy, several CPUs a rank, deadlines, other times, and a network between
//! agents that is apart while the operator reaches all; cordons, evictions, nodes that start no pod; nodes that come later.

use strobe_core::model::Policy;

use super::{Breadth, FAULTS_END_MILLISECONDS, node, other_than};
use crate::{
    limits::NODES_MAX,
    random::Random,
    scenario::{Happening, Planned, Scenario, Times},
};

/// Set apart from the stream of the narrow world, which so stays the same when a way is added here.
const STREAM: u64 = 0x71de_0091_d001;
/// Set apart from that of the other ways, for the same reason.
const CLUSTER_STREAM: u64 = 0x1c1c_57e4_0002;
/// Set apart from both.
const LATE_STREAM: u64 = 0x1a7e_0003;
/// Seeds of a million in which nodes come late, of those with more than one.
const LATE: u32 = 200_000;
/// Seeds of a million that are wide in some way.
const WIDE: u32 = 300_000;
/// Blocks that XFERs write, so that some are written again.
const REGIONS: u64 = 3;

/// In which ways a scenario is wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ways {
    /// More nodes than four.
    pub(super) nodes: bool,
    /// The policy `Kernel`.
    pub(super) kernel: bool,
    /// Ranks with several CPUs.
    pub(super) several_cpus: bool,
    /// Jobs with an active deadline.
    pub(super) deadlines: bool,
    /// Times and rows from all that is allowed.
    pub(super) settings: bool,
    /// Partitions between agents only.
    pub(super) agents_apart: bool,
    /// What an administrator and the cluster's scheduler do.
    pub(super) cluster: bool,
}

impl Ways {
    pub(super) fn draw(random: &mut Random, clustering: &mut Random, breadth: Breadth) -> Self {
        let wide = match breadth {
            Breadth::Mixed => random.chance(WIDE),
            Breadth::Narrow => false,
            Breadth::Wide => true,
        };
        let mut is = |per_million| wide && random.chance(per_million);
        Self {
            nodes: is(250_000),
            kernel: is(200_000),
            several_cpus: is(400_000),
            deadlines: is(400_000),
            settings: is(400_000),
            agents_apart: is(500_000),
            cluster: wide && clustering.chance(500_000),
        }
    }
}

pub(super) const fn stream(seed: u64) -> Random {
    Random::new(seed ^ STREAM)
}

pub(super) const fn cluster_stream(seed: u64) -> Random {
    Random::new(seed ^ CLUSTER_STREAM)
}

pub(super) fn nodes(random: &mut Random) -> u16 {
    u16::try_from(random.between(5, u64::from(NODES_MAX))).expect("at most the nodes of a scenario")
}

/// Times that agree with each other; the shortest quanta are seldom drawn, because they take the longest to simulate.
pub(super) fn times(random: &mut Random) -> Times {
    let heartbeat = *random.pick(&[10, 20, 50, 100]);
    let suspicion = (heartbeat * u32::try_from(random.between(2, 6)).expect("at most six")).max(40);
    let node_lost = *random.pick(&[100, 400, 1_500]);
    Times {
        policy: Policy::Gang,
        quantum: *random.pick(&[1, 2, 5, 5, 20, 20, 50, 100, 300]),
        rows: u8::try_from(random.between(1, 16)).expect("at most sixteen"),
        lead: *random.pick(&[1, 2, 5, 10, 30]),
        heartbeat,
        suspicion,
        watchdog: suspicion + *random.pick(&[1, 50, 400]),
        node_lost: suspicion.max(node_lost),
        clock_tolerance_microseconds: *random.pick(&[50, 300, 1_000, 10_000]),
    }
}

/// Puts everything else in that is drawn here.
pub(super) fn widen(random: &mut Random, ways: Ways, scenario: &mut Scenario) {
    blocks(random, scenario);
    if ways.kernel {
        scenario.times.policy = Policy::Kernel;
    }
    if ways.several_cpus {
        several_cpus(random, scenario);
    }
    if ways.deadlines {
        deadlines(random, scenario);
    }
    if ways.agents_apart {
        agents_apart(random, scenario);
    }
}

/// What an administrator and the cluster's scheduler do.
pub(super) fn cluster(random: &mut Random, scenario: &mut Scenario) {
    for _ in 0..random.between(1, 6) {
        let node = node(random, scenario.nodes);
        let milliseconds = u32::try_from(random.between(20, 1_500)).expect("about a second");
        let what = match random.below(5) {
            0 | 1 => Happening::Cordon { node, milliseconds },
            2 | 3 => Happening::Evict { node },
            _ => Happening::Fill { node, milliseconds },
        };
        scenario.events.push(Planned { at_milliseconds: random.below(FAULTS_END_MILLISECONDS), what });
    }
}

/// Some of the nodes enrol when gangs run already.
pub(super) fn come_late(seed: u64, breadth: Breadth, scenario: &mut Scenario) {
    let mut random = Random::new(seed ^ LATE_STREAM);
    if breadth == Breadth::Narrow || scenario.nodes < 2 || !random.chance(LATE) {
        return;
    }
    let late = random.between(1, u64::from(scenario.nodes) - 1);
    scenario.late_milliseconds = (0..late).map(|_| random.below(FAULTS_END_MILLISECONDS)).collect();
    scenario.late_milliseconds.sort_unstable();
}

fn blocks(random: &mut Random, scenario: &mut Scenario) {
    for planned in &mut scenario.events {
        if let Happening::Operate { region, .. } = &mut planned.what {
            *region = u32::try_from(random.below(REGIONS)).expect("few blocks");
        }
    }
}

fn several_cpus(random: &mut Random, scenario: &mut Scenario) {
    scenario.cpus = *random.pick(&[2, 3, 4, 6]);
    let most = u64::from(scenario.cpus);
    for job in &mut scenario.jobs {
        let cpus_per_rank = random.between(1, most);
        job.cpus_per_rank = u16::try_from(cpus_per_rank).expect("at most the CPUs");
        job.ranks_per_node = u32::try_from(random.between(1, most / cpus_per_rank)).expect("at most the CPUs");
    }
}

fn deadlines(random: &mut Random, scenario: &mut Scenario) {
    for job in &mut scenario.jobs {
        if random.chance(600_000) {
            job.active_deadline_milliseconds = Some(u32::try_from(random.between(10, 1_200)).expect("about a second"));
        }
    }
}

/// Half of the partitions that are there are between agents only, and so are some more.
fn agents_apart(random: &mut Random, scenario: &mut Scenario) {
    for planned in &mut scenario.events {
        if let Happening::Partition { operator_reaches_all, .. } = &mut planned.what {
            *operator_reaches_all = random.chance(500_000);
        }
    }
    let nodes = scenario.nodes;
    let longest = 5 * u64::from(scenario.times.suspicion);
    for _ in 0..random.between(1, 3) {
        let at_milliseconds = random.below(FAULTS_END_MILLISECONDS);
        let milliseconds = u32::try_from(random.between(1, longest)).expect("a few seconds");
        let first = node(random, nodes);
        let what = if nodes > 1 && random.chance(400_000) {
            Happening::Separate { node: first, other: other_than(random, first, nodes), milliseconds }
        } else {
            let second_side = 1 << first | 1 << node(random, nodes);
            Happening::Partition { second_side, operator_there: false, operator_reaches_all: true, milliseconds }
        };
        scenario.events.push(Planned { at_milliseconds, what });
    }
}
