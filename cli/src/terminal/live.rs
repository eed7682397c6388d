//! A picture on a terminal: lines scroll above, the picture stays below and is drawn over.
//!
//! No alternate screen and no raw mode: what scrolled by can be read afterwards, and the interrupt key stays the
//! terminal's own.

use std::io::{self, Write};

use crossterm::{
    cursor::{Hide, MoveToColumn, MoveUp, Show},
    queue,
    style::ResetColor,
    terminal::{BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate},
};
use rustix::termios::tcgetwinsize;

use super::{Line, cut, styled};

/// What is assumed of a terminal that does not tell its size.
const SIZE: (u16, u16) = (80, 24);

/// What terminal commands begin with.
const ESCAPE: u8 = 0x1b;

/// What can be drawn.
pub(crate) trait Picture {
    /// Its lines, at most `width` columns wide and `height` lines high; what has no room is counted.
    fn lines(&self, width: usize, height: usize) -> Vec<Line>;
}

/// The picture on the terminal. Dropping it gives the terminal back, also while the thread panics.
#[derive(Debug)]
pub(crate) struct Live<P: Picture> {
    /// Lines that the picture holds now; the cursor stands below them.
    drawn: u16,
    last: Option<P>,
}

impl<P: Picture> Live<P> {
    /// Nothing is drawn yet.
    pub(crate) const fn new() -> Self {
        Self { drawn: 0, last: None }
    }

    /// Prints a line above the picture.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn print(&mut self, line: &[u8]) -> io::Result<()> {
        let mut output = Vec::new();
        self.erase(&mut output)?;
        output.extend_from_slice(line);
        if line.contains(&ESCAPE) {
            // A rank's colours end with its line.
            queue!(output, ResetColor)?;
        }
        output.extend_from_slice(b"\n");
        self.put(&mut output)?;
        show(output)
    }

    /// Draws the picture anew.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn draw(&mut self, picture: P) -> io::Result<()> {
        let mut output = Vec::new();
        self.erase(&mut output)?;
        self.last = Some(picture);
        self.put(&mut output)?;
        show(output)
    }

    fn erase(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        queue!(output, BeginSynchronizedUpdate, MoveToColumn(0))?;
        if self.drawn > 0 {
            queue!(output, MoveUp(self.drawn))?;
        }
        self.drawn = 0;
        queue!(output, Clear(ClearType::FromCursorDown))
    }

    fn put(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if let Some(picture) = &self.last {
            let (width, height) = size();
            let (width, height) = (usize::from(width), usize::from(height.saturating_sub(1)));
            let lines: Vec<Line> = picture.lines(width, height).into_iter().take(height).map(|line| cut(line, width)).collect();
            queue!(output, Hide, DisableLineWrap)?;
            for line in &lines {
                let text: String = line.iter().map(styled).collect();
                writeln!(output, "{text}")?;
            }
            self.drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            queue!(output, EnableLineWrap, Show)?;
        }
        queue!(output, EndSynchronizedUpdate)
    }
}

impl<P: Picture> Drop for Live<P> {
    fn drop(&mut self) {
        let mut output = Vec::new();
        // The last picture is erased: the summary takes its place.
        let _terminal_is_gone = self.erase(&mut output).and_then(|()| {
            queue!(output, EnableLineWrap, Show, EndSynchronizedUpdate)?;
            show(output)
        });
    }
}

/// Of the terminal that is drawn on, which need not be the one that controls this process.
fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        Ok(_) | Err(_) => SIZE,
    }
}

fn show(output: Vec<u8>) -> io::Result<()> {
    let mut terminal = io::stdout().lock();
    terminal.write_all(&output)?;
    drop(output);
    terminal.flush()
}
