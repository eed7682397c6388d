//! Agents that go, are silent, or come new.

use std::{fs::File, io::Read, os::fd::OwnedFd, process::Child};

use rustix::{
    event::PollFlags,
    process::{Pid, Signal, kill_process},
};
use strobe_node_agent::supervisor_protocol::{Freezer, Rank, RankEnd, RankPhase, ToAgent, ToSupervisor};

use crate::{
    QUIET,
    fake_agent::{Connection, FakeAgent, configure, is_ready_within, supervisor, wait_for},
    finish,
};

#[test]
fn a_closed_socket_thaws_the_ranks() {
    let (child, connection, thawed, _agent, _directory) = sleeper(0);
    assert!(!is_ready_within(&thawed, PollFlags::IN, QUIET), "thawed with an agent");
    drop(connection);
    assert_eq!(read_one(thawed), b'0');
    end(child);
}

#[test]
fn a_silent_agent_thaws_the_ranks_and_a_ping_keeps_it_from() {
    let (child, mut connection, thawed, _agent, _directory) = sleeper(1000);
    for number in 0..4 {
        assert!(!is_ready_within(&thawed, PollFlags::IN, QUIET), "thawed though the agent speaks");
        connection.send(ToSupervisor::Ping { number });
        connection.until(|message| *message == ToAgent::Pong { number });
    }
    assert_eq!(read_one(thawed), b'0');
    end(child);
}

#[test]
fn a_held_gang_stays_frozen_without_an_agent_until_sigterm() {
    let (child, mut connection, thawed, _agent, _directory) = sleeper(50);
    connection.send(ToSupervisor::Hold);
    connection.until(|message| *message == ToAgent::Held);
    assert!(!is_ready_within(&thawed, PollFlags::IN, QUIET), "the watchdog thawed a held gang");
    drop(connection);
    assert!(!is_ready_within(&thawed, PollFlags::IN, QUIET), "a closed socket thawed a held gang");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(read_one(thawed), b'0');
    end(child);
}

#[test]
fn a_new_agent_hears_all_that_it_needs_to_adopt() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let script = "if [ $RANK = 0 ]; then exit 3; else exec sleep 1000; fi";
    let child = supervisor(&agent, &[], &["sh", "-c", script]);
    let mut connection = agent.accept();
    assert!(!connection.hello.configured && connection.hello.ranks.is_empty());
    connection.bring_up_and_release(configure(0, 1, 2), None);
    connection.send(ToSupervisor::Hold);
    connection.until(|message| matches!(message, ToAgent::RankExited { .. }));
    drop((connection, agent));
    let agent = FakeAgent::listen(directory.path());
    let mut connection = agent.accept();
    let hello = &connection.hello;
    assert_eq!((hello.gang.0.as_str(), hello.incarnation.0, hello.supervisor_pid), ("test", 7, child.id()));
    assert!(hello.configured && hello.released && hello.held);
    assert_eq!(hello.ranks[0].phase, RankPhase::Ended(RankEnd::Exited(3)));
    assert_eq!(hello.ranks[1].phase, RankPhase::Running);
    connection.send(ToSupervisor::Adopt { watchdog_milliseconds: 0 });
    let exited = connection.until(|message| matches!(message, ToAgent::RankExited { .. }));
    assert_eq!(exited, ToAgent::RankExited { rank: Rank(0), end: RankEnd::Exited(3) });
    connection.until(|message| matches!(message, ToAgent::Stub(report) if report.rank == Rank(1)));
    connection.send(ToSupervisor::RankExitAcknowledged { rank: Rank(0) });
    connection.send(ToSupervisor::Kill);
    connection.drain(1);
    assert_eq!(finish(child).0, 3);
}

/// A supervisor of one sleeping rank whose thaw descriptor is a pipe.
fn sleeper(watchdog_milliseconds: u64) -> (Child, Connection, OwnedFd, FakeAgent, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], &["sleep", "1000"]);
    let mut connection = agent.accept();
    let (thawed, thaw) = rustix::pipe::pipe().unwrap();
    let mut configure = configure(0, 1, 1);
    configure.freezer = Freezer::Cgroup;
    configure.watchdog_milliseconds = watchdog_milliseconds;
    connection.bring_up_and_release(configure, Some(thaw));
    (child, connection, thawed, agent, directory)
}

fn read_one(pipe: OwnedFd) -> u8 {
    wait_for(&pipe, PollFlags::IN);
    let mut byte = [0];
    File::from(pipe).read_exact(&mut byte).unwrap();
    byte[0]
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
