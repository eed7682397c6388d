//! The starts of gangs: whom a shell tells what, and how often.

use std::collections::BTreeSet;

use strobe_core::{
    authority::Launches,
    model::{CpuSet, GangRun, GangState, NodeIndex, NodePlacement, RankIndex},
};

use crate::bench::{agent, run};

const RUN: GangRun = run(1, 1);

/// A rank on each of these nodes.
fn placement(nodes: &[u16]) -> Vec<NodePlacement> {
    let part =
        |node: &u16| NodePlacement { node: NodeIndex(*node), cpus: CpuSet::default(), first_rank: RankIndex(u32::from(*node)), ranks: 1 };
    nodes.iter().map(part).collect()
}

/// A gang on node 0, of which that life of its agent was told.
fn told(incarnation: Option<u64>) -> Launches {
    let mut launches = Launches::default();
    launches.begin(RUN, placement(&[0]));
    if let Some(incarnation) = incarnation {
        assert_eq!(launches.tell(agent(0, incarnation), RUN), Some((&placement(&[0])[..], true)));
    }
    launches
}

fn nodes(nodes: &[u16]) -> BTreeSet<NodeIndex> {
    nodes.iter().copied().map(NodeIndex).collect()
}

#[test]
fn a_gang_begins_on_the_nodes_of_its_placement_and_keeps_it() {
    let mut launches = Launches::default();
    assert_eq!(launches.begin(RUN, placement(&[1, 2])), [NodeIndex(1), NodeIndex(2)]);
    assert_eq!(launches.placement(RUN), Some(&placement(&[1, 2])[..]));
    assert!(launches.holds(RUN) && !launches.holds(run(1, 2)));
    launches.tell(agent(1, 1), RUN);
    launches.begin(RUN, placement(&[3]));
    assert_eq!(launches.placement(RUN), Some(&placement(&[1, 2])[..]), "it has begun");
    assert_eq!(launches.tell(agent(1, 1), RUN), Some((&placement(&[1, 2])[..], false)), "and it is known who was told");
    launches.end(RUN);
    assert_eq!(launches.placement(RUN), None);
    assert_eq!(launches.tell(agent(1, 1), RUN), None);
}

#[test]
fn each_life_of_an_agent_is_told_for_a_first_time() {
    let mut launches = told(Some(1));
    let first = |launches: &mut Launches, incarnation| launches.tell(agent(0, incarnation), RUN).map(|(_, first)| first);
    assert_eq!(first(&mut launches, 1), Some(false));
    assert_eq!(first(&mut launches, 2), Some(true));
    assert_eq!(first(&mut launches, 2), Some(false));
}

#[test]
fn a_restarted_agent_starts_only_gangs_that_wait_and_were_not_adopted() {
    let due = |life, adopted: &[GangRun], state| !told(life).due(agent(0, 2), adopted, |_| Some(state)).is_empty();
    assert!(due(None, &[], GangState::Running), "it was never told");
    assert!(due(Some(2), &[], GangState::Running), "this life was told: a repetition");
    assert!(due(Some(1), &[], GangState::Placed) && due(Some(1), &[], GangState::Launching));
    assert!(!due(Some(1), &[RUN], GangState::Placed), "its supervisor lives");
    assert!(!due(Some(1), &[], GangState::Running), "its ranks had been released");
}

#[test]
fn nobody_is_told_of_a_part_that_is_dead_or_not_there() {
    assert_eq!(told(None).due(agent(0, 2), &[], |_| None), []);
    assert_eq!(told(Some(2)).due(agent(0, 2), &[], |_| None), []);
    assert_eq!(told(None).due(agent(1, 1), &[], |_| Some(GangState::Placed)), [], "it has no part on that node");
}

#[test]
fn lives_that_are_over_are_told_once() {
    let mut launches = told(Some(1));
    launches.end(RUN);
    launches.end(RUN);
    assert!(!launches.holds(RUN) && !launches.nothing_over(&nodes(&[0, 1])));
    assert!(launches.nothing_over(&nodes(&[])) && launches.nothing_over(&nodes(&[1])), "a node that is not reached is not waited for");
    assert_eq!(launches.take_over(NodeIndex(1)), BTreeSet::new());
    assert_eq!(launches.take_over(NodeIndex(0)), BTreeSet::from([RUN]));
    assert!(launches.nothing_over(&nodes(&[0, 1])));
    assert_eq!(launches.take_over(NodeIndex(0)), BTreeSet::new());
}
