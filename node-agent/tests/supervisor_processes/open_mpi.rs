//! A program of Open MPI is told why its ranks do not find each other.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
};

use crate::fake_agent::{FakeAgent, configure, supervisor};

/// An empty library of that name.
fn library(folder: &Path, name: &str) -> String {
    let (source, library) = (folder.join("empty.c"), folder.join(name));
    std::fs::write(&source, "").unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(compiled.expect("a C compiler is needed").success());
    library.display().to_string()
}

#[test]
fn a_rank_that_has_loaded_open_mpi_is_told_in_its_output_and_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(folder.path());
    let libraries = ["libmpi.so.40.30.4", "libopen-pal.so.40.30.2"].map(|name| library(folder.path(), name)).join(":");
    let done = folder.path().join("done");
    let script = format!("LD_PRELOAD={libraries} sleep 60 & while test ! -e {}; do :; done; kill $!; echo done", done.display());
    let logs = folder.path().display().to_string();
    let mut child = supervisor(&agent, &["--log-directory", &logs], &["sh", "-c", &script]);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    let told = output.next().expect("it is told before its minute is over");
    assert!(told.starts_with("strobe-init: this program has loaded Open MPI, whose ranks find each other by PMIx."), "{told}");
    std::fs::write(done, "").unwrap();
    assert_eq!(output.next().as_deref(), Some("done"));
    assert!(connection.drain(1)[&0].is_success(), "a word of warning ends nothing");
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(folder.path().join("rank-0.log")).unwrap();
    assert_eq!(log, format!("{told}\ndone\n"));
}
