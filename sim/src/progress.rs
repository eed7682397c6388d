//! How far a search has come: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::Mutex,
    time::{Duration, Instant},
};

use strobe_sim::campaign::Summary;

/// Columns of the bar.
const WIDTH: u64 = 40;
/// Time between two looks of the bar.
const BAR_PERIOD: Duration = Duration::from_millis(100);
/// Time between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(20);

/// Shows progress on standard error.
pub(crate) struct Progress {
    seeds: u64,
    terminal: bool,
    shown: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        Self { seeds, terminal: stderr().is_terminal(), shown: Mutex::new(Instant::now()) }
    }

    pub(crate) fn show(&self, summary: &Summary) {
        let period = if self.terminal { BAR_PERIOD } else { LINE_PERIOD };
        let mut shown = self.shown.lock().expect("nobody panics while holding the time");
        if shown.elapsed() < period {
            return;
        }
        *shown = Instant::now();
        let line = format!("{}/{} seeds, {} failed", summary.seeds, self.seeds, summary.failed);
        if self.terminal {
            let done = usize::try_from(WIDTH * summary.seeds / self.seeds.max(1)).expect("a bar is narrow");
            self.say(&format!("\r[{:.<40}] {line}", "#".repeat(done)));
        } else {
            self.say(&format!("{line}\n"));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if self.terminal {
            self.say("\r\x1b[K");
        }
    }

    /// A standard error that is closed ends no search.
    fn say(&self, text: &str) {
        let mut stderr = stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
