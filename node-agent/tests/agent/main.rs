//! Real agent processes under a scripted authority: gangs from the launch to their end, and what happens when processes die.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod authority;
mod barriers;
mod by_signals;
mod commands;
mod faults;
mod files;
mod groups;
mod kubelet;
mod metrics;
mod observe;
mod operator;
mod pods;
mod session;
mod strangers;

use std::path::Path;

use authority::{Nodes, gang};
use strobe_core::model::{Desire, EndCause, GangId, GangIncarnation, GangRun, NodeIndex, RankIndex, RankOutcome};

/// Held open by whoever asks that idle CPUs stay awake.
const LATENCY: &str = "/dev/cpu_dma_latency";

const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_two_nodes_is_released_once_and_completes() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch(RUN, 2, "test $RANK = $JOB_COMPLETION_INDEX && test $WORLD_SIZE = 2 && echo rank $RANK of $WORLD_SIZE").await;
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    assert_eq!(nodes.output_lines(), ["[job-1.0] rank 0 of 2", "[job-1.1] rank 1 of 2"]);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_fails_ends_its_gang_on_every_node() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    // Rank 0 would run for ever: only the end of the gang ends it.
    nodes.launch(RUN, 2, "test $RANK = 1 && exit 3; while :; do :; done").await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    let EndCause::RankFailed { node, rank, outcome } = cause else { panic!("{cause:?} is no failure of a rank") };
    assert_eq!((node.0, rank.0, outcome), (1, 1, RankOutcome::Exited(3)));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_aborts_is_the_cause_with_its_code_and_its_words() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch_mpi(RUN, 2, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/abort.c")).await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    let aborted = EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(1), outcome: RankOutcome::Aborted(-42) };
    assert_eq!(cause, aborted);
    let words = nodes.wait_for("its words are told", |heard| heard.last_words.first().cloned()).await;
    assert_eq!(words, "no convergence after 7 steps");
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
    nodes.wait_for("both gangs end", |heard| heard.ended(RUN).and(heard.ended(other))).await;
    nodes.wait_for_switches(4).await;
    assert_eq!(nodes.output_lines(), ["[job-1.0] done", "[job-2.0] done"]);
    nodes.stop().await;
}

/// Whether a process holds the request that idle CPUs stay awake.
fn keeps_cpus_awake(process: u32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("an agent of the test's own can be looked at");
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == Path::new(LATENCY)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_cpus_are_kept_awake_while_gangs_take_turns() {
    let permitted = std::fs::OpenOptions::new().write(true).open(LATENCY).is_ok();
    if !permitted {
        eprintln!("{LATENCY} cannot be used here: only that the agent does without it is tested");
    }
    let other = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };
    let gangs = [gang(RUN, 1, Desire::Run), authority::in_row(gang(other, 1, Desire::Run), 1)];
    let mut nodes = Nodes::start(1).await;
    let agent = nodes.agent_process(0);
    let until = |file: &str| format!("echo begun; while test ! -e {}; do :; done", nodes.path().join(file).display());
    let scripts = [until("first"), until("second")];
    nodes.command(1, &gangs[..1]).await;
    nodes.launch(RUN, 1, &scripts[0]).await;
    nodes.wait_for_output(RUN, 1).await;
    assert!(!keeps_cpus_awake(agent), "one gang is not switched");
    nodes.plan(2, &gangs).await;
    nodes.launch(other, 1, &scripts[1]).await;
    nodes.wait_for_output(other, 1).await;
    assert_eq!(keeps_cpus_awake(agent), permitted);
    std::fs::write(nodes.path().join("first"), "").unwrap();
    nodes.wait_for("the first gang ends", |heard| heard.ended(RUN)).await;
    assert!(!keeps_cpus_awake(agent), "one gang is left");
    std::fs::write(nodes.path().join("second"), "").unwrap();
    nodes.wait_for("the other gang ends", |heard| heard.ended(other)).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mpi_ranks_of_two_nodes_meet_without_mpiexec() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch_mpi(RUN, 2, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/ring.c")).await;
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    assert_eq!(nodes.output_lines(), ["[job-1.0] ring of 2: 1000"]);
    nodes.stop().await;
}
