//! PMI barriers of groups over real agents and supervisors, of which several are under way at once.

use std::fs;

use strobe_core::model::Desire;

use crate::{
    RUN,
    authority::{Nodes, Options, Shape, gang_of},
    barriers::{LIVED_ON, finish, short, write},
    observe::eventually,
};

/// A PMI client that needs no MPI: two pairs of ranks, each across both nodes, in barriers of their own.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/groups.c");

const SHAPE: Shape = Shape { nodes: 2, ranks: 2 };

/// How often each agent is killed; a kill meets another moment of a barrier each time.
const KILLS: u64 = 3;

async fn pairs_in_barriers(options: Options, files: &[&str]) -> Nodes {
    let mut nodes = Nodes::start_with(SHAPE.nodes, options).await;
    for file in files {
        write(nodes.path(), file);
    }
    nodes.command(1, &[gang_of(SHAPE, RUN, Desire::Run)]).await;
    nodes.launch_mpi_of(SHAPE, RUN, PROGRAM).await;
    nodes.wait_for_output(RUN, SHAPE.nodes).await;
    nodes
}

/// Waits until the pair has gone through more barriers.
async fn pair_goes_on(nodes: &Nodes, pair: &str) {
    let count = || nodes.output_lines().iter().filter(|line| line.ends_with(pair)).count();
    let before = count();
    eventually("the pair goes through barriers", || count() > before).await;
}

/// Pair 1,3 stands in a barrier that rank 3 does not enter: pair 0,2 goes through more barriers than there are regions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_over_two_nodes_meets_while_another_waits() {
    let nodes = pairs_in_barriers(Options::default(), &["wait-3"]).await;
    pair_goes_on(&nodes, "pair 0,2").await;
    pair_goes_on(&nodes, "pair 0,2").await;
    assert!(!nodes.output_lines().iter().any(|line| line.ends_with("pair 1,3")), "rank 1 waits for rank 3");
    fs::remove_file(nodes.path().join("wait-3")).unwrap();
    pair_goes_on(&nodes, "pair 1,3").await;
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_outlast_agents_that_are_killed_at_any_moment() {
    let mut nodes = pairs_in_barriers(short(), &[]).await;
    for kill in 0..2 * KILLS {
        pair_goes_on(&nodes, "pair 0,2").await;
        let node = if kill < KILLS { 1 } else { 0 };
        nodes.kill_agent(node);
        nodes.restart_agent(node).await;
        // With half of the nodes there is no lease: both need a next term.
        nodes.command(2 + kill, &[gang_of(SHAPE, RUN, Desire::Run)]).await;
    }
    pair_goes_on(&nodes, "pair 0,2").await;
    pair_goes_on(&nodes, "pair 1,3").await;
    finish(nodes).await;
}

/// Rank 3 has not entered when the root is gone, and enters while it is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_outlasts_the_loss_of_its_root_and_manager() {
    let mut nodes = pairs_in_barriers(short(), &["wait-3"]).await;
    nodes.wait_for_figures(0, LIVED_ON).await;
    nodes.kill_agent(0);
    fs::remove_file(nodes.path().join("wait-3")).unwrap();
    nodes.wait_for_figures(1, LIVED_ON).await;
    nodes.restart_agent(0).await;
    nodes.command(2, &[gang_of(SHAPE, RUN, Desire::Run)]).await;
    pair_goes_on(&nodes, "pair 1,3").await;
    finish(nodes).await;
}
