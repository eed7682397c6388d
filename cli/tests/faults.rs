//! Faults on real processes, as a user of `kubectl-strobe local run` meets them. What each node does by itself is shown by
//! the agent's own tests; docs/faults.md says which test shows what.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/command.rs"]
mod command;
#[path = "faults/local.rs"]
mod local;

use std::{fs::OpenOptions, io::Write, path::PathBuf, process::Command, time::Instant};

use command::job;
use local::{BUSY, Ended, LocalRun, Surroundings, eventually, is_thawed, members, signal};
use rustix::process::Signal;

/// A file to which the time is appended that a gang's end took, one number of microseconds a line: for `cargo xtask faults`.
const TIMES: &str = "STROBE_FAULT_TIMES";

const COMPLETED: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);

fn busy_on(name: &str, nodes: u16, spec: &str) -> String {
    job(name, BUSY, &format!("nodes: {nodes}\nlaunch: {{protocol: env}}\n{spec}"))
}

fn two_busy_jobs(nodes: u16) -> Vec<String> {
    vec![busy_on("first", nodes, ""), busy_on("second", nodes, "")]
}

/// Waits for the end of [`two_busy_jobs`]: both have completed in one go.
fn both_complete(run: LocalRun) -> Ended {
    let ended = run.wait();
    assert_eq!(ended.code, COMPLETED);
    ended.assert_undisturbed("first");
    ended.assert_undisturbed("second");
    ended
}

#[test]
fn a_rank_that_exits_badly_ends_its_gang_and_is_named() {
    let script = "test $RANK = 1 && exit 3; while :; do :; done";
    let failing = job("failing", script, "nodes: 2\nlaunch: {protocol: env}\nrestart: {limit: 0}");
    let run = LocalRun::start(&[failing, busy_on("beside", 2, "")], &[], &["beside.0", "beside.1"]);
    run.finish();
    let ended = run.wait();
    assert_eq!(ended.code, FAILED);
    let job = ended.job("failing");
    assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("Failed"), Some("RankExited")));
    assert_eq!(job["message"].as_str(), Some("rank 1 on node 1 exited with status 3"));
    ended.assert_undisturbed("beside");
    ended.scratch_is_clean();
}

#[test]
fn a_killed_rank_ends_its_gang_on_every_node() {
    let jobs = [busy_on("victim", 2, "restart: {limit: 0}"), busy_on("beside", 2, "")];
    let run = LocalRun::start(&jobs, &[], &["victim.0", "victim.1", "beside.0", "beside.1"]);
    let ranks = [run.ranks(1, 0), run.ranks(1, 1)];
    let victim = members(&ranks[1])[0];
    let killed = Instant::now();
    signal(victim, Signal::KILL);
    eventually("no rank of the gang is left", || ranks.iter().all(|ranks| members(ranks).is_empty()));
    note_time(killed);
    run.finish();
    let ended = run.wait();
    assert_eq!(ended.code, FAILED);
    assert_eq!(ended.job("victim")["message"].as_str(), Some("rank 1 on node 1 was killed by signal 9"));
    ended.assert_undisturbed("beside");
    ended.scratch_is_clean();
}

#[test]
fn a_gang_is_restarted_up_to_its_limit() {
    let failing = job("failing", "test $RANK = 1 && exit 3; while :; do :; done", "nodes: 2\nlaunch: {protocol: env}\nrestart: {limit: 2}");
    let once = "if test -e again; then echo finished; else if test $RANK = 0; then touch again; exit 4; fi; while :; do :; done; fi";
    let healing = job("healing", once, "nodes: 2\nlaunch: {protocol: env}\nrestart: {limit: 2}");
    let ended = LocalRun::start(&[failing, healing], &[], &[]).wait();
    assert_eq!(ended.code, FAILED);
    let failing = ended.job("failing");
    assert_eq!((failing["state"].as_str(), failing["restarts"].as_u64()), (Some("Failed"), Some(2)));
    let failures = failing["failures"].as_array().unwrap();
    let told = |failure: &serde_json::Value| (failure["incarnation"].as_u64(), failure["message"].as_str().map(str::to_owned));
    let message = "rank 1 on node 1 exited with status 3".to_owned();
    let lives: Vec<_> = failures.iter().map(told).collect();
    assert_eq!(lives, [(Some(1), Some(message.clone())), (Some(2), Some(message.clone())), (Some(3), Some(message))]);
    let healing = ended.job("healing");
    assert_eq!((healing["state"].as_str(), healing["restarts"].as_u64()), (Some("Complete"), Some(1)));
    ended.scratch_is_clean();
}

#[test]
fn a_killed_manager_is_replaced_and_both_jobs_finish() {
    let run = LocalRun::start(&two_busy_jobs(2), &[], &["first.0", "first.1", "second.0", "second.1"]);
    let manager = run.manager();
    let killed = run.agent(manager);
    signal(killed, Signal::KILL);
    eventually("its node has an agent again", || run.agent(manager) != killed);
    run.finish();
    let ended = both_complete(run);
    assert!(ended.report["terms"].as_u64().unwrap() >= 2, "nobody else was appointed: {}", ended.report);
    assert_eq!(ended.lives(manager), 2);
    ended.scratch_is_clean();
}

#[test]
fn another_killed_agent_is_admitted_again_and_both_jobs_finish() {
    let run = LocalRun::start(&two_busy_jobs(3), &[], &["first.2", "second.2"]);
    let node = (0..3).find(|node| *node != run.manager()).unwrap();
    let killed = run.agent(node);
    let ranks = [run.ranks(1, node), run.ranks(2, node)];
    let before = ranks.each_ref().map(|ranks| members(ranks));
    signal(killed, Signal::KILL);
    eventually("its node has an agent again", || run.agent(node) != killed);
    assert_eq!(ranks.each_ref().map(|ranks| members(ranks)), before, "ranks outlive their agent");
    run.finish();
    let ended = both_complete(run);
    assert_eq!(ended.lives(node), 2);
    ended.scratch_is_clean();
}

#[test]
fn a_lost_node_ends_or_restarts_its_gangs_and_no_other() {
    let wide = busy_on("wide", 3, "restart: {limit: 0}");
    let pair = busy_on("pair", 2, "");
    let moving = busy_on("moving", 1, "restart: {limit: 1, on: [NodeLost]}");
    let all = ["wide.0", "wide.1", "wide.2", "pair.0", "pair.1", "moving.0"];
    let arguments = ["--nodes", "3", "--no-restart-node", "0", "--no-restart-node", "1", "--no-restart-node", "2"];
    let run = LocalRun::start(&[wide, pair, moving], &arguments, &all);
    let lost = (0..3).find(|node| !members(&run.ranks(3, *node)).is_empty()).expect("the gang of one node is somewhere");
    assert!(members(&run.ranks(2, lost)).is_empty(), "the two gangs of the second row stand side by side");
    let pair_before: Vec<_> = (0..3).map(|node| members(&run.ranks(2, node))).collect();
    run.kill_node(lost);
    eventually("the gang of one node is begun elsewhere", || {
        (0..3).any(|node| node != lost && !members(&run.ranks_of_life(3, 2, node)).is_empty())
    });
    eventually("the gang of all nodes is gone", || (0..3).all(|node| members(&run.ranks(1, node)).is_empty()));
    assert_eq!((0..3).map(|node| members(&run.ranks(2, node))).collect::<Vec<_>>(), pair_before, "a gang elsewhere was disturbed");
    run.finish();
    let ended = run.wait();
    assert_eq!(ended.code, FAILED);
    let wide = ended.job("wide");
    assert_eq!((wide["state"].as_str(), wide["reason"].as_str()), (Some("Failed"), Some("NodeLost")));
    let moving = ended.job("moving");
    assert_eq!((moving["state"].as_str(), moving["restarts"].as_u64()), (Some("Complete"), Some(1)));
    ended.assert_undisturbed("pair");
    ended.scratch_is_clean();
}

#[test]
fn the_loss_of_the_managers_node_moves_its_gang_and_disturbs_no_other() {
    let jobs = ["one", "two", "three"].map(|name| busy_on(name, 1, "restart: {limit: 1, on: [NodeLost]}"));
    let arguments = ["--nodes", "3", "--no-restart-node", "0", "--no-restart-node", "1", "--no-restart-node", "2"];
    let run = LocalRun::start(&jobs, &arguments, &["one.0", "two.0", "three.0"]);
    let lost = run.manager();
    let on_it = |gang: &u64| !members(&run.ranks(*gang, lost)).is_empty();
    let there: Vec<u64> = (1..=3).filter(on_it).collect();
    assert_eq!(there.len(), 1, "three gangs of one node stand side by side");
    run.kill_node(lost);
    eventually("its gang is begun elsewhere", || {
        (0..3).any(|node| node != lost && !members(&run.ranks_of_life(there[0], 2, node)).is_empty())
    });
    run.finish();
    let ended = run.wait();
    assert_eq!(ended.code, COMPLETED);
    for (gang, name) in (1..).zip(["one", "two", "three"]) {
        let restarts = u64::from(gang == there[0]);
        let job = ended.job(name);
        assert_eq!((job["state"].as_str(), job["restarts"].as_u64()), (Some("Complete"), Some(restarts)), "{job}");
    }
    assert!(ended.report["terms"].as_u64().unwrap() >= 2, "nobody else was appointed: {}", ended.report);
    ended.scratch_is_clean();
}

#[test]
fn managers_that_die_one_after_the_other_are_replaced() {
    let run = LocalRun::start(&two_busy_jobs(3), &[], &["first.2", "second.2"]);
    for _ in 0..3 {
        let (manager, term) = (run.manager(), run.term());
        let killed = run.agent(manager);
        signal(killed, Signal::KILL);
        eventually("another is appointed", || run.term() > term);
        eventually("its node has an agent again", || run.agent(manager) != killed);
    }
    let ranks = [run.ranks(1, 0), run.ranks(2, 0)];
    eventually("the gangs are switched again", || ranks.iter().any(|ranks| !is_thawed(ranks)));
    run.finish();
    let ended = both_complete(run);
    ended.scratch_is_clean();
}

#[test]
fn when_all_agents_die_at_once_global_memory_begins_anew_and_both_jobs_finish() {
    let run = LocalRun::start(&two_busy_jobs(3), &[], &["first.2", "second.2"]);
    let killed = [0, 1, 2].map(|node| run.agent(node));
    killed.into_iter().for_each(|agent| signal(agent, Signal::KILL));
    eventually("every node has an agent again", || (0..3).all(|node| run.agent(node) != killed[usize::from(node)]));
    let ranks = [run.ranks(1, 0), run.ranks(2, 0)];
    eventually("the gangs are switched again", || ranks.iter().any(|ranks| !is_thawed(ranks)));
    run.finish();
    let ended = both_complete(run);
    ended.scratch_is_clean();
}

#[test]
fn ranks_that_complete_while_no_agent_lives_have_completed() {
    let run = LocalRun::start(&two_busy_jobs(2), &[], &["first.0", "first.1", "second.0", "second.1"]);
    // Stopped first: none is started again, by the end of another, before the ranks complete.
    let agents = [0, 1].map(|node| run.agent(node));
    agents.into_iter().for_each(|agent| signal(agent, Signal::STOP));
    let all = [run.ranks(1, 0), run.ranks(1, 1), run.ranks(2, 0), run.ranks(2, 1)];
    eventually("all gangs run free", || all.iter().all(|ranks| is_thawed(ranks)));
    run.finish();
    eventually("every rank has completed", || all.iter().all(|ranks| members(ranks).is_empty()));
    agents.into_iter().for_each(|agent| signal(agent, Signal::KILL));
    let ended = both_complete(run);
    ended.scratch_is_clean();
}

#[test]
fn an_agent_that_was_stopped_comes_back_and_both_jobs_finish() {
    let run = LocalRun::start(&two_busy_jobs(3), &[], &["first.2", "second.2"]);
    let node = (0..3).find(|node| *node != run.manager()).unwrap();
    signal(run.agent(node), Signal::STOP);
    // Its supervisors thaw after the watchdog, which is longer than suspicion.
    let ranks = [run.ranks(1, node), run.ranks(2, node)];
    eventually("its gangs run free", || ranks.iter().all(|ranks| is_thawed(ranks)));
    signal(run.agent(node), Signal::CONT);
    eventually("its gangs are switched again", || ranks.iter().any(|ranks| !is_thawed(ranks)));
    run.finish();
    let ended = both_complete(run);
    assert_eq!(ended.lives(node), 1);
    ended.scratch_is_clean();
}

#[test]
fn a_killed_command_leaves_nothing_that_runs() {
    let run = LocalRun::start(&two_busy_jobs(2), &[], &["first.0", "first.1", "second.0", "second.1"]);
    signal(run.process(), Signal::KILL);
    let scratch = run.wait_for_orphans();
    // What no process is left to remove is removed by the next run.
    scratch.write("next.yaml", &job("next", "echo finished", ""));
    let next = scratch.run(&["next.yaml"]);
    assert_eq!(next.code, COMPLETED, "{next:?}");
    assert!(next.stdout.contains("[next.0] finished"), "{next:?}");
    assert!(next.stderr.contains("removed what the dead run"), "{next:?}");
    scratch.assert_nothing_left();
}

#[test]
fn an_interrupt_reaches_gangs_that_are_switched_out() {
    let goodbye = "trap 'echo goodbye; exit 0' TERM; echo begun; while :; do :; done";
    let jobs = ["first", "second"].map(|name| job(name, goodbye, "nodes: 2\nlaunch: {protocol: env}"));
    let begun = ["first.0", "first.1", "second.0", "second.1"];
    let run = LocalRun::start(&jobs, &[], &begun);
    // One of the two is frozen on every node: both get their grace.
    signal(run.process(), Signal::INT);
    eventually("every rank says goodbye", || begun.iter().all(|rank| run.has_printed(&format!("[{rank}] goodbye"))));
    let ended = run.wait();
    assert_eq!(ended.code, Some(130));
    ended.scratch_is_clean();
}

#[test]
fn steps_of_the_wall_clock_change_nothing() {
    let shim = tempfile::tempdir().unwrap();
    let library = shim.path().join("steps.so");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults/wall_clock_steps.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("a C compiler is needed").success(), "the shim cannot be compiled");
    let steps = shim.path().join("steps");
    let environment = [("LD_PRELOAD", library.display().to_string()), ("STROBE_TEST_STEPS", steps.display().to_string())];
    let script = "i=0; while test $i -lt 30000; do i=$((i+1)); done; echo begun; while test ! -e finish; do :; done";
    let jobs = ["first", "second"].map(|name| job(name, script, "nodes: 2\nlaunch: {protocol: env}"));
    // Times so long that no delay of a busy machine is taken for a fault.
    let times = "heartbeat: 500ms\n  suspicion: 20s\n  watchdog: 30s\n  nodeLost: 60s";
    let surroundings = Surroundings { times, environment: &environment };
    let run = LocalRun::start_in(&surroundings, &jobs, &[], &["first.0", "first.1", "second.0", "second.1"]);
    run.finish();
    let ended = both_complete(run);
    assert_eq!((ended.report["terms"].as_u64(), ended.report["strobes"]["watchdogExpiries"].as_u64()), (Some(1), Some(0)));
    assert!(ended.report["strobes"]["count"].as_u64() > Some(0));
    // Without it the test would show nothing: an agent, at least, asked for the time of day to check certificates.
    let programs = std::fs::read_to_string(&steps).unwrap();
    assert!(programs.lines().any(|name| name == "strobe-agent"), "no step was seen by an agent: {programs:?}");
    ended.scratch_is_clean();
}

impl Ended {
    fn scratch_is_clean(&self) {
        self.scratch.assert_nothing_left();
    }
}

fn note_time(since: Instant) {
    let Some(path) = std::env::var_os(TIMES) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{}", since.elapsed().as_micros()).unwrap();
}
