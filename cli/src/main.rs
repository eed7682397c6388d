//! `kubectl-strobe`: the command of Strobe's users. As `kubectl strobe` when it is on the PATH.

mod arguments;
mod local;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, LocalCommand};

/// What the shell is told after bad input.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command: Command::Local(local) } = Arguments::parse();
    let LocalCommand::Run(run) = local.command;
    match local::run(&run) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = if error.is_input() { BAD_INPUT } else { 1 };
            // The alternate form writes the causes behind the error, in one line.
            eprintln!("error: {:#}", anyhow::Error::from(error));
            ExitCode::from(code)
        }
    }
}
