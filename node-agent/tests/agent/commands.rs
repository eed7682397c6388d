//! Pause, resume, termination with grace, and a rank that does not freeze.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use strobe_core::{
    model::{Desire, EndCause, GangId, GangIncarnation, GangRun},
    primitives::GangPhase,
};
use strobe_proto::agent::{Figures, GangFigures};

use crate::{
    RUN,
    authority::{Heard, Nodes, gang, in_row},
    observe::{Ranks, eventually},
};

const OTHER: GangRun = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };

/// A grace that no test waits for.
const LONG_GRACE: Duration = Duration::from_secs(600);

fn busy_until(file: &Path) -> String {
    format!("while test ! -e {}; do :; done", file.display())
}

/// Asked to end, it says so in a file of its rank and takes its time no longer.
fn says_goodbye(folder: &Path) -> String {
    format!("trap 'echo goodbye > {}/goodbye-$RANK; exit 5' TERM; echo ready; while :; do :; done", folder.display())
}

fn held(heard: &Heard, run: GangRun) -> Option<bool> {
    heard.report.as_ref()?.gangs.iter().find(|gang| gang.run == run).map(|gang| gang.held)
}

/// What an agent has counted of the gang.
fn counted(figures: &Figures) -> GangFigures {
    *figures.gangs.iter().find(|gang| gang.run == Some(RUN.into())).expect("the gang is there")
}

async fn released(nodes: &mut Nodes, run: GangRun) {
    nodes.wait_for("the gang is released", |heard| (heard.phase(run) == Some(GangPhase::Released)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_gang_stands_still_even_while_its_agent_restarts_and_runs_on_when_resumed() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let finish = nodes.path().join("finish");
    nodes.launch(RUN, 2, &format!("echo ready; {}", busy_until(&finish))).await;
    released(&mut nodes, RUN).await;
    let ranks = [nodes.ranks(RUN, 0), nodes.ranks(RUN, 1)];
    // Released, it is still frozen until its row is strobed, and has used CPU time before: its ranks say when they run.
    wait_for_output(&nodes, "[job-1.0] ready").await;
    wait_for_output(&nodes, "[job-1.1] ready").await;

    nodes.plan(1, &[gang(RUN, 2, Desire::Pause)]).await;
    nodes.wait_for("it is held", |heard| held(heard, RUN).filter(|held| *held)).await;
    eventually("it is frozen on both nodes", || ranks.iter().all(Ranks::is_frozen)).await;
    let standing = ranks.each_ref().map(Ranks::cpu_microseconds);
    let before = counted(&nodes.wait_for_figures(1, 2).await);
    assert!(before.thawed_seconds > 0.0 && before.commanded_cpu_seconds > 0.0, "{before:?}");
    assert_eq!(counted(&nodes.wait_for_figures(1, 2).await), before, "a held gang counts as thawed");
    nodes.kill_agent(1);
    nodes.restart_agent(1).await;
    let after = counted(&nodes.wait_for_figures(1, 2).await);
    assert_eq!((after.thawed_seconds, after.commanded_cpu_seconds), (0.0, 0.0), "this life of the agent has let nothing run: {after:?}");
    assert!(after.cpu_seconds > 0.0, "{after:?}");
    assert_eq!(ranks.each_ref().map(Ranks::cpu_microseconds), standing, "a held gang computed");

    nodes.plan(2, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.wait_for("it is held no more", |heard| held(heard, RUN).filter(|held| !held)).await;
    for (ranks, standing) in ranks.iter().zip(standing) {
        eventually("a resumed gang computes", || ranks.cpu_microseconds() > standing).await;
    }
    std::fs::write(finish, "").unwrap();
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switched_out_gang_that_is_ended_gets_its_grace() {
    let mut nodes = Nodes::start(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run), in_row(gang(OTHER, 1, Desire::Run), 1)]).await;
    let finish = nodes.path().join("finish");
    let goodbye = says_goodbye(nodes.path());
    nodes.launch(RUN, 1, &busy_until(&finish)).await;
    nodes.launch(OTHER, 1, &goodbye).await;
    released(&mut nodes, RUN).await;
    released(&mut nodes, OTHER).await;
    wait_for_output(&nodes, "[job-2.0] ready").await;
    let terminate = Desire::Terminate { grace: LONG_GRACE };
    nodes.plan(1, &[gang(RUN, 1, Desire::Run), in_row(gang(OTHER, 1, terminate), 1)]).await;
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(OTHER)).await, EndCause::Terminated);
    assert_eq!(std::fs::read_to_string(nodes.path().join("goodbye-0")).unwrap(), "goodbye\n");
    std::fs::write(finish, "").unwrap();
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_gang_that_is_ended_gets_its_grace_on_every_node() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let goodbye = says_goodbye(nodes.path());
    nodes.launch(RUN, 2, &goodbye).await;
    released(&mut nodes, RUN).await;
    wait_for_output(&nodes, "[job-1.0] ready").await;
    wait_for_output(&nodes, "[job-1.1] ready").await;
    nodes.plan(1, &[gang(RUN, 2, Desire::Pause)]).await;
    nodes.wait_for("it is held", |heard| held(heard, RUN).filter(|held| *held)).await;
    nodes.plan(2, &[gang(RUN, 2, Desire::Terminate { grace: LONG_GRACE })]).await;
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Terminated);
    for rank in 0..2 {
        assert_eq!(std::fs::read_to_string(nodes.path().join(format!("goodbye-{rank}"))).unwrap(), "goodbye\n");
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_that_does_not_want_to_end_is_killed_after_its_grace() {
    let mut nodes = Nodes::start(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    nodes.launch(RUN, 2, "trap '' TERM; echo ready; while :; do :; done").await;
    released(&mut nodes, RUN).await;
    wait_for_output(&nodes, "[job-1.0] ready").await;
    nodes.plan(1, &[gang(RUN, 2, Desire::Terminate { grace: Duration::from_millis(50) })]).await;
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Terminated);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_does_not_freeze_is_counted_and_the_strobe_goes_on() {
    let mut nodes = Nodes::start(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run), in_row(gang(OTHER, 1, Desire::Run), 1)]).await;
    let program = compile_stubborn(nodes.path());
    let finish = nodes.path().join("finish");
    // Its input stays open: it waits in the kernel until it is killed.
    let stubborn = format!("mkfifo {0}; exec {1} fault 0<>{0}", nodes.path().join("input").display(), program.display());
    nodes.launch(RUN, 1, &stubborn).await;
    nodes.launch(OTHER, 1, &busy_until(&finish)).await;
    released(&mut nodes, OTHER).await;
    wait_for_output_that_begins(&nodes, "[job-1.0] ready").await;
    let counted =
        |heard: &Heard| heard.figures.get(&0)?.1.counters.filter(|counters| counters.stragglers > 0).map(|counters| counters.strobes);
    let strobes = nodes.wait_for("a straggler is counted", counted).await;
    let goes_on = |heard: &Heard| heard.figures.get(&0)?.1.counters.filter(|counters| counters.strobes > strobes + 10).map(|_| ());
    nodes.wait_for("the strobe goes on", goes_on).await;
    std::fs::write(finish, "").unwrap();
    assert_eq!(nodes.wait_for("the gang beside it ends", |heard| heard.ended(OTHER)).await, EndCause::Completed);
    assert_eq!(nodes.wait_for("the straggler runs on", |heard| heard.phase(RUN)).await, GangPhase::Released);
    nodes.stop().await;
}

async fn wait_for_output(nodes: &Nodes, line: &str) {
    eventually(line, || nodes.output_lines().iter().any(|printed| printed == line)).await;
}

async fn wait_for_output_that_begins(nodes: &Nodes, line: &str) {
    eventually(line, || nodes.output_lines().iter().any(|printed| printed.starts_with(line))).await;
}

fn compile_stubborn(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/freezer_kernel/stubborn.c");
    let program = folder.join("stubborn");
    let status = Command::new("cc").arg("-o").arg(&program).arg(source).status().expect("a C compiler is needed");
    assert!(status.success(), "the helper program cannot be compiled: {status}");
    program
}
