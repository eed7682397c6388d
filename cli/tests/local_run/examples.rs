//! Two MPI programs at once, as gangs on the same CPUs: the results are right.

use std::process::Command;

use crate::{
    COMPLETED,
    command::{Scratch, job},
    run, text,
};

/// Builds the examples where only these tests look.
fn examples() -> String {
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/examples");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let status = Command::new("make").args(["-s", "-C", folder, &format!("OUT={out}")]).status();
    let status =
        status.expect("this test needs make and mpicc: install the packages make, mpich and libmpich-dev, or use `cargo xtask test`");
    assert!(status.success(), "the examples cannot be built; they need MPICH: install the packages mpich and libmpich-dev");
    out.to_owned()
}

fn mpi(name: &str, command: &str) -> String {
    job(name, "", "nodes: 2\nlaunch: {protocol: pmi1}").replace("[/bin/sh, -c, \"\"]", command)
}

#[test]
fn two_mpi_jobs_share_two_nodes_and_compute_what_they_should() {
    let examples = examples();
    let scratch = Scratch::new();
    let jobs = [
        mpi("sor", &format!("[{examples}/sor, --rows, '64', --columns, '64', --iterations, '500']")),
        mpi("tsp", &format!("[{examples}/tsp, --cities, '12', --instances, '2']")),
    ];
    let (outcome, report) = run(&scratch, &jobs, &["--quantum", "10ms"]);
    assert_eq!(outcome.code, COMPLETED, "{outcome:?}");
    // Each compares its result with a sequential run of its own.
    for beginning in ["[sor.0] sor: ok ranks=2 ", "[tsp.0] tsp: ok ranks=2 "] {
        assert!(outcome.stdout.lines().any(|line| line.starts_with(beginning)), "{outcome:?}");
    }
    assert_eq!((text(&report, "/jobs/0/state"), text(&report, "/jobs/1/state")), ("Complete", "Complete"));
    scratch.assert_nothing_left();
}
