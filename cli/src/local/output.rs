//! The ranks' output: one named pipe for each gang and node, read by a task, passed on line by line.
//!
//! The tasks wait when the screen is slow, the pipes then fill, and the supervisors hold the ranks back: nothing is lost.

use std::{collections::BTreeSet, io, path::PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use strobe_core::model::{GangRun, NodeIndex};
use tokio::{
    net::unix::pipe::{OpenOptions, Receiver},
    sync::mpsc,
};

use super::{
    event::Event,
    limits::{LINE_BYTES, OUTPUT_BYTES},
    screen::Picture,
};

/// The pipes of a run.
#[derive(Debug)]
pub(super) struct Outputs {
    folder: PathBuf,
    /// Those that are read.
    open: BTreeSet<(GangRun, NodeIndex)>,
    events: mpsc::Sender<Event>,
    screen: mpsc::Sender<Picture>,
}

/// Cuts a stream into whole lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Outputs {
    /// Pipes in `folder`, read into `screen`.
    pub(super) const fn new(folder: PathBuf, events: mpsc::Sender<Event>, screen: mpsc::Sender<Picture>) -> Self {
        Self { folder, open: BTreeSet::new(), events, screen }
    }

    /// Makes a gang's pipe for a node, unless there is one, and reads it. It is there before its supervisor is started,
    /// which opens it without waiting.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn open(&mut self, run: GangRun, node: NodeIndex) -> io::Result<PathBuf> {
        let path = self.path(run, node);
        if self.open.contains(&(run, node)) {
            return Ok(path);
        }
        match mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR) {
            // An earlier supervisor of the same life of the gang had it; it has ended.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let pipe = OpenOptions::new().open_receiver(&path)?;
        self.open.insert((run, node));
        let (events, screen) = (self.events.clone(), self.screen.clone());
        tokio::spawn(async move {
            pass_on(pipe, run, &events, &screen).await;
            // The receiver is gone only when the run is over.
            let _run_is_over = events.send(Event::OutputEnded(run, node)).await;
        });
        Ok(path)
    }

    /// Where a gang's pipe for a node is.
    pub(super) fn path(&self, run: GangRun, node: NodeIndex) -> PathBuf {
        self.folder.join(format!("gang-{run}-node-{node}"))
    }

    /// The last line was read: the supervisor has ended.
    pub(super) fn ended(&mut self, run: GangRun, node: NodeIndex) {
        self.open.remove(&(run, node));
    }

    /// True when every line was read.
    pub(super) fn all_ended(&self) -> bool {
        self.open.is_empty()
    }
}

/// Reads until the last writer has closed the pipe.
async fn pass_on(pipe: Receiver, run: GangRun, events: &mpsc::Sender<Event>, screen: &mpsc::Sender<Picture>) {
    let mut lines = Lines::default();
    let mut bytes = vec![0; OUTPUT_BYTES];
    loop {
        if pipe.readable().await.is_err() {
            return;
        }
        let read = match pipe.try_read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        for line in lines.push(&bytes[..read]) {
            show(line, run, events, screen).await;
        }
    }
    if let Some(line) = lines.finish() {
        show(line, run, events, screen).await;
    }
}

async fn show(line: Vec<u8>, run: GangRun, events: &mpsc::Sender<Event>, screen: &mpsc::Sender<Picture>) {
    // Either receiver is gone only when the run is over.
    let _run_is_over = match progress(&line) {
        Some(percent) => events.send(Event::Progress(run.gang, percent)).await.is_ok(),
        None => screen.send(Picture::Line(line)).await.is_ok(),
    };
}

/// What a line `[gang.0] progress: N%` says: the first rank's way of filling the bar. It is not printed.
fn progress(line: &[u8]) -> Option<u8> {
    let line = std::str::from_utf8(line).ok()?;
    let (rank, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (_, rank) = rank.rsplit_once('.')?;
    let percent = text.trim().strip_prefix("progress: ")?.strip_suffix('%')?;
    (rank == "0").then(|| percent.parse().ok()).flatten().filter(|percent| *percent <= 100)
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= LINE_BYTES {
                whole.push(std::mem::take(&mut self.partial));
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
        whole
    }

    fn finish(self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then_some(self.partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"[a.0] on"), Vec::<Vec<u8>>::new());
        assert_eq!(lines.push(b"e\n\n[a.1] two\nthr"), [b"[a.0] one".to_vec(), b"".to_vec(), b"[a.1] two".to_vec()]);
        assert_eq!(lines.finish(), Some(b"thr".to_vec()));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut lines = Lines::default();
        let cut = lines.push(&vec![b'x'; LINE_BYTES + 1]);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_BYTES]);
    }

    #[test]
    fn only_the_first_ranks_progress_counts() {
        assert_eq!(progress(b"[sor.0] progress: 42%"), Some(42));
        assert_eq!(progress(b"[a.b.0] progress: 100%"), Some(100));
        for other in ["[sor.1] progress: 42%", "[sor.0] progress: 142%", "[sor.0] progress: many", "progress: 1%", "[sor.0] hello"] {
            assert_eq!(progress(other.as_bytes()), None, "{other}");
        }
    }
}
