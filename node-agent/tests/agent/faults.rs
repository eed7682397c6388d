//! What happens when ranks, supervisors, agents and the owner of a run die or stop.

use std::{
    cell::Cell,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use strobe_core::model::{Desire, EndCause, GangId, GangIncarnation, GangRun, NodeIndex, RankOutcome, Settings};
use strobe_proto::agent::SwitchCause;

use crate::{
    RUN,
    authority::{Heard, Nodes, Options, gang, in_row},
    observe::{Ranks, eventually, processes_naming},
};

const OTHER: GangRun = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };

/// Longer than any test is patient: what happens within that patience was not caused by it.
const NEVER: Duration = Duration::from_secs(600);

/// Long enough for a test to look at what runs between two switches.
const QUANTUM: Duration = Duration::from_millis(100);

/// Times short enough that a test sees them pass.
fn short() -> Settings {
    Settings {
        quantum: QUANTUM,
        heartbeat: Duration::from_millis(50),
        suspicion: Duration::from_millis(400),
        watchdog: Duration::from_millis(800),
        node_lost: Duration::from_secs(1),
        ..Settings::default()
    }
}

fn with(settings: Settings) -> Options {
    Options { settings, ..Options::default() }
}

/// A rank that says that it has begun, and computes until a file tells it to finish.
fn busy_until(file: &Path) -> String {
    format!("echo begun; while test ! -e {}; do :; done; echo finished", file.display())
}

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(pid, signal).expect("a process of the test's own can be signalled");
}

/// Two gangs in two rows on all nodes, both released.
async fn two_gangs(nodes: &mut Nodes, count: u16) {
    let plan = [gang(RUN, count, Desire::Run), in_row(gang(OTHER, count, Desire::Run), 1)];
    nodes.command(1, &plan).await;
    let script = busy_until(&nodes.path().join("finish"));
    nodes.launch(RUN, count, &script).await;
    nodes.launch(OTHER, count, &script).await;
    for run in [RUN, OTHER] {
        nodes.wait_for_output(run, count).await;
    }
}

async fn one_busy_gang(nodes: &mut Nodes, count: u16) {
    nodes.command(1, &[gang(RUN, count, Desire::Run)]).await;
    let script = busy_until(&nodes.path().join("finish"));
    nodes.launch(RUN, count, &script).await;
    nodes.wait_for_output(RUN, count).await;
}

async fn finish(nodes: &mut Nodes, runs: &[GangRun]) {
    std::fs::write(nodes.path().join("finish"), "").unwrap();
    for run in runs {
        assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(*run)).await, EndCause::Completed);
    }
}

/// Waits until both gangs run free on a node: both compute between two looks that find neither frozen. Gangs that are
/// switched are never found so, for one of them is frozen at every look.
async fn both_run(ranks: &[Ranks; 2]) {
    let look = || {
        let thawed = ranks.iter().all(|ranks| !ranks.is_commanded_frozen() && !ranks.is_frozen());
        thawed.then(|| ranks.each_ref().map(Ranks::cpu_microseconds))
    };
    let before: Cell<Option<[u64; 2]>> = Cell::new(None);
    let have_computed = || {
        let now = look();
        let Some(([before_first, before_second], [first, second])) = before.get().zip(now) else {
            before.set(now);
            return false;
        };
        first > before_first && second > before_second
    };
    eventually("both gangs run", have_computed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_cgroups_a_gang_has_ended_when_the_children_of_its_ranks_are_gone_too() {
    let mut nodes = Nodes::start_with(2, Options { by_signals: true, ..with(short()) }).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let child = nodes.path().join("child");
    let child = child.display();
    let rank_0 = format!("sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; while :; do :; done");
    let rank_1 = format!("while test ! -e {child}; do :; done; exit 3");
    nodes.launch(RUN, 2, &format!("if test $RANK = 0; then {rank_0}; else {rank_1}; fi")).await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    assert!(matches!(cause, EndCause::RankFailed { outcome: RankOutcome::Exited(3), .. }), "{cause:?}");
    let child = std::fs::read_to_string(nodes.path().join("child")).unwrap();
    // What its supervisor has not collected yet has no command line any more.
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.trim())).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(&command_line), "", "it outlived its gang");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rank_ends_its_gang_on_every_node() {
    let mut nodes = Nodes::start(2).await;
    one_busy_gang(&mut nodes, 2).await;
    let victims = nodes.ranks(RUN, 1).processes();
    kill_process(victims[0], Signal::KILL).unwrap();
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    let EndCause::RankFailed { node, rank, outcome } = cause else { panic!("{cause:?} is no failure of a rank") };
    assert_eq!((node.0, rank.0, outcome), (1, 1, RankOutcome::Signalled(9)));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_supervisor_takes_its_ranks_along_and_ends_its_gang() {
    let mut nodes = Nodes::start(2).await;
    one_busy_gang(&mut nodes, 2).await;
    let supervisors = processes_naming(&nodes.path().join("node-1"));
    assert_eq!(supervisors.len(), 1, "one supervisor a gang and node");
    kill_process(supervisors[0], Signal::KILL).unwrap();
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    // Its ranks die with it; whichever end the agent hears of first is the cause.
    match cause {
        EndCause::SupervisorLost { node } | EndCause::RankFailed { node, .. } => assert_eq!(node, NodeIndex(1)),
        cause => panic!("{cause:?} is not the end of a supervisor"),
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agents_supervisors_thaw_at_once_and_its_next_life_takes_them_over() {
    // No watchdog comes within the test, and with the only agent no further strobe: only the closed socket can thaw.
    let settings = Settings { watchdog: NEVER, node_lost: NEVER, ..short() };
    let mut nodes = Nodes::start_with(1, with(settings)).await;
    two_gangs(&mut nodes, 1).await;
    let ranks = [nodes.ranks(RUN, 0), nodes.ranks(OTHER, 0)];
    eventually("one of two gangs is frozen", || ranks.iter().filter(|ranks| ranks.is_frozen()).count() == 1).await;
    nodes.kill_agent(0);
    both_run(&ranks).await;
    nodes.restart_agent(0).await;
    nodes.command(2, &[gang(RUN, 1, Desire::Run), in_row(gang(OTHER, 1, Desire::Run), 1)]).await;
    finish(&mut nodes, &[RUN, OTHER]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agents_supervisors_thaw_when_it_is_silent_for_the_watchdog() {
    let mut nodes = Nodes::start_with(1, with(short())).await;
    two_gangs(&mut nodes, 1).await;
    let ranks = [nodes.ranks(RUN, 0), nodes.ranks(OTHER, 0)];
    eventually("one of two gangs is frozen", || ranks.iter().filter(|ranks| ranks.is_frozen()).count() == 1).await;
    signal(nodes.agent_process(0), Signal::STOP);
    both_run(&ranks).await;
    signal(nodes.agent_process(0), Signal::CONT);
    finish(&mut nodes, &[RUN, OTHER]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_manager_frees_the_gangs_of_every_other_node_within_the_watchdog() {
    let mut nodes = Nodes::start_with(2, with(short())).await;
    two_gangs(&mut nodes, 2).await;
    let elsewhere = [nodes.ranks(RUN, 1), nodes.ranks(OTHER, 1)];
    eventually("one of two gangs is frozen", || elsewhere.iter().filter(|ranks| ranks.is_frozen()).count() == 1).await;
    nodes.kill_agent(0);
    both_run(&elsewhere).await;
    nodes.wait_for("the watchdog is told as a cause", |heard| heard.causes.contains(&SwitchCause::Watchdog).then_some(())).await;
    nodes.restart_agent(0).await;
    nodes.command(2, &[gang(RUN, 2, Desire::Run), in_row(gang(OTHER, 2, Desire::Run), 1)]).await;
    finish(&mut nodes, &[RUN, OTHER]).await;
    nodes.stop().await;
}

/// With the only agent global memory is lost: nothing but the agent's own note tells that the gang has completed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_that_completed_before_its_only_agent_was_killed_has_completed() {
    let mut nodes = Nodes::start_with(1, with(short())).await;
    one_busy_gang(&mut nodes, 1).await;
    finish(&mut nodes, &[RUN]).await;
    nodes.kill_agent(0);
    nodes.restart_agent(0).await;
    nodes.command(2, &[gang(RUN, 1, Desire::Run)]).await;
    let of_the_new_term = |heard: &Heard| heard.report.as_ref().filter(|report| report.fence.term.0 == 2).and_then(|_| heard.ended(RUN));
    assert_eq!(nodes.wait_for("the gang has ended", of_the_new_term).await, EndCause::Completed);
    nodes.stop().await;
}

/// An agent notes a gang before it starts its supervisor, and the supervisor afterwards. One that is killed in between
/// leaves a living supervisor in no note, which is what this test makes of a complete one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_a_killed_agent_could_not_note_is_taken_over() {
    let mut nodes = Nodes::start_with(2, with(short())).await;
    one_busy_gang(&mut nodes, 2).await;
    nodes.kill_agent(1);
    let note = nodes.path().join(format!("node-1/gangs/{RUN}"));
    let mut bytes = std::fs::read(&note).unwrap();
    bytes[..4].fill(0);
    std::fs::write(&note, bytes).unwrap();
    nodes.restart_agent(1).await;
    finish(&mut nodes, &[RUN]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_that_restarts_is_admitted_within_the_term_and_its_gang_completes() {
    let mut nodes = Nodes::start_with(2, with(short())).await;
    two_gangs(&mut nodes, 2).await;
    nodes.kill_agent(1);
    both_run(&[nodes.ranks(RUN, 1), nodes.ranks(OTHER, 1)]).await;
    nodes.restart_agent(1).await;
    let admitted = |heard: &Heard| {
        let report = heard.report.as_ref()?;
        report.view.iter().any(|member| member.node.0 == 1 && member.incarnation.0 == 2).then_some(report.fence.term.0)
    };
    assert_eq!(nodes.wait_for("the new life is admitted", admitted).await, 1);
    finish(&mut nodes, &[RUN, OTHER]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_stopped_obeys_nobody_until_it_is_admitted_again() {
    let mut nodes = Nodes::start_with(3, with(short())).await;
    two_gangs(&mut nodes, 3).await;
    let in_view = |node: u16| move |heard: &Heard| Some(heard.report.as_ref()?.view.iter().any(|member| member.node.0 == node));
    signal(nodes.agent_process(2), Signal::STOP);
    nodes.wait_for("the stopped one is left out", |heard| in_view(2)(heard).filter(|inside| !inside)).await;
    let ranks = [nodes.ranks(RUN, 2), nodes.ranks(OTHER, 2)];
    both_run(&ranks).await;
    // With the manager stopped nobody can admit it; what it was sent before waits in its sockets.
    signal(nodes.agent_process(0), Signal::STOP);
    signal(nodes.agent_process(2), Signal::CONT);
    let first = nodes.wait_for_figures(2, 2).await;
    let later = nodes.wait_for_figures(2, 3).await;
    assert!(first.state != STROBED && later.state != STROBED, "it is {} and {}", first.state, later.state);
    assert_eq!(first.counters.unwrap().strobes, later.counters.unwrap().strobes, "a strobe was obeyed");
    assert!(ranks.iter().all(|ranks| !ranks.is_commanded_frozen()), "a gang was frozen");
    signal(nodes.agent_process(0), Signal::CONT);
    nodes.wait_for("it is admitted again", |heard| in_view(2)(heard).filter(|inside| *inside)).await;
    let strobed = |heard: &Heard| heard.figures.get(&2).is_some_and(|(_, figures)| figures.state == STROBED).then_some(());
    nodes.wait_for("it is strobed again", strobed).await;
    finish(&mut nodes, &[RUN, OTHER]).await;
    nodes.stop().await;
}

/// As the figures name the state of an agent that obeys strobes.
const STROBED: &str = "strobed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cgroup_that_a_crash_left_is_removed_with_what_is_in_it_and_one_whose_supervisor_lives_is_not() {
    let mut nodes = Nodes::start_with(1, with(Settings { watchdog: NEVER, node_lost: NEVER, ..short() })).await;
    one_busy_gang(&mut nodes, 1).await;
    nodes.kill_agent(0);
    let mut stray = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let left = nodes.ranks(OTHER, 0);
    left.leave_frozen_with(stray.id());
    let ranks = nodes.ranks(RUN, 0);
    let before = ranks.processes();
    nodes.restart_agent(0).await;
    assert!(!left.exists(), "an agent that listens has looked for leftovers");
    assert_eq!(stray.wait().unwrap().signal(), Some(9));
    assert_eq!(ranks.processes(), before, "ranks with a supervisor are taken over");
    nodes.command(2, &[gang(RUN, 1, Desire::Run)]).await;
    finish(&mut nodes, &[RUN]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_owner_is_gone_every_agent_ends_its_gangs_and_leaves() {
    let mut owner = Owner::start();
    let mut nodes = Nodes::start_with(2, Options { owner: owner.process(), ..Options::default() }).await;
    two_gangs(&mut nodes, 2).await;
    owner.kill();
    for node in 0..2 {
        let status = nodes.wait_for_agent(node);
        assert!(status.success(), "an agent left with {status}");
    }
    nodes.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_agent_and_owner_are_gone_supervisors_kill_their_ranks() {
    let mut owner = Owner::start();
    let mut nodes = Nodes::start_with(1, Options { owner: owner.process(), ..Options::default() }).await;
    one_busy_gang(&mut nodes, 1).await;
    let ranks = nodes.ranks(RUN, 0);
    nodes.kill_agent(0);
    let before = ranks.cpu_microseconds();
    eventually("without its agent alone the gang runs on", || ranks.cpu_microseconds() > before).await;
    owner.kill();
    eventually("no rank is left", || ranks.processes().is_empty()).await;
    let folder = nodes.path().to_owned();
    eventually("no supervisor is left", || processes_naming(&folder).is_empty()).await;
}

/// A process that stands for kubectl-strobe.
struct Owner(Child);

impl Owner {
    fn start() -> Self {
        // It waits for the end of an input that stays open as long as this test lives.
        Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn process(&self) -> u32 {
        self.0.id()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
