//! What the supervisor itself has to say, on standard error.

use std::{fmt::Display, io::Write};

/// Writes one line. That nobody reads it any more ends nothing: `eprintln!` would panic, and the ranks would
/// die with their supervisor.
pub(super) fn say(text: impl Display) {
    let _nobody_reads = std::io::stderr().write_all(format!("strobe-init: {text}\n").as_bytes());
}
