//! `strobe-init` on real processes: launch, MPI wire-up over two nodes, adoption, thawing, ends, output.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod agents;
mod ends;
mod fake_agent;
mod launch;
mod open_mpi;
mod output;
mod probes;
mod wire_up;

use std::{process::Child, time::Duration};

/// Long against what a loaded machine needs to do nothing at all.
const QUIET: Duration = Duration::from_millis(300);

/// Waits for a supervisor's end: its exit code, and what it printed.
fn finish(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("{:?}", output.status)), text)
}
