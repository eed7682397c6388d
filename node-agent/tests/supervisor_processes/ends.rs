//! How ranks end: by themselves, by signals, with their supervisor.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
};

use rustix::{
    event::PollFlags,
    process::{Pid, Signal, kill_process},
};
use strobe_node_agent::supervisor_protocol::{RankEnd, ToAgent, ToSupervisor};

use crate::{
    QUIET,
    fake_agent::{FakeAgent, configure, is_ready_within, supervisor, wait_for},
    finish,
};

#[test]
fn ranks_die_with_their_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let mut child = supervisor(&agent, &[], &["sleep", "1000"]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 2), None);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    for (_, pidfd) in &connection.stubs {
        wait_for(pidfd, PollFlags::IN);
    }
    assert_eq!(connection.stubs.len(), 2);
    child.wait().unwrap();
}

#[test]
fn a_stub_dies_with_its_supervisor_before_the_release() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let mut child = supervisor(&agent, &[], &["sleep", "1000"]);
    let mut connection = agent.accept();
    connection.bring_up(configure(0, 1, 1), None);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    wait_for(&connection.stubs[0].1, PollFlags::IN);
    child.wait().unwrap();
}

#[test]
fn terminate_kills_what_outlives_its_grace() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let script = "trap 'echo grace' TERM; echo ready; while :; do read line < /dev/null; done";
    let mut child = supervisor(&agent, &[], &["sh", "-c", script]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next_line(&mut output), "ready\n");
    connection.send(ToSupervisor::Terminate { grace_milliseconds: 500 });
    assert_eq!(next_line(&mut output), "grace\n");
    assert_eq!(connection.drain(1)[&0], RankEnd::Signalled(9));
    assert_eq!(finish(child).0, 137);
}

#[test]
fn a_signal_is_passed_to_the_ranks() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done";
    let mut child = supervisor(&agent, &[], &["sh", "-c", script]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next_line(&mut output), "ready\n");
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    assert_eq!(connection.drain(1)[&0], RankEnd::Exited(5));
    assert_eq!(finish(child).0, 5);
}

#[test]
fn ranks_end_when_owner_and_agent_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    let child = supervisor(&agent, &["--owner-pid", &owner.id().to_string()], &["sleep", "1000"]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    owner.kill().unwrap();
    owner.wait().unwrap();
    connection.send(ToSupervisor::Ping { number: 1 });
    connection.until(|message| *message == ToAgent::Pong { number: 1 });
    assert!(!is_ready_within(&connection.stubs[0].1, PollFlags::IN, QUIET), "killed though an agent is there");
    let stubs = std::mem::take(&mut connection.stubs);
    drop((connection, agent));
    wait_for(&stubs[0].1, PollFlags::IN);
    assert_eq!(finish(child).0, 137);
}

#[test]
fn orphans_of_a_rank_end_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], &["sh", "-c", "sleep 1000 & echo $!"]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    connection.drain(1);
    let (code, output) = finish(child);
    let pid = output.trim();
    assert_eq!(code, 0);
    assert!(!Path::new("/proc").join(pid).exists(), "orphan {pid} lives");
}

fn next_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}
