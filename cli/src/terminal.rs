//! What people see on a terminal: lines of coloured pieces, tables of them, and a picture that is drawn again and again.

mod live;
mod piece;
mod table;

pub(crate) use live::{Live, Picture};
pub(crate) use piece::{Line, Piece, cut, styled, text};
pub(crate) use table::table;

use std::io::{self, IsTerminal as _, Write as _};

/// True when standard output is a terminal that takes commands.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// Prints lines to standard output, with colours where that is a terminal.
///
/// # Errors
/// When the reader is gone.
pub(crate) fn print(lines: &[Line]) -> io::Result<()> {
    let show = if is_terminal() { |line: &Line| line.iter().map(styled).collect::<String>() } else { text };
    let all: String = lines.iter().map(|line| show(line) + "\n").collect();
    let mut output = io::stdout().lock();
    output.write_all(all.as_bytes())?;
    output.flush()
}
