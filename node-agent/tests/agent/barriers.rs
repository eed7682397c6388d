//! PMI barriers over real agents that die and come back while ranks wait in them.

use std::{fs, path::Path, time::Duration};

use strobe_core::model::{BarrierFailure, Desire, EndCause, NodeIndex, Settings};

use crate::{
    RUN,
    authority::{Heard, Nodes, Options, Shape, gang, gang_of},
    observe::eventually,
};

/// A PMI client that needs no MPI: it goes through barriers until it is told to finish.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/barriers.c");

/// How often each agent is killed among barriers that follow each other without pause. A kill meets another moment of a
/// barrier each time.
const KILLS: u32 = 4;

/// Figures of an agent that has lived on for several of its times.
pub(crate) const LIVED_ON: u64 = 4;

/// Times short enough that a test sees them pass.
pub(crate) fn short() -> Options {
    let settings = Settings {
        quantum: Duration::from_millis(100),
        heartbeat: Duration::from_millis(50),
        suspicion: Duration::from_millis(400),
        watchdog: Duration::from_millis(800),
        node_lost: Duration::from_secs(1),
        ..Settings::default()
    };
    Options { settings, ..Options::default() }
}

/// The gang's ranks on so many nodes; those that the files keep back enter no barrier until their file is removed.
async fn ranks_in_barriers(count: u16, files: &[&str]) -> Nodes {
    let mut nodes = Nodes::start_with(count, short()).await;
    for file in files {
        write(nodes.path(), file);
    }
    nodes.command(1, &[gang(RUN, count, Desire::Run)]).await;
    nodes.launch_mpi(RUN, count, PROGRAM).await;
    nodes.wait_for_output(RUN, count).await;
    nodes
}

pub(crate) fn write(folder: &Path, file: &str) {
    fs::write(folder.join(file), "").unwrap();
}

pub(crate) async fn finish(mut nodes: Nodes) {
    write(nodes.path(), "finish");
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    nodes.stop().await;
}

/// Waits until the ranks have gone through more barriers.
async fn barriers_go_on(nodes: &Nodes) {
    let before = nodes.output_lines().len();
    eventually("the ranks go through barriers", || nodes.output_lines().len() > before).await;
}

async fn wait_until_left_out(nodes: &mut Nodes, node: u16) {
    let outside = |heard: &Heard| heard.report.as_ref()?.view.iter().all(|member| member.node.0 != node).then_some(());
    nodes.wait_for("the killed one is left out", outside).await;
}

/// The root asks all nodes while one is outside the view: it is refused, and must neither give up nor do nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_outlasts_the_absence_of_a_node_that_has_entered_it() {
    let mut nodes = ranks_in_barriers(3, &["wait-0"]).await;
    nodes.wait_for_figures(1, LIVED_ON).await;
    nodes.kill_agent(1);
    wait_until_left_out(&mut nodes, 1).await;
    fs::remove_file(nodes.path().join("wait-0")).unwrap();
    nodes.wait_for_figures(0, LIVED_ON).await;
    nodes.restart_agent(1).await;
    barriers_go_on(&nodes).await;
    finish(nodes).await;
}

/// Node 0 is the manager's and the gang's root: what it had collected is gone with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_outlasts_the_loss_of_its_root_and_manager() {
    let mut nodes = ranks_in_barriers(2, &["wait-1"]).await;
    nodes.wait_for_figures(0, LIVED_ON).await;
    nodes.kill_agent(0);
    fs::remove_file(nodes.path().join("wait-1")).unwrap();
    nodes.wait_for_figures(1, LIVED_ON).await;
    nodes.restart_agent(0).await;
    nodes.command(2, &[gang(RUN, 2, Desire::Run)]).await;
    barriers_go_on(&nodes).await;
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn barriers_outlast_agents_that_are_killed_at_any_moment() {
    let mut nodes = ranks_in_barriers(3, &[]).await;
    for _ in 0..KILLS {
        barriers_go_on(&nodes).await;
        nodes.kill_agent(1);
        nodes.restart_agent(1).await;
        barriers_go_on(&nodes).await;
        nodes.kill_agent(2);
        wait_until_left_out(&mut nodes, 2).await;
        nodes.restart_agent(2).await;
    }
    for term in 2..2 + u64::from(KILLS) {
        barriers_go_on(&nodes).await;
        nodes.kill_agent(0);
        nodes.restart_agent(0).await;
        nodes.command(term, &[gang(RUN, 3, Desire::Run)]).await;
    }
    barriers_go_on(&nodes).await;
    finish(nodes).await;
}

/// Keys that no record can carry: the ranks of all nodes would wait for ever, so the gang fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_that_can_never_be_complete_ends_its_gang_on_every_node() {
    let mut nodes = ranks_in_barriers(2, &["large"]).await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    let known_by_the_root = EndCause::BarrierFailed { node: NodeIndex(0), reason: BarrierFailure::KeysTooLarge };
    assert_eq!(cause, known_by_the_root);
    nodes.stop().await;
}

/// Whether rank 0 enters before rank 1 leaves or after, it waits for one that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_leaves_others_in_their_barrier_is_the_cause_of_the_end() {
    let shape = Shape { nodes: 1, ranks: 2 };
    let mut nodes = Nodes::start(shape.nodes).await;
    nodes.command(1, &[gang_of(shape, RUN, Desire::Run)]).await;
    nodes.launch_mpi_of(shape, RUN, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/leave.c")).await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    assert_eq!(cause, EndCause::BarrierFailed { node: NodeIndex(0), reason: BarrierFailure::RankLeft });
    nodes.stop().await;
}
