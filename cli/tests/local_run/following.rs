//! A run that is still going: its lines as they come, so that a test can wait for what a rank says.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Outcome, PATIENCE, Scratch, outcome};

pub(crate) struct Following {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
}

impl Following {
    /// Starts `local run ARGUMENTS` and reads what it prints.
    pub(crate) fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut child = scratch.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::sync_channel(1024);
        thread::spawn(move || {
            // A test that has failed takes no more lines.
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, stdout: String::new() }
    }

    /// Waits for these lines, in any order.
    pub(crate) fn until(&mut self, wanted: &[&str]) {
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{missing:?} did not come after {:?}", self.stdout));
            missing.retain(|wanted| *wanted != line);
            self.keep(&line);
        }
    }

    /// Waits for that number of lines.
    pub(crate) fn until_lines(&mut self, what: &str, number: usize) {
        for come in 0..number {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: only {come} lines of {number} have come"));
            self.keep(&line);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        let Outcome { code, stderr, .. } = outcome(self.child);
        for line in &self.lines {
            self.stdout.push_str(&line);
            self.stdout.push('\n');
        }
        Outcome { code, stdout: self.stdout, stderr }
    }

    fn keep(&mut self, line: &str) {
        self.stdout.push_str(line);
        self.stdout.push('\n');
    }
}
