//! `strobe-init`: supervisor of a gang's ranks on one node; PID 1 of a gang pod's container, or a child of
//! the agent in local mode.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use strobe_node_agent::supervisor::{
    arguments::{Arguments, Command},
    error::SupervisorError,
    probe, run, stub,
};

fn main() -> ExitCode {
    let (result, failure_code) = match Arguments::parse().command {
        Command::Run(arguments) => (run(arguments), 1),
        Command::Probe(arguments) => (probe::probe(&arguments), 1),
        Command::Stub(arguments) => (stub::become_rank(&arguments).map(|()| 0), stub::NOT_STARTED),
    };
    match result {
        Ok(code) => code.into(),
        // The supervisor reports these itself, in the words of the program that failed.
        Err(SupervisorError::Orphaned | SupervisorError::Io { operation: "execve", .. }) => failure_code.into(),
        Err(error) => {
            eprintln!("strobe-init: {error}{}", causes(&error));
            failure_code.into()
        }
    }
}

fn causes(error: &dyn Error) -> String {
    std::iter::successors(error.source(), |&cause| cause.source()).map(|cause| format!(": {cause}")).collect()
}
