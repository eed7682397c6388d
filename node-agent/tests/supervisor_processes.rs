//! `strobe-init` on real processes: launch, MPI wire-up over two nodes, adoption, thawing, ends, output.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    event::PollFlags,
    fs::Mode,
    process::{Pid, Signal, kill_process},
};
use strobe_node_agent::supervisor_protocol::{Freezer, LaunchError, LaunchProtocol, Rank, RankEnd, RankPhase, ToAgent, ToSupervisor};

#[path = "supervisor_processes/fake_agent.rs"]
mod fake_agent;

use fake_agent::{Connection, FakeAgent, configure, is_ready_within, peers, run_gang, supervisor, wait_for};

/// Long against what a loaded machine needs to do nothing at all.
const QUIET: Duration = Duration::from_millis(300);

const HELLO_MPI: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    int rank, size, shared;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc > 1 && !strcmp(argv[1], "abort") && rank == size - 1) MPI_Abort(MPI_COMM_WORLD, 42);
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &shared);
    long mine = rank + 1, sum = 0;
    MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    printf("rank %d of %d, %d on my node, sum %ld\n", rank, size, shared, sum);
    MPI_Finalize();
    return 0;
}
"#;

#[test]
fn two_nodes_of_two_ranks_wire_up_and_agree() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path());
    let (outcome, output) = run_two_nodes(directory.path(), &[&program]);
    assert!(outcome.ends.values().all(|end| end.is_success()), "{outcome:?} {output}");
    assert!(outcome.barriers >= 2);
    for rank in 0..4 {
        let line = format!("[test.{rank}] rank {rank} of 4, 2 on my node, sum 10\n");
        assert!(output.contains(&line), "{line:?} is missing in {output}");
    }
}

#[test]
fn an_abort_in_one_rank_is_told_with_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path());
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], &[&program, "abort"]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 2), None);
    let aborted = connection.until(|message| matches!(message, ToAgent::PmiAborted { .. } | ToAgent::RankExited { rank: Rank(1), .. }));
    assert!(matches!(aborted, ToAgent::PmiAborted { rank: Rank(1), code: 42, .. }), "{aborted:?}");
    connection.send(ToSupervisor::Kill);
    connection.drain(2);
    assert_ne!(finish(child).0, 0);
}

#[test]
fn a_barrier_that_fails_ends_in_an_error_and_not_in_a_hang() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path());
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], &[&program]);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 2, 1), None);
    let ToAgent::PmiBarrier { number, .. } = connection.until(|message| matches!(message, ToAgent::PmiBarrier { .. })) else {
        unreachable!()
    };
    connection.send(ToSupervisor::PmiBarrierFailed { number, explanation: "a node is lost".to_owned() });
    let ends = connection.drain(1);
    assert!(!ends[&0].is_success(), "{ends:?}");
    assert_ne!(finish(child).0, 0);
}

#[test]
fn a_barrier_is_told_again_to_a_new_agent() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path());
    let agent = FakeAgent::listen(directory.path());
    let children = [supervisor(&agent, &[], &[&program]), supervisor(&agent, &[], &[&program])];
    let mut connections = [agent.accept(), agent.accept()];
    for (node, connection) in (0..).zip(&mut connections) {
        connection.bring_up_and_release(configure(node, 2, 1), None);
        connection.until(|message| matches!(message, ToAgent::PmiBarrier { .. }));
    }
    drop(connections);
    let mut connections = [agent.accept(), agent.accept()];
    for connection in &mut connections {
        connection.send(ToSupervisor::Adopt { watchdog_milliseconds: 0 });
        connection.until(|message| matches!(message, ToAgent::Stub(_)));
    }
    let outcome = run_gang(&mut connections, 2);
    assert!(outcome.ends.values().all(|end| end.is_success()), "{outcome:?}");
    for child in children {
        assert_eq!(finish(child).0, 0);
    }
}

#[test]
fn a_rank_knows_who_and_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let script = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $JOB_COMPLETION_INDEX \
                  $FI_TCP_IFACE $GLOO_SOCKET_IFNAME $I_MPI_PIN pmi=$PMI_FD cpus=$(grep Cpus_allowed_list /proc/self/status | cut -f2)";
    let child = supervisor(&agent, &[], &["sh", "-c", script]);
    let mut connection = agent.accept();
    let mut configure = configure(1, 3, 2);
    configure.protocol = LaunchProtocol::Environment;
    configure.cpus = vec![vec![0], Vec::new()];
    connection.bring_up_and_release(configure, None);
    connection.drain(2);
    let (code, output) = finish(child);
    assert_eq!(code, 0);
    assert!(output.contains("[test.2] 2 6 0 2 127.0.0.1 29500 1 lo lo off pmi= cpus=0\n"), "{output}");
    assert!(output.contains("[test.3] 3 6 1 2 127.0.0.1 29500 1 lo lo off pmi= cpus="), "{output}");
}

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

#[test]
fn a_missing_program_is_told_before_anything_is_forked() {
    let (failure, code) = launch_failure(&["/no/such/program"], false);
    assert_eq!((failure, code), ((None, LaunchError::NotFound), 127));
}

#[test]
fn a_file_that_may_not_be_executed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    std::fs::write(&path, "no program").unwrap();
    let (failure, code) = launch_failure(&[path.to_str().unwrap()], false);
    assert_eq!((failure, code), ((None, LaunchError::PermissionDenied), 126));
}

#[test]
fn a_program_that_fails_only_at_exec_is_told_by_its_stub() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    rustix::fs::chmod(&path, Mode::RWXU).unwrap();
    let (failure, code) = launch_failure(&[path.to_str().unwrap()], true);
    assert_eq!((failure, code), ((Some(Rank(0)), LaunchError::NotFound), 127));
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
    assert_eq!(next_line(&mut output), "[test.0] ready\n");
    connection.send(ToSupervisor::Terminate { grace_milliseconds: 500 });
    assert_eq!(next_line(&mut output), "[test.0] grace\n");
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
    assert_eq!(next_line(&mut output), "[test.0] ready\n");
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
    let pid = output.trim_start_matches("[test.0] ").trim();
    assert_eq!(code, 0);
    assert!(!Path::new("/proc").join(pid).exists(), "orphan {pid} lives");
}

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

/// As in a pod: any user, no capability, standard output owned by somebody else. (A test run without
/// privilege is such a user already.)
#[test]
fn a_supervisor_needs_no_privilege() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let program = std::fs::read(env!("CARGO_BIN_EXE_strobe-init")).unwrap();
    let copy = directory.path().join("strobe-init");
    std::fs::write(&copy, program).unwrap();
    for path in [directory.path(), &agent.socket, &copy] {
        rustix::fs::chmod(path, Mode::from(0o777)).unwrap();
    }
    let script = "u=$(id -u); i=0; while [ $i -lt 3000 ]; do echo line $i of user $u; i=$((i+1)); done | uniq";
    let mut command = Command::new(&copy);
    command.args(["run", "--gang", "test", "--incarnation", "7", "--socket"]).arg(&agent.socket);
    command.args(["--", "sh", "-c", script]).stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let child = command.spawn().unwrap();
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    connection.drain(1);
    let (code, output) = finish(child);
    assert_eq!((code, output.lines().count()), (0, 3000));
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

fn run_two_nodes(directory: &Path, command: &[&str]) -> (fake_agent::Outcome, String) {
    let agent = FakeAgent::listen(directory);
    let children: Vec<Child> = (0..2).map(|_| supervisor(&agent, &[], command)).collect();
    let mut connections: Vec<Connection> = (0..2).map(|_| agent.accept()).collect();
    for (node, connection) in (0..).zip(&mut connections) {
        connection.bring_up(configure(node, 2, 2), None);
    }
    for connection in &mut connections {
        connection.send(ToSupervisor::Release(peers(2)));
        connection.until(|message| *message == ToAgent::Released);
    }
    let outcome = run_gang(&mut connections, 4);
    let output = children.into_iter().map(|child| finish(child).1).collect();
    (outcome, output)
}

fn compile(directory: &Path) -> String {
    let (source, program) = (directory.join("hello.c"), directory.join("hello"));
    std::fs::write(&source, HELLO_MPI).unwrap();
    let status = Command::new("mpicc").arg("-o").arg(&program).arg(&source).status();
    let status = status.expect("this test needs mpicc: install the packages mpich and libmpich-dev");
    assert!(status.success(), "mpicc failed");
    program.to_str().unwrap().to_owned()
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

fn finish(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("{:?}", output.status)), text)
}

fn next_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
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

fn launch_failure(command: &[&str], released: bool) -> ((Option<Rank>, LaunchError), i32) {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], command);
    let mut connection = agent.accept();
    if released {
        connection.bring_up_and_release(configure(0, 1, 1), None);
    } else {
        connection.send(ToSupervisor::Configure(configure(0, 1, 1)));
    }
    let ToAgent::LaunchFailed(failure) = connection.until(|message| matches!(message, ToAgent::LaunchFailed(_))) else { unreachable!() };
    assert_eq!(failure.program, command[0]);
    if released {
        connection.drain(1);
    } else {
        connection.send(ToSupervisor::Kill);
    }
    ((failure.rank, failure.error), finish(child).0)
}
