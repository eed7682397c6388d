//! The screen: one thread that prints, so that a slow terminal or a full pipe holds back the ranks' output, not the loop.

use std::{
    collections::VecDeque,
    io::{self, Write},
    thread::JoinHandle,
};

use tokio::sync::mpsc;

use super::{
    limits::{SCREEN_MESSAGES, WAITING_STATUS_LINES},
    view::Snapshot,
};
use crate::terminal::{self, Live};

/// What is to be shown.
#[derive(Debug)]
pub(super) enum Picture {
    /// A line of a rank's output, without its end.
    Line(Vec<u8>),
    /// A line about the run.
    Status(String),
    /// The state of the run, for the live view.
    Snapshot(Box<Snapshot>),
}

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A picture that is drawn again and again, below the lines.
    Live,
    /// Lines alone; those of ranks on standard output.
    Plain,
    /// Lines alone, all on standard error: standard output is for the report.
    Aside,
}

/// The screen's end in the loop.
#[derive(Debug)]
pub(super) struct Screen {
    pictures: mpsc::Sender<Picture>,
    waiting: VecDeque<String>,
    left_out: u64,
    thread: JoinHandle<()>,
}

impl Mode {
    /// What suits where standard output goes.
    pub(super) fn suitable(report_is_printed: bool) -> Self {
        match report_is_printed {
            true => Self::Aside,
            false if terminal::is_terminal() => Self::Live,
            false => Self::Plain,
        }
    }
}

impl Screen {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(mode: Mode) -> io::Result<Self> {
        let (pictures, queue) = mpsc::channel(SCREEN_MESSAGES);
        let thread = std::thread::Builder::new().name("screen".to_owned()).spawn(move || show_all(mode, queue))?;
        Ok(Self { pictures, waiting: VecDeque::new(), left_out: 0, thread })
    }

    /// Where ranks' lines go.
    pub(super) fn pictures(&self) -> mpsc::Sender<Picture> {
        self.pictures.clone()
    }

    /// Shows a status line, as soon as there is room.
    pub(super) fn say(&mut self, line: String) {
        if self.waiting.len() == WAITING_STATUS_LINES {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(line);
        self.flush();
    }

    /// Shows what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(line) = self.waiting.pop_front() {
            let line = match std::mem::take(&mut self.left_out) {
                0 => line,
                left_out => format!("({left_out} lines were left out) {line}"),
            };
            if let Err(mpsc::error::TrySendError::Full(Picture::Status(line))) = self.pictures.try_send(Picture::Status(line)) {
                return self.waiting.push_front(line);
            }
        }
    }

    /// Shows the state of the run; when there is no room the next one will do.
    pub(super) fn draw(&self, snapshot: Snapshot) {
        let _next_one_will_do = self.pictures.try_send(Picture::Snapshot(Box::new(snapshot)));
    }

    /// Waits until everything is shown and the terminal is as it was.
    pub(super) fn finish(mut self) {
        self.flush();
        for line in std::mem::take(&mut self.waiting) {
            let _thread_is_gone = self.pictures.blocking_send(Picture::Status(line));
        }
        drop(self.pictures);
        if self.thread.join().is_err() {
            eprintln!("the screen's thread has panicked");
        }
    }
}

fn show_all(mode: Mode, mut queue: mpsc::Receiver<Picture>) {
    let mut live = (mode == Mode::Live).then(Live::new);
    while let Some(picture) = queue.blocking_recv() {
        // A reader that is gone ends the printing, not the run.
        let _reader_is_gone = match (&mut live, picture) {
            (Some(live), Picture::Line(line)) => live.print(&line),
            (Some(live), Picture::Status(line)) => live.print(line.as_bytes()),
            (Some(live), Picture::Snapshot(snapshot)) => live.draw(*snapshot),
            (None, Picture::Snapshot(_)) => Ok(()),
            (None, Picture::Line(line)) if mode == Mode::Plain => print(&mut io::stdout().lock(), &line),
            (None, Picture::Line(line)) => print(&mut io::stderr().lock(), &line),
            (None, Picture::Status(line)) => print(&mut io::stderr().lock(), line.as_bytes()),
        };
    }
}

/// One write a line, so that no other writer tears it.
fn print(output: &mut impl Write, line: &[u8]) -> io::Result<()> {
    output.write_all(&[line, b"\n"].concat())?;
    output.flush()
}
