//! Real agent processes under a scripted authority: two nodes, one gang, from the launch to its end.

mod authority;

use std::time::Duration;

use authority::{Nodes, gang};
use strobe_core::{
    model::{Desire, EndCause, GangId, GangIncarnation, GangRun, RankOutcome},
    primitives::GangPhase,
};

/// Long enough for a machine that compiles beside it; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_two_nodes_is_released_once_and_completes() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch(RUN, 2, "test $RANK = $JOB_COMPLETION_INDEX && test $WORLD_SIZE = 2 && echo rank $RANK of $WORLD_SIZE").await;
    let phase = nodes.wait_for(PATIENCE, |report| ended(report, RUN)).await;
    assert_eq!(phase, GangPhase::Ended(EndCause::Completed));
    assert_eq!(nodes.output_lines(), ["[job.0] rank 0 of 2", "[job.1] rank 1 of 2"]);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_fails_ends_its_gang_on_every_node() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    // Rank 0 would run for ever: only the end of the gang ends it.
    nodes.launch(RUN, 2, "test $RANK = 1 && exit 3; while :; do :; done").await;
    let phase = nodes.wait_for(PATIENCE, |report| ended(report, RUN)).await;
    let GangPhase::Ended(EndCause::RankFailed { node, rank, outcome }) = phase else { panic!("{phase:?} is no failure of a rank") };
    assert_eq!((node.0, rank.0, outcome), (1, 1, RankOutcome::Exited(3)));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gangs_share_one_cpu_in_turns() {
    let other = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };
    let mut nodes = Nodes::start(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run), authority::in_row(gang(other, 1, Desire::Run), 1)]).await;
    let work = "i=0; while test $i -lt 20000; do i=$((i+1)); done; echo done";
    nodes.launch(RUN, 1, work).await;
    nodes.launch(other, 1, work).await;
    nodes.wait_for(PATIENCE, |report| ended(report, RUN).and(ended(report, other))).await;
    nodes.wait_for_switches(PATIENCE, 4).await;
    assert_eq!(nodes.output_lines(), ["[job.0] done", "[job.0] done"]);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mpi_ranks_of_two_nodes_meet_without_mpiexec() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch_mpi(RUN, 2, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/ring.c")).await;
    let phase = nodes.wait_for(PATIENCE, |report| ended(report, RUN)).await;
    assert_eq!(phase, GangPhase::Ended(EndCause::Completed));
    assert_eq!(nodes.output_lines(), ["[job.0] ring of 2: 1000"]);
    nodes.stop().await;
}

fn ended(report: &strobe_core::message::PartitionReport, run: GangRun) -> Option<GangPhase> {
    let phase = report.gangs.iter().find(|gang| gang.run == run)?.phase;
    matches!(phase, GangPhase::Ended(_)).then_some(phase)
}
