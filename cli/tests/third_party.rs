//! Programs that Strobe's authors did not write, unmodified, as gangs, two at a time: Debian's NetPIPE for MPICH and mpi4py's
//! own ring test over PyPI's MPICH. `cargo xtask third-party` installs both.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/command.rs"]
mod command;

use std::{env, io::Write, path::PathBuf};

use command::{Outcome, Scratch, job};

/// The folder that `cargo xtask third-party` has made, with a Python that has mpi4py; recipes that run tests state it.
const MPI4PY: &str = "STROBE_MPI4PY";

/// Says which shared memory its ranks have mapped; then one of them dies as if for lack of memory, and the others wait for it.
const DIES: &str = "import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
files = sorted({line.split()[5] for line in open('/proc/self/maps') if '/dev/shm/' in line})
print('mapped', *files, flush=True)
world.Barrier()
if world.rank == 1: os.kill(os.getpid(), 9)
world.Barrier()";

const NETPIPE: &str = "NPmpich2";

/// Checks every byte of messages up to 32 KiB, instead of measuring.
const NETPIPE_CHECK: &str = "exec NPmpich2 -i -n 40 -u 32768";

const NO_MPI4PY: &str = "STROBE_MPI4PY names no folder with a complete mpi4py (`cargo xtask test` states it)";

/// It takes more sizes than this up to that one.
const SIZES_LEAST: usize = 10;

const SHAPE: &str = "nodes: 2\nlaunch: {protocol: pmi1}\nrestart: {limit: 0}";

#[test]
fn two_netpipes_share_the_cpus() {
    if !is_there(NETPIPE) {
        return skipped("the package netpipe-mpich2 is not installed");
    }
    let outcome = complete(&["one", "two"].map(|name| job(name, NETPIPE_CHECK, SHAPE)));
    for name in ["one", "two"] {
        assert_netpipe(&outcome, name);
    }
}

#[test]
fn two_ring_tests_of_mpi4py_share_the_cpus() {
    let Some(python) = python() else { return skipped(NO_MPI4PY) };
    let outcome = complete(&["one", "two"].map(|name| job(name, &ring_test(&python), SHAPE)));
    for name in ["one", "two"] {
        assert_ring_test(&outcome, name);
    }
}

#[test]
fn programs_of_two_mpi_libraries_share_the_cpus() {
    let Some(python) = python().filter(|_| is_there(NETPIPE)) else { return skipped("NetPIPE or mpi4py is not installed") };
    let outcome = complete(&[job("one", NETPIPE_CHECK, SHAPE), job("two", &ring_test(&python), SHAPE)]);
    assert_netpipe(&outcome, "one");
    assert_ring_test(&outcome, "two");
}

#[test]
fn shared_memory_of_killed_ranks_is_not_left() {
    let Some(python) = python() else { return skipped(NO_MPI4PY) };
    let scratch = Scratch::new();
    scratch.write("dies.py", DIES);
    // Two ranks on each of two nodes, and two on one: both of MPICH's ways to a node's shared memory.
    let shapes = [("two-nodes", "nodes: 2\nranksPerNode: 2"), ("one-node", "nodes: 1\nranksPerNode: 2")];
    let of = |(name, shape): (&str, &str)| {
        let spec = format!("{shape}\nlaunch: {{protocol: pmi1}}\nrestart: {{limit: 0}}");
        job(name, &format!("exec {python} dies.py"), &spec)
    };
    scratch.write("jobs.yaml", &shapes.map(of).join("---\n"));
    let outcome = scratch.run(&["jobs.yaml", "--logs", "logs"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for (name, _) in shapes {
        let told: Vec<&str> = (0..2).flat_map(|rank| mapped(&outcome, name, rank)).collect();
        assert!(told.iter().any(|file| file.contains("mpich_shm")), "without shared memory this shows nothing: {outcome:?}");
        let left: Vec<&&str> = told.iter().filter(|file| PathBuf::from(file).exists()).collect();
        assert!(left.is_empty(), "{left:?} of {outcome:?}");
    }
    scratch.assert_nothing_left();
}

/// The files that a rank of [`DIES`] said that it had mapped.
fn mapped<'a>(outcome: &'a Outcome, job: &str, rank: u32) -> Vec<&'a str> {
    let prefix = format!("[{job}.{rank}] mapped ");
    outcome.stdout.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).flat_map(|files| files.split(' ')).collect()
}

fn ring_test(python: &str) -> String {
    format!("exec {python} -m mpi4py.bench ringtest -n 65536 -l 2000")
}

/// Runs both jobs at once, in short turns, to their good end.
fn complete(jobs: &[String; 2]) -> Outcome {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &jobs.join("---\n"));
    let outcome = scratch.run(&["jobs.yaml", "--quantum", "5ms", "--report", "report.json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report: serde_json::Value = serde_json::from_str(&scratch.read("report.json")).unwrap();
    let at_once = report["jobs"].as_array().unwrap().iter().map(|job| job["runSeconds"].as_f64().unwrap()).sum::<f64>();
    assert!(at_once > report["makespanSeconds"].as_f64().unwrap(), "they did not run at the same time: {report}");
    scratch.assert_nothing_left();
    outcome
}

/// The lines that rank 0 of a job has printed.
fn lines<'a>(outcome: &'a Outcome, job: &str) -> Vec<&'a str> {
    let prefix = format!("[{job}.0] ");
    let both = outcome.stdout.lines().chain(outcome.stderr.lines());
    both.filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

fn assert_netpipe(outcome: &Outcome, job: &str) {
    let lines = lines(outcome, job);
    let passed = lines.iter().filter(|line| line.contains("Integrity check passed")).count();
    assert!(passed > SIZES_LEAST && !lines.iter().any(|line| line.contains("fail")), "{lines:#?}");
}

fn assert_ring_test(outcome: &Outcome, job: &str) {
    let lines = lines(outcome, job);
    let good = |line: &&str| line.starts_with("time for 2000 loops = ") && line.ends_with(" seconds (2 processes, 65536 bytes)");
    assert_eq!(lines.iter().filter(|line| good(line)).count(), 1, "{lines:#?}");
}

fn is_there(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

/// The Python that has mpi4py.
fn python() -> Option<String> {
    let folder = PathBuf::from(env::var_os(MPI4PY)?);
    folder.join("complete").is_file().then(|| folder.join("bin/python").display().to_string())
}

/// Says it where libtest does not hide it. Where nothing may be left out (`cargo xtask ci`) the test fails.
fn skipped(why: &str) {
    assert!(env::var_os("STROBE_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    let line = format!("SKIPPED: {why}; run `cargo xtask third-party` to install it\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
