//! The ranks' output: nothing torn, nothing lost, and nobody who waits for its reader for ever.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Child,
};

use rustix::{event::PollFlags, fs::Mode};
use strobe_node_agent::supervisor_protocol::RankEnd;

use crate::{
    QUIET,
    fake_agent::{Connection, FakeAgent, configure, is_ready_within, supervisor},
    finish,
};

#[test]
fn a_slow_reader_of_a_fifo_loses_nothing_and_sees_no_torn_line() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let (fifo, reader) = fifo(directory.path());
    let script = "i=0; while [ $i -lt 8000 ]; do echo \"line $i of rank $RANK and some more text to fill the pipe\"; i=$((i+1)); done";
    let options = ["--output", fifo.to_str().unwrap(), "--log-directory", directory.path().to_str().unwrap()];
    let children: Vec<Child> = (0..2).map(|_| supervisor(&agent, &options, &["sh", "-c", script])).collect();
    let mut connections: Vec<Connection> = (0..2).map(|_| agent.accept()).collect();
    for (node, connection) in (0..).zip(&mut connections) {
        connection.bring_up_and_release(configure(node, 2, 2), None);
    }
    // Nobody reads yet: the ranks must wait.
    assert!(!is_ready_within(&connections[0].stubs[0].1, PollFlags::IN, QUIET), "a rank ended though its output is not read");
    let mut next = [0; 4];
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    while next.iter().any(|&count| count < 8000) {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the output ended at {next:?}");
        let rank: usize = line["[test.".len()..].split(']').next().unwrap().parse().unwrap();
        let wanted = format!("[test.{rank}] line {} of rank {rank} and some more text to fill the pipe\n", next[rank]);
        assert_eq!(line, wanted);
        next[rank] += 1;
    }
    for connection in &mut connections {
        connection.drain(2);
    }
    for child in children {
        assert_eq!(finish(child).0, 0);
    }
    let log = std::fs::read_to_string(directory.path().join("rank-3.log")).unwrap();
    assert_eq!(log.lines().count(), 8000);
    assert!(log.starts_with("line 0 of rank 3 and"), "the log is raw");
}

#[test]
fn a_reader_that_takes_nothing_costs_its_own_lines_and_none_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let (fifo, reader) = fifo(directory.path());
    let options = ["--output", fifo.to_str().unwrap(), "--log-directory", directory.path().to_str().unwrap()];
    // More than the pipe and the supervisor hold (64 KiB each), less than with the rank's own pipe.
    let script = "i=0; while [ $i -lt 2700 ]; do echo \"line $i with some text that makes it sixty bytes long\"; i=$((i+1)); done";
    let child = supervisor(&agent, &options, &["sh", "-c", script]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    assert_eq!(connection.drain(1)[&0], RankEnd::Exited(0));
    assert_eq!(finish(child).0, 0);
    drop(reader);
    let log = std::fs::read_to_string(directory.path().join("rank-0.log")).unwrap();
    assert_eq!(log.lines().count(), 2700);
}

#[test]
fn a_reader_that_goes_does_not_end_the_ranks() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let (fifo, reader) = fifo(directory.path());
    let options = ["--output", fifo.to_str().unwrap(), "--log-directory", directory.path().to_str().unwrap()];
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    let mut child = supervisor(&agent, &options, &["sh", "-c", script]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    // Nobody hears the supervisor's own complaint either.
    drop((reader, child.stderr.take()));
    assert_eq!(connection.drain(1)[&0], RankEnd::Exited(0));
    assert_eq!(finish(child).0, 0);
    let log = std::fs::read_to_string(directory.path().join("rank-0.log")).unwrap();
    assert_eq!(log.lines().count(), 20000);
}

fn fifo(directory: &Path) -> (PathBuf, File) {
    let path = directory.join("output");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    // Non-blocking only so that the opening does not wait for a writer.
    rustix::io::ioctl_fionbio(&reader, false).unwrap();
    (path, File::from(reader))
}
