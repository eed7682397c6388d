//! `kubectl-strobe`: the command of Strobe's users. As `kubectl strobe` when it is on the PATH.

mod arguments;
mod cluster;
mod local;
mod terminal;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, LocalCommand};

/// What the shell is told after bad input.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Local(arguments) => {
            let done = match arguments.command {
                LocalCommand::Run(run) => local::run(&run),
                LocalCommand::Stage(stage) => local::stage(&stage),
            };
            match done {
                Ok(code) => ExitCode::from(code),
                Err(error) => failed(&error, if error.is_input() { BAD_INPUT } else { 1 }),
            }
        }
        Command::Cluster(command) => match cluster::run(&command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
    }
}

fn failed(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("error: {}", with_causes(error));
    ExitCode::from(code)
}

/// An error and the causes behind it, in one line. Some errors of others say their causes themselves; nothing is said twice.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).fold(error.to_string(), |said, cause| if said.contains(&cause) { said } else { said + ": " + &cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Told {
        said: &'static str,
        source: Option<Box<Told>>,
    }

    #[test]
    fn causes_are_said_once() {
        let cause = |said, source: Option<Told>| Told { said, source: source.map(Box::new) };
        let error = cause("not reached", Some(cause("service: connect", Some(cause("connect", Some(cause("refused", None)))))));
        assert_eq!(with_causes(&error), "not reached: service: connect: refused");
    }
}
