//! Gangs that are stopped by signals, where nobody may use cgroups.

use std::{fs, time::Duration};

use rustix::process::Pid;
use strobe_core::model::{Desire, EndCause, GangId, GangIncarnation, GangRun, Settings};

use crate::{
    RUN,
    authority::{Nodes, Options, Shape, gang_of, in_row},
    observe::eventually,
};

const OTHER: GangRun = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };

/// Longer than any test is patient.
const NEVER: Duration = Duration::from_secs(600);

const TWO_RANKS: Shape = Shape { nodes: 1, ranks: 2 };

/// Only the end of its agent thaws a gang in its place: no watchdog comes within the test.
fn options() -> Options {
    let settings = Settings { quantum: Duration::from_millis(100), watchdog: NEVER, node_lost: NEVER, ..Settings::default() };
    Options { settings, by_signals: true, ..Options::default() }
}

fn gangs() -> [strobe_core::model::PlannedGang; 2] {
    [gang_of(TWO_RANKS, RUN, Desire::Run), in_row(gang_of(TWO_RANKS, OTHER, Desire::Run), 1)]
}

/// The process that a rank has printed as its own.
fn rank(nodes: &Nodes, run: GangRun, rank: u32) -> Option<Pid> {
    let prefix = format!("[job-{}.{rank}] ", run.gang);
    let line = nodes.output_lines().into_iter().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))?;
    Pid::from_raw(line.parse().ok()?)
}

/// The state that `/proc` shows of a process: `T` when it was stopped; none when it is gone.
fn state(process: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_stopped(process: Pid) -> bool {
    state(process) == Some('T')
}

/// Both gangs, of which rank 1 of the first ends at once; the others compute until they are told to finish.
async fn two_gangs(nodes: &mut Nodes) -> [Pid; 3] {
    nodes.command(1, &gangs()).await;
    let finish = nodes.path().join("finish");
    let busy = format!("while test ! -e {}; do :; done", finish.display());
    nodes.launch_of(TWO_RANKS, RUN, &format!("echo $$; test $RANK = 1 || {busy}")).await;
    nodes.launch_of(TWO_RANKS, OTHER, &format!("echo $$; {busy}")).await;
    let ranks = [(RUN, 0), (RUN, 1), (OTHER, 0), (OTHER, 1)];
    eventually("every rank says its number", || ranks.iter().all(|(run, number)| rank(nodes, *run, *number).is_some())).await;
    let [first, ended, other, another] = ranks.map(|(run, number)| rank(nodes, run, number).unwrap());
    eventually("one rank ends", || state(ended).is_none()).await;
    [first, other, another]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_life_of_an_agent_stops_the_gangs_again_by_signals() {
    let mut nodes = Nodes::start_with(1, options()).await;
    let ranks = two_gangs(&mut nodes).await;
    eventually("one gang waits for its turn", || ranks.iter().any(|rank| is_stopped(*rank))).await;
    nodes.kill_agent(0);
    // One of the two gangs is stopped as long as an agent switches them.
    eventually("their supervisors thaw them", || !ranks.iter().any(|rank| is_stopped(*rank))).await;
    nodes.restart_agent(0).await;
    nodes.command(2, &gangs()).await;
    for rank in ranks {
        eventually("every rank is stopped again in its turn", || is_stopped(rank)).await;
    }
    fs::write(nodes.path().join("finish"), "").unwrap();
    for run in [RUN, OTHER] {
        assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(run)).await, EndCause::Completed);
    }
    nodes.stop().await;
}
