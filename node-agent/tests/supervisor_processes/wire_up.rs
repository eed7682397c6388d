//! MPI wire-up: of two nodes, aborts, barriers that fail or are told again.

use std::{
    path::Path,
    process::{Child, Command},
};

use strobe_node_agent::supervisor_protocol::{Rank, ToAgent, ToSupervisor};

use crate::{
    fake_agent::{Connection, FakeAgent, Outcome, configure, peers, run_gang, supervisor},
    finish,
};

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
        let line = format!("[{rank}] rank {rank} of 4, 2 on my node, sum 10\n");
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

fn run_two_nodes(directory: &Path, command: &[&str]) -> (Outcome, String) {
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
